/** Connections that come, are welcomed and go, a number of them at any time. */
import { Connection } from "./connection.ts";
import type { ChurnJob, JobResult } from "./jobs.ts";
import { LatencyRecorder } from "./latency.ts";
import { type JobContext, measure } from "./timing.ts";

export async function churn(job: ChurnJob, context: JobContext): Promise<JobResult> {
  const latency = new LatencyRecorder();
  let welcomed = 0;
  let open = true;
  let next = 0;
  const again = async () => {
    while (open) {
      const credential = job.credentials[next++ % job.credentials.length];
      const at = performance.now();
      const connection = await Connection.open(job.port, context.fail, credential);
      latency.add((performance.now() - at) * 1000);
      welcomed++;
      connection.close();
    }
  };
  const peers = Array.from({ length: job.atOnce }, again);
  const measured = await measure(job, () => welcomed, [latency]);
  open = false;
  await Promise.all(peers);
  return { ...measured, latency: latency.summary(), late: false };
}
