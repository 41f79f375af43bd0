/** What is said of a queue in memory: everything is counted when somebody asks. */
import type { MessageState, QueueReport } from "../engine.ts";
import { isKeyTaken } from "./line.ts";
import type { Pulse } from "./pulse.ts";
import type { MemoryQueue } from "./queue.ts";

export function reportOf(queue: MemoryQueue, { clock, rates }: Pulse): QueueReport {
  const { name, settings, bindings, createdAt, deadLetterOf, tally, entries } = queue;
  const count = (state: MessageState) =>
    entries.filter((entry) => queue.state(entry) === state).length;
  const oldestTime = entries
    .filter((entry) => {
      const state = queue.state(entry);
      return state === "inflight" || (state === "ready" && !isKeyTaken(queue, entry, clock.now()));
    })
    .reduce((oldest, { enteredAt }) => Math.min(oldest, enteredAt), Number.POSITIVE_INFINITY);
  return {
    name,
    settings,
    bindings,
    createdAt,
    ...(deadLetterOf !== undefined && { deadLetterOf }),
    counts: {
      ready: count("ready"),
      delayed: count("delayed"),
      inFlight: count("inflight"),
      dead: queue.deadLetters?.entries.length ?? 0,
      bytes: queue.bytes,
      consumers: queue.consumers.length,
      retained: queue.retained.all.length,
    },
    counters: { ...tally },
    rates: rates.ratesOf(tally),
    ...(Number.isFinite(oldestTime) && {
      oldestTime,
      oldestAgeMs: Math.max(0, clock.now() - oldestTime),
    }),
  };
}
