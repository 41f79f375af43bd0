/** The MessagePack encoding [P-2.1]: the same frames as in JSON, with binary as binary [P-2.6]. */
import type { FrameId, ServerFrame } from "../../../schemas/frames.ts";
import { PackedPayload, type Receipt } from "../../broker/publication.ts";
import type { Bytes } from "../../broker/route.ts";
import type { Delivery, Message } from "../../message.ts";
import { Packer } from "../../packing.ts";
import { PAYLOAD_FORMAT } from "../../payload.ts";
import type { FrameEncoder } from "../../session/protocol.ts";
import { unpackMaps } from "../../unpacking.ts";

/**
 * The frame or frames of one binary message. Payloads are left as they lie. Throws `malformed_frame`.
 */
export function decodeMsgpack(bytes: Uint8Array): unknown {
  return unpackMaps(bytes, "payload", leavePacked);
}

const leavePacked = (bytes: Uint8Array, depth: number) => new PackedPayload(bytes, depth);

type Packed = Uint8Array<ArrayBuffer>;

export class MsgpackEncoder implements FrameEncoder {
  readonly name = "msgpack";
  readonly #packer = new Packer();
  readonly #bodyPacker = new Packer();
  #lastMessage: Message | undefined;
  /** The fields that events and deliveries share, packed, and how many they are. */
  #lastBody: Packed = new Uint8Array(0);
  #lastBodyFields = 0;

  event(message: Message, filter: string | undefined): Packed {
    this.#prepare(message);
    const packer = this.#packer;
    const { from } = message;
    packer.map(
      2 + (filter === undefined ? 0 : 1) + (from === undefined ? 0 : 1) + this.#lastBodyFields,
    );
    this.#field("type", "event");
    this.#field("topic", message.topic);
    if (filter !== undefined) this.#field("filter", filter);
    if (from !== undefined) this.#field("from", from);
    packer.raw(this.#lastBody);
    return packer.take();
  }

  delivery({ queue, tag, attempt, message, expiresAt, deaths }: Delivery): Packed {
    this.#prepare(message);
    const packer = this.#packer;
    const { key, priority } = message;
    const options = [key, priority, expiresAt, deaths].filter((one) => one !== undefined).length;
    packer.map(5 + options + this.#lastBodyFields);
    this.#field("type", "delivery");
    this.#field("queue", queue);
    this.#number("tag", tag);
    this.#field("topic", message.topic);
    this.#number("attempt", attempt);
    if (key !== undefined) this.#field("key", key);
    if (priority !== undefined) this.#number("priority", priority);
    if (expiresAt !== undefined) this.#number("expiresAt", expiresAt);
    if (deaths !== undefined) {
      packer.text("deaths");
      packer.value(deaths);
    }
    packer.raw(this.#lastBody);
    return packer.take();
  }

  published(id: FrameId, { messageId, queues, duplicate }: Receipt): Packed {
    const packer = this.#packer;
    packer.map(duplicate ? 5 : 4);
    this.#okOf(id);
    this.#field("messageId", messageId);
    this.#number("queues", queues);
    if (duplicate) {
      packer.text("duplicate");
      packer.value(true);
    }
    return packer.take();
  }

  ok(id: FrameId): Packed {
    this.#packer.map(2);
    this.#okOf(id);
    return this.#packer.take();
  }

  frame(frame: ServerFrame): Packed {
    this.#packer.value(frame);
    return this.#packer.take();
  }

  batch(frames: readonly Bytes[]): Packed {
    this.#packer.array(frames.length);
    for (const frame of frames) this.#packer.raw(frame as Packed);
    return this.#packer.take();
  }

  #prepare(message: Message): void {
    if (message === this.#lastMessage) return;
    const packer = this.#bodyPacker;
    const { id, payload, time, headers, replyTo, correlationId, contentType } = message;
    let fields = 3;
    packer.text("messageId");
    packer.text(id);
    packer.text("payload");
    if (payload.format === PAYLOAD_FORMAT.json) packer.value(payload.value());
    else if (payload.isBinary) packer.binary(payload.storedBytes());
    else packer.raw(payload.storedBytes());
    packer.text("time");
    packer.integer(time);
    if (headers !== undefined) {
      packer.text("headers");
      packer.value(headers);
      fields++;
    }
    const texts = { replyTo, correlationId, contentType };
    for (const [name, text] of Object.entries(texts)) {
      if (text === undefined) continue;
      packer.text(name);
      packer.text(text);
      fields++;
    }
    this.#lastBody = packer.take();
    this.#lastBodyFields = fields;
    this.#lastMessage = message;
  }

  #okOf(id: FrameId): void {
    this.#field("type", "ok");
    this.#packer.text("id");
    this.#packer.value(id);
  }

  #field(name: string, text: string): void {
    this.#packer.text(name);
    this.#packer.text(text);
  }

  #number(name: string, value: number): void {
    this.#packer.text(name);
    this.#packer.integer(value);
  }
}
