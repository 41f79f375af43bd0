/** Many devices, a topic each, and one subscriber of them all. */
import { type Connection, openMany } from "./connection.ts";
import { Subscriber, type SubscriberShare, UniformFrames } from "./counting.ts";
import type { FaninJob, JobResult } from "./jobs.ts";
import { LatencyRecorder } from "./latency.ts";
import { type JobContext, measure, pace, sleep, until } from "./timing.ts";
import { PublishBlock, stampUs } from "./wire.ts";

const FILTER = "devices/+/telemetry";
const MOST_AT_ONCE = 200;

interface Device {
  readonly connection: Connection;
  readonly block: PublishBlock;
}

class Fanin implements SubscriberShare {
  readonly frames = new UniformFrames();
  readonly ordered = false;
  readonly latencies = new LatencyRecorder();
  readonly verify: boolean;
  readonly fail;
  published = 0;
  events = 0;
  readonly #devices: readonly Device[];
  #next = 0;
  #open = false;

  constructor(job: FaninJob, context: JobContext, connections: readonly Connection[]) {
    this.verify = job.verify;
    this.fail = context.fail;
    this.#devices = connections.map((connection, index) => {
      const topic = `devices/${String(index).padStart(5, "0")}/telemetry`;
      const shape = { topic, payloadBytes: job.payloadBytes, confirmed: false };
      return { connection, block: new PublishBlock(shape, 1) };
    });
  }

  /** Each publish comes from the next device: a write, and a read at the server, of its own. */
  publish(count: number): number {
    for (let index = 0; index < count; index++) {
      const device = this.#devices[this.#next]!;
      this.#next = (this.#next + 1) % this.#devices.length;
      device.block.set(0, this.published++, stampUs());
      device.connection.send(device.block.first(1));
    }
    return count;
  }

  open(window: number): void {
    this.#open = true;
    this.publish(window);
  }

  close(): void {
    this.#open = false;
  }

  received(_subscriber: Subscriber, events: number): void {
    this.events += events;
    if (this.#open) this.publish(events);
  }
}

export async function fanin(job: FaninJob, context: JobContext): Promise<JobResult> {
  const [reader, ...devices] = await openMany(job.devices + 1, job.port, context.fail);
  const run = new Fanin(job, context, devices);
  await reader!.request({ type: "subscribe", filter: FILTER });
  const subscriber = new Subscriber(run, "perSecond" in job.load);
  reader!.listen(subscriber);

  run.publish(1);
  await until(
    () => run.events === 1,
    () => "no first event",
    10_000,
  );
  const pacer =
    "perSecond" in job.load
      ? pace(job.load.perSecond, MOST_AT_ONCE, (count) => run.publish(count))
      : undefined;
  if ("window" in job.load) run.open(job.load.window);
  const measured = await measure(job, () => run.events, [run.latencies]);
  const late = pacer?.late() ?? false;
  pacer?.stop();
  run.close();

  await until(
    () => run.events >= run.published,
    () => `${run.events} of ${run.published} events arrived`,
    30_000,
  );
  await sleep(20);
  if (run.events !== run.published) throw new Error("more events than published");
  for (const connection of [reader!, ...devices]) connection.close();
  return { ...measured, latency: run.latencies.summary(), late };
}
