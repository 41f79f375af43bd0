/** Publishing over HTTP: messages as objects [P-12.3], or a body that is the payload [P-12.4]. */
import { PublishBody } from "../../schemas/frames.ts";
import { publishBatch, withIndex } from "../broker/batch.ts";
import type { Publication, Receipt } from "../broker/publication.ts";
import { assertRetainable, toMessage } from "../broker/publication.ts";
import { assertTerms } from "../broker/terms.ts";
import { toWarrenError, WarrenError } from "../errors.ts";
import { decodeMsgpack, decodeMsgpackPayload } from "../protocols/native/msgpack.ts";
import { authorOf } from "./author.ts";
import { checked, decoded, MSGPACK, mediaType, readBytes } from "./body.ts";
import { errorResult } from "./problem.ts";
import { type Call, type Handlers, param, type Services } from "./services.ts";

/** Options of `POST /v1/topics/<topic>` by their header; the rest of `Warren-` is `Warren-Header-…`. */
const OPTION_HEADERS: Readonly<Record<string, keyof PublishBody>> = {
  "warren-message-id": "messageId",
  "warren-key": "key",
  "warren-ttl-ms": "ttlMs",
  "warren-delay-ms": "delayMs",
  "warren-deliver-at": "deliverAt",
  "warren-priority": "priority",
  "warren-reply-to": "replyTo",
  "warren-correlation-id": "correlationId",
  "warren-retain": "retain",
};
const NUMBERS: readonly string[] = ["ttlMs", "delayMs", "deliverAt", "priority"];
const HEADER_PREFIX = "warren-header-";

const utf8 = new TextDecoder("utf-8", { fatal: true });

export const publishHandlers: Handlers<"publish" | "publishBatch" | "publishTopic"> = {
  async publish(call, services) {
    const { batch } = services.config.limits;
    const bytes = await bytesOf(call, services);
    const type = mediaType(call.request);
    const body = type === MSGPACK ? decodeMsgpack(bytes) : decoded(bytes, type);
    if (!Array.isArray(body)) return { results: [await publishOne(call, services, body)] };
    if (body.length > batch) {
      throw new WarrenError("invalid_frame", `At most ${batch} messages at a time.`, {
        pointer: "",
        limit: batch,
      });
    }
    // All are begun before the first is waited for: in order, and in one transaction.
    const results = body.map((item, at) =>
      nextOf(call, services, item, at).catch((thrown: unknown) => {
        const error = toWarrenError(thrown);
        services.broker.refusals.note(error, call);
        return errorResult(error);
      }),
    );
    return { results: await Promise.all(results) };
  },

  async publishBatch(call, services) {
    const { batch } = services.config.limits;
    const bytes = await bytesOf(call, services);
    const type = mediaType(call.request);
    const body = type === MSGPACK ? decodeMsgpack(bytes) : decoded(bytes, type);
    if (!Array.isArray(body) || body.length === 0 || body.length > batch) {
      const why = `A batch is an array of 1 to ${batch} messages.`;
      throw new WarrenError("invalid_frame", why, { pointer: "", limit: batch });
    }
    const items = body.map((item: unknown, at) => {
      try {
        if (at > 0) call.meter?.message();
        return prepared(call, services, item, `/${at}`);
      } catch (error) {
        throw withIndex(toWarrenError(error), at);
      }
    });
    // All of them are taken by the broker before the first is waited for.
    const receipts: Promise<Receipt>[] = [];
    const publications = items.map((item): Publication => {
      const { promise, resolve, reject } = Promise.withResolvers<Receipt>();
      receipts.push(promise);
      return { ...item, accepted: resolve, refused: reject };
    });
    publishBatch(services.broker, publications);
    return { results: (await Promise.all(receipts)).map(receiptView) };
  },

  async publishTopic(call, services) {
    const { request } = call;
    const bytes = await bytesOf(call, services);
    const type = mediaType(request);
    const body = {
      topic: param(call, "topic"),
      payload: payloadOf(bytes, type),
      ...contentTypeOf(request, type),
      ...optionsOf(request.headers),
    };
    return publishOne(call, services, body);
  },
};

/** The body; it may take long to come, and who was let in at its beginning be shut out at its end. */
async function bytesOf(
  call: Pick<Call, "request" | "meter" | "principal" | "address">,
  { config, standing }: Services,
): Promise<Uint8Array> {
  const bytes = await readBytes(call.request, config.limits.frameBytes, call.meter);
  standing.assert(call);
  return bytes;
}

/** One of several: the first was paid for as the request [P-14.11]. */
async function nextOf(
  call: Pick<Call, "principal" | "address" | "meter">,
  services: Services,
  value: unknown,
  at: number,
): Promise<object> {
  if (at > 0) call.meter?.message();
  return publishOne(call, services, value, `/${at}`);
}

/** Rejects with the error; what goes wrong before the broker takes the message is found at once. */
async function publishOne(
  call: Pick<Call, "principal" | "address">,
  services: Services,
  value: unknown,
  pointer = "",
): Promise<object> {
  const ready = prepared(call, services, value, pointer);
  const receipt = await new Promise<Receipt>((accepted, refused) => {
    services.broker.publish({ ...ready, accepted, refused });
  });
  return { type: "ok", ...receiptView(receipt) };
}

/** The message with all that can be checked before the broker has it; throws what is wrong. */
function prepared(
  call: Pick<Call, "principal" | "address">,
  services: Services,
  value: unknown,
  pointer: string,
): Omit<Publication, "accepted" | "refused"> {
  if (services.phase() === "draining") throw new WarrenError("draining");
  const body = checked(PublishBody, value, "message", pointer);
  const { broker, clock, config } = services;
  const { rights } = call.principal;
  const entry = broker.router.lookup(body.topic);
  const terms = rights.publishTerms(body.topic);
  if (terms === undefined) {
    throw new WarrenError("forbidden", `You may not publish to ${body.topic}.`, {
      action: "publish",
      on: body.topic,
      topic: body.topic,
    });
  }
  const draft = toMessage(body, {
    now: clock.now(),
    newId: broker.newId,
    limits: config.limits,
    from: authorOf(call),
  });
  assertRetainable(draft, entry);
  const { message, dueAt, dedupe, retain } = draft;
  const { rates } = assertTerms(terms, message, entry.queues, retain !== undefined);
  if (rates !== undefined) services.admission.rates.underGrants(call, rates);
  return { message, dueAt, dedupe, retain, entry };
}

function receiptView(receipt: Receipt): object {
  const { messageId, queues, duplicate, displaced, invalid, position } = receipt;
  return {
    messageId,
    queues,
    ...(duplicate ? { duplicate } : {}),
    ...(displaced === undefined ? {} : { displaced }),
    ...(invalid ? { invalid } : {}),
    ...position,
  };
}

/** Raw bytes become what their content type says they are [P-2.6]. */
function payloadOf(bytes: Uint8Array, type: string): unknown {
  if (type === MSGPACK) return decodeMsgpackPayload(bytes);
  if (type === "application/json" || type.endsWith("+json")) return decoded(bytes, type);
  // What curl says of its `-d` unless told otherwise: text, whatever is in it.
  if (type.startsWith("text/") || type === "application/x-www-form-urlencoded") {
    try {
      return utf8.decode(bytes);
    } catch {
      return bytes;
    }
  }
  return bytes;
}

/** Kept where it says more than the value of the payload does itself, and was chosen by someone. */
function contentTypeOf(request: Request, type: string): { contentType?: string } {
  const given = request.headers.get("Content-Type");
  const implied = ["", MSGPACK, "application/json", "application/x-www-form-urlencoded"];
  return given === null || implied.includes(type) ? {} : { contentType: given };
}

function optionsOf(headers: Headers): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  const own = new Map<string, string>();
  for (const [name, text] of headers) {
    if (!name.startsWith("warren-")) continue;
    const option = OPTION_HEADERS[name];
    if (name.startsWith(HEADER_PREFIX)) own.set(name.slice(HEADER_PREFIX.length), text);
    else if (option === undefined) {
      const known = [...Object.keys(OPTION_HEADERS), `${HEADER_PREFIX}<name>`].join(", ");
      throw new WarrenError("invalid_frame", `${name} is no option; there are ${known}.`, {
        header: name,
      });
    } else options[option] = optionOf(option, name, text);
  }
  return own.size === 0 ? options : { ...options, headers: Object.fromEntries(own) };
}

function optionOf(option: keyof PublishBody, header: string, text: string): unknown {
  if (NUMBERS.includes(option)) return numberOf(header, text);
  if (option !== "retain") return text;
  if (text === "true" || text === "false") return text === "true";
  throw new WarrenError("invalid_frame", `${header} must be true or false.`, { header });
}

function numberOf(header: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new WarrenError("invalid_frame", `${header} must be an integer.`, { header });
}
