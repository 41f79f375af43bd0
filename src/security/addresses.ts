/**
 * Addresses of peers and ranges of them: read, compared and grouped. An IPv4 address that is written as an
 * IPv6 one (`::ffff:…`) is the IPv4 address, or a range could be slipped past by spelling.
 */
import { isIPv4, isIPv6 } from "node:net";

/** The family is told apart by its number of bits. */
export interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

/** All addresses that share the first `prefix` bits. */
export interface AddressRange extends Address {
  readonly prefix: number;
}

const MAPPED = 0xffffn;
const GROUP_BITS = 64n;
const WORDS = 8;

/** Undefined when the text is no address; brackets and a zone (`%eth0`) are left out. */
export function parseAddress(text: string): Address | undefined {
  const bare = text.replace(/^\[(.*)\]$/, "$1").replace(/%.*$/, "");
  if (isIPv4(bare)) return { bits: 32, value: valueOfIPv4(bare) };
  if (!isIPv6(bare)) return undefined;
  const value = valueOfIPv6(bare);
  if (value >> 32n === MAPPED) return { bits: 32, value: value & 0xffff_ffffn };
  return { bits: 128, value };
}

/** `10.0.0.0/8`, `2001:db8::/32`, or an address alone; undefined for anything else. */
export function parseRange(text: string): AddressRange | undefined {
  const [, place = "", length] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const address = parseAddress(place);
  if (address === undefined) return undefined;
  const { bits, value } = address;
  // The length of `::ffff:10.0.0.0/104` counts the bits before the IPv4 address too.
  const mapped = bits === 32 && place.includes(":") ? 96 : 0;
  const prefix = length === undefined ? bits : Number(length) - mapped;
  if (prefix < 0 || prefix > bits) return undefined;
  const rest = BigInt(bits - prefix);
  return { bits, prefix, value: (value >> rest) << rest };
}

/** One spelling for each address; what is none stays as it is. */
export function canonicalAddress(text: string): string {
  // There is one spelling of it already.
  if (isIPv4(text)) return text;
  const address = parseAddress(text);
  if (address === undefined) return text;
  if (address.bits === 32) return textOfIPv4(address.value);
  return new URL(`http://[${text.replace(/^\[(.*)\]$/, "$1").replace(/%.*$/, "")}]`).hostname.slice(
    1,
    -1,
  );
}

/** One spelling for each range. */
export function canonicalRange({ bits, prefix, value }: AddressRange): string {
  const whole = bits === 32 ? textOfIPv4(value) : canonicalAddress(hextets(value));
  return prefix === bits ? whole : `${whole}/${prefix}`;
}

/**
 * Who counts as one: an IPv4 address is itself, of an IPv6 address the /64 counts, since whoever has one
 * address of it has them all.
 */
export function addressGroup(text: string): string {
  // Of an IPv4 address there is one spelling already.
  if (!text.includes(":")) return text;
  const group = isIPv6(text) && !text.includes("%") ? groupOf(text) : undefined;
  if (group !== undefined) return group;
  const address = parseAddress(text);
  if (address === undefined || address.bits === 32) return text;
  const value = (address.value >> GROUP_BITS) << GROUP_BITS;
  return canonicalRange({ bits: 128, prefix: 64, value });
}

/**
 * The /64 of a valid address by its first four words, without big numbers: it is asked for several times
 * for each connection. Undefined where these are nothing, since the address may be an IPv4 one.
 */
function groupOf(text: string): string | undefined {
  const gap = text.indexOf("::");
  const head = gap < 0 ? text : text.slice(0, gap);
  const before = head === "" ? [] : head.split(":");
  const tail = gap < 0 ? "" : text.slice(gap + 2);
  const after = tail === "" ? [] : tail.split(":");
  // Behind the gap there may be so many words that some of them are of the first four.
  const from = WORDS - after.length - (tail.includes(".") ? 1 : 0);
  let group = "";
  let zeros = "";
  for (let at = 0; at < WORDS / 2; at++) {
    const word = (gap < 0 ? before[at] : (before[at] ?? after[at - from])) ?? "0";
    const value = Number.parseInt(word, 16);
    if (value === 0) zeros += "0:";
    else {
      group += `${zeros}${value.toString(16)}:`;
      zeros = "";
    }
  }
  return group === "" ? undefined : `${group}:/64`;
}

/** Things by ranges. A look-up costs one step for each length of prefix in use, however many there are. */
export class AddressRanges<T> {
  /** By the number of bits that count, then by these bits. */
  readonly #families: Readonly<Record<32 | 128, Map<number, Map<bigint, Set<T>>>>> = {
    32: new Map(),
    128: new Map(),
  };

  get empty(): boolean {
    return this.#families[32].size === 0 && this.#families[128].size === 0;
  }

  add(range: AddressRange, item: T): void {
    const byPrefix = this.#families[range.bits];
    const ranges = byPrefix.get(range.prefix) ?? new Map<bigint, Set<T>>();
    byPrefix.set(range.prefix, ranges);
    const key = range.value >> BigInt(range.bits - range.prefix);
    const items = ranges.get(key) ?? new Set<T>();
    ranges.set(key, items.add(item));
  }

  remove(range: AddressRange, item: T): void {
    const byPrefix = this.#families[range.bits];
    const ranges = byPrefix.get(range.prefix);
    const key = range.value >> BigInt(range.bits - range.prefix);
    const items = ranges?.get(key);
    if (ranges === undefined || items?.delete(item) !== true) return;
    if (items.size === 0) ranges.delete(key);
    if (ranges.size === 0) byPrefix.delete(range.prefix);
  }

  /** The first thing whose range holds the address and for which this is true. */
  find(address: Address, fits: (item: T) => boolean): T | undefined {
    for (const [prefix, ranges] of this.#families[address.bits]) {
      for (const item of ranges.get(address.value >> BigInt(address.bits - prefix)) ?? []) {
        if (fits(item)) return item;
      }
    }
    return undefined;
  }
}

function valueOfIPv4(text: string): bigint {
  return text.split(".").reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

function textOfIPv4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
}

function valueOfIPv6(text: string): bigint {
  const tail = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const words = tail === null ? text : `${tail[1]}${hextets(valueOfIPv4(tail[2] ?? ""), 2)}`;
  const [head = "", rest] = words.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = rest === undefined || rest === "" ? [] : rest.split(":");
  const zeros = rest === undefined ? 0 : 8 - before.length - after.length;
  const all = [...before, ...new Array<string>(zeros).fill("0"), ...after];
  return all.reduce((value, word) => (value << 16n) | BigInt(`0x${word}`), 0n);
}

function hextets(value: bigint, count = 8): string {
  return Array.from({ length: count }, (_, at) =>
    ((value >> BigInt(16 * (count - 1 - at))) & 0xffffn).toString(16),
  ).join(":");
}
