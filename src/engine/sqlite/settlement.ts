/**
 * What becomes of the deliveries of one queue: settled, timed out, taken back, expired. Each change is
 * written as an operation of the next commit; the counts follow when that has succeeded.
 */
import { WarrenError } from "../../errors.ts";
import type { DeathReason } from "../../message.ts";
import type { Outcome, Settled } from "../engine.ts";
import { backoffMs, isExhausted, withDeath } from "../rules.ts";
import type { SqliteConsumer } from "./consumer.ts";
import type { Entry } from "./entry.ts";
import type { QueueHost } from "./host.ts";
import { priorityOfLane } from "./lanes.ts";
import {
  type Cause,
  PendingChange,
  PendingDeath,
  PendingDelay,
  PendingRemoval,
  whenAll,
} from "./pending.ts";
import type { SqliteQueue } from "./queue.ts";
import { encodeRecord } from "./record.ts";
import type { Totals } from "./totals.ts";

interface Death {
  readonly reason: DeathReason;
  readonly attempts: number;
  readonly detail: string | undefined;
}

export class Settlement {
  readonly #queue: SqliteQueue;
  readonly #host: QueueHost;
  readonly #totals: Totals;

  constructor(queue: SqliteQueue, host: QueueHost, totals: Totals) {
    this.#queue = queue;
    this.#host = host;
    this.#totals = totals;
  }

  settle(
    consumer: SqliteConsumer,
    tags: readonly number[],
    outcome: Outcome,
    settled: Settled | undefined,
  ): void {
    const entries = consumer.deliveriesOf(tags);
    const error =
      entries === undefined
        ? new WarrenError("stale_delivery", undefined, { tags })
        : outcome.kind === "extend"
          ? undefined
          : this.#host.storageRefusal();
    if (entries === undefined || entries.length === 0 || error !== undefined) {
      if (settled !== undefined) this.#host.later(() => settled(error));
      return;
    }
    if (outcome.kind === "extend") {
      this.#extend(entries, outcome.byMs ?? this.#queue.settings.ackTimeoutMs);
      if (settled !== undefined) this.#host.later(() => settled(undefined));
      return;
    }
    for (const entry of entries) this.#release(entry);
    if (outcome.kind === "ack") {
      if (this.#queue.settings.retainAckedMs > 0) this.#keep(entries, settled);
      else this.#remove(entries, "acked", settled);
      for (const entry of entries) this.#queue.backlog.leaves(entry);
    } else {
      const each = whenAll(entries.length, settled);
      for (const entry of entries) {
        if (outcome.kind === "nack") this.#nack(entry, outcome, each);
        else {
          const attempts = entry.attempts + 1;
          this.#die(
            entry,
            "rejected",
            { reason: "rejected", attempts, detail: outcome.reason },
            each,
          );
        }
      }
    }
    this.#queue.wake(consumer);
  }

  #extend(entries: readonly Entry[], byMs: number): void {
    const deadline = this.#host.clock.now() + byMs;
    for (const entry of entries) {
      entry.deadline = deadline;
      this.#host.deadlineMoved(entry);
    }
  }

  /** Out of the consumer's hands; it counts as settling until the commit of what follows. */
  #release(entry: Entry): void {
    entry.consumer?.held.delete(entry.tag);
    entry.consumer = undefined;
    this.#host.deadlineOver(entry);
    this.#totals.inFlight--;
    this.#totals.settling++;
  }

  #remove(entries: readonly Entry[], cause: Cause | undefined, settled: Settled | undefined): void {
    const { storage } = this.#host;
    for (const entry of entries) this.#delete(entry);
    storage.add(new PendingRemoval(entries, cause, settled));
  }

  /** Done, and kept for a replay [P-5.15]. */
  #keep(entries: readonly Entry[], settled: Settled | undefined): void {
    const { storage, clock } = this.#host;
    const ackedAt = clock.now();
    for (const entry of entries) {
      this.#leaving(entry);
      storage.writer.keep(entry.lane, entry.sequence, entry.bytes, ackedAt);
    }
    storage.add(new PendingRemoval(entries, "acked", settled, ackedAt));
  }

  #leaving(entry: Entry): void {
    this.#totals.leavingMessages++;
    this.#totals.leavingBytes += entry.bytes;
  }

  #delete(entry: Entry): void {
    this.#leaving(entry);
    this.#host.storage.writer.delete(entry.lane, entry.sequence, entry.bytes);
  }

  removed(entry: Entry): void {
    this.#totals.leavingMessages--;
    this.#totals.leavingBytes -= entry.bytes;
    this.#totals.settling--;
    this.#totals.messages--;
    this.#totals.bytes -= entry.bytes;
    this.#queue.backlog.gone(entry);
  }

  /** It was gone already: somebody else had found that its time was over. */
  wasGone(entry: Entry): void {
    this.#totals.leavingMessages--;
    this.#totals.leavingBytes -= entry.bytes;
    this.#totals.settling--;
    this.#queue.backlog.gone(entry);
  }

  /** It was to go, and that failed. */
  notRemoved(entry: Entry): void {
    this.#totals.leavingMessages--;
    this.#totals.leavingBytes -= entry.bytes;
    this.waitsAgain(entry);
  }

  /** Waits again, in its place: it was returned, or what should have become of it failed. */
  waitsAgain(entry: Entry): void {
    this.#totals.settling--;
    if (entry.expiresAt <= this.#host.clock.now() && this.#host.storageRefusal() === undefined) {
      this.expire(entry);
      return;
    }
    this.#queue.backlog.giveBack(entry);
    this.#queue.mayExpire(entry.expiresAt);
    this.#host.pumpSoon(this.#queue);
  }

  #nack(entry: Entry, outcome: Extract<Outcome, { kind: "nack" }>, settled: Settled): void {
    const { clock, storage, random } = this.#host;
    const attempts = entry.attempts + 1;
    if (isExhausted(this.#queue.name, this.#queue.settings, attempts)) {
      const death = { reason: "max_deliveries", attempts, detail: outcome.reason } as const;
      this.#die(entry, "nacked", death, settled);
      return;
    }
    entry.attempts = attempts;
    const delayMs = outcome.delayMs ?? backoffMs(this.#queue.settings, attempts, random);
    const dueAt = delayMs === 0 ? undefined : clock.now() + delayMs;
    storage.writer.update(entry.lane, entry.sequence, this.#queue.times(entry, dueAt));
    storage.add(new PendingDelay(entry, dueAt, settled));
  }

  delayed(entry: Entry, dueAt: number): void {
    this.#totals.settling--;
    this.#totals.delayed++;
    this.#host.delayed({ dueAt, lane: entry.lane, sequence: entry.sequence });
    this.#queue.backlog.gone(entry);
  }

  /**
   * Into the dead-letter queue with a record of why; out of a dead-letter queue, for good [P-5.6]. It
   * counts as `cause`.
   */
  #die(
    entry: Entry,
    cause: Cause | undefined,
    { reason, attempts, detail }: Death,
    settled: Settled | undefined,
  ): void {
    const target = this.#queue.deadLetters;
    if (target === undefined) {
      this.#remove([entry], cause, settled);
      return;
    }
    const { storage, clock } = this.#host;
    const lastAt = clock.now();
    const record = { queue: this.#queue.name, reason, attempts, firstAt: entry.enteredAt, lastAt };
    const deaths = withDeath(entry.deaths, detail === undefined ? record : { ...record, detail });
    const encoded = encodeRecord(entry.message, lastAt, deaths);
    const priority = priorityOfLane(entry.lane);
    this.#leaving(entry);
    storage.writer.bury(entry.lane, entry.sequence, entry.bytes);
    const dead = target.write(entry.message, priority, lastAt, deaths, undefined, encoded);
    storage.add(new PendingDeath(entry, dead, cause, settled));
  }

  /** A message in no one's hands whose time is over; `delayed` when it still waited for another. */
  expire(entry: Entry, delayed = false): void {
    if (delayed) this.#totals.delayed--;
    this.#totals.settling++;
    this.#queue.backlog.goes(entry);
    const { attempts } = entry;
    this.#die(entry, "expired", { reason: "expired", attempts, detail: undefined }, undefined);
  }

  /** A message in no one's hands gives way to a new one, in one commit with it [P-5.9]. */
  displace(entry: Entry): void {
    this.#totals.settling++;
    this.#queue.backlog.goes(entry);
    if (this.#queue.settings.overflow === "dead-letter-oldest") {
      const { attempts } = entry;
      this.#die(entry, "displaced", { reason: "overflow", attempts, detail: undefined }, undefined);
    } else {
      this.#remove([entry], "displaced", undefined);
    }
  }

  /** The ack timeout passed [P-5.5]. */
  timeOut(entry: Entry): void {
    const { consumer } = entry;
    this.#queue.tally.timedOut++;
    this.#release(entry);
    this.#countAttempt(entry, "The ack timeout passed.");
    if (consumer !== undefined) this.#queue.wake(consumer);
  }

  /** Takes back what `consumer` holds; what it held for longer than `graceMs` counts as an attempt. */
  takeBack(consumer: SqliteConsumer, graceMs: number): void {
    const since = this.#host.clock.now() - graceMs;
    for (const entry of consumer.held.values()) {
      this.#release(entry);
      if (entry.deliveredAt < since) this.#countAttempt(entry, "The connection was lost.");
      else this.waitsAgain(entry);
    }
  }

  #countAttempt(entry: Entry, detail: string): void {
    const { storage } = this.#host;
    const attempts = entry.attempts + 1;
    if (isExhausted(this.#queue.name, this.#queue.settings, attempts)) {
      this.#die(entry, undefined, { reason: "max_deliveries", attempts, detail }, undefined);
      return;
    }
    entry.attempts = attempts;
    // Without storage the count is kept in memory only: a crash forgets it, the message it does not.
    if (this.#host.storageRefusal() === undefined) {
      storage.writer.update(entry.lane, entry.sequence, this.#queue.times(entry, undefined));
      storage.add(new PendingChange(() => {}));
    }
    this.waitsAgain(entry);
  }
}
