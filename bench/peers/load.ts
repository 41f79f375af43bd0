/** Publish, confirm, deliver and ack against a peer: the same load as `load/queue.ts` puts on Warren. */
import { recordStamps } from "../load/counting.ts";
import type { JobResult, PeerQueueJob } from "../load/jobs.ts";
import { LatencyRecorder } from "../load/latency.ts";
import { type JobContext, measure, pace, until } from "../load/timing.ts";
import {
  payloadText,
  SENT_DIGITS,
  SEQUENCE_BASE,
  SEQUENCE_DIGITS,
  stampUs,
  writeDigits,
} from "../load/wire.ts";
import { bunqueueBuffered, bunqueueDurable } from "./bunqueue.ts";
import { jetstream } from "./jetstream.ts";
import type { PeerName } from "./names.ts";
import type { Peer, PeerPublisher } from "./peer.ts";
import { rabbitClassic, rabbitQuorum } from "./rabbit.ts";
import { redis } from "./redis.ts";

const PEERS: Readonly<Record<PeerName, Peer>> = {
  "redis-always": redis,
  "redis-everysec": redis,
  "jetstream-always": jetstream,
  "jetstream-default": jetstream,
  "rabbit-quorum": rabbitQuorum,
  "rabbit-classic": rabbitClassic,
  "bunqueue-durable": bunqueueDurable,
  "bunqueue-buffered": bunqueueBuffered,
};

/** In flight per publisher at a fixed rate, as with Warren. */
const OPEN_WINDOW = 1000;
const MOST_AT_ONCE = 2000;
const NUMBERS = 100_000_000;
const SETTLE_LIMIT_MS = 120_000;

/** Frames of one publisher, in a block that leaves in one write. */
class Sender {
  inFlight = 0;
  link: PeerPublisher | undefined;
  readonly #window: number;
  readonly #confirms: LatencyRecorder;
  /** When each one in flight was sent, oldest first, in a ring. */
  readonly #sentAt: Float64Array;
  #number: number;
  #first = 0;
  #block = Buffer.alloc(0);
  #seqAt = 0;
  #stampAt = 0;

  constructor(index: number, window: number, confirms: LatencyRecorder) {
    this.#window = window;
    this.#confirms = confirms;
    this.#sentAt = new Float64Array(window);
    this.#number = index * NUMBERS;
  }

  attach(link: PeerPublisher): void {
    this.link = link;
    const { frame } = link;
    this.#seqAt = frame.indexOf('"seq":') + 6;
    this.#stampAt = frame.indexOf('"sent":') + 7;
    this.#block = Buffer.concat(Array.from({ length: this.#window }, () => frame));
  }

  publish(count: number): number {
    const step = Math.min(count, this.#window - this.inFlight);
    if (step <= 0 || this.link === undefined) return 0;
    const { length } = this.link.frame;
    const now = stampUs();
    for (let index = 0; index < step; index++) {
      const start = index * length;
      const seq = SEQUENCE_BASE + this.#number++;
      writeDigits(this.#block, start + this.#seqAt, SEQUENCE_DIGITS, seq);
      writeDigits(this.#block, start + this.#stampAt, SENT_DIGITS, now);
      this.#sentAt[(this.#first + this.inFlight + index) % this.#window] = now;
    }
    this.inFlight += step;
    this.link.send(this.#block.subarray(0, step * length));
    return step;
  }

  confirmed(count: number): void {
    if (count > this.inFlight) throw new Error("more confirms than publishes");
    const now = stampUs();
    for (let index = 0; index < count; index++) {
      this.#confirms.add(now - this.#sentAt[this.#first]!);
      this.#first = (this.#first + 1) % this.#window;
    }
    this.inFlight -= count;
  }
}

export async function peerQueue(job: PeerQueueJob, context: JobContext): Promise<JobResult> {
  const peer = PEERS[job.peer];
  const { load, port } = job;
  const { fail } = context;
  await peer.setUp(port, fail);
  const confirms = new LatencyRecorder();
  const endToEnd = new LatencyRecorder();
  const total = { published: 0, confirmed: 0, delivered: 0 };
  const waiting = () => total.published - total.delivered;
  const timed = "perSecond" in load;
  let progressed = () => {};
  const window = "window" in load ? load.window : OPEN_WINDOW;
  const senders = Array.from(
    { length: job.publishers },
    (_, index) => new Sender(index, window, confirms),
  );
  const payload = payloadText(job.payloadBytes);
  for (const [index, sender] of senders.entries()) {
    const confirmed = (count: number) => {
      total.confirmed += count;
      sender.confirmed(count);
      progressed();
    };
    sender.attach(await peer.openPublisher(port, index, payload, confirmed, fail));
  }
  const consumers: { close(): void }[] = [];
  for (let index = 0; index < job.consumers; index++) {
    const delivered = (count: number, bytes: Buffer) => {
      total.delivered += count;
      if (timed) recordStamps(bytes, endToEnd);
      progressed();
    };
    consumers.push(await peer.openConsumer(port, index, job.credit, delivered, fail));
  }

  let open = true;
  const fill = () => {
    const backlog = job.backlog ?? Number.POSITIVE_INFINITY;
    for (const sender of senders) total.published += sender.publish(backlog - waiting());
  };
  const pacer = timed
    ? pace(load.perSecond, MOST_AT_ONCE, (count) => {
        const share = Math.ceil(count / senders.length);
        let sent = 0;
        for (const sender of senders) sent += sender.publish(Math.min(share, count - sent));
        total.published += sent;
        return sent;
      })
    : undefined;
  if (pacer === undefined) {
    progressed = () => {
      if (open) fill();
    };
    fill();
  }
  const done = () => (job.consumers > 0 ? total.delivered : total.confirmed);
  const measured = await measure(job, done, [confirms, endToEnd]);
  const late = pacer?.late() ?? false;
  pacer?.stop();
  open = false;
  await until(
    () => total.confirmed === total.published && (job.consumers === 0 || waiting() === 0),
    () => `${total.confirmed} confirmed, ${total.delivered} delivered of ${total.published}`,
    SETTLE_LIMIT_MS,
  );
  for (const sender of senders) sender.link?.close();
  for (const consumer of consumers) consumer.close();
  return { ...measured, latency: confirms.summary(), endToEnd: endToEnd.summary(), late };
}
