/**
 * The JSON encoding [P-2.1]. Frequent frames are put together from text, with the payload's own JSON in
 * the middle; what several routes and queues need of one message is made once.
 */
import type { FrameId, ServerFrame } from "../../../schemas/frames.ts";
import type { Receipt } from "../../broker/publication.ts";
import type { Bytes } from "../../broker/route.ts";
import type { HistoryPage, Position } from "../../engine/topics.ts";
import { WarrenError } from "../../errors.ts";
import type { Delivery, Message } from "../../message.ts";
import { parseJson } from "../../nesting.ts";
import { LastNumber, LastQuoted, quoted } from "../../quoted.ts";
import type { FrameEncoder } from "../../session/protocol.ts";

/** The frame or frames of one text message. Throws `malformed_frame`. */
export function decodeJson(text: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw new WarrenError("malformed_frame", `This is not JSON: ${(error as Error).message}`);
  }
}

export class JsonEncoder implements FrameEncoder {
  readonly name = "json";
  readonly #topic = new LastQuoted();
  readonly #filter = new LastQuoted();
  readonly #queue = new LastQuoted();
  readonly #epoch = new LastQuoted();
  readonly #time = new LastNumber();
  readonly #expiry = new LastNumber();
  #lastMessage: Message | undefined;
  #lastBody = "";

  event(message: Message, filter: string | undefined, position?: Position): string {
    const place = position === undefined ? "" : this.#place(position);
    return this.#event(message, filter, place);
  }

  retained(message: Message, filter: string | undefined): string {
    return this.#event(message, filter, ',"retained":true');
  }

  delivery({ queue, tag, attempt, message, expiresAt, deaths }: Delivery): string {
    const { key, priority } = message;
    let rest = "";
    if (key !== undefined) rest += `,"key":${quoted(key)}`;
    if (priority !== undefined) rest += `,"priority":${priority}`;
    if (expiresAt !== undefined) rest += `,"expiresAt":${this.#expiry.of(expiresAt)}`;
    if (deaths !== undefined) rest += `,"deaths":${JSON.stringify(deaths)}`;
    const topic = this.#topic.of(message.topic);
    const head = `{"type":"delivery","queue":${this.#queue.of(queue)},"tag":${tag}`;
    return `${head},"topic":${topic},"attempt":${attempt}${rest}${this.#body(message)}}`;
  }

  published(id: FrameId, receipt: Receipt): string {
    const { messageId, queues, duplicate, displaced, invalid, position } = receipt;
    let rest = "";
    if (duplicate) rest += ',"duplicate":true';
    if (displaced !== undefined) rest += `,"displaced":${displaced}`;
    if (position !== undefined) rest += this.#place(position);
    if (invalid) rest += ',"invalid":true';
    const message = quoted(messageId);
    return `{"type":"ok","id":${quotedId(id)},"messageId":${message},"queues":${queues}${rest}}`;
  }

  history(id: FrameId, page: HistoryPage, next: number | undefined): string {
    const messages = page.messages.map(({ message, offset }) => {
      const from = message.from === undefined ? "" : `,"from":${quoted(message.from)}`;
      const topic = this.#topic.of(message.topic);
      return `{"topic":${topic},"offset":${offset}${from}${this.#body(message)}}`;
    });
    const head = `{"type":"ok","id":${quotedId(id)}${this.#place(page)}`;
    const more = next === undefined ? "" : `,"next":${next}`;
    return `${head},"messages":[${messages.join()}]${more}}`;
  }

  ok(id: FrameId): string {
    return `{"type":"ok","id":${quotedId(id)}}`;
  }

  frame(frame: ServerFrame): string {
    return JSON.stringify(frame);
  }

  batch(frames: readonly Bytes[]): string {
    // Not `join`: it would make each frame a text of its own first, and the whole once more for the brackets.
    let text = `[${frames[0]}`;
    for (let i = 1; i < frames.length; i++) text += `,${frames[i]}`;
    return `${text}]`;
  }

  #event(message: Message, filter: string | undefined, more: string): string {
    const filterField = filter === undefined ? "" : `,"filter":${this.#filter.of(filter)}`;
    const from = message.from === undefined ? "" : `,"from":${quoted(message.from)}`;
    const topic = this.#topic.of(message.topic);
    return `{"type":"event","topic":${topic}${filterField}${from}${more}${this.#body(message)}}`;
  }

  #place({ epoch, offset }: Position): string {
    return `,"offset":${offset},"epoch":${this.#epoch.of(epoch)}`;
  }

  /** The fields that events and deliveries share. */
  #body(message: Message): string {
    if (message === this.#lastMessage) return this.#lastBody;
    const { id, payload, time, headers, replyTo, correlationId, contentType } = message;
    let body = `,"messageId":${quoted(id)},"payload":${payload.json()}`;
    body += `,"time":${this.#time.of(time)}`;
    if (payload.isBinary) body += ',"payloadEncoding":"base64"';
    if (headers !== undefined) body += `,"headers":${JSON.stringify(headers)}`;
    if (replyTo !== undefined) body += `,"replyTo":${quoted(replyTo)}`;
    if (correlationId !== undefined) body += `,"correlationId":${quoted(correlationId)}`;
    if (contentType !== undefined) body += `,"contentType":${quoted(contentType)}`;
    this.#lastMessage = message;
    this.#lastBody = body;
    return body;
  }
}

function quotedId(id: FrameId): string {
  return typeof id === "number" ? String(id) : quoted(id);
}
