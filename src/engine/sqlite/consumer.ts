/** One consumer of one queue: its credit and what it holds. */
import type { Consumer, ConsumerReport, DeliverySink, Outcome, Settled } from "../engine.ts";
import type { Entry } from "./entry.ts";
import { Held } from "./held.ts";
import type { SqliteQueue } from "./queue.ts";

export class SqliteConsumer implements Consumer {
  readonly sink: DeliverySink;
  /** What it has not settled. */
  readonly held = new Held();
  /** Whether it stands in the queue's line of those that can take a delivery. */
  inLine = false;
  readonly #queue: SqliteQueue;
  readonly #since: number;
  #credit = 0;
  #onHold = false;
  #ended = false;

  constructor(queue: SqliteQueue, sink: DeliverySink, since: number) {
    this.#since = since;
    this.#queue = queue;
    this.sink = sink;
  }

  get queue(): string {
    return this.#queue.name;
  }

  get report(): ConsumerReport {
    const report = {
      holder: this.sink.holder ?? {},
      credit: this.#credit,
      inFlight: this.held.size,
      since: this.#since,
    };
    const [oldest] = this.held.values();
    return oldest === undefined ? report : { ...report, oldestDeliveryAt: oldest.deliveredAt };
  }

  get available(): boolean {
    const { maxInFlightPerConsumer } = this.#queue.settings;
    if (maxInFlightPerConsumer !== undefined && this.held.size >= maxInFlightPerConsumer) {
      return false;
    }
    return this.held.size < this.#credit && !this.#onHold && !this.#ended;
  }

  credit(credit: number): void {
    this.#credit = credit;
    this.#queue.wake(this);
  }

  hold(held: boolean): void {
    this.#onHold = held;
    if (!held) this.#queue.wake(this);
  }

  atRest(done: () => void): void {
    this.#queue.atRest(() => {
      if (!this.#ended) done();
    });
  }

  holds(tag: number): boolean {
    return this.held.has(tag);
  }

  settle(tags: readonly number[], outcome: Outcome, settled?: Settled): void {
    this.#queue.settlement.settle(this, tags, outcome, settled);
  }

  cancel(): void {
    this.#leave(Number.POSITIVE_INFINITY);
  }

  disconnect(): void {
    this.#leave(this.#queue.deliveryGraceMs);
  }

  /** The deliveries of these tags, each once; undefined when one is not held. Nothing changes. */
  deliveriesOf(tags: readonly number[]): Entry[] | undefined {
    for (const tag of tags) if (!this.held.has(tag)) return undefined;
    const entries: Entry[] = [];
    for (const tag of tags) {
      const entry = this.held.get(tag)!;
      if (!entry.named) entries.push(entry);
      entry.named = true;
    }
    for (const entry of entries) entry.named = false;
    return entries;
  }

  #leave(graceMs: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue.leave(this, graceMs);
  }
}
