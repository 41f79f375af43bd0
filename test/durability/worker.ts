/**
 * A consumer of one or more queues over one connection: acks nearly everything, nacks and rejects some,
 * and keeps some for a while. Draining, it acks all.
 */
import type { Random } from "../../src/clock.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";
import { Connection } from "./connection.ts";
import type { HistoryEvent, Settling } from "./history.ts";
import { isIntact, type LoadPayload } from "./publisher.ts";

export interface WorkerOptions {
  /** Unlike that of any other worker, in this life of the broker or another. */
  readonly name: string;
  readonly encoding: Encoding;
  readonly queues: readonly string[];
  readonly credit: number;
  readonly random: Random;
  readonly record: (event: HistoryEvent) => void;
  /** Acks everything at once. */
  readonly draining: boolean;
}

interface Choice {
  readonly outcome: Settling;
  readonly delayMs?: number;
}

export class Worker {
  readonly #options: WorkerOptions;
  /** Kept for a while: consumer and tag. */
  readonly #kept: { readonly consumer: string; readonly tag: number }[] = [];
  /** Settlings that wait for their answer, by the id of the request. */
  readonly #asked = new Map<number, { readonly consumer: string; readonly tags: number[] }>();
  readonly #frames: Frame[] = [];
  readonly refusals: string[] = [];
  #lastId = 0;
  #scheduled = false;
  #leaving = false;
  #connection: Connection | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  /** Settlings that were not answered yet. */
  get open(): number {
    return this.#asked.size;
  }

  get closed(): Promise<number> {
    return this.#connection?.closed ?? Promise.resolve(0);
  }

  async start(url: string): Promise<void> {
    const { encoding, queues, credit, record } = this.#options;
    this.#connection = await Connection.open(url, encoding, (frame) => this.#take(frame));
    for (const queue of queues) {
      record({ kind: "joined", consumer: this.#consumerOf(queue), credit });
    }
    this.#connection.send(queues.map((queue) => ({ type: "consume", queue, credit })));
  }

  /** Closes its connection with whatever it holds. */
  async leave(): Promise<void> {
    const { queues, record } = this.#options;
    this.#leaving = true;
    const at = Date.now();
    for (const queue of queues) {
      record({ kind: "left", consumer: this.#consumerOf(queue), at, inOrder: true });
    }
    this.#connection?.close();
    await this.#connection?.closed;
  }

  #consumerOf(queue: string): string {
    return `${this.#options.name}:${queue}`;
  }

  #take(frame: Frame): void {
    // What comes after it has let go is not its own.
    if (this.#leaving) return;
    if (frame.type === "delivery") this.#deliver(frame);
    else this.#answer(frame);
  }

  #deliver(frame: Frame): void {
    const { record } = this.#options;
    const { queue, tag, attempt, payload, headers, deaths = [] } = frame;
    const { stream, number } = payload as LoadPayload;
    const consumer = this.#consumerOf(queue);
    const [death] = deaths;
    record({
      kind: "delivered",
      consumer,
      queue,
      message: `${stream}/${number}`,
      tag,
      attempt,
      at: Date.now(),
      intact: isIntact(payload),
      deaths: deaths.length,
      change: Number(headers?.change ?? 0),
      ...(death && { death: { reason: death.reason, attempts: death.attempts } }),
    });
    const choice = this.#choose(queue);
    if (choice === undefined) this.#keep(consumer, tag);
    else this.#settle(consumer, [tag], choice);
  }

  /** What becomes of a delivery; undefined: it is kept for a while. */
  #choose(queue: string): Choice | undefined {
    const { draining, random } = this.#options;
    if (draining) return { outcome: "ack" };
    const chance = random();
    // So that some are there to be brought back.
    if (queue.endsWith(".dead")) {
      return chance < 0.3 ? { outcome: "ack" } : { outcome: "nack", delayMs: 1000 };
    }
    if (chance < 0.85) return { outcome: "ack" };
    if (chance < 0.9) return { outcome: "nack", delayMs: Math.floor(random() * 60) };
    if (chance < 0.92) return { outcome: "nack" };
    if (chance < 0.95) return { outcome: "reject" };
    return undefined;
  }

  #keep(consumer: string, tag: number): void {
    this.#kept.push({ consumer, tag });
    if (this.#kept.length * 2 < this.#options.credit) return;
    // Several in one frame, those of one consumer together.
    for (const [holder, kept] of Map.groupBy(this.#kept.splice(0), (one) => one.consumer)) {
      this.#settle(
        holder,
        kept.map((one) => one.tag),
        { outcome: "ack" },
      );
    }
  }

  #settle(consumer: string, tags: number[], { outcome, delayMs }: Choice): void {
    const id = ++this.#lastId;
    const at = Date.now();
    const delay = delayMs === undefined ? {} : { delayMs };
    for (const tag of tags) {
      this.#options.record({ kind: "settling", consumer, tag, outcome, ...delay, at });
    }
    this.#asked.set(id, { consumer, tags });
    this.#frames.push({ type: outcome, id, tags, ...delay });
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      for (const batch of chunks(this.#frames.splice(0), 200)) this.#connection?.send(batch);
    });
  }

  #answer(frame: Frame): void {
    const { record } = this.#options;
    const asked = this.#asked.get(frame.id);
    if (asked === undefined) {
      if (frame.type === "error") this.refusals.push(frame.code);
      return;
    }
    this.#asked.delete(frame.id);
    const { consumer, tags } = asked;
    for (const tag of tags) {
      if (frame.type === "ok") record({ kind: "settled", consumer, tag });
      else record({ kind: "refused", consumer, tag, code: frame.code });
    }
    if (frame.type === "error") this.refusals.push(frame.code);
  }
}

function chunks<T>(items: T[], size: number): T[][] {
  const out: T[][] = [];
  for (let i = 0; i < items.length; i += size) out.push(items.slice(i, i + size));
  return out;
}
