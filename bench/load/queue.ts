/** Publish, confirm, deliver and ack, all at once: a work queue in use. */
import { expectDepth } from "./backlog.ts";
import { openMany } from "./connection.ts";
import type { JobResult, QueueJob } from "./jobs.ts";
import { Consumer, Ledger, Publisher, QUEUE } from "./settlement.ts";
import { type JobContext, measure, pace, sleep, until } from "./timing.ts";

/** In flight per publisher at a fixed rate: the most that the protocol lets it have. */
const OPEN_WINDOW = 1000;
const MOST_AT_ONCE = 2000;

/** Keeps the windows full; returns what stops it. */
function closedLoop(job: QueueJob, ledger: Ledger, publishers: readonly Publisher[]): () => void {
  const backlog = job.backlog ?? Number.POSITIVE_INFINITY;
  let open = true;
  ledger.progressed = () => {
    if (!open) return;
    for (const publisher of publishers) publisher.publish(backlog - ledger.waiting());
  };
  ledger.progressed();
  return () => {
    open = false;
  };
}

/** Publishes at a fixed rate, publishers in turn. */
function openLoop(perSecond: number, publishers: readonly Publisher[]) {
  let next = 0;
  return pace(perSecond, MOST_AT_ONCE, (count) => {
    const share = Math.ceil(count / publishers.length);
    let sent = 0;
    for (let index = 0; index < publishers.length; index++) {
      sent += publishers[next]!.publish(Math.min(share, count - sent));
      next = (next + 1) % publishers.length;
    }
    return sent;
  });
}

export async function queue(job: QueueJob, context: JobContext): Promise<JobResult> {
  const { load } = job;
  const connections = await openMany(job.publishers + job.consumers, job.port, context.fail);
  const ledger = new Ledger(context.fail, job.verify);
  const { waiting = 0 } = job;
  ledger.published = waiting;
  ledger.confirmed = waiting;
  // What is there already was numbered by as many publishers.
  const first = waiting > 0 ? job.publishers : 0;
  const window = "window" in load ? load.window : OPEN_WINDOW;
  const publishers = connections
    .slice(0, job.publishers)
    .map(
      (connection, index) => new Publisher(ledger, connection, index + first, { ...job, window }),
    );
  for (const connection of connections.slice(job.publishers)) {
    new Consumer(ledger, connection, "perSecond" in load);
    await connection.request({ type: "consume", queue: QUEUE, credit: job.credit });
  }

  const pacer = "perSecond" in load ? openLoop(load.perSecond, publishers) : undefined;
  const stop = pacer?.stop ?? closedLoop(job, ledger, publishers);
  const done = () => (job.consumers > 0 ? ledger.delivered : ledger.confirmed);
  if (job.untilTold) {
    await sleep(job.warmMs);
    context.ready();
  }
  const measuring = measure(job.untilTold ? { ...job, warmMs: 0 } : job, done, [
    ledger.confirms,
    ledger.endToEnd,
  ]);
  const measured = await measuring;
  const late = pacer?.late() ?? false;
  if (job.untilTold) await context.finish;
  stop();

  await until(
    () => ledger.confirmed === ledger.published && (job.consumers === 0 || ledger.waiting() === 0),
    () => `${ledger.confirmed} confirmed, ${ledger.delivered} delivered of ${ledger.published}`,
    60_000,
  );
  await expectDepth(job.port, ledger.waiting());
  if (ledger.seen !== undefined && ledger.seen.size !== ledger.delivered) {
    throw new Error("a message was delivered twice");
  }
  for (const connection of connections) connection.close();
  return {
    ...measured,
    latency: ledger.confirms.summary(),
    endToEnd: ledger.endToEnd.summary(),
    late,
  };
}
