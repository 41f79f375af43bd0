/** One consumer of a queue in memory: its credit, what it holds, and how it settles that. */
import { WarrenError } from "../../errors.ts";
import type { Consumer, ConsumerReport, DeliverySink, Outcome, Settled } from "../engine.ts";
import { backoffMs, LINGER_MS } from "../rules.ts";
import type { Pulse } from "./pulse.ts";
import type { Entry, MemoryQueue } from "./queue.ts";

export class MemoryConsumer implements Consumer {
  readonly #pulse: Pulse;
  readonly #queue: MemoryQueue;
  readonly #sink: DeliverySink;
  readonly #entries = new Map<number, Entry>();
  readonly #since: number;
  #credit = 0;
  #held = false;
  #ended = false;
  /** The session has let go of it: its sink is not called again. */
  #dropped = false;

  constructor(pulse: Pulse, queue: MemoryQueue, sink: DeliverySink) {
    this.#pulse = pulse;
    this.#queue = queue;
    this.#sink = sink;
    this.#since = pulse.clock.now();
  }

  get queue(): string {
    return this.#queue.name;
  }

  get report(): ConsumerReport {
    const times = [...this.#entries.values()].map(({ lease }) => lease?.since ?? 0);
    return {
      holder: this.#sink.holder ?? {},
      credit: this.#credit,
      inFlight: this.#entries.size,
      since: this.#since,
      ...(times.length > 0 && { oldestDeliveryAt: Math.min(...times) }),
    };
  }

  get wants(): boolean {
    const { maxInFlightPerConsumer = Number.POSITIVE_INFINITY } = this.#queue.settings;
    return !this.#held && this.#entries.size < Math.min(this.#credit, maxInFlightPerConsumer);
  }

  credit(credit: number): void {
    this.#credit = credit;
    this.#pulse.wake();
  }

  hold(held: boolean): void {
    this.#held = held;
    this.#pulse.wake();
  }

  atRest(done: () => void): void {
    // Answers come before the handing out of their turn.
    this.#pulse.answer(() => {
      this.#pulse.clock.endOfTurn(() => {
        if (!this.#ended) done();
      });
    });
  }

  holds(tag: number): boolean {
    return this.#entries.has(tag);
  }

  settle(tags: readonly number[], outcome: Outcome, settled?: Settled): void {
    const stale = tags.filter((tag) => !this.#entries.has(tag));
    if (stale.length > 0) {
      const error = new WarrenError("stale_delivery", undefined, { tags: stale });
      if (settled !== undefined) this.#pulse.answer(() => settled(error));
      return;
    }
    for (const tag of new Set(tags)) this.#settleOne(this.#entries.get(tag)!, outcome);
    this.#pulse.wake();
    if (settled !== undefined) this.#pulse.answer(() => settled(undefined));
  }

  cancel(): void {
    this.#dropped = true;
    this.#leave(() => false);
  }

  disconnect(): void {
    this.#dropped = true;
    const graceEnd = this.#pulse.clock.now() - this.#pulse.limits.deliveryGraceMs;
    this.#leave((entry) => entry.lease !== undefined && entry.lease.since < graceEnd);
  }

  /** The engine ends it: as `cancel`, and its sink is told. */
  end(error: WarrenError): void {
    if (this.#ended) return;
    this.#leave(() => false);
    this.#pulse.answer(() => {
      if (!this.#dropped) this.#sink.ended(error);
    });
  }

  /** The queue hands out. */
  receive(tag: number, entry: Entry): void {
    this.#entries.set(tag, entry);
    this.#sink.deliver({
      tag,
      queue: this.#queue.name,
      message: entry.message,
      attempt: entry.attempts + 1,
      expiresAt: this.#queue.expiresAt(entry),
      ...(entry.deaths && { deaths: entry.deaths }),
    });
  }

  /** The queue takes back. */
  lose(tag: number): void {
    this.#entries.delete(tag);
  }

  #settleOne(entry: Entry, outcome: Outcome): void {
    const { clock, random } = this.#pulse;
    const { tally } = this.#queue;
    switch (outcome.kind) {
      case "ack":
        tally.acked++;
        this.#queue.ack(entry);
        break;
      case "nack": {
        tally.nacked++;
        const { settings } = this.#queue;
        const delayMs = outcome.delayMs ?? backoffMs(settings, entry.attempts + 1, random);
        this.#queue.giveBack(entry, true, clock.now() + delayMs, outcome.reason);
        break;
      }
      case "reject":
        tally.rejected++;
        this.#queue.reject(entry, outcome.reason);
        break;
      case "extend":
        this.#queue.extend(entry, outcome.byMs);
        break;
    }
  }

  #leave(counts: (entry: Entry) => boolean): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#credit = 0;
    this.#queue.consumers.splice(this.#queue.consumers.indexOf(this), 1);
    for (const entry of [...this.#entries.values()]) {
      this.#queue.giveBack(entry, counts(entry), this.#pulse.clock.now());
    }
    if (this.#queue.consumers.length === 0) {
      this.#queue.turnsUntil = this.#pulse.clock.now() + LINGER_MS;
    }
  }
}
