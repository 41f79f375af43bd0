/**
 * From what a publisher says to a message [P-3.2], the same over every transport: what the schema
 * cannot check is checked here. The topic is the router's to judge, which has an answer at hand.
 */
import type { PublishBody } from "../../schemas/frames.ts";
import type { Position } from "../engine/topics.ts";
import { WarrenError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Message } from "../message.ts";
import { PAYLOAD_FORMAT, Payload } from "../payload.ts";
import { assertTopic } from "../topic.ts";
import type { Subscriber } from "./route.ts";
import type { TopicEntry } from "./router.ts";

export interface Receipt {
  readonly messageId: string;
  /** How many queues took a copy. */
  readonly queues: number;
  /** The message was published before, within the window: nobody gets it again [P-3.5]. */
  readonly duplicate: boolean;
  /** How many messages gave way to it, where some did [P-5.9]. */
  readonly displaced?: number;
  /** Where it stands in the history of its topic [P-4.3]. */
  readonly position?: Position;
  /** The payload does not fit its channel, and dead-letter queues have it [P-14.10]. */
  readonly invalid?: true;
}

/**
 * One publish on its way. Exactly one of `accepted` and `refused` is called: at once, from inside
 * `publish`, when nothing has to be stored, else later. Neither may throw.
 */
export interface Publication {
  readonly message: Message;
  /** Queues must not hand it out before this time. Live subscribers see it at once. */
  readonly dueAt?: number | undefined;
  /** The publisher chose the message id, so a repetition is a duplicate. */
  readonly dedupe: boolean;
  /** What becomes of the retained value of its topic [P-4.4]. */
  readonly retain?: "set" | "clear" | undefined;
  /** The subscriber that is not to see it, its publisher with `echo: false`. */
  readonly except?: Subscriber | undefined;
  /** What `router.lookup` said of the topic just now, when the publisher has already asked. */
  readonly entry?: TopicEntry | undefined;
  /** What is wrong with the payload; the queues take it as a dead letter. Said by its channel. */
  readonly invalid?: string | undefined;
  accepted(receipt: Receipt): void;
  refused(error: WarrenError): void;
}

/** Whether the engine is to have the message: for queues, or for what its topic keeps. */
export function isStored(
  { retain, invalid }: Publication,
  { queues, history }: TopicEntry,
): boolean {
  if (queues.length > 0) return true;
  return invalid === undefined && (history !== undefined || retain !== undefined);
}

/** Whether what is published there now is neither seen nor kept nor judged, and nothing is on its way there. */
export function concernsNobody(entry: TopicEntry): boolean {
  const { routes, queues, channel, reserved, pendingStores } = entry;
  if (routes.length > 0 || queues.length > 0 || channel !== undefined) return false;
  return !reserved && pendingStores === 0;
}

/** Throws `not_supported` for a value that the topic would not keep [P-4.4]. */
export function assertRetainable({ retain }: Pick<Draft, "retain">, entry: TopicEntry): void {
  if (retain !== undefined && !entry.retained) throw notRetained(entry);
}

export function notRetained({ topic }: TopicEntry): WarrenError {
  const text = "No value is retained on this topic.";
  return new WarrenError("not_supported", text, { pointer: "/retain", topic });
}

const DETAIL_CHARACTERS = 500;

/** A publish whose payload does not fit a channel that dead-letters such. */
export class Misfit implements Publication {
  readonly message: Message;
  readonly dedupe: boolean;
  readonly entry: TopicEntry;
  readonly invalid: string;
  /** What its publisher is told where no queue could keep it. */
  readonly refusal: WarrenError;
  readonly #publication: Publication;

  constructor(publication: Publication, entry: TopicEntry, refusal: WarrenError) {
    this.message = publication.message;
    this.dedupe = publication.dedupe;
    this.entry = entry;
    // The place of a fault is made of the names in the payload, which may be long.
    this.invalid = refusal.message.slice(0, DETAIL_CHARACTERS).toWellFormed();
    this.refusal = refusal;
    this.#publication = publication;
  }

  accepted(receipt: Receipt): void {
    this.#publication.accepted(receipt.duplicate ? receipt : { ...receipt, invalid: true });
  }

  refused(error: WarrenError): void {
    this.#publication.refused(error);
  }
}

export interface MessageContext {
  readonly now: number;
  readonly newId: () => string;
  readonly limits: Limits;
  /** The publisher's principal; absent for anonymous ones. */
  readonly from?: string | undefined;
}

/**
 * A payload that came as MessagePack, as it lay in its message, checked but not decoded: most are only handed
 * on, and what is not decoded keeps the exact types that the publisher chose.
 */
export class PackedPayload {
  readonly payload: Payload;
  /** How deep its objects and arrays are nested; 0 for a plain value. */
  readonly depth: number;

  constructor(bytes: Uint8Array, depth: number) {
    this.payload = Payload.fromStored(PAYLOAD_FORMAT.msgpack, bytes);
    this.depth = depth;
  }
}

export interface Draft {
  readonly message: Message;
  readonly dueAt: number | undefined;
  readonly dedupe: boolean;
  readonly retain: "set" | "clear" | undefined;
  readonly echo: boolean;
}

/**
 * Makes the message of a body that fits its schema. Throws `invalid_frame`, `invalid_topic` (for
 * `replyTo`), `too_large` and `not_supported`, naming the field by its JSON Pointer in `detail.pointer`.
 */
export function toMessage(body: PublishBody, context: MessageContext): Draft {
  const { deliverAt, ttlMs } = body;
  if (deliverAt !== undefined && body.delayMs !== undefined) {
    throw new WarrenError("invalid_frame", "deliverAt and delayMs do not go together.", {
      pointer: "/deliverAt",
    });
  }
  const delayMs = deliverAt === undefined ? body.delayMs : Math.max(0, deliverAt - context.now);
  if (ttlMs !== undefined && delayMs !== undefined && ttlMs <= delayMs) {
    throw new WarrenError("invalid_frame", "The message would expire before its delay is over.", {
      pointer: "/ttlMs",
    });
  }
  const message: Mutable<Message> = {
    id: body.messageId ?? context.newId(),
    topic: body.topic,
    time: context.now,
    payload: payloadOf(body, context.limits),
  };
  if (context.from !== undefined) message.from = context.from;
  addOptions(message, body, context);
  return {
    message,
    dueAt: delayMs === undefined || delayMs === 0 ? undefined : context.now + delayMs,
    dedupe: body.messageId !== undefined,
    retain: body.retain === true ? retainOf(message.payload) : undefined,
    echo: body.echo !== false,
  };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function addOptions(message: Mutable<Message>, body: PublishBody, context: MessageContext): void {
  if (body.headers !== undefined) {
    assertHeaders(body.headers, context.limits);
    message.headers = body.headers;
  }
  if (body.key !== undefined) message.key = body.key;
  if (body.priority !== undefined) message.priority = body.priority;
  if (body.ttlMs !== undefined) message.expiresAt = context.now + body.ttlMs;
  if (body.replyTo !== undefined) {
    assertReplyTo(body.replyTo, context.limits);
    message.replyTo = body.replyTo;
  }
  if (body.correlationId !== undefined) message.correlationId = body.correlationId;
  if (body.contentType !== undefined) message.contentType = body.contentType;
}

/** Nothing takes away the value that there is. */
function retainOf(payload: Payload): "set" | "clear" {
  const isNothing = payload.isBinary
    ? payload.storedBytes().length === 0
    : payload.value() === null;
  return isNothing ? "clear" : "set";
}

/** The payload of a body, checked; throws `invalid_frame`. */
export function payloadOf(
  body: Pick<PublishBody, "payload" | "payloadEncoding">,
  { payloadDepth: limit }: Pick<Limits, "payloadDepth">,
): Payload {
  const { payload } = body;
  if (body.payloadEncoding === "base64") return Payload.fromBinary(decodeBase64(payload));
  if (payload instanceof PackedPayload) {
    if (payload.depth > limit) throw tooDeep(limit);
    return payload.payload;
  }
  if (payload === undefined) return Payload.fromValue(null);
  if (payload instanceof Uint8Array) return Payload.fromBinary(payload);
  if (!withinDepth(payload, limit)) throw tooDeep(limit);
  return Payload.fromValue(payload);
}

function tooDeep(limit: number): WarrenError {
  return new WarrenError("invalid_frame", `The payload is nested deeper than ${limit} levels.`, {
    pointer: "/payload",
    limit,
  });
}

function decodeBase64(payload: unknown): Uint8Array {
  const text = payload instanceof PackedPayload ? payload.payload.value() : payload;
  if (typeof text === "string") {
    try {
      return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
    } catch {
      // Said below, as for a payload that is no text at all.
    }
  }
  throw new WarrenError("invalid_frame", "The payload is not base64 text.", {
    pointer: "/payload",
  });
}

/** Whether nothing in `value` lies deeper than `depth` levels of objects and arrays. */
export function withinDepth(value: unknown, depth: number): boolean {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return true;
  if (depth === 0) return false;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (!withinDepth(value[i], depth - 1)) return false;
    return true;
  }
  for (const key in value) {
    if (!withinDepth((value as Record<string, unknown>)[key], depth - 1)) return false;
  }
  return true;
}

/** Throws `too_large`. */
export function assertHeaders(
  headers: Readonly<Record<string, string>>,
  limits: Pick<Limits, "headers" | "headerBytes">,
): void {
  let entries = 0;
  let bytes = 0;
  for (const name in headers) {
    entries++;
    bytes += Buffer.byteLength(name) + Buffer.byteLength(headers[name] ?? "");
  }
  if (entries > limits.headers) {
    throw new WarrenError("too_large", `There are more than ${limits.headers} headers.`, {
      pointer: "/headers",
      limit: limits.headers,
    });
  }
  if (bytes > limits.headerBytes) {
    throw new WarrenError("too_large", `The headers take more than ${limits.headerBytes} bytes.`, {
      pointer: "/headers",
      limit: limits.headerBytes,
    });
  }
}

function assertReplyTo(topic: string, limits: Limits): void {
  try {
    assertTopic(topic, limits);
  } catch (error) {
    if (!(error instanceof WarrenError)) throw error;
    throw new WarrenError(error.code, error.message, { ...error.detail, pointer: "/replyTo" });
  }
}
