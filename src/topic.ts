/**
 * Rules for topics and filters [P-3.1]: pure functions, no state. MQTT's rules, with our bounds.
 */
import { WarrenError } from "./errors.ts";

export interface TopicBounds {
  readonly topicBytes: number;
  readonly topicLevels: number;
}

const encoder = new TextEncoder();
const scratch = new Uint8Array(4096);

const HASH = 35;
const DOLLAR = 36;
const PLUS = 43;
const SLASH = 47;
/** Of ASCII. */
const FIRST_PRINTED = 32;
const LAST_PRINTED = 126;

/** Throws `invalid_topic` when `topic` may not be published to; the message says which rule it breaks. */
export function assertTopic(topic: string, bounds: TopicBounds): void {
  const fault = commonFault(topic, bounds) ?? (/[+#]/.test(topic) ? "holds + or #" : undefined);
  if (fault !== undefined) {
    throw new WarrenError("invalid_topic", `The topic ${fault}.`, { topic: clip(topic) });
  }
}

/** Throws `invalid_filter` when `filter` may not be subscribed or bound to. */
export function assertFilter(filter: string, bounds: TopicBounds): void {
  const fault = commonFault(filter, bounds) ?? wildcardFault(filter);
  if (fault !== undefined) {
    throw new WarrenError("invalid_filter", `The filter ${fault}.`, { filter: clip(filter) });
  }
}

export function hasWildcard(filter: string): boolean {
  return filter.includes("+") || filter.includes("#");
}

/**
 * Whether `filter` matches `topic`: `+` one level, a last `#` this level and all below (`a/#` matches
 * `a`); neither matches a first level that begins with `$` [P-3.1]. Both must be valid.
 */
export function filterMatches(filter: string, topic: string): boolean {
  // A topic is a filter that matches nothing but itself.
  return filterContains(filter, topic);
}

/**
 * Whether every topic that `inner` matches is matched by `outer` too: what a subscription must satisfy
 * against a granted filter [P-13.1]. Both must be valid. Walks the text instead of splitting it, since
 * it runs for every publish: nothing is allocated.
 */
export function filterContains(outer: string, inner: string): boolean {
  if (isWild(outer.charCodeAt(0)) && inner.charCodeAt(0) === DOLLAR) return false;
  // A topic has at least one level, so `+/#` and `#` match the same topics; and none is empty, so `/#`
  // and `/+/#` do.
  if (outer === "+/#") return true;
  if (inner === "/#") return filterContains(outer, "/+/#");
  let o = 0;
  let i = 0;
  for (;;) {
    if (o === outer.length) return i === inner.length;
    const want = outer.charCodeAt(o);
    if (want === HASH) return true;
    if (want === PLUS) {
      // `inner` goes on for ever where `outer` asks for one level.
      if (inner.charCodeAt(i) === HASH) return false;
      o++;
      i = levelEnd(inner, i);
      continue;
    }
    if (i === inner.length) return isParentOfHash(outer, o);
    if (want !== inner.charCodeAt(i)) return false;
    o++;
    i++;
  }
}

/** Whether some topic is matched by both filters: what a denied filter takes from a subscription. */
export function filterOverlaps(one: string, other: string): boolean {
  // The empty topic, which both would match, is none.
  if ((one === "+" && other === "/#") || (one === "/#" && other === "+")) return false;
  const first = one.charCodeAt(0);
  const otherFirst = other.charCodeAt(0);
  if (isWild(first) && otherFirst === DOLLAR) return false;
  if (isWild(otherFirst) && first === DOLLAR) return false;
  let a = 0;
  let b = 0;
  for (;;) {
    const x = one.charCodeAt(a);
    const y = other.charCodeAt(b);
    // Both stand at the start of a level here if one of them holds a wildcard.
    if (x === HASH || y === HASH) return true;
    if (x === PLUS || y === PLUS) {
      a = levelEnd(one, a);
      b = levelEnd(other, b);
      continue;
    }
    if (a === one.length) return b === other.length || isParentOfHash(other, b);
    if (b === other.length) return isParentOfHash(one, a);
    if (x !== y) return false;
    a++;
    b++;
  }
}

// In a valid filter a wildcard is a whole level, so its first character tells.
function isWild(character: number): boolean {
  return character === PLUS || character === HASH;
}

function levelEnd(text: string, start: number): number {
  let at = start;
  while (at < text.length && text.charCodeAt(at) !== SLASH) at++;
  return at;
}

/** Whether `/#` is what is left of the filter, so that it matches what came before it too. */
function isParentOfHash(filter: string, at: number): boolean {
  return (
    at === filter.length - 2 &&
    filter.charCodeAt(at) === SLASH &&
    filter.charCodeAt(at + 1) === HASH
  );
}

function commonFault(text: string, bounds: TopicBounds): string | undefined {
  return isPlain(text, bounds) ? undefined : rareFault(text, bounds);
}

/** Whether nothing is wrong with it that one look at each character does not tell: so it is with nearly all. */
function isPlain(text: string, { topicBytes, topicLevels }: TopicBounds): boolean {
  if (text.length === 0 || text.length > topicBytes) return false;
  let levels = 1;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < FIRST_PRINTED || code > LAST_PRINTED) return false;
    if (code === SLASH) levels++;
  }
  return levels <= topicLevels;
}

function rareFault(text: string, bounds: TopicBounds): string | undefined {
  if (text.length === 0) return "is empty";
  const { read, written } = encoder.encodeInto(text, scratch);
  if (read < text.length || written > bounds.topicBytes) {
    return `is longer than ${bounds.topicBytes} bytes`;
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/[\u0000-\u001f\u007f-\u009f]/.test(text)) return "holds a control character";
  if (!text.isWellFormed()) return "is not well-formed Unicode";
  let levels = 1;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) === SLASH) levels++;
  if (levels > bounds.topicLevels) return `has more than ${bounds.topicLevels} levels`;
  return undefined;
}

function wildcardFault(filter: string): string | undefined {
  const last = filter.length - 1;
  for (let i = 0; i <= last; i++) {
    const code = filter.charCodeAt(i);
    if (code !== HASH && code !== PLUS) continue;
    const begins = i === 0 || filter.charCodeAt(i - 1) === SLASH;
    const ends = i === last || filter.charCodeAt(i + 1) === SLASH;
    if (!begins || !ends) return "has + or # inside a level";
    if (code === HASH && i < last) return "has # before its last level";
  }
  return undefined;
}

function clip(text: string): string {
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
