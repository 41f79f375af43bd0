/** One publisher, many subscribers of one topic. */
import { Connection, openMany } from "./connection.ts";
import { Subscriber, type SubscriberShare, UniformFrames } from "./counting.ts";
import type { FanoutJob, JobResult } from "./jobs.ts";
import { LatencyRecorder } from "./latency.ts";
import { type JobContext, measure, pace, sleep, until } from "./timing.ts";
import { PublishBlock, stampUs } from "./wire.ts";

const TOPIC = "bench/fanout";
/** Publishes leave in blocks of an eighth of the window, one write each. */
const BLOCKS = 8;
/** Most stamps a second that the probes look at, so that timing stays cheap. */
const STAMPS_PER_SECOND = 60_000;
const MOST_AT_ONCE = 64;

class Fanout implements SubscriberShare {
  readonly frames = new UniformFrames();
  readonly ordered = true;
  readonly latencies = new LatencyRecorder();
  readonly verify: boolean;
  readonly fail;
  readonly subscribers: Subscriber[] = [];
  published = 0;
  events = 0;
  readonly #publisher: Connection;
  readonly #block: PublishBlock;
  readonly #blockSize: number;
  /** How many subscribers have all of a block, by block modulo the number of blocks in flight. */
  readonly #finished = new Uint32Array(BLOCKS);
  #open = false;

  constructor(job: FanoutJob, context: JobContext, publisher: Connection) {
    this.verify = job.verify;
    this.fail = context.fail;
    this.#publisher = publisher;
    this.#blockSize = "window" in job.load ? job.load.window / BLOCKS : MOST_AT_ONCE;
    const shape = { topic: TOPIC, payloadBytes: job.payloadBytes, confirmed: false };
    this.#block = new PublishBlock(shape, Math.max(this.#blockSize, MOST_AT_ONCE));
  }

  publish(count: number): number {
    const now = stampUs();
    for (let index = 0; index < count; index++) this.#block.set(index, this.published++, now);
    this.#publisher.send(this.#block.first(count));
    return count;
  }

  /**
   * Fills the window; from then on every block that all subscribers have is followed by another.
   */
  open(): void {
    this.#open = true;
    for (let index = 0; index < BLOCKS; index++) this.publish(this.#blockSize);
  }

  close(): void {
    this.#open = false;
  }

  received(subscriber: Subscriber, events: number): void {
    this.events += events;
    if (!this.#open) return;
    const size = this.#blockSize;
    const last = Math.floor(subscriber.count / size);
    for (let block = Math.floor((subscriber.count - events) / size); block < last; block++) {
      const slot = block % BLOCKS;
      if (++this.#finished[slot]! < this.subscribers.length) continue;
      this.#finished[slot] = 0;
      this.publish(size);
    }
  }
}

/** Probes are spread over the subscribers, the last one included: it is served last. */
function isProbe(index: number, job: FanoutJob): boolean {
  if ("window" in job.load) return false;
  const wanted = Math.max(1, Math.floor(STAMPS_PER_SECOND / job.load.perSecond));
  if (wanted >= job.subscribers) return true;
  const from = Math.floor((index * wanted) / job.subscribers);
  return Math.floor(((index + 1) * wanted) / job.subscribers) > from;
}

export async function fanout(job: FanoutJob, context: JobContext): Promise<JobResult> {
  const publisher = await Connection.open(job.port, context.fail);
  const run = new Fanout(job, context, publisher);
  const connections = await openMany(job.subscribers, job.port, context.fail);
  for (const [index, connection] of connections.entries()) {
    await connection.request({ type: "subscribe", filter: TOPIC });
    const subscriber = new Subscriber(run, isProbe(index, job));
    connection.listen(subscriber);
    run.subscribers.push(subscriber);
  }
  // One message first: from it the length of an event is learned.
  run.publish(1);
  await until(
    () => run.events === job.subscribers,
    () => `${run.events} of ${job.subscribers} first events`,
    10_000,
  );
  for (const subscriber of run.subscribers) subscriber.count = 0;
  run.events = 0;
  const firstPublished = run.published;

  const pacer =
    "perSecond" in job.load
      ? pace(job.load.perSecond, MOST_AT_ONCE, (count) => run.publish(count))
      : undefined;
  if (pacer === undefined) run.open();
  const measured = await measure(job, () => run.events, [run.latencies]);
  const late = pacer?.late() ?? false;
  pacer?.stop();
  run.close();

  const sent = () => run.published - firstPublished;
  await until(
    () => run.subscribers.every((subscriber) => subscriber.count === sent()),
    () => `${run.events} of ${sent() * job.subscribers} events arrived`,
    30_000,
  );
  await sleep(20);
  if (run.events !== sent() * job.subscribers) throw new Error("more events than published");
  for (const connection of [publisher, ...connections]) connection.close();
  return { ...measured, latency: run.latencies.summary(), late };
}
