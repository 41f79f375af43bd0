/**
 * One queue at work: who gets which message, and what becomes of it. Memory decides, disk remembers:
 * every change of a message is written as an operation of the next commit, and takes effect in the
 * counts when that has succeeded.
 *
 *   stored -> waiting (in the window, or on disk behind it) -> in flight -> acked: gone
 *                ^                                                |
 *                |-- returned at once, in its place <-------------|- timed out, cancelled, disconnected
 *                |-- delayed until due, then in its place <-------|- nacked
 *                                                                 '- rejected, exhausted, expired: dead
 */
import type { QueueSettings } from "../../../schemas/queue.ts";
import type { HeapItem } from "../../collections/heap.ts";
import type { WarrenError } from "../../errors.ts";
import type { DeathRecord, Message } from "../../message.ts";
import type { QueueTally } from "../counters.ts";
import type { QueueDescription, QueueReport } from "../engine.ts";
import { priorityOf, storedSettings } from "../rules.ts";
import { Backlog } from "./backlog.ts";
import type { RowTimes } from "./batch.ts";
import type { SqliteConsumer } from "./consumer.ts";
import { Entry } from "./entry.ts";
import type { Moved, Purged, QueueRow, QueueState, Recounted } from "./exchange.ts";
import type { QueueHost } from "./host.ts";
import { laneOf, orderingOf, rankOf } from "./lanes.ts";
import { Line } from "./line.ts";
import { type EncodedRecord, encodeRecord, messageKey, recordBytes } from "./record.ts";
import { reportOf } from "./report.ts";
import { Retained } from "./retained.ts";
import { Settlement } from "./settlement.ts";
import { Totals } from "./totals.ts";

/** Until expiry is looked at again, when it could not be acted on. */
const RETRY_MS = 1000;

export class SqliteQueue implements HeapItem {
  readonly number: number;
  readonly name: string;
  readonly createdAt: number;
  readonly deadLetterOf: string | undefined;
  settings: QueueSettings;
  bindings: readonly string[];
  /** Where its dead letters go; absent for a dead-letter queue. */
  deadLetters: SqliteQueue | undefined;
  /** No message of the queue expires by the queue's time before this; kept for the timetable. */
  expiryAt = Number.POSITIVE_INFINITY;
  heapIndex = -1;
  /** Whether its messages are written with what orders them. */
  isIndexed: boolean;
  readonly backlog: Backlog;
  readonly settlement: Settlement;
  /** What it keeps of its acked messages. */
  readonly retained: Retained;

  readonly #host: QueueHost;
  readonly totals = new Totals();
  readonly tally: QueueTally;
  readonly #consumers = new Set<SqliteConsumer>();
  readonly #line = new Line();
  /** To be told when nothing is on its way to anybody. */
  readonly #resting: (() => void)[] = [];
  #nextSequence = 1;

  /** `tally` goes on counting where a queue of this name left off, at a new start of the store. */
  constructor(host: QueueHost, row: QueueRow, tally: QueueTally) {
    this.tally = tally;
    this.#host = host;
    this.number = row.number;
    this.name = row.name;
    this.createdAt = row.createdAt;
    this.deadLetterOf = row.deadLetterOf ?? undefined;
    this.settings = storedSettings(row.settings);
    this.bindings = JSON.parse(row.bindings) as string[];
    this.isIndexed = this.settings.ordering === "key";
    this.backlog = new Backlog(this, host);
    this.settlement = new Settlement(this, host, this.totals);
    this.retained = new Retained(this, host);
  }

  /** Takes over what the store found at its opening. */
  recover(state: QueueState): void {
    this.totals.messages = state.messages;
    this.totals.bytes = state.bytes;
    this.totals.delayed = state.delayed;
    this.#nextSequence = Math.max(this.#nextSequence, state.sequence + 1);
    this.retained.recover(state.acked);
    for (const { lane, enteredAt } of state.heads) this.backlog.window.leave(lane, enteredAt);
    this.watchExpiry();
  }

  recounted({ messages, bytes, delayed, acked }: Recounted): void {
    this.retained.recover(acked);
    this.totals.messages = messages;
    this.totals.bytes = bytes;
    this.totals.delayed = delayed;
  }

  get deliveryGraceMs(): number {
    return this.#host.limits.deliveryGraceMs;
  }

  get description(): QueueDescription {
    const { name, settings, bindings, createdAt, deadLetterOf } = this;
    const described = { name, settings, bindings, createdAt };
    return deadLetterOf === undefined ? described : { ...described, deadLetterOf };
  }

  get report(): QueueReport {
    return reportOf(this, this.#host);
  }

  get consumers(): ReadonlySet<SqliteConsumer> {
    return this.#consumers;
  }

  /** Whether somebody is there to take a message, or was a moment ago. */
  get wanted(): boolean {
    return this.#consumers.size > 0 || this.backlog.lingers;
  }

  get lastSequence(): number {
    return this.#nextSequence - 1;
  }

  /** What consumers hold. */
  *inFlight(): Iterable<Entry> {
    for (const consumer of this.#consumers) yield* consumer.held.values();
  }

  // Storing

  /** Whether it takes the record: it is not draining, and the record is within its bounds. */
  hasRoom(record: EncodedRecord): boolean {
    if (this.settings.draining) return false;
    return this.totals.hasRoom(this.settings, () => recordBytes(record));
  }

  /** Writes the message as an operation of the next commit; `appended` or `appendDropped` follows. */
  write(
    message: Message,
    priority: number,
    enteredAt: number,
    deaths: readonly DeathRecord[] | undefined,
    dueAt: number | undefined,
    record: EncodedRecord,
  ): Entry {
    const lane = laneOf(this.number, priority);
    const sequence = this.#nextSequence++;
    const entry = new Entry(this, lane, sequence, message, enteredAt, deaths);
    const times = this.times(entry, dueAt);
    const { writer } = this.#host.storage;
    const { key } = message;
    const ordering = this.isIndexed && key !== undefined ? orderingOf(this.number, key) : undefined;
    if (times.dueAt !== undefined || times.expiresAt !== undefined) {
      entry.bytes = writer.insertFull(lane, sequence, times, record);
      if (ordering !== undefined) writer.order(lane, sequence, ordering);
    } else if (ordering !== undefined) {
      entry.bytes = writer.insertOrdered(lane, sequence, ordering, record);
    } else {
      entry.bytes = writer.insert(lane, sequence, record);
    }
    if (dueAt !== undefined) writer.schedule(lane, sequence, messageKey(message.topic, message.id));
    this.totals.pendingMessages++;
    this.totals.pendingBytes += entry.bytes;
    this.totals.pendingByRank[rankOf(lane)]!++;
    return entry;
  }

  /** The same for a message whose payload does not fit: into the dead-letter queue, which owns the entry. */
  writeInvalid(message: Message, detail: string): Entry {
    const target = this.deadLetters ?? this;
    const now = this.#host.clock.now();
    const times = { firstAt: now, lastAt: now };
    const death = { queue: this.name, reason: "invalid", attempts: 0, ...times, detail } as const;
    const record = encodeRecord(message, now, [death]);
    return target.write(
      message,
      priorityOf(message, this.settings),
      now,
      [death],
      undefined,
      record,
    );
  }

  appended(entry: Entry, dueAt: number | undefined): void {
    this.appendDropped(entry);
    this.totals.messages++;
    this.totals.bytes += entry.bytes;
    if (dueAt !== undefined) {
      this.totals.delayed++;
      this.#host.delayed({ dueAt, lane: entry.lane, sequence: entry.sequence });
    } else if (!this.wanted) {
      // Nobody is there to take it: it need not be held in memory.
      this.backlog.leave(entry.lane, entry.enteredAt);
      this.mayExpire(entry.expiresAt);
    } else {
      this.backlog.arrived(entry, this.totals.delayed === 0);
      this.mayExpire(entry.expiresAt);
      this.#host.pumpSoon(this);
    }
  }

  appendDropped(entry: Entry): void {
    this.totals.pendingMessages--;
    this.totals.pendingBytes -= entry.bytes;
    this.totals.pendingByRank[rankOf(entry.lane)]!--;
  }

  /**
   * What the row says beside the record. The own expiry is there for the index that the sweep reads:
   * messages that expire by the queue's time are found by their place instead.
   */
  times(entry: Entry, dueAt: number | undefined): RowTimes {
    const { attempts, message, expiresAt } = entry;
    let early = this.deadLetterOf === undefined ? message.expiresAt : undefined;
    if (dueAt !== undefined && expiresAt < dueAt) early = expiresAt;
    if (early !== undefined) this.#host.expiresEarly(early);
    return { attempts, dueAt, expiresAt: early };
  }

  // Handing out

  join(consumer: SqliteConsumer): void {
    this.#consumers.add(consumer);
  }

  /** Takes back what it holds; what it held for longer than `graceMs` counts as an attempt. */
  leave(consumer: SqliteConsumer, graceMs: number): void {
    this.#consumers.delete(consumer);
    if (this.#consumers.size === 0) this.backlog.linger();
    this.settlement.takeBack(consumer, graceMs);
    this.watchExpiry();
    this.#host.pumpSoon(this);
  }

  /** The consumer may be able to take something now. */
  wake(consumer: SqliteConsumer): void {
    this.#line.join(consumer);
    // What it settled may be room for another under `maxInFlight`.
    if (consumer.available || this.settings.maxInFlight !== undefined) this.#host.pumpSoon(this);
  }

  /** Hands out what can be handed out, and sees to it that the window is filled again. */
  pump(): void {
    if (this.backlog.frozen) return;
    if (!this.settings.paused) this.#handOut(this.#host.clock.now());
    // Also where nothing goes out for now: what is next is known when it does.
    const isReading = this.wanted && this.backlog.fill();
    if (this.#resting.length === 0 || isReading) return;
    for (const done of this.#resting.splice(0)) done();
  }

  /** Calls `done` when all has been handed out that can be, and nothing is being read. */
  atRest(done: () => void): void {
    this.#resting.push(done);
    this.#host.pumpSoon(this);
  }

  #handOut(now: number): void {
    const { maxInFlight = Number.POSITIVE_INFINITY, priorityAgeingMs } = this.settings;
    for (let consumer = this.#line.peek(); consumer !== undefined; consumer = this.#line.peek()) {
      if (this.totals.inFlight >= maxInFlight) break;
      const entry = this.backlog.window.next(now, priorityAgeingMs);
      if (entry === undefined) break;
      if (entry.expiresAt <= now) {
        if (this.#host.storageRefusal() !== undefined) {
          // Neither handed out nor buried: it would come back at once, again and again.
          this.backlog.putBack(entry);
          break;
        }
        this.settlement.expire(entry);
        continue;
      }
      this.#line.next();
      this.#deliver(entry, consumer, now);
      this.#line.join(consumer);
    }
  }

  #deliver(entry: Entry, consumer: SqliteConsumer, now: number): void {
    const { keys } = this.backlog;
    // A turn has a number of its own among those of messages: later than all that are there.
    if (keys !== undefined) keys.handed(entry, this.#nextSequence++);
    entry.tag = this.#host.nextTag();
    entry.consumer = consumer;
    entry.deliveredAt = now;
    entry.deadline = now + this.settings.ackTimeoutMs;
    consumer.held.add(entry);
    this.totals.inFlight++;
    this.#host.deadline(entry);
    this.tally.delivered++;
    if (entry.attempts > 0) this.tally.redelivered++;
    const { tag, message, attempts, expiresAt, deaths } = entry;
    const delivery = { tag, queue: this.name, message, attempt: attempts + 1, expiresAt };
    consumer.sink.deliver(deaths === undefined ? delivery : { ...delivery, deaths });
  }

  // Time and change

  /** Its time has come: on disk first, then in its place. `gone` when it was purged or expired. */
  released(lane: number, sequence: number, gone: boolean): void {
    if (gone) return;
    this.totals.delayed--;
    this.backlog.cameDue(lane, sequence, this.wanted);
    this.watchExpiry();
    this.#host.pumpSoon(this);
  }

  /** Looks for what has expired, here and on disk. */
  sweep(now: number): void {
    if (this.backlog.frozen || this.#host.storageRefusal() !== undefined) {
      this.mayExpire(now + RETRY_MS);
      return;
    }
    this.retained.sweep(now);
    for (const entry of this.backlog.window.takeExpired(now)) this.settlement.expire(entry);
    if (!this.backlog.sweepDisk(now)) this.watchExpiry();
  }

  /** Sees to it that the queue is swept when its next message may expire. */
  watchExpiry(): void {
    const { backlog, settings, retained } = this;
    this.mayExpire(Math.min(backlog.window.nextExpiryAt(settings.ttlMs), retained.nextExpiryAt));
  }

  mayExpire(at: number): void {
    if (at < this.expiryAt) this.#host.mayExpire(this, at);
  }

  redefine(settings: QueueSettings, bindings: readonly string[]): void {
    const { ordering, keyRetry } = this.settings;
    this.settings = settings;
    this.bindings = bindings;
    this.isIndexed = settings.ordering === "key";
    const isByKey = settings.ordering === "key";
    if (ordering !== settings.ordering || (isByKey && keyRetry !== settings.keyRetry)) {
      this.backlog.readAnew();
    }
    this.backlog.window.reconsiderExpiry();
    this.retained.sweep(this.#host.clock.now());
    this.watchExpiry();
    for (const consumer of this.#consumers) this.#line.join(consumer);
    this.#host.pumpSoon(this);
  }

  purged({ messages, delayed, bytes }: Purged): void {
    this.totals.messages -= messages;
    this.totals.delayed -= delayed;
    this.totals.bytes -= bytes;
  }

  // Transfers

  room(): { messages: number; bytes: number } {
    return this.totals.room(this.settings);
  }

  /** Keeps sequences and room for what may come, until the function that it returns is called. */
  reserve(messages: number, bytes: number): () => void {
    const held = Math.min(bytes, Math.max(this.room().bytes, 0));
    this.#nextSequence += messages;
    this.totals.pendingMessages += messages;
    this.totals.pendingBytes += held;
    return () => {
      this.totals.pendingMessages -= messages;
      this.totals.pendingBytes -= held;
    };
  }

  /** The queue was frozen, and these are gone. */
  departed({ moved, gone, bytes, delayed }: Moved): void {
    this.purged({ kind: "purged", messages: moved, bytes, delayed });
    this.backlog.thaw(({ lane, sequence }) =>
      gone.some(([at, first, last]) => at === lane && first <= sequence && sequence <= last),
    );
  }

  /** These are on disk now. */
  arrived({ moved, arrivedBytes, lanes, ownExpiry }: Moved): void {
    const now = this.#host.clock.now();
    this.tally.redriven += moved;
    this.totals.messages += moved;
    this.totals.bytes += arrivedBytes;
    for (const lane of lanes) this.backlog.leave(lane, now);
    if (ownExpiry !== null) this.#host.expiresEarly(ownExpiry);
    this.watchExpiry();
    this.#host.pumpSoon(this);
  }

  /** Ends every consumer; what they hold is ready again. */
  endConsumers(error: WarrenError): void {
    for (const consumer of [...this.#consumers]) {
      consumer.cancel();
      this.#host.later(() => consumer.sink.ended(error));
    }
    this.backlog.unload();
  }
}
