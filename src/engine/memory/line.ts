/** Which message of a queue is next [P-5.7], [P-5.10], [P-5.11]. */
import { effectivePriority } from "../rules.ts";
import type { Entry, MemoryQueue } from "./queue.ts";

/**
 * Of the first of each priority the one with the highest effective priority, of equals the one
 * whose turn comes first.
 */
export function nextInLine(
  queue: MemoryQueue,
  now: number,
  isReady: (entry: Entry) => boolean,
): Entry | undefined {
  const { maxInFlight = Number.POSITIVE_INFINITY, priorityAgeingMs } = queue.settings;
  if (queue.entries.filter(({ lease }) => lease !== undefined).length >= maxInFlight) {
    return undefined;
  }
  const firsts = new Map<number, Entry>();
  for (const entry of queue.entries) {
    if (!isReady(entry) || isKeyTaken(queue, entry, now)) continue;
    const first = firsts.get(entry.priority);
    if (first === undefined || placeOf(queue, entry) < placeOf(queue, first)) {
      firsts.set(entry.priority, entry);
    }
  }
  const urgencyOf = ({ priority, enteredAt }: Entry) =>
    effectivePriority(priority, enteredAt, now, priorityAgeingMs);
  return [...firsts.values()].sort(
    (a, b) => urgencyOf(b) - urgencyOf(a) || placeOf(queue, a) - placeOf(queue, b),
  )[0];
}

/** Its key, where that orders the queue. */
export function keyOf({ settings }: MemoryQueue, { message }: Entry): string | undefined {
  return settings.ordering === "key" ? message.key : undefined;
}

/** Whether another of its key is out, or is before it. */
export function isKeyTaken(queue: MemoryQueue, entry: Entry, now: number): boolean {
  const key = keyOf(queue, entry);
  if (key === undefined) return false;
  const holds = ({ dueAt, attempts }: Entry) =>
    dueAt <= now || (attempts > 0 && queue.settings.keyRetry === "block");
  return queue.entries.some(
    (other) =>
      other.message.key === key &&
      (other.lease !== undefined || (other.age < entry.age && holds(other))),
  );
}

/** By its age, but behind all that was there when its key had its last turn. */
function placeOf(queue: MemoryQueue, entry: Entry): number {
  const key = keyOf(queue, entry);
  return key === undefined ? entry.age : Math.max(entry.age, queue.turns.get(key) ?? 0);
}
