/**
 * MessagePack from strangers. msgpackr decodes it, but only after one pass over the bytes has found that
 * lengths lie inside the message, nothing follows the value, keys are text, text is UTF-8, nesting is
 * bounded, and there are no extension types [P-2.6], some of which msgpackr obeys whatever its options.
 */
import { isUtf8 } from "node:buffer";
import { type Options, Unpackr } from "msgpackr";
import { WarrenError } from "./errors.ts";
import { NESTING_MAX } from "./nesting.ts";

/** Below this a loop over ASCII is faster than a call into the runtime. */
const SHORT_TEXT = 24;
/** A frame without its payload is rarely longer. */
const SCRATCH_BYTES = 8192;

const unpackr = new Unpackr({
  useRecords: false,
  mapsAsObjects: true,
  // A number while it is exact, else a bigint: msgpackr knows this word, its types do not.
  int64AsType: "auto" as string as NonNullable<Options["int64AsType"]>,
  // Views would be of memory that is used again.
  copyBuffers: true,
});
const scratch = new Uint8Array(SCRATCH_BYTES);

/** The value of one key of a map, checked but not decoded, and how deep it is nested. */
export type LeavePacked = (bytes: Uint8Array, depth: number) => unknown;

/** One value. Throws `malformed_frame`. */
export function unpack(bytes: Uint8Array): unknown {
  const check = new Check(bytes);
  check.value(0);
  check.end();
  return unpackr.unpack(part(bytes, 0, bytes.length));
}

/** One value that is what `leave` makes of its bytes, as in `unpackMaps`. Throws `malformed_frame`. */
export function leaveValue(bytes: Uint8Array, leave: LeavePacked): unknown {
  const check = new Check(bytes);
  const nesting = check.value(0);
  check.end();
  return left(bytes, 0, bytes.length, nesting, leave);
}

/**
 * A map, or an array of maps, in which the value of `key` is what `leave` makes of its bytes; binary is
 * given as it is, a view of the message. What a map has under `within` is such an array, too. Throws
 * `malformed_frame`.
 */
export function unpackMaps(
  message: Uint8Array,
  key: string,
  leave: LeavePacked,
  within?: string,
): unknown {
  const bytes = Buffer.isBuffer(message)
    ? message
    : Buffer.from(message.buffer, message.byteOffset, message.length);
  const check = new Check(bytes);
  const items = check.arrayHeader();
  if (items < 0) {
    const value = unpackMap(bytes, check, 0, key, leave, within);
    check.end();
    return value;
  }
  const maps: unknown[] = [];
  for (let left = items; left > 0; left--) {
    maps.push(unpackMap(bytes, check, 1, key, leave, within));
  }
  check.end();
  return maps;
}

/** The value where the check stands, decoded without the entry that is left packed. */
function unpackMap(
  bytes: Buffer,
  check: Check,
  depth: number,
  key: string,
  leave: LeavePacked,
  within: string | undefined,
): unknown {
  const start = check.at;
  const found = check.map(depth, key);
  const { at: end, keyAt, valueAt, valueEnd, valueNesting } = check;
  const map = (
    found ? decoded(bytes, start, keyAt, valueEnd, end) : decoded(bytes, start, end, end, end)
  ) as Record<string, unknown> | null;
  if (found) map![key] = left(bytes, valueAt, valueEnd, valueNesting, leave);
  if (within !== undefined && Array.isArray(map?.[within])) {
    const again = new Check(bytes);
    again.at = start;
    again.map(depth, within);
    map[within] = unpackMaps(part(bytes, again.valueAt, again.valueEnd), key, leave);
  }
  return map;
}

function left(
  bytes: Uint8Array,
  start: number,
  end: number,
  nesting: number,
  leave: LeavePacked,
): unknown {
  const binary = binaryHeader(bytes[start] as number);
  return binary > 0 ? part(bytes, start + binary, end) : leave(part(bytes, start, end), nesting);
}

/** A view, as plain bytes: a Buffer's `slice` and JSON are not theirs. */
function part(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
}

/** The value from `start` to `end`; where an entry is cut out of it, it is a map and has one entry less. */
function decoded(bytes: Buffer, start: number, cut: number, cutEnd: number, end: number) {
  const head = cut - start;
  const length = head + end - cutEnd;
  const room = length <= SCRATCH_BYTES ? scratch : new Uint8Array(length);
  bytes.copy(room, 0, start, cut);
  if (cutEnd > cut) {
    bytes.copy(room, head, cutEnd, end);
    dropEntry(room);
  }
  return unpackr.unpack(room, length);
}

/** The map's header says one entry less. */
function dropEntry(map: Uint8Array): void {
  const type = map[0] as number;
  const count = type === 0xde ? 2 : type === 0xdf ? 4 : 0;
  // The number ends in this byte, and borrows from those before it.
  let at = count;
  while (at > 1 && map[at] === 0) map[at--] = 0xff;
  map[at] = (map[at] as number) - 1;
}

/** The length of the header of binary, 0 for any other type. */
function binaryHeader(type: number): number {
  if (type === 0xc4) return 2;
  if (type === 0xc5) return 3;
  return type === 0xc6 ? 5 : 0;
}

function malformed(what: string): WarrenError {
  return new WarrenError("malformed_frame", `This is not MessagePack as agreed: ${what}.`);
}

class Check {
  /** What is before it has been checked. */
  at = 0;
  /** Where the entry of the key lay in the map that was checked last, and how deep its value is nested. */
  keyAt = 0;
  valueAt = 0;
  valueEnd = 0;
  valueNesting = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  end(): void {
    if (this.at !== this.#bytes.length) throw malformed("something follows the value");
  }

  /** The number of items, if it is an array that begins here; else -1, and nothing is passed over. */
  arrayHeader(): number {
    const type = this.#bytes[this.at];
    if (type === undefined) return -1;
    const isArray = (type & 0xf0) === 0x90 || type === 0xdc || type === 0xdd;
    if (!isArray) return -1;
    this.at++;
    return this.#items(type);
  }

  /** A value; returns true if it is a map in which the key is. The last such entry counts. */
  map(depth: number, key: string): boolean {
    const type = this.#bytes[this.at];
    const isMap = type !== undefined && ((type & 0xf0) === 0x80 || type === 0xde || type === 0xdf);
    if (!isMap) {
      this.value(depth);
      return false;
    }
    this.at++;
    let found = false;
    for (let left = this.#entries(type); left > 0; left--) {
      const keyAt = this.at;
      const isKey = this.#isKey(key);
      const valueAt = this.at;
      const nesting = this.value(depth + 1);
      if (!isKey) continue;
      found = true;
      this.keyAt = keyAt;
      this.valueAt = valueAt;
      this.valueEnd = this.at;
      this.valueNesting = nesting;
    }
    return found;
  }

  /** Passes over a value; returns how deep it is nested. */
  value(depth: number): number {
    if (depth > NESTING_MAX) throw malformed("it is nested too deeply");
    const type = this.#u8();
    if (type < 0x80 || type >= 0xe0) return 0;
    if (type < 0x90) return this.#map(type & 0x0f, depth);
    if (type < 0xa0) return this.#array(type & 0x0f, depth);
    if (type < 0xc0) this.#text(type & 0x1f);
    else if (type === 0xde || type === 0xdf) return this.#map(this.#entries(type), depth);
    else if (type === 0xdc || type === 0xdd) return this.#array(this.#items(type), depth);
    else if (type >= 0xd9) this.#text(this.#unsigned(type - 0xd9));
    else if (type >= 0xc4 && type <= 0xc6) this.#advance(this.#unsigned(type - 0xc4));
    else if (type >= 0xcc && type <= 0xcf) this.#advance(1 << (type - 0xcc));
    else if (type >= 0xd0 && type <= 0xd3) this.#advance(1 << (type - 0xd0));
    else if (type === 0xca || type === 0xcb) this.#advance(type === 0xca ? 4 : 8);
    else if (type === 0xc1) throw malformed("a type that does not exist");
    else if (type > 0xc3) throw malformed("extension types are not taken");
    return 0;
  }

  #map(entries: number, depth: number): number {
    let deepest = 0;
    for (let left = entries; left > 0; left--) {
      this.#text(this.#keySize());
      deepest = Math.max(deepest, this.value(depth + 1));
    }
    return deepest + 1;
  }

  #array(items: number, depth: number): number {
    let deepest = 0;
    for (let left = items; left > 0; left--) deepest = Math.max(deepest, this.value(depth + 1));
    return deepest + 1;
  }

  /** Passes over the key of an entry; whether it is this one. */
  #isKey(key: string): boolean {
    const size = this.#keySize();
    const start = this.at;
    this.#text(size);
    if (size !== key.length) return false;
    const bytes = this.#bytes;
    let same = 0;
    while (same < size && bytes[start + same] === key.charCodeAt(same)) same++;
    return same === size;
  }

  #keySize(): number {
    const type = this.#u8();
    if (type >= 0xa0 && type < 0xc0) return type & 0x1f;
    if (type >= 0xd9 && type <= 0xdb) return this.#unsigned(type - 0xd9);
    throw malformed("a key is not text");
  }

  #text(size: number): void {
    const start = this.at;
    this.#advance(size);
    if (this.#isShortAscii(start, size)) return;
    if (!isUtf8(this.#bytes.subarray(start, start + size))) throw malformed("text is not UTF-8");
  }

  #isShortAscii(start: number, size: number): boolean {
    if (size >= SHORT_TEXT) return false;
    const bytes = this.#bytes;
    for (let i = start; i < start + size; i++) if (bytes[i]! >= 128) return false;
    return true;
  }

  #items(type: number): number {
    const items = (type & 0xf0) === 0x90 ? type & 0x0f : this.#unsigned(type - 0xdb);
    return this.#plausible(items, 1);
  }

  #entries(type: number): number {
    const entries = (type & 0xf0) === 0x80 ? type & 0x0f : this.#unsigned(type - 0xdd);
    return this.#plausible(entries, 2);
  }

  /** Every item takes a byte at least, so a lie about their number is found before it is believed. */
  #plausible(items: number, bytesEach: number): number {
    if (items * bytesEach > this.#bytes.length - this.at) throw malformed("it ends too early");
    return items;
  }

  /** An unsigned integer of 1, 2 or 4 bytes: `width` 0, 1 or 2. */
  #unsigned(width: number): number {
    let value = 0;
    for (let left = 1 << width; left > 0; left--) value = value * 256 + this.#u8();
    return value;
  }

  #u8(): number {
    const byte = this.#bytes[this.at];
    if (byte === undefined) throw malformed("it ends too early");
    this.at++;
    return byte;
  }

  #advance(size: number): void {
    this.at += size;
    if (this.at > this.#bytes.length) throw malformed("it ends too early");
  }
}
