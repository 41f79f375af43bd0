/**
 * MessagePack on its way out: msgpackr packs. Here is what it leaves to its caller: integers beyond 32
 * bits, text that UTF-8 cannot say, and maps whose last entries are packed already.
 */
import { Packr, RESET_BUFFER_MODE, REUSE_BUFFER_MODE } from "msgpackr";

export type Packed = Uint8Array<ArrayBuffer>;

const INITIAL_BYTES = 8192;
/** A longer buffer is not kept for the next value. */
const KEPT_BYTES = 1024 * 1024;

const packr = new Packr({
  useRecords: false,
  // Else every map has a header of three bytes.
  variableMapSize: true,
  encodeUndefinedAsNil: true,
  // A payload may well have a key of that name.
  useToJSON: false,
});

/** Entries of a map, keys and values in turn, without the map's header. */
export interface Entries {
  readonly count: number;
  readonly bytes: Packed;
}

/**
 * One value: anything that JSON can carry, binary, and integers of up to 64 bits. What is undefined in an
 * object is left out.
 */
export function pack(value: unknown): Packed {
  const { bytes, start, end } = written(packable(value));
  const copy = new Uint8Array(end - start);
  bytes.copy(copy, 0, start, end);
  return copy;
}

/** The entries of a map of at most 15 fields, each of them `packable`. */
export function packEntries(fields: object): Entries {
  const { bytes, start, end } = written(fields);
  const copy = new Uint8Array(end - start - 1);
  bytes.copy(copy, 0, start + 1, end);
  return { count: entriesOf(bytes, start), bytes: copy };
}

/** These entries and one more behind them, whose key and value are packed already. */
export function withEntry({ count, bytes }: Entries, key: Packed, value: Uint8Array): Entries {
  const joined = new Uint8Array(bytes.length + key.length + value.length);
  joined.set(bytes);
  joined.set(key, bytes.length);
  joined.set(value, bytes.length + key.length);
  return { count: count + 1, bytes: joined };
}

/** A map of at most 15 fields, each of them `packable`, and of the entries behind them. */
export function packMap(fields: object, entries: Entries): Packed {
  const { bytes, start, end } = written(fields);
  const count = entriesOf(bytes, start) + entries.count;
  const header = count < 16 ? 1 : 3;
  const tail = header + end - start - 1;
  const joined = new Uint8Array(tail + entries.bytes.length);
  if (header === 1) joined[0] = 0x80 | count;
  else {
    joined[0] = 0xde;
    joined[1] = count >> 8;
    joined[2] = count & 0xff;
  }
  bytes.copy(joined, header, start + 1, end);
  joined.set(entries.bytes, tail);
  return joined;
}

/** An array of values that are packed already. */
export function packArray(items: readonly Uint8Array[]): Packed {
  const count = items.length;
  const header = count < 16 ? 1 : count <= 0xffff ? 3 : 5;
  const joined = new Uint8Array(items.reduce((sum, { length }) => sum + length, header));
  if (header === 1) joined[0] = 0x90 | count;
  else {
    const view = new DataView(joined.buffer);
    view.setUint8(0, header === 3 ? 0xdc : 0xdd);
    if (header === 3) view.setUint16(1, count);
    else view.setUint32(1, count);
  }
  let at = header;
  for (const item of items) {
    joined.set(item, at);
    at += item.length;
  }
  return joined;
}

/** What was packed last lies in `bytes` from `start` to `end` until something else is packed. */
const last = { bytes: Buffer.alloc(0) as Buffer, start: 0, end: 0 };

function written(value: unknown): typeof last {
  // In this mode there is no view to be made for each value; the types do not say what is there instead.
  const bytes = packr.pack(value, REUSE_BUFFER_MODE | RESET_BUFFER_MODE) as Buffer &
    Omit<typeof last, "bytes">;
  last.bytes = bytes;
  last.start = bytes.start;
  last.end = bytes.end;
  if (bytes.length > KEPT_BYTES) packr.useBuffer(Buffer.allocUnsafeSlow(INITIAL_BYTES));
  return last;
}

/** How many entries a map has whose header says so in its one byte. */
function entriesOf(bytes: Uint8Array, start: number): number {
  const type = bytes[start] ?? 0;
  if ((type & 0xf0) !== 0x80) throw new RangeError("A map of more than 15 fields.");
  return type & 0x0f;
}

/**
 * The value as msgpackr has to be given it; itself where nothing has to change, which is the rule. It
 * would make a double of an integer beyond 32 bits, which readers in typed languages refuse to take for
 * a time, and bytes that are not UTF-8 of half a surrogate pair, which JSON may hold.
 */
export function packable(value: unknown): unknown {
  if (typeof value === "string") return value.isWellFormed() ? value : value.toWellFormed();
  if (typeof value === "number") return integer(value);
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  return Array.isArray(value) ? packableItems(value) : packableFields(value);
}

/** `packable` of a number. */
export function integer(value: number): number | bigint {
  const isWide = (value > 0xffff_ffff || value < -0x8000_0000) && Number.isSafeInteger(value);
  return isWide ? BigInt(value) : value;
}

function packableItems(items: readonly unknown[]): readonly unknown[] {
  let copy: unknown[] | undefined;
  for (let i = 0; i < items.length; i++) {
    const item = packable(items[i]);
    if (item === items[i]) continue;
    copy ??= items.slice();
    copy[i] = item;
  }
  return copy ?? items;
}

function packableFields(fields: object): object {
  const given = fields as Record<string, unknown>;
  let copy: Record<string, unknown> | undefined;
  for (const key of Object.keys(given)) {
    const value = packable(given[key]);
    const isText = key.isWellFormed();
    if (isText && value === given[key] && value !== undefined) continue;
    // What is spread is the copy's own, so that no key of it reaches the prototype when it is assigned.
    copy ??= { ...given };
    if (!isText || value === undefined) delete copy[key];
    if (value !== undefined) copy[key.toWellFormed()] = value;
  }
  return copy ?? fields;
}
