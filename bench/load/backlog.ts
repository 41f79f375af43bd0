/** Filling a queue with a given number of messages, and emptying it again. */
import { openMany } from "./connection.ts";
import type { DrainJob, FillJob, JobResult } from "./jobs.ts";
import { startMeter } from "./meter.ts";
import { Consumer, Ledger, Publisher, QUEUE } from "./settlement.ts";
import { type JobContext, until } from "./timing.ts";

export const LIMIT_MS = 240_000;

/** How many messages the queue holds, in whatever state, as the server says. */
export async function queueDepth(port: number): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}/admin/v1/queues/${QUEUE}`);
  if (!answer.ok) throw new Error(`the queue cannot be read: ${answer.status}`);
  const { counts } = (await answer.json()) as { counts: Record<string, number> };
  return (counts.ready ?? 0) + (counts.delayed ?? 0) + (counts.inFlight ?? 0);
}

/** Waits until the queue holds exactly so many. */
export async function expectDepth(port: number, depth: number): Promise<void> {
  let seen = -1;
  await until(
    async () => {
      seen = await queueDepth(port);
      return seen === depth;
    },
    () => `the queue holds ${seen} messages, not ${depth}`,
    15_000,
  );
}

export async function fill(job: FillJob, context: JobContext): Promise<JobResult> {
  const connections = await openMany(job.publishers, job.port, context.fail);
  const ledger = new Ledger(context.fail, job.verify);
  const publishers = connections.map(
    (connection, index) => new Publisher(ledger, connection, index, job),
  );
  const end = startMeter(job.serverPid);
  ledger.confirms.active = true;
  ledger.progressed = () => {
    for (const publisher of publishers) publisher.publish(job.count - ledger.published);
  };
  ledger.progressed();
  await until(
    () => ledger.confirmed === job.count,
    () => `${ledger.confirmed} of ${job.count} confirmed`,
    LIMIT_MS,
  );
  const window = end();
  await expectDepth(job.port, job.count);
  for (const connection of connections) connection.close();
  return { messages: job.count, window, latency: ledger.confirms.summary(), late: false };
}

export async function drain(job: DrainJob, context: JobContext): Promise<JobResult> {
  const connections = await openMany(job.consumers, job.port, context.fail);
  const ledger = new Ledger(context.fail, job.verify);
  for (const connection of connections) new Consumer(ledger, connection, false, job.outcome);
  const end = startMeter(job.serverPid);
  for (const connection of connections) {
    void connection.request({ type: "consume", queue: QUEUE, credit: job.credit });
  }
  await until(
    () => ledger.delivered >= job.count,
    () => `${ledger.delivered} of ${job.count} delivered`,
    LIMIT_MS,
  );
  const window = end();
  await expectDepth(job.port, 0);
  if (ledger.delivered !== job.count) throw new Error("more deliveries than messages");
  for (const connection of connections) connection.close();
  return { messages: job.count, window, late: false };
}
