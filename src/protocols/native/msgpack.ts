/** The MessagePack encoding [P-2.1]: the same frames as in JSON, with binary as binary [P-2.6]. */
import type { FrameId, ServerFrame } from "../../../schemas/frames.ts";
import { PackedPayload, type Receipt } from "../../broker/publication.ts";
import type { Bytes } from "../../broker/route.ts";
import type { HistoryPage, Position } from "../../engine/topics.ts";
import type { Delivery, Message } from "../../message.ts";
import {
  type Entries,
  integer,
  type Packed,
  pack,
  packArray,
  packable,
  packEntries,
  packMap,
  withEntry,
} from "../../packing.ts";
import { PAYLOAD_FORMAT } from "../../payload.ts";
import type { FrameEncoder } from "../../session/protocol.ts";
import { leaveValue, unpackMaps } from "../../unpacking.ts";

const PAYLOAD_KEY = pack("payload");
const MESSAGES_KEY = pack("messages");
const NO_ENTRIES: Entries = { count: 0, bytes: new Uint8Array(0) };

/**
 * The frame or frames of one binary message. Payloads are left as they lie. Throws `malformed_frame`.
 */
export function decodeMsgpack(bytes: Uint8Array): unknown {
  return unpackMaps(bytes, "payload", leavePacked, "publish");
}

/** A payload by itself, left as it lies. Throws `malformed_frame`. */
export function decodeMsgpackPayload(bytes: Uint8Array): unknown {
  return leaveValue(bytes, leavePacked);
}

const leavePacked = (bytes: Uint8Array, depth: number) => new PackedPayload(bytes, depth);

type Fields = Record<string, unknown>;

export class MsgpackEncoder implements FrameEncoder {
  readonly name = "msgpack";
  #lastMessage: Message | undefined;
  #lastBody = NO_ENTRIES;

  event(message: Message, filter: string | undefined, position?: Position): Packed {
    const fields: Fields = { type: "event", topic: message.topic };
    if (filter !== undefined) fields.filter = filter;
    if (message.from !== undefined) fields.from = packable(message.from);
    if (position !== undefined) {
      fields.offset = integer(position.offset);
      fields.epoch = position.epoch;
    }
    return packMap(fields, this.#body(message));
  }

  retained(message: Message, filter: string | undefined): Packed {
    const fields: Fields = { type: "event", topic: message.topic, retained: true };
    if (filter !== undefined) fields.filter = filter;
    if (message.from !== undefined) fields.from = packable(message.from);
    return packMap(fields, this.#body(message));
  }

  delivery({ queue, tag, attempt, message, expiresAt, deaths }: Delivery): Packed {
    const { topic, key, priority } = message;
    const fields: Fields = { type: "delivery", queue, tag: integer(tag), topic, attempt };
    if (key !== undefined) fields.key = packable(key);
    if (priority !== undefined) fields.priority = priority;
    if (expiresAt !== undefined) fields.expiresAt = integer(expiresAt);
    if (deaths !== undefined) fields.deaths = packable(deaths);
    return packMap(fields, this.#body(message));
  }

  published(id: FrameId, receipt: Receipt): Packed {
    const { messageId, queues, duplicate, displaced, invalid, position } = receipt;
    const ok: Fields = { type: "ok", id, messageId, queues };
    if (duplicate) ok.duplicate = true;
    if (displaced !== undefined) ok.displaced = displaced;
    if (invalid) ok.invalid = true;
    return pack(position === undefined ? ok : { ...ok, ...position });
  }

  history(id: FrameId, page: HistoryPage, next: number | undefined): Packed {
    const { epoch, offset } = page;
    const fields: Fields = { type: "ok", id, epoch, offset: integer(offset) };
    if (next !== undefined) fields.next = integer(next);
    const messages = page.messages.map(({ message, offset }) => {
      const head: Fields = { topic: message.topic, offset: integer(offset) };
      if (message.from !== undefined) head.from = packable(message.from);
      return packMap(head, this.#body(message));
    });
    return packMap(fields, withEntry(NO_ENTRIES, MESSAGES_KEY, packArray(messages)));
  }

  ok(id: FrameId): Packed {
    return pack({ type: "ok", id });
  }

  frame(frame: ServerFrame): Packed {
    return pack(frame);
  }

  batch(frames: readonly Bytes[]): Packed {
    return packArray(frames as readonly Packed[]);
  }

  /** The fields that events and deliveries share. */
  #body(message: Message): Entries {
    if (message === this.#lastMessage) return this.#lastBody;
    const { id, payload, time, headers, replyTo, correlationId, contentType } = message;
    const fields: Fields = { messageId: packable(id), time: integer(time) };
    if (headers !== undefined) fields.headers = packable(headers);
    if (replyTo !== undefined) fields.replyTo = replyTo;
    if (correlationId !== undefined) fields.correlationId = packable(correlationId);
    if (contentType !== undefined) fields.contentType = packable(contentType);
    const isPacked = payload.format === PAYLOAD_FORMAT.msgpack;
    if (!isPacked) fields.payload = packable(payload.value());
    const body = packEntries(fields);
    this.#lastBody = isPacked ? withEntry(body, PAYLOAD_KEY, payload.storedBytes()) : body;
    this.#lastMessage = message;
    return this.#lastBody;
  }
}
