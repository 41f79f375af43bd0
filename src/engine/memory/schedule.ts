/** Changes of scheduled messages in memory: every queue is looked through [P-5.13]. */
import { toWarrenError, WarrenError } from "../../errors.ts";
import type { Message } from "../../message.ts";
import {
  changedMessage,
  expiresTooEarly,
  notScheduled,
  type ScheduleRequest,
  tooEarly,
} from "../schedule.ts";
import type { Pulse } from "./pulse.ts";
import type { Entry, MemoryQueue } from "./queue.ts";

export function reschedule(
  pulse: Pulse,
  queues: readonly MemoryQueue[],
  sizeOf: (message: Message) => number,
  request: ScheduleRequest,
): void {
  try {
    if (pulse.refusal !== undefined) throw pulse.refusal;
    const copies = queues.flatMap((queue) =>
      queue.entries
        .filter((entry) => isMeant(pulse, entry, request))
        .map((entry) => ({ queue, entry })),
    );
    if (copies.length === 0) throw notScheduled();
    const changes = changesOf(copies, sizeOf, request);
    for (const { queue, entry } of copies) if (request.change === null) queue.remove(entry);
    for (const change of changes) change();
    pulse.answer(() => request.done(copies.length));
  } catch (thrown) {
    const error = toWarrenError(thrown);
    pulse.answer(() => request.failed(error));
  }
}

function isMeant(pulse: Pulse, entry: Entry, { topic, messageId }: ScheduleRequest): boolean {
  const { message, isScheduled, attempts, dueAt } = entry;
  // After an attempt it waits for another one.
  const isWaiting = isScheduled && attempts === 0 && dueAt > pulse.clock.now();
  return isWaiting && message.topic === topic && message.id === messageId;
}

/** What is to be done, once all of it turns out to be possible. */
function changesOf(
  copies: readonly { readonly queue: MemoryQueue; readonly entry: Entry }[],
  sizeOf: (message: Message) => number,
  { change }: ScheduleRequest,
): (() => void)[] {
  if (change === null) return [];
  const growth = new Map<MemoryQueue, number>();
  const changes = copies.map(({ queue, entry }) => {
    const message = changedMessage(entry.message, change);
    const dueAt = change.dueAt ?? entry.dueAt;
    if (expiresTooEarly(message, dueAt)) throw tooEarly();
    const bytes = sizeOf(message);
    growth.set(queue, (growth.get(queue) ?? 0) + bytes - entry.bytes);
    return () => queue.change(entry, message, bytes, dueAt);
  });
  for (const [{ name, settings, bytes }, more] of growth) {
    if (more > 0 && bytes + more > (settings.maxBytes ?? Number.POSITIVE_INFINITY)) {
      throw new WarrenError("queue_full", undefined, { queue: name });
    }
  }
  return changes;
}
