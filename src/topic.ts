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
 * `a`); neither matches a first level that begins with `$` [P-3.1].
 */
export function filterMatches(filter: string, topic: string): boolean {
  const want = filter.split("/");
  const have = topic.split("/");
  if (have[0]!.startsWith("$") && (want[0] === "+" || want[0] === "#")) return false;
  for (let i = 0; i < want.length; i++) {
    if (want[i] === "#") return true;
    if (i >= have.length) return false;
    if (want[i] !== "+" && want[i] !== have[i]) return false;
  }
  return want.length === have.length;
}

/**
 * Whether every topic that `inner` matches is matched by `outer` too: what a subscription must satisfy
 * against a granted filter.
 */
export function filterContains(outer: string, inner: string): boolean {
  // A topic has at least one level, so `+/#` and `#` match the same topics.
  const wide = outer === "+/#" ? ["#"] : outer.split("/");
  const narrow = inner.split("/");
  const wildFirst = wide[0] === "+" || wide[0] === "#";
  if (wildFirst && narrow[0]!.startsWith("$")) return false;
  for (let i = 0; i < wide.length; i++) {
    if (wide[i] === "#") return true;
    // `inner` ends here, or goes on for ever, where `outer` asks for exactly one more level.
    if (i >= narrow.length || narrow[i] === "#") return false;
    if (wide[i] !== "+" && wide[i] !== narrow[i]) return false;
  }
  return wide.length === narrow.length;
}

function commonFault(text: string, bounds: TopicBounds): string | undefined {
  if (text.length === 0) return "is empty";
  const { read, written } = encoder.encodeInto(text, scratch);
  if (read < text.length || written > bounds.topicBytes) {
    return `is longer than ${bounds.topicBytes} bytes`;
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/[\u0000-\u001f\u007f-\u009f]/.test(text)) return "holds a control character";
  if (!text.isWellFormed()) return "is not well-formed Unicode";
  let levels = 1;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) === 47) levels++;
  if (levels > bounds.topicLevels) return `has more than ${bounds.topicLevels} levels`;
  return undefined;
}

function wildcardFault(filter: string): string | undefined {
  const levels = filter.split("/");
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i]!;
    if (level === "#" && i < levels.length - 1) return "has # before its last level";
    if (level.length > 1 && /[+#]/.test(level)) return "has + or # inside a level";
  }
  return undefined;
}

function clip(text: string): string {
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
