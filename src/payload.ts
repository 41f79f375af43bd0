/**
 * A payload: a value or raw bytes, held in the form in which it arrived and put into another form once,
 * on demand, however many routes, queues and consumers want it [P-2.6].
 */
import { unpack } from "./unpacking.ts";

/** How a payload lies on disk; the numbers are part of the file format. */
export const PAYLOAD_FORMAT = { json: 0, binary: 1, msgpack: 2 } as const;
export type PayloadFormat = (typeof PAYLOAD_FORMAT)[keyof typeof PAYLOAD_FORMAT];

export class Payload {
  readonly format: PayloadFormat;
  #value: unknown;
  #hasValue: boolean;
  #json: string | undefined;
  #bytes: Uint8Array | undefined;

  private constructor(
    format: PayloadFormat,
    value: unknown,
    hasValue: boolean,
    json: string | undefined,
    bytes: Uint8Array | undefined,
  ) {
    this.format = format;
    this.#value = value;
    this.#hasValue = hasValue;
    this.#json = json;
    this.#bytes = bytes;
  }

  /** A value that came as JSON, or any value that JSON can carry whole. */
  static fromValue(value: unknown): Payload {
    return new Payload(PAYLOAD_FORMAT.json, value, true, undefined, undefined);
  }

  /** Raw bytes. They are kept, not copied: the caller must not change them afterwards. */
  static fromBinary(bytes: Uint8Array): Payload {
    return new Payload(PAYLOAD_FORMAT.binary, bytes, true, undefined, bytes);
  }

  /** What `storedBytes()` gave, in the same format; MessagePack also as it came. Kept, not copied. */
  static fromStored(format: PayloadFormat, bytes: Uint8Array): Payload {
    if (format === PAYLOAD_FORMAT.binary) return Payload.fromBinary(bytes);
    if (format === PAYLOAD_FORMAT.msgpack) {
      return new Payload(format, undefined, false, undefined, bytes);
    }
    return Payload.fromJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString());
  }

  /** JSON text that is known to be valid, such as what `json()` gave. */
  static fromJson(text: string): Payload {
    return new Payload(PAYLOAD_FORMAT.json, undefined, false, text, undefined);
  }

  get isBinary(): boolean {
    return this.format === PAYLOAD_FORMAT.binary;
  }

  /** The value; for a binary payload its bytes. */
  value(): unknown {
    if (!this.#hasValue) {
      this.#value =
        this.format === PAYLOAD_FORMAT.msgpack ? unpack(this.#bytes!) : JSON.parse(this.#json!);
      this.#hasValue = true;
    }
    return this.#value;
  }

  /** The payload as JSON text; binary as a base64 string, to be marked with `payloadEncoding`. */
  json(): string {
    this.#json ??= this.isBinary
      ? `"${base64(this.#bytes!)}"`
      : (JSON.stringify(
          this.format === PAYLOAD_FORMAT.msgpack ? toJsonValue(this.value()) : this.value(),
        ) ?? "null");
    return this.#json;
  }

  /** The bytes that go to disk: a binary or MessagePack payload as it came, JSON as its text. */
  storedBytes(): Uint8Array {
    this.#bytes ??= Buffer.from(this.json());
    return this.#bytes;
  }
}

/**
 * What a value of MessagePack looks like in JSON: binary inside a value becomes base64 text, an integer
 * beyond 2^53 its decimal digits as text [P-2.6].
 */
function toJsonValue(value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Uint8Array) return base64(value);
  if (Array.isArray(value)) return value.map(toJsonValue);
  const out: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) out[key] = toJsonValue(item);
  return out;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
}
