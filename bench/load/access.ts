/** Publishers of several topics each, so that no right that was found is the one asked for next. */
import { openMany } from "./connection.ts";
import { Subscriber, type SubscriberShare, UniformFrames } from "./counting.ts";
import type { AccessJob, JobResult } from "./jobs.ts";
import { LatencyRecorder } from "./latency.ts";
import { type JobContext, measure, sleep, until } from "./timing.ts";
import { PublishBlock, stampUs } from "./wire.ts";

export async function access(job: AccessJob, context: JobContext): Promise<JobResult> {
  const { port, credential, payloadBytes } = job;
  const [reader, ...peers] = await openMany(job.connections + 1, port, context.fail, credential);
  const blocks = job.topics.map(
    (topic) => new PublishBlock({ topic, payloadBytes, confirmed: false }, 1),
  );
  let published = 0;
  let events = 0;
  let open = true;
  // A prime distance: each connection has each of the topics in turn, never the same twice in a row.
  const publish = (count: number) => {
    for (let index = 0; index < count; index++) {
      const block = blocks[(published * 7) % blocks.length]!;
      block.set(0, published, stampUs());
      peers[published % peers.length]!.send(block.first(1));
      published++;
    }
  };
  const share: SubscriberShare = {
    frames: new UniformFrames(),
    verify: job.verify,
    ordered: false,
    latencies: new LatencyRecorder(),
    fail: context.fail,
    received: (_subscriber, count) => {
      events += count;
      if (open) publish(count);
    },
  };
  await reader!.request({ type: "subscribe", filter: job.filter });
  reader!.listen(new Subscriber(share, false));
  publish(job.window);
  const measured = await measure(job, () => events, []);
  open = false;
  await until(
    () => events >= published,
    () => `${events} of ${published} events arrived`,
    30_000,
  );
  await sleep(20);
  if (events !== published) throw new Error("more events than published");
  for (const connection of [reader!, ...peers]) connection.close();
  return { ...measured, late: false };
}
