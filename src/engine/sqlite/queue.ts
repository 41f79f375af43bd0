/**
 * One queue at work: who gets which message, and what becomes of it. Memory decides, disk remembers:
 * every change of a message is written as an operation of the next commit, and takes effect in the
 * counts when that has succeeded.
 *
 *   stored -> waiting (in the window, or on disk behind it) -> in flight -> acked: gone
 *                ^                                                |
 *                |-- returned at once, in its place <-------------|- timed out, cancelled, disconnected
 *                |-- at the end of its lane, when due <- delayed <|- nacked
 *                                                                 '- rejected, exhausted, expired: dead
 */
import type { QueueCounts, QueueSettings } from "../../../schemas/queue.ts";
import { Deque } from "../../collections/deque.ts";
import { WarrenError } from "../../errors.ts";
import type { DeathReason, Message } from "../../message.ts";
import type { Outcome, QueueDescription, QueueReport, Settled } from "../engine.ts";
import { backoffMs, isExhausted, priorityOf, withDeath } from "../rules.ts";
import type { Row } from "./batch.ts";
import type { SqliteConsumer } from "./consumer.ts";
import { Entry } from "./entry.ts";
import type { QueueHost } from "./host.ts";
import { laneOf, QUEUE_LANES } from "./lanes.ts";
import { PendingDeath, PendingDelay, PendingRemoval } from "./pending.ts";
import { recordHeader, recordPayload } from "./record.ts";
import type { Purged, QueueRow, QueueState } from "./store.ts";
import { Window } from "./window.ts";

export class SqliteQueue {
  readonly number: number;
  readonly name: string;
  readonly createdAt: number;
  readonly deadLetterOf: string | undefined;
  settings: QueueSettings;
  bindings: readonly string[];
  /** Where its dead letters go; absent for a dead-letter queue. */
  deadLetters: SqliteQueue | undefined;

  readonly #host: QueueHost;
  readonly #window: Window;
  readonly #consumers = new Set<SqliteConsumer>();
  /** Consumers that can take a delivery, in turn. */
  readonly #line = new Deque<SqliteConsumer>();
  #nextSequence = 1;
  /** A page is being read, or the expired are being looked for on disk: one at a time. */
  #reading = false;
  /** Counts up when what a read brings has become void. */
  #readEpoch = 0;
  /** Being purged, or gone. */
  #frozen = false;

  /** Durable messages in all states, and their bytes. */
  #messages = 0;
  #bytes = 0;
  /** Accepted and not yet durable. */
  #pendingMessages = 0;
  #pendingBytes = 0;
  #delayed = 0;
  #inFlight = 0;
  /** Taken from a consumer, with the commit of what follows still to come. */
  #settling = 0;

  constructor(host: QueueHost, row: QueueRow) {
    this.#host = host;
    this.number = row.number;
    this.name = row.name;
    this.createdAt = row.createdAt;
    this.deadLetterOf = row.deadLetterOf ?? undefined;
    this.settings = JSON.parse(row.settings) as QueueSettings;
    this.bindings = JSON.parse(row.bindings) as string[];
    const { queueWindowMessages, queueWindowBytes } = host.limits;
    this.#window = new Window({ messages: queueWindowMessages, bytes: queueWindowBytes });
  }

  /** Takes over what the store found at its opening. */
  recover(state: QueueState): void {
    this.#messages = state.messages;
    this.#bytes = state.bytes;
    this.#delayed = state.delayed;
    this.#nextSequence = Math.max(this.#nextSequence, state.sequence + 1);
    for (const { lane, enteredAt } of state.heads) this.#window.leave(lane, enteredAt);
  }

  get deliveryGraceMs(): number {
    return this.#host.limits.deliveryGraceMs;
  }

  get description(): QueueDescription {
    const { name, settings, bindings, createdAt, deadLetterOf } = this;
    return {
      name,
      settings,
      bindings,
      createdAt,
      ...(deadLetterOf === undefined ? {} : { deadLetterOf }),
    };
  }

  get counts(): QueueCounts {
    return {
      ready: this.#messages - this.#delayed - this.#inFlight - this.#settling,
      delayed: this.#delayed,
      inFlight: this.#inFlight,
      bytes: this.#bytes,
      consumers: this.#consumers.size,
    };
  }

  get report(): QueueReport {
    const { description, counts } = this;
    let oldestTime = this.#window.oldestEnteredAt() ?? Number.POSITIVE_INFINITY;
    for (const entry of this.inFlight()) oldestTime = Math.min(oldestTime, entry.enteredAt);
    if (this.#messages === 0 || !Number.isFinite(oldestTime)) return { ...description, counts };
    return { ...description, counts, oldestTime };
  }

  get lastSequence(): number {
    return this.#nextSequence - 1;
  }

  /** What consumers hold. */
  *inFlight(): Iterable<Entry> {
    for (const consumer of this.#consumers) yield* consumer.held.values();
  }

  // Storing

  /** Throws `queue_full` when one more message of `bytes` would be over a bound of the queue. */
  assertRoom(bytes: number): void {
    const { maxMessages, maxBytes } = this.settings;
    const full =
      (maxMessages !== undefined && this.#messages + this.#pendingMessages >= maxMessages) ||
      (maxBytes !== undefined && this.#bytes + this.#pendingBytes + bytes > maxBytes);
    if (full) throw new WarrenError("queue_full", undefined, { queue: this.name });
  }

  /** Writes the message as an operation of the next commit; `appended` or `appendDropped` follows. */
  write(
    message: Message,
    enteredAt: number,
    deaths: Entry["deaths"],
    dueAt: number | undefined,
  ): Entry {
    const lane = laneOf(this.number, priorityOf(message, this.settings));
    const sequence = this.#nextSequence++;
    const header = recordHeader(
      message,
      enteredAt === message.time ? undefined : enteredAt,
      deaths,
    );
    const payload = recordPayload(message.payload);
    // A dead letter has only its queue's time to live.
    const expiresAt = this.deadLetterOf === undefined ? message.expiresAt : undefined;
    const { writer } = this.#host.storage;
    const bytes =
      dueAt === undefined && expiresAt === undefined
        ? writer.insert(lane, sequence, header, payload)
        : writer.insertFull(lane, sequence, { attempts: 0, dueAt, expiresAt }, header, payload);
    this.#pendingMessages++;
    this.#pendingBytes += bytes;
    return new Entry(this, lane, sequence, message, enteredAt, deaths, bytes, 0);
  }

  appended(entry: Entry, dueAt: number | undefined): void {
    this.appendDropped(entry);
    this.#messages++;
    this.#bytes += entry.bytes;
    if (dueAt !== undefined) {
      this.#delayed++;
      this.#host.delayed({ dueAt, lane: entry.lane, sequence: entry.sequence });
    } else if (this.#consumers.size === 0) {
      // Nobody waits for it: it need not be held in memory.
      this.#window.leave(entry.lane, entry.enteredAt);
    } else {
      this.#window.offer(entry);
      this.#host.pumpSoon(this);
    }
  }

  appendDropped(entry: Entry): void {
    this.#pendingMessages--;
    this.#pendingBytes -= entry.bytes;
  }

  /** A message that waited for a time joins its lane at the end, on disk first. */
  promote(lane: number, sequence: number): { readonly promoted: () => void } {
    this.#host.storage.writer.promote(lane, sequence, this.#nextSequence++);
    return {
      promoted: () => {
        this.#delayed--;
        this.#window.leave(lane, this.#host.clock.now());
        this.#host.pumpSoon(this);
      },
    };
  }

  // Handing out

  consume(consumer: SqliteConsumer): void {
    this.#consumers.add(consumer);
  }

  /** The consumer may be able to take something now. */
  wake(consumer: SqliteConsumer): void {
    if (!consumer.available) return;
    this.#standInLine(consumer);
    this.#host.pumpSoon(this);
  }

  /** Hands out what can be handed out, and sees to it that the window is filled again. */
  pump(): void {
    if (this.settings.paused || this.#frozen) return;
    const now = this.#host.clock.now();
    for (;;) {
      const consumer = this.#nextInLine();
      if (consumer === undefined) break;
      const entry = this.#window.next();
      if (entry === undefined) {
        this.#standInLine(consumer);
        break;
      }
      if (entry.expiresAt <= now) {
        this.#standInLine(consumer);
        this.expire(entry);
        continue;
      }
      this.#deliver(entry, consumer, now);
    }
    if (this.#consumers.size > 0) this.#readPage();
  }

  #nextInLine(): SqliteConsumer | undefined {
    for (;;) {
      const consumer = this.#line.shift();
      if (consumer === undefined) return undefined;
      consumer.inLine = false;
      if (consumer.available) return consumer;
    }
  }

  #standInLine(consumer: SqliteConsumer): void {
    if (consumer.inLine) return;
    consumer.inLine = true;
    this.#line.push(consumer);
  }

  #deliver(entry: Entry, consumer: SqliteConsumer, now: number): void {
    entry.tag = this.#host.nextTag();
    entry.consumer = consumer;
    entry.deliveredAt = now;
    entry.deadline = now + this.settings.ackTimeoutMs;
    consumer.held.set(entry.tag, entry);
    this.#inFlight++;
    this.#host.deadline(entry);
    if (consumer.available) this.#standInLine(consumer);
    this.#host.counters.delivered++;
    if (entry.attempts > 0) this.#host.counters.redelivered++;
    const { tag, message, attempts, deaths } = entry;
    consumer.sink.deliver({
      tag,
      queue: this.name,
      message,
      attempt: attempts + 1,
      expiresAt: entry.expiresAt,
      ...(deaths === undefined ? {} : { deaths }),
    });
  }

  #readPage(): void {
    if (this.#reading) return;
    const page = this.#window.plan();
    if (page === undefined) return;
    this.#reading = true;
    const epoch = this.#readEpoch;
    const lane = this.number * QUEUE_LANES + page.rank;
    const lastLane = this.number * QUEUE_LANES + page.lastRank;
    const { after, limit, bytes } = page;
    this.#host.storage.read({ kind: "page", lane, after, lastLane, limit, bytes }).then(
      ({ rows, complete }) => {
        this.#reading = false;
        if (epoch === this.#readEpoch) {
          this.#window.loaded(page, rows, complete, (row) => Entry.fromRow(this, row));
        }
        this.#host.pumpSoon(this);
      },
      () => {
        // The store cannot be read: the next sweep tries again.
        this.#reading = false;
      },
    );
  }

  // Settling

  settle(
    consumer: SqliteConsumer,
    tags: readonly number[],
    outcome: Outcome,
    settled: Settled | undefined,
  ): void {
    const error = this.#refusal(consumer, tags, outcome);
    if (error !== undefined) {
      if (settled !== undefined) this.#host.later(() => settled(error));
      return;
    }
    const entries = tags.map((tag) => consumer.held.get(tag)!);
    if (outcome.kind === "extend") {
      this.#extend(entries, outcome.byMs ?? this.settings.ackTimeoutMs);
      if (settled !== undefined) this.#host.later(() => settled(undefined));
      return;
    }
    for (const entry of entries) this.#take(entry);
    if (outcome.kind === "ack") {
      this.#host.counters.acked += entries.length;
      this.#remove(entries, settled);
    } else {
      const each = whenAll(entries.length, settled);
      for (const entry of entries) {
        if (outcome.kind === "nack") this.#nack(entry, outcome, each);
        else this.#die(entry, "rejected", entry.attempts + 1, outcome.reason, each);
      }
    }
    this.wake(consumer);
  }

  #refusal(
    consumer: SqliteConsumer,
    tags: readonly number[],
    outcome: Outcome,
  ): WarrenError | undefined {
    const seen = tags.length > 1 ? new Set(tags) : undefined;
    if (seen !== undefined && seen.size < tags.length) {
      return new WarrenError("invalid_frame", "A tag is named twice.", { pointer: "/tags" });
    }
    const stale = tags.filter((tag) => !consumer.held.has(tag));
    if (stale.length > 0) return new WarrenError("stale_delivery", undefined, { tags: stale });
    if (outcome.kind === "extend") return undefined;
    return this.#host.storageRefusal();
  }

  #extend(entries: readonly Entry[], byMs: number): void {
    const deadline = this.#host.clock.now() + byMs;
    for (const entry of entries) {
      entry.deadline = deadline;
      this.#host.deadlineMoved(entry);
    }
  }

  /** Out of the consumer's hands; it counts as settling until the commit. */
  #take(entry: Entry): void {
    entry.consumer?.held.delete(entry.tag);
    entry.consumer = undefined;
    this.#host.deadlineOver(entry);
    this.#inFlight--;
    this.#settling++;
  }

  #remove(entries: readonly Entry[], settled: Settled | undefined): void {
    const { storage } = this.#host;
    for (const entry of entries) storage.writer.delete(entry.lane, entry.sequence, entry.bytes);
    storage.add(new PendingRemoval(entries, settled));
  }

  removed(entry: Entry): void {
    this.#settling--;
    this.#messages--;
    this.#bytes -= entry.bytes;
  }

  notRemoved(entry: Entry): void {
    this.#settling--;
    this.#return(entry);
  }

  #nack(entry: Entry, outcome: Extract<Outcome, { kind: "nack" }>, settled: Settled): void {
    const { clock, counters, storage, random } = this.#host;
    counters.nacked++;
    const attempts = entry.attempts + 1;
    if (isExhausted(this.name, this.settings, attempts)) {
      this.#die(entry, "max_deliveries", attempts, outcome.reason, settled);
      return;
    }
    const dueAt = clock.now() + (outcome.delayMs ?? backoffMs(this.settings, attempts, random));
    entry.attempts = attempts;
    storage.writer.update(entry.lane, entry.sequence, {
      attempts,
      dueAt,
      expiresAt: this.deadLetterOf === undefined ? entry.message.expiresAt : undefined,
    });
    storage.add(new PendingDelay(entry, dueAt, settled));
  }

  delayed(entry: Entry, dueAt: number): void {
    this.#settling--;
    this.#delayed++;
    this.#host.delayed({ dueAt, lane: entry.lane, sequence: entry.sequence });
  }

  notDelayed(entry: Entry): void {
    this.notRemoved(entry);
  }

  /** Into the dead-letter queue with a record of why; out of a dead-letter queue, for good [P-5.6]. */
  #die(
    entry: Entry,
    reason: DeathReason,
    attempts: number,
    detail: string | undefined,
    settled: Settled | undefined,
  ): void {
    const target = this.deadLetters;
    if (target === undefined) {
      this.#remove([entry], settled);
      return;
    }
    const now = this.#host.clock.now();
    const deaths = withDeath(entry.deaths, {
      queue: this.name,
      reason,
      attempts,
      firstAt: entry.enteredAt,
      lastAt: now,
      ...(detail === undefined ? {} : { detail }),
    });
    this.#host.counters.deadLettered++;
    const { storage } = this.#host;
    const dead = target.write(entry.message, now, deaths, undefined);
    storage.writer.delete(entry.lane, entry.sequence, entry.bytes);
    storage.add(new PendingDeath(entry, dead, settled));
  }

  /** A message whose time to live is over and that is in no one's hands. */
  expire(entry: Entry): void {
    this.#settling++;
    this.#host.counters.expired++;
    this.#die(entry, "expired", entry.attempts, undefined, undefined);
  }

  /** The ack timeout passed [P-5.5]. */
  timeOut(entry: Entry): void {
    const consumer = entry.consumer;
    this.#host.counters.timedOut++;
    this.#take(entry);
    this.#countAttempt(entry);
    if (consumer !== undefined) this.wake(consumer);
  }

  /** Takes back what `consumer` holds; what it held for longer than `graceMs` counts as an attempt. */
  leave(consumer: SqliteConsumer, graceMs: number): void {
    this.#consumers.delete(consumer);
    const since = this.#host.clock.now() - graceMs;
    for (const entry of [...consumer.held.values()]) {
      this.#take(entry);
      if (entry.deliveredAt < since) {
        this.#countAttempt(entry);
      } else {
        this.#settling--;
        this.#return(entry);
      }
    }
    this.#host.pumpSoon(this);
  }

  #countAttempt(entry: Entry): void {
    const attempts = entry.attempts + 1;
    if (isExhausted(this.name, this.settings, attempts)) {
      this.#die(entry, "max_deliveries", attempts, "ack timeout", undefined);
      return;
    }
    entry.attempts = attempts;
    this.#settling--;
    this.#return(entry);
    const { storage } = this.#host;
    if (this.#host.storageRefusal() !== undefined) return;
    storage.writer.update(entry.lane, entry.sequence, {
      attempts,
      dueAt: undefined,
      expiresAt: this.deadLetterOf === undefined ? entry.message.expiresAt : undefined,
    });
    storage.add({ committed: () => {}, aborted: () => {} });
  }

  /** Waits again, in its place. */
  #return(entry: Entry): void {
    this.#window.giveBack(entry);
    this.#host.pumpSoon(this);
  }

  // Expiry

  /** Looks for what has expired, here and on disk. */
  sweep(now: number): void {
    if (this.#frozen || this.#host.storageRefusal() !== undefined) return;
    for (const entry of this.#window.takeExpired(now)) this.expire(entry);
    if (this.#reading) return;
    for (const { rank, after } of this.#window.diskLanes(now - this.settings.ttlMs)) {
      this.#expireOnDisk(rank, after, now);
      return;
    }
    if (this.#consumers.size > 0) this.#host.pumpSoon(this);
  }

  #expireOnDisk(rank: number, after: number, now: number): void {
    this.#reading = true;
    const epoch = this.#readEpoch;
    const lane = this.number * QUEUE_LANES + rank;
    const { storage, limits } = this.#host;
    const limit = limits.expiryPageMessages;
    const bytes = limits.queueWindowBytes;
    storage.read({ kind: "page", lane, after, lastLane: lane, limit, bytes }).then(
      ({ rows, complete }) => {
        this.#reading = false;
        if (epoch !== this.#readEpoch) return;
        let first: Entry | undefined;
        for (const row of rows) {
          const entry = Entry.fromRow(this, row);
          if (entry.expiresAt > now) {
            first = entry;
            break;
          }
          this.#window.skipped(rank, entry.sequence);
          this.expire(entry);
        }
        const more = first === undefined && !complete;
        this.#window.diskBegins(rank, more ? 0 : first?.enteredAt);
        if (more) this.sweep(now);
        else this.#host.pumpSoon(this);
      },
      () => {
        this.#reading = false;
      },
    );
  }

  /** Rows on disk that expire by a time of their own. */
  expireRow(row: Row): void {
    if (this.#reading || !this.#window.isOnDisk(row.lane, row.sequence)) return;
    this.expire(Entry.fromRow(this, row));
  }

  // Changing

  redefine(settings: QueueSettings, bindings: readonly string[]): void {
    this.settings = settings;
    this.bindings = bindings;
    this.#window.reconsiderExpiry();
    this.#host.pumpSoon(this);
  }

  /** While frozen nothing is handed out or read: a purge is under way. */
  freeze(): void {
    this.#frozen = true;
    this.#readEpoch++;
  }

  /** Ends a purge of everything below `below` except `kept`; with `done` false nothing has gone. */
  thaw(below: number, kept: ReadonlySet<Entry>): void {
    this.#frozen = false;
    this.#readEpoch++;
    this.#window.clear(below, kept);
    this.#host.pumpSoon(this);
  }

  purged({ messages, delayed, bytes }: Purged): void {
    this.#messages -= messages;
    this.#delayed -= delayed;
    this.#bytes -= bytes;
  }

  /** Ends every consumer; what they hold is ready again, unless the queue goes. */
  endConsumers(error: WarrenError): void {
    for (const consumer of [...this.#consumers]) {
      consumer.cancel();
      consumer.end();
      this.#host.later(() => consumer.sink.ended(error));
    }
  }
}

/** Calls `settled` once, when `count` outcomes are known; with the first error, if there was one. */
function whenAll(count: number, settled: Settled | undefined): Settled {
  let left = count;
  let first: WarrenError | undefined;
  return (error) => {
    first ??= error;
    left--;
    if (left === 0) settled?.(first);
  };
}
