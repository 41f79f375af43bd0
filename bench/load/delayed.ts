/** Scheduling messages, then taking them when they are due. */
import { expectDepth, LIMIT_MS } from "./backlog.ts";
import { openMany } from "./connection.ts";
import type { DelayedJob, JobResult } from "./jobs.ts";
import { startMeter } from "./meter.ts";
import { Consumer, Ledger, Publisher, QUEUE } from "./settlement.ts";
import { type JobContext, sleep, until } from "./timing.ts";
import { stampUs } from "./wire.ts";

/**
 * The window is from the first due time to the last delivery, and `endToEnd` how late each came: from its due
 * time to its being read. `filled` is the scheduling before.
 */
export async function delayed(job: DelayedJob, context: JobContext): Promise<JobResult> {
  const { count, publishers, consumers } = job;
  const connections = await openMany(publishers + consumers, job.port, context.fail);
  const ledger = new Ledger(context.fail, job.verify);
  const firstUs = stampUs() + job.dueInMs * 1000;
  const stepUs = (job.spreadMs * 1000) / (count / publishers);
  const dueUs = (number: number) => Math.floor(firstUs + number * stepUs);
  const senders = connections
    .slice(0, publishers)
    .map((connection, index) => new Publisher(ledger, connection, index, { ...job, dueUs }));
  for (const connection of connections.slice(publishers)) {
    new Consumer(ledger, connection, true);
    await connection.request({ type: "consume", queue: QUEUE, credit: job.credit });
  }
  const endOfFilling = startMeter(job.serverPid);
  ledger.progressed = () => {
    for (const sender of senders) sender.publish(count - ledger.published);
  };
  ledger.progressed();
  const allConfirmed = () => `${ledger.confirmed} of ${count} confirmed`;
  await until(() => ledger.confirmed === count, allConfirmed, job.dueInMs);
  const filled = endOfFilling();
  if (ledger.delivered > 0) throw new Error("a message was delivered before its time");
  await sleep(Math.max(0, (firstUs - stampUs()) / 1000));
  ledger.endToEnd.active = true;
  const end = startMeter(job.serverPid);
  const allDelivered = () => `${ledger.delivered} of ${count} delivered`;
  await until(() => ledger.delivered >= count, allDelivered, LIMIT_MS);
  const window = end();
  await expectDepth(job.port, 0);
  for (const connection of connections) connection.close();
  return { messages: count, window, filled, endToEnd: ledger.endToEnd.summary(), late: false };
}
