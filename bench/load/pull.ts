/** Workers without a connection of their own: deliveries are pulled and settled by HTTP requests. */
import { expectDepth } from "./backlog.ts";
import type { JobResult, PullJob } from "./jobs.ts";
import { startMeter } from "./meter.ts";
import { QUEUE } from "./settlement.ts";

interface Pulled {
  readonly deliveries: readonly { readonly tag: number }[];
}

async function post(url: string, body: object): Promise<unknown> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

export async function pull(job: PullJob): Promise<JobResult> {
  const base = `http://127.0.0.1:${job.port}/v1/queues/${QUEUE}`;
  let settled = 0;
  const work = async () => {
    while (settled < job.count) {
      const { deliveries } = (await post(`${base}/pull`, { max: job.max })) as Pulled;
      // The others hold what is left.
      if (deliveries.length === 0) return;
      await post(`${base}/settle`, { ack: deliveries.map(({ tag }) => tag) });
      settled += deliveries.length;
    }
  };
  const end = startMeter(job.serverPid);
  await Promise.all(Array.from({ length: job.workers }, work));
  const window = end();
  if (settled !== job.count) throw new Error(`${settled} of ${job.count} settled`);
  await expectDepth(job.port, 0);
  return { messages: settled, window, late: false };
}
