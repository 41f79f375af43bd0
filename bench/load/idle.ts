/** Connections with one subscription each that do nothing. */
import { openMany } from "./connection.ts";
import type { IdleJob, JobResult } from "./jobs.ts";
import { startMeter } from "./meter.ts";
import type { JobContext } from "./timing.ts";

export async function idle(job: IdleJob, context: JobContext): Promise<JobResult> {
  const end = startMeter(job.serverPid);
  const connections = await openMany(job.connections, job.port, context.fail);
  for (const [index, connection] of connections.entries()) {
    const filter = `devices/${String(index).padStart(5, "0")}/commands`;
    await connection.request({ type: "subscribe", filter });
  }
  const window = end();
  context.ready();
  await context.finish;
  for (const connection of connections) connection.close();
  return { messages: job.connections, window, late: false };
}
