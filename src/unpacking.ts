/**
 * Reads MessagePack from strangers: one pass that checks everything it passes over. Lengths lie inside
 * the message, nothing follows the value, keys are text, text is UTF-8, nesting is bounded, and there
 * are no extension types [P-2.6].
 */
import { isUtf8 } from "node:buffer";
import { WarrenError } from "./errors.ts";

/** Deeper nesting than any payload may have; the reader's own recursion is bounded by it. */
const MAX_DEPTH = 512;
/** Below this a loop over ASCII is faster than a call into the runtime. */
const SHORT_TEXT = 24;

/** The value of one key of a map, checked but not decoded, and how deep it is nested. */
export type LeavePacked = (bytes: Uint8Array, depth: number) => unknown;

/** One value. Binary in it is a view of `bytes`. Throws `malformed_frame`. */
export function unpack(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  reader.end();
  return value;
}

/**
 * A map, or an array of maps, in which the value of `key` is what `leave` makes of its bytes; binary is
 * given as it is. Throws `malformed_frame`.
 */
export function unpackMaps(bytes: Uint8Array, key: string, leave: LeavePacked): unknown {
  const reader = new Reader(bytes);
  const maps = reader.maps(key, leave);
  reader.end();
  return maps;
}

function malformed(what: string): WarrenError {
  return new WarrenError("malformed_frame", `This is not MessagePack as agreed: ${what}.`);
}

/** Keys met before, by a hash of their bytes: the same few come in every frame. */
const KEYS: (string | undefined)[] = new Array(256);

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw malformed("something follows the value");
  }

  maps(key: string, leave: LeavePacked): unknown {
    const type = this.#bytes[this.#at];
    const isArray =
      type !== undefined && ((type & 0xf0) === 0x90 || type === 0xdc || type === 0xdd);
    if (!isArray) return this.#map(0, key, leave);
    const items: unknown[] = [];
    for (let left = this.#items(this.#u8()); left > 0; left--) {
      items.push(this.#map(1, key, leave));
    }
    return items;
  }

  #map(depth: number, key: string, leave: LeavePacked): unknown {
    const type = this.#bytes[this.#at];
    const isMap = type !== undefined && ((type & 0xf0) === 0x80 || type === 0xde || type === 0xdf);
    if (!isMap) return this.value(depth);
    return this.#object(this.#entries(this.#u8()), depth, key, leave);
  }

  value(depth: number): unknown {
    if (depth > MAX_DEPTH) throw malformed("it is nested too deeply");
    const type = this.#u8();
    if (type < 0x80) return type;
    if (type < 0x90) return this.#object(type & 0x0f, depth);
    if (type < 0xa0) return this.#array(type & 0x0f, depth);
    if (type < 0xc0) return this.#text(type & 0x1f);
    if (type >= 0xe0) return type - 256;
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#binary(this.#sizeAfter(type - 0xc4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#sizeAfter(type - 0xd9));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#items(type), depth);
      case 0xde:
      case 0xdf:
        return this.#object(this.#entries(type), depth);
      default:
        return this.#number(type);
    }
  }

  /** Passes over a value; returns how deep it is nested. */
  #skip(depth: number): number {
    if (depth > MAX_DEPTH) throw malformed("it is nested too deeply");
    const type = this.#u8();
    if (type < 0x80 || type >= 0xe0) return 0;
    if (type < 0x90) return this.#skipEntries(type & 0x0f, depth);
    if (type < 0xa0) return this.#skipItems(type & 0x0f, depth);
    if (type < 0xc0) return this.#skipText(type & 0x1f);
    if (type === 0xde || type === 0xdf) return this.#skipEntries(this.#entries(type), depth);
    if (type === 0xdc || type === 0xdd) return this.#skipItems(this.#items(type), depth);
    if (type >= 0xd9) return this.#skipText(this.#sizeAfter(type - 0xd9));
    if (type >= 0xc4 && type <= 0xc6) this.#advance(this.#sizeAfter(type - 0xc4));
    else if (type > 0xc3 || type === 0xc1) this.#number(type);
    return 0;
  }

  #skipEntries(entries: number, depth: number): number {
    let deepest = 0;
    for (let left = entries; left > 0; left--) {
      this.#skipText(this.#keySize());
      deepest = Math.max(deepest, this.#skip(depth + 1));
    }
    return deepest + 1;
  }

  #skipItems(items: number, depth: number): number {
    let deepest = 0;
    for (let left = items; left > 0; left--) deepest = Math.max(deepest, this.#skip(depth + 1));
    return deepest + 1;
  }

  #skipText(size: number): number {
    const start = this.#at;
    this.#advance(size);
    if (!this.#isAscii(start, size)) this.#assertUtf8(start, size);
    return 0;
  }

  #object(
    entries: number,
    depth: number,
    packedKey?: string,
    leave?: LeavePacked,
  ): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    for (let left = entries; left > 0; left--) {
      const key = this.#key();
      const value =
        leave !== undefined && key === packedKey
          ? this.#left(depth + 1, leave)
          : this.value(depth + 1);
      // Assigned, this one would change the object's prototype.
      if (key === "__proto__") Object.defineProperty(object, key, { value, enumerable: true });
      else object[key] = value;
    }
    return object;
  }

  #left(depth: number, leave: LeavePacked): unknown {
    const start = this.#at;
    const type = this.#bytes[start];
    if (type !== undefined && type >= 0xc4 && type <= 0xc6) return this.value(depth);
    const nesting = this.#skip(depth);
    return leave(this.#part(start), nesting);
  }

  #array(items: number, depth: number): unknown[] {
    const array: unknown[] = [];
    for (let left = items; left > 0; left--) array.push(this.value(depth + 1));
    return array;
  }

  #binary(size: number): Uint8Array {
    const start = this.#at;
    this.#advance(size);
    return this.#part(start);
  }

  /** What was read since `start`, as plain bytes: a Buffer's `slice` and JSON are not theirs. */
  #part(start: number): Uint8Array {
    const { buffer, byteOffset } = this.#bytes;
    return new Uint8Array(buffer, byteOffset + start, this.#at - start);
  }

  #text(size: number): string {
    const start = this.#at;
    this.#advance(size);
    if (this.#isAscii(start, size)) return this.#bytes.toString("latin1", start, this.#at);
    this.#assertUtf8(start, size);
    return this.#bytes.toString("utf8", start, this.#at);
  }

  #key(): string {
    const size = this.#keySize();
    const start = this.#at;
    const bytes = this.#bytes;
    const slot = (size * 31 + (bytes[start] ?? 0) * 7 + (bytes[start + size - 1] ?? 0)) & 0xff;
    const last = KEYS[slot];
    if (last !== undefined && last.length === size && start + size <= bytes.length) {
      let same = 0;
      while (same < size && last.charCodeAt(same) === bytes[start + same]) same++;
      if (same === size) {
        this.#at += size;
        return last;
      }
    }
    const key = this.#text(size);
    if (size < SHORT_TEXT && key.length === size) KEYS[slot] = key;
    return key;
  }

  #keySize(): number {
    const type = this.#u8();
    if (type >= 0xa0 && type < 0xc0) return type & 0x1f;
    if (type >= 0xd9 && type <= 0xdb) return this.#sizeAfter(type - 0xd9);
    throw malformed("a key is not text");
  }

  #number(type: number): number | bigint {
    const at = this.#at;
    const bytes = this.#bytes;
    switch (type) {
      case 0xca:
        this.#advance(4);
        return bytes.readFloatBE(at);
      case 0xcb:
        this.#advance(8);
        return bytes.readDoubleBE(at);
      case 0xcc:
        return this.#u8();
      case 0xcd:
        return this.#sizeAfter(1);
      case 0xce:
        return this.#sizeAfter(2);
      case 0xcf:
        this.#advance(8);
        return safe(bytes.readBigUInt64BE(at));
      case 0xd0:
        this.#advance(1);
        return bytes.readInt8(at);
      case 0xd1:
        this.#advance(2);
        return bytes.readInt16BE(at);
      case 0xd2:
        this.#advance(4);
        return bytes.readInt32BE(at);
      case 0xd3:
        this.#advance(8);
        return safe(bytes.readBigInt64BE(at));
      case 0xc1:
        throw malformed("a type that does not exist");
      default:
        throw malformed("extension types are not taken");
    }
  }

  #items(type: number): number {
    const items = (type & 0xf0) === 0x90 ? type & 0x0f : this.#sizeAfter(type - 0xdb);
    return this.#plausible(items);
  }

  #entries(type: number): number {
    const entries = (type & 0xf0) === 0x80 ? type & 0x0f : this.#sizeAfter(type - 0xdd);
    return this.#plausible(entries);
  }

  /** Every item takes a byte at least, so a lie about their number is found before it is believed. */
  #plausible(items: number): number {
    if (items > this.#bytes.length - this.#at) throw malformed("it ends too early");
    return items;
  }

  /** An unsigned integer of 1, 2 or 4 bytes: `width` 0, 1 or 2. */
  #sizeAfter(width: number): number {
    const at = this.#at;
    this.#advance(1 << width);
    if (width === 0) return this.#bytes[at]!;
    return width === 1 ? this.#bytes.readUInt16BE(at) : this.#bytes.readUInt32BE(at);
  }

  #u8(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw malformed("it ends too early");
    this.#at++;
    return byte;
  }

  #advance(size: number): void {
    this.#at += size;
    if (this.#at > this.#bytes.length) throw malformed("it ends too early");
  }

  #isAscii(start: number, size: number): boolean {
    if (size >= SHORT_TEXT) return false;
    const bytes = this.#bytes;
    for (let i = start; i < start + size; i++) if (bytes[i]! >= 128) return false;
    return true;
  }

  #assertUtf8(start: number, size: number): void {
    if (!isUtf8(this.#bytes.subarray(start, start + size))) throw malformed("text is not UTF-8");
  }
}

/** A number while it is exact. */
function safe(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
