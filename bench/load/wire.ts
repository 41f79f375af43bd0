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
  /** Ordering keys in turn, so many of them; at most 100,000. */
  readonly keys?: number | undefined;
  /** The ten priorities in turn. */
  readonly priorities?: boolean | undefined;
  /** Each has a delay of its own, of four digits. */
  readonly delayed?: boolean | undefined;
}

const KEY_DIGITS = 5;
/** Delays in milliseconds, all of the same length. */
export const DELAY_MS = { least: 1000, most: 9999, digits: 4 } as const;

/** Room for several publishes, each a WebSocket message of its own, that leave in one write. */
export class PublishBlock {
  readonly frameBytes: number;
  readonly #bytes: Buffer;
  readonly #seqAt: number;
  readonly #sentAt: number;
  readonly #idAt: number;
  readonly #keys: number;
  readonly #keyAt: number;
  readonly #priorityAt: number;
  readonly #delayAt: number;

  constructor(shape: PublishShape, capacity: number) {
    const { topic, confirmed, keys = 0, priorities = false, delayed = false } = shape;
    const frame = textFrame(
      [
        `{"type":"publish",${confirmed ? `"id":${SEQUENCE_BASE},` : ""}`,
        `"topic":${JSON.stringify(topic)},`,
        keys > 0 ? `"key":"${"0".repeat(KEY_DIGITS)}",` : "",
        priorities ? '"priority":0,' : "",
        delayed ? `"delayMs":${DELAY_MS.least},` : "",
        `"payload":${payloadText(shape.payloadBytes)}}`,
      ].join(""),
    );
    const behind = (name: string, wanted: boolean) =>
      wanted ? frame.indexOf(name) + name.length : -1;
    this.frameBytes = frame.length;
    this.#seqAt = behind('"seq":', true);
    this.#sentAt = behind('"sent":', true);
    this.#idAt = behind('"id":', confirmed);
    this.#keys = keys;
    this.#keyAt = behind('"key":"', keys > 0);
    this.#priorityAt = behind('"priority":', priorities);
    this.#delayAt = behind('"delayMs":', delayed);
    this.#bytes = Buffer.alloc(frame.length * capacity);
    for (let index = 0; index < capacity; index++) this.#bytes.set(frame, index * frame.length);
  }

  /** Numbers the publish at `index`; `number` becomes its `seq` and, when confirmed, its `id`. */
  set(index: number, number: number, sentUs: number): void {
    const start = index * this.frameBytes;
    const value = SEQUENCE_BASE + number;
    const bytes = this.#bytes;
    writeDigits(bytes, start + this.#seqAt, SEQUENCE_DIGITS, value);
    writeDigits(bytes, start + this.#sentAt, SENT_DIGITS, sentUs);
    if (this.#idAt >= 0) writeDigits(bytes, start + this.#idAt, SEQUENCE_DIGITS, value);
    if (this.#keyAt >= 0) writeDigits(bytes, start + this.#keyAt, KEY_DIGITS, number % this.#keys);
    if (this.#priorityAt >= 0) writeDigits(bytes, start + this.#priorityAt, 1, number % 10);
  }

  delay(index: number, delayMs: number): void {
    const start = index * this.frameBytes;
    writeDigits(this.#bytes, start + this.#delayAt, DELAY_MS.digits, delayMs);
  }

  /** The bytes of the first `count` publishes. */
  first(count: number): Buffer {
    return this.#bytes.subarray(0, count * this.frameBytes);
  }
}

export type Outcome = "ack" | "reject";

/** An `ack` or `reject` frame built digit by digit, with room for its header in front. */
export class SettleFrame {
  static readonly #HEAD = 8;
  readonly #opening: Buffer;
  readonly #bytes = Buffer.alloc(32 * 1024);
  #end = 0;
  count = 0;

  constructor(outcome: Outcome) {
    this.#opening = Buffer.from(`{"type":"${outcome}","tags":[`);
    this.#bytes.set(this.#opening, SettleFrame.#HEAD);
    this.clear();
  }

  clear(): void {
    this.#end = SettleFrame.#HEAD + this.#opening.length;
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
    const length = this.#end + 2 - SettleFrame.#HEAD;
    const head = length < 126 ? 6 : 8;
    const start = SettleFrame.#HEAD - head;
    this.#bytes.fill(0, start, SettleFrame.#HEAD);
    this.#bytes[start] = TEXT;
    this.#bytes[start + 1] = MASKED | Math.min(length, 126);
    if (length >= 126) this.#bytes.writeUInt16BE(length, start + 2);
    return this.#bytes.subarray(start, SettleFrame.#HEAD + length);
  }
}
