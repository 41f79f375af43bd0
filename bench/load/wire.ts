/**
 * Client frames made once and only patched per message. The masking key is zero: the server still
 * does its unmasking work, and the generator need not touch every byte.
 */

const TEXT = 0x81;
const PONG = 0x8a;
const MASKED = 0x80;

/** Numbers of a fixed width never change the length of a frame: `seq` and `id` have ten digits. */
export const SEQUENCE_BASE = 1_000_000_000;
export const SEQUENCE_DIGITS = 10;
/**
 * `sent` is microseconds on the generator's clock, plus this, so that it always has twelve digits.
 */
export const SENT_BASE_US = 100_000_000_000;
export const SENT_DIGITS = 12;

function masked(opcode: number, body: Uint8Array): Buffer {
  const long = body.length >= 126;
  if (body.length > 0xffff) throw new Error(`a client frame of ${body.length} bytes is too long`);
  const head = long ? 8 : 6;
  const frame = Buffer.alloc(head + body.length);
  frame[0] = opcode;
  if (long) {
    frame[1] = MASKED | 126;
    frame.writeUInt16BE(body.length, 2);
  } else {
    frame[1] = MASKED | body.length;
  }
  frame.set(body, head);
  return frame;
}

/** One text message, as a client sends it. */
export const textFrame = (text: string): Buffer => masked(TEXT, Buffer.from(text));

/** The answer to a ping. */
export const pongFrame = (body: Uint8Array): Buffer => masked(PONG, body);

/** A payload whose JSON text has exactly `bytes` bytes. */
export function payloadText(bytes: number): string {
  const head = `{"seq":${SEQUENCE_BASE},"sent":${SENT_BASE_US},"kind":"sample","pad":"`;
  const pad = bytes - head.length - 2;
  if (pad < 0) throw new Error(`a payload has at least ${head.length + 2} bytes`);
  return `${head}${"x".repeat(pad)}"}`;
}

/** Writes the decimal digits of `value`, which must have exactly `digits` of them. */
export function writeDigits(into: Uint8Array, at: number, digits: number, value: number): void {
  let rest = value;
  for (let index = at + digits - 1; index >= at; index--) {
    const tens = Math.floor(rest / 10);
    into[index] = 48 + (rest - tens * 10);
    rest = tens;
  }
}

/** The generator's clock as it stands in payloads. */
export const stampUs = (): number => SENT_BASE_US + Math.floor(performance.now() * 1000);

export interface PublishShape {
  readonly topic: string;
  readonly payloadBytes: number;
  /** With an `id` every publish is answered. */
  readonly confirmed: boolean;
}

/** Room for several publishes, each a WebSocket message of its own, that leave in one write. */
export class PublishBlock {
  readonly frameBytes: number;
  readonly #bytes: Buffer;
  readonly #seqAt: number;
  readonly #sentAt: number;
  readonly #idAt: number;

  constructor(shape: PublishShape, capacity: number) {
    const id = shape.confirmed ? `"id":${SEQUENCE_BASE},` : "";
    const payload = payloadText(shape.payloadBytes);
    const frame = textFrame(
      `{"type":"publish",${id}"topic":${JSON.stringify(shape.topic)},"payload":${payload}}`,
    );
    this.frameBytes = frame.length;
    this.#seqAt = frame.indexOf('"seq":') + 6;
    this.#sentAt = frame.indexOf('"sent":') + 7;
    this.#idAt = shape.confirmed ? frame.indexOf('"id":') + 5 : -1;
    this.#bytes = Buffer.alloc(frame.length * capacity);
    for (let index = 0; index < capacity; index++) this.#bytes.set(frame, index * frame.length);
  }

  /** Numbers the publish at `index`; `number` becomes its `seq` and, when confirmed, its `id`. */
  set(index: number, number: number, sentUs: number): void {
    const start = index * this.frameBytes;
    const value = SEQUENCE_BASE + number;
    writeDigits(this.#bytes, start + this.#seqAt, SEQUENCE_DIGITS, value);
    writeDigits(this.#bytes, start + this.#sentAt, SENT_DIGITS, sentUs);
    if (this.#idAt >= 0) writeDigits(this.#bytes, start + this.#idAt, SEQUENCE_DIGITS, value);
  }

  /** The bytes of the first `count` publishes. */
  first(count: number): Buffer {
    return this.#bytes.subarray(0, count * this.frameBytes);
  }
}

/** An `ack` frame built digit by digit, with room for its header in front. */
export class AckFrame {
  static readonly #HEAD = 8;
  static readonly #OPENING = Buffer.from('{"type":"ack","tags":[');
  readonly #bytes = Buffer.alloc(32 * 1024);
  #end = 0;
  count = 0;

  constructor() {
    this.#bytes.set(AckFrame.#OPENING, AckFrame.#HEAD);
    this.clear();
  }

  clear(): void {
    this.#end = AckFrame.#HEAD + AckFrame.#OPENING.length;
    this.count = 0;
  }

  /** Adds the tag whose digits stand in `source` from `from` to `to`. */
  add(source: Uint8Array, from: number, to: number): void {
    if (this.count > 0) this.#bytes[this.#end++] = 44;
    for (let index = from; index < to; index++) this.#bytes[this.#end++] = source[index]!;
    this.count++;
  }

  /** The whole WebSocket message; valid until the next change. */
  finish(): Buffer {
    this.#bytes[this.#end] = 93;
    this.#bytes[this.#end + 1] = 125;
    const length = this.#end + 2 - AckFrame.#HEAD;
    const head = length < 126 ? 6 : 8;
    const start = AckFrame.#HEAD - head;
    this.#bytes.fill(0, start, AckFrame.#HEAD);
    this.#bytes[start] = TEXT;
    this.#bytes[start + 1] = MASKED | Math.min(length, 126);
    if (length >= 126) this.#bytes.writeUInt16BE(length, start + 2);
    return this.#bytes.subarray(start, AckFrame.#HEAD + length);
  }
}
