/** Connections that publish to a topic of their own and receive it back, at a moderate rate. */
import { type Connection, openMany } from "./connection.ts";
import { Subscriber, type SubscriberShare, UniformFrames } from "./counting.ts";
import type { EchoJob, JobResult } from "./jobs.ts";
import { LatencyRecorder } from "./latency.ts";
import { type JobContext, measure, pace, sleep, until } from "./timing.ts";
import { PublishBlock, stampUs } from "./wire.ts";

interface Peer {
  readonly connection: Connection;
  readonly block: PublishBlock;
}

export async function echo(job: EchoJob, context: JobContext): Promise<JobResult> {
  const connections = await openMany(job.connections, job.port, context.fail);
  const peers: Peer[] = [];
  let events = 0;
  let published = 0;
  const latencies = new LatencyRecorder();
  const share: SubscriberShare = {
    frames: new UniformFrames(),
    verify: job.verify,
    ordered: false,
    latencies,
    fail: context.fail,
    received: (_subscriber, count) => {
      events += count;
    },
  };
  for (const [index, connection] of connections.entries()) {
    const topic = `bench/echo/${String(index).padStart(3, "0")}`;
    await connection.request({ type: "subscribe", filter: topic });
    connection.listen(new Subscriber(share, true));
    const shape = { topic, payloadBytes: job.payloadBytes, confirmed: false };
    peers.push({ connection, block: new PublishBlock(shape, 1) });
  }
  const pacer = pace(job.perSecond, peers.length, (count) => {
    for (let index = 0; index < count; index++) {
      const peer = peers[published % peers.length]!;
      peer.block.set(0, published++, stampUs());
      peer.connection.send(peer.block.first(1));
    }
    return count;
  });
  const measured = await measure(job, () => events, [latencies]);
  const late = pacer.late();
  pacer.stop();
  await until(
    () => events >= published,
    () => `${events} of ${published} echoes arrived`,
    30_000,
  );
  await sleep(20);
  if (events !== published) throw new Error("more echoes than publishes");
  for (const connection of connections) connection.close();
  return { ...measured, latency: latencies.summary(), late };
}
