/** What is said of a queue of the embedded engine, from what is in memory. */
import type { QueueReport } from "../engine.ts";
import type { QueueHost } from "./host.ts";
import type { SqliteQueue } from "./queue.ts";

export function reportOf(queue: SqliteQueue, { clock, rates }: QueueHost): QueueReport {
  const { description, totals, tally } = queue;
  const oldestTime = oldestTimeOf(queue);
  const report = {
    ...description,
    counts: {
      ...totals.counts(),
      dead: queue.deadLetters?.totals.messages ?? 0,
      consumers: queue.consumers.size,
      retained: queue.retained.messages,
    },
    counters: { ...tally },
    rates: rates.ratesOf(tally),
  };
  if (oldestTime === undefined) return report;
  return { ...report, oldestTime, oldestAgeMs: Math.max(0, clock.now() - oldestTime) };
}

function oldestTimeOf(queue: SqliteQueue): number | undefined {
  const { messages, delayed } = queue.totals;
  if (messages === delayed) return undefined;
  let oldest = queue.backlog.window.oldestEnteredAt() ?? Number.POSITIVE_INFINITY;
  for (const { enteredAt } of queue.inFlight()) oldest = Math.min(oldest, enteredAt);
  return Number.isFinite(oldest) ? oldest : undefined;
}
