/**
 * Writes MessagePack. Integers stay integers however large, which the usual packers turn into floating
 * point past 32 bits: peers in typed languages could not read a time.
 */

const INITIAL_BYTES = 4096;
/** A longer buffer is not kept for the next value. */
const KEPT_BYTES = 1024 * 1024;
/** Below this a loop over ASCII is faster than a call into the runtime. */
const SHORT_TEXT = 40;

export class Packer {
  #bytes = new Uint8Array(INITIAL_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #buffer = Buffer.from(this.#bytes.buffer);
  #at = 0;

  /** What was written, as a copy; the next write begins anew. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = this.#bytes.slice(0, this.#at);
    this.#at = 0;
    if (this.#bytes.length > KEPT_BYTES) this.#hold(new Uint8Array(INITIAL_BYTES));
    return taken;
  }

  map(entries: number): void {
    this.#sized(entries, 0x80, 16, 0xde);
  }

  array(items: number): void {
    this.#sized(items, 0x90, 16, 0xdc);
  }

  text(text: string): void {
    const { length } = text;
    // A UTF-16 unit takes at most three bytes, and the header five.
    this.#reserve(5 + length * 3);
    if (length < SHORT_TEXT && this.#ascii(text)) return;
    const bytes = Buffer.byteLength(text);
    if (bytes < 32) this.#bytes[this.#at++] = 0xa0 | bytes;
    else this.#length(bytes, 0xd9);
    this.#at += this.#buffer.write(text, this.#at, "utf8");
  }

  integer(value: number): void {
    this.#reserve(9);
    const bytes = this.#bytes;
    if (value >= 0 && value < 128) bytes[this.#at++] = value;
    else if (value < 0 && value >= -32) bytes[this.#at++] = value & 0xff;
    else if (value >= 0 && value <= 0xffff_ffff) this.#length(value, 0xcc);
    else this.#large(BigInt(value));
  }

  binary(value: Uint8Array): void {
    this.#reserve(5 + value.length);
    this.#length(value.length, 0xc4);
    this.raw(value);
  }

  /** Bytes that are MessagePack already. */
  raw(packed: Uint8Array): void {
    this.#reserve(packed.length);
    this.#bytes.set(packed, this.#at);
    this.#at += packed.length;
  }

  /** Anything that JSON can carry, binary, and integers beyond 2^53. What is undefined in an object is left out. */
  value(value: unknown): void {
    if (typeof value === "string") this.text(value);
    else if (typeof value === "number") this.#number(value);
    else if (typeof value === "boolean") this.#byte(value ? 0xc3 : 0xc2);
    else if (typeof value === "bigint") this.#large(value);
    else if (value instanceof Uint8Array) this.binary(value);
    else if (Array.isArray(value)) {
      this.array(value.length);
      for (const item of value) this.value(item);
    } else if (typeof value === "object" && value !== null) {
      const entries = Object.entries(value).filter(([, item]) => item !== undefined);
      this.map(entries.length);
      for (const [key, item] of entries) {
        this.text(key);
        this.value(item);
      }
    } else this.#byte(0xc0);
  }

  #large(value: bigint): void {
    this.#reserve(9);
    if (value < 0n) {
      this.#bytes[this.#at++] = 0xd3;
      this.#view.setBigInt64(this.#at, value);
    } else {
      this.#bytes[this.#at++] = 0xcf;
      this.#view.setBigUint64(this.#at, value);
    }
    this.#at += 8;
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
      this.integer(value);
      return;
    }
    this.#reserve(9);
    this.#bytes[this.#at++] = 0xcb;
    this.#view.setFloat64(this.#at, value);
    this.#at += 8;
  }

  /** Writes the text and returns true, unless it is not all ASCII. */
  #ascii(text: string): boolean {
    const bytes = this.#bytes;
    const { length } = text;
    let at = this.#at;
    if (length < 32) bytes[at++] = 0xa0 | length;
    else {
      bytes[at++] = 0xd9;
      bytes[at++] = length;
    }
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit >= 128) return false;
      bytes[at++] = unit;
    }
    this.#at = at;
    return true;
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = byte;
  }

  /** A header with its size inside (up to 15), or behind it in two or four bytes. */
  #sized(size: number, fixed: number, fixedBelow: number, wide: number): void {
    this.#reserve(5);
    if (size < fixedBelow) this.#bytes[this.#at++] = fixed | size;
    else if (size <= 0xffff) {
      this.#bytes[this.#at++] = wide;
      this.#view.setUint16(this.#at, size);
      this.#at += 2;
    } else {
      this.#bytes[this.#at++] = wide + 1;
      this.#view.setUint32(this.#at, size);
      this.#at += 4;
    }
  }

  /** A number behind its type byte, in one, two or four bytes; the type bytes follow each other. */
  #length(size: number, type: number): void {
    if (size <= 0xff) {
      this.#bytes[this.#at++] = type;
      this.#bytes[this.#at++] = size;
    } else if (size <= 0xffff) {
      this.#bytes[this.#at++] = type + 1;
      this.#view.setUint16(this.#at, size);
      this.#at += 2;
    } else {
      this.#bytes[this.#at++] = type + 2;
      this.#view.setUint32(this.#at, size);
      this.#at += 4;
    }
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    let size = this.#bytes.length * 2;
    while (size < this.#at + bytes) size *= 2;
    const grown = new Uint8Array(size);
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#hold(grown);
  }

  #hold(bytes: Uint8Array<ArrayBuffer>): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
    this.#buffer = Buffer.from(bytes.buffer);
  }
}

const packer = new Packer();

/** One value, packed. */
export function pack(value: unknown): Uint8Array<ArrayBuffer> {
  packer.value(value);
  return packer.take();
}
