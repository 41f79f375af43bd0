/**
 * The embedded engine: queues in memory over one SQLite file that a writer thread commits to. This file
 * joins the parts: appends, time, health; queues keep their own messages, `registry.ts` keeps the queues.
 */
import type { Clock, Random } from "../../clock.ts";
import { WarrenError } from "../../errors.ts";
import type { Limits } from "../../limits.ts";
import { EngineTally } from "../counters.ts";
import type {
  AppendRequest,
  BatchRequest,
  Capabilities,
  Consumer,
  DeliverySink,
  Engine,
  EngineHealth,
  EngineListener,
} from "../engine.ts";
import { RateSampler } from "../rates.ts";
import type { ScheduleRequest } from "../schedule.ts";
import { SqliteAudit } from "./audit.ts";
import { SqliteConsumer } from "./consumer.ts";
import type { Durability } from "./database.ts";
import { DelayedWindow, type Place } from "./delayed.ts";
import type { Entry } from "./entry.ts";
import { Forgetting } from "./forgetting.ts";
import { Intake, type IntakeHost } from "./intake.ts";
import { queueNumberOf } from "./lanes.ts";
import { Lookups } from "./lookups.ts";
import { PendingRelease } from "./pending.ts";
import type { SqliteQueue } from "./queue.ts";
import { SqliteRecords } from "./records.ts";
import { QueueRegistry } from "./registry.ts";
import { Schedule } from "./schedule.ts";
import { type Opened, Storage } from "./storage.ts";
import { type StartWriter, WriterThread } from "./thread.ts";
import { Timetable } from "./timetable.ts";
import { SqliteTopics } from "./topics.ts";

/** Delayed messages whose time has come that are seen to in one go. */
const RELEASED_AT_ONCE = 1000;
/** Until what is due is looked at again, when nothing can be written. */
const LOOK_AGAIN_MS = 1000;
/** Together 2^53: every tag is an integer that JSON carries exactly. */
const TAGS_PER_LIFE = 2 ** 33;
const LIVES = 2 ** 20;

export interface SqliteEngineDependencies {
  readonly dataDir: string;
  readonly durability: Durability;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Limits;
  /** What writes; a thread of its own when absent. */
  readonly startWriter?: StartWriter;
}

export class SqliteEngine implements Engine, IntakeHost {
  readonly name = "sqlite";
  readonly capabilities: Capabilities = { durable: true, shared: false };
  readonly queues: QueueRegistry;
  readonly records: SqliteRecords;
  readonly audit = new SqliteAudit(this);
  readonly topics = new SqliteTopics(this);
  readonly counters = new EngineTally(() => this.queues.tallies());
  readonly rates: RateSampler;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Limits;
  readonly storage: Storage;
  readonly durability: Durability;

  readonly #delayed: DelayedWindow;
  readonly #timetable: Timetable;
  readonly #lookups: Lookups;
  readonly #schedule: Schedule;
  readonly #intake = new Intake(this);
  readonly #forgetting = new Forgetting(this);
  readonly #dirty = new Set<SqliteQueue>();
  readonly #pump = () => this.#pumpDirty();
  #listener: EngineListener | undefined;
  #state: "new" | "open" | "closed" = "new";
  #lastTag = 0;
  /** The writer is gone: what is in memory may differ from what is on disk. */
  #adrift = false;

  constructor(deps: SqliteEngineDependencies) {
    this.clock = deps.clock;
    this.random = deps.random;
    this.limits = deps.limits;
    this.durability = deps.durability;
    this.rates = new RateSampler(deps.clock, () => this.queues.tallies());
    this.#delayed = new DelayedWindow(deps.limits.delayedWindow);
    this.#timetable = new Timetable(deps.clock, this.#delayed, (now) => this.#wake(now));
    this.storage = new Storage({
      startWriter: (onLost) => new WriterThread(onLost),
      ...deps,
      afterCommit: (operations, durationMs) => {
        this.counters.commits++;
        this.counters.commitOperations += operations;
        this.counters.commitMs += durationMs;
        this.#lookups.fetchWanted();
        this.rates.wake();
        this.tryAgain();
      },
      healthChanged: (health) => {
        this.#listener?.healthChanged(health);
        if (health.state === "ready") this.#resume();
        this.tryAgain();
      },
      kept: (result) => this.topics.changed(result),
      recounted: (queues) => this.queues.recounted(queues),
      lost: () => this.#letGo(),
      reopened: (opened) => this.#rebuild(opened),
    });
    this.records = new SqliteRecords(this, (collection, key, value) =>
      this.#listener?.recordChanged?.(collection, key, value),
    );
    this.queues = new QueueRegistry(this, this.#delayed, (name, description) =>
      this.#listener?.queueChanged(name, description),
    );
    this.#lookups = new Lookups(this, this.queues, (time) => this.#timetable.at(time));
    this.#schedule = new Schedule(this, this.queues);
  }

  get health(): EngineHealth {
    return this.storage.health;
  }

  async open(listener: EngineListener): Promise<void> {
    const opened = await this.storage.open();
    this.#listener = listener;
    this.#state = "open";
    // Tags of an earlier life must not be taken for tags of this one.
    this.#lastTag = (opened.openings % LIVES) * TAGS_PER_LIFE;
    this.queues.recover(opened.queues);
    this.records.recover(opened.records, false);
    this.topics.recover(opened.kept);
    this.#readTimes(opened);
    for (const queue of this.queues.all()) listener.queueChanged(queue.name, queue.description);
  }

  #readTimes({ queues }: Opened): void {
    this.#delayed.startFromDisk(queues.some((queue) => queue.delayed > 0));
    this.#timetable.at(this.clock.now());
    this.#readDelayed();
  }

  /**
   * The writer is gone, and with it the answers on their way: what they would have told may have
   * happened or not, so nobody works on what memory holds [P-5.2].
   */
  #letGo(): void {
    this.#adrift = true;
    const error = new WarrenError("storage_unavailable");
    for (const queue of this.queues.all()) queue.endConsumers(error);
  }

  /** A new writer says what is on disk: all that was thought is forgotten for it. */
  #rebuild(opened: Opened): void {
    this.#adrift = false;
    this.#dirty.clear();
    this.#timetable.clear();
    this.#lookups.clear();
    this.queues.rebuild(opened.queues);
    this.records.recover(opened.records, true);
    this.topics.recover(opened.kept);
    this.#readTimes(opened);
  }

  append(request: AppendRequest): void {
    this.#intake.append(request);
  }

  appendBatch(request: BatchRequest): void {
    this.#intake.appendBatch(request);
  }

  reschedule(request: ScheduleRequest): void {
    this.#schedule.change(request);
  }

  consume(name: string, sink: DeliverySink): Consumer {
    if (this.#state !== "open") throw new WarrenError("draining");
    const queue = this.queues.open(name);
    if (this.#adrift) throw new WarrenError("storage_unavailable");
    const consumer = new SqliteConsumer(queue, sink, this.clock.now());
    queue.join(consumer);
    return consumer;
  }

  async close(): Promise<void> {
    if (this.#state !== "open") {
      this.#state = "closed";
      return;
    }
    this.#state = "closed";
    this.#timetable.stop();
    this.rates.stop();
    this.tryAgain();
    for (const queue of this.queues.all()) queue.endConsumers(new WarrenError("draining"));
    await this.storage.close();
  }

  // What a queue needs of the engine

  storageRefusal(): WarrenError | undefined {
    if (this.#state !== "open") return new WarrenError("draining");
    const { health } = this;
    if (health.state === "ready") return undefined;
    return new WarrenError("storage_unavailable");
  }

  nextTag(): number {
    return ++this.#lastTag;
  }

  later(action: () => void): void {
    this.clock.endOfTurn(action);
  }

  pumpSoon(queue: SqliteQueue): void {
    if (this.#dirty.size === 0) this.clock.endOfTurn(this.#pump);
    this.#dirty.add(queue);
  }

  deadline(entry: Entry): void {
    this.#timetable.deadlines.push(entry);
    if (this.#timetable.deadlines.peek() === entry) this.#timetable.arm();
  }

  deadlineMoved(entry: Entry): void {
    this.#timetable.deadlines.moved(entry);
    this.#timetable.arm();
  }

  deadlineOver(entry: Entry): void {
    this.#timetable.deadlines.remove(entry);
  }

  delayed(place: Place): void {
    this.#delayed.add(place);
    this.#timetable.arm();
  }

  mayExpire(queue: SqliteQueue, at: number): void {
    const { expiries } = this.#timetable;
    queue.expiryAt = at;
    if (queue.heapIndex < 0) expiries.push(queue);
    else expiries.moved(queue);
    if (expiries.peek() === queue) this.#timetable.arm();
  }

  expiresEarly(expiresAt: number): void {
    this.#lookups.expiresEarly(expiresAt);
  }

  fetch(lane: number, sequence: number): void {
    this.#lookups.want(lane, sequence);
  }

  behindAppends(topic: string, action: () => void): void {
    this.#intake.behind(topic, action);
  }

  get scheduleChanges(): number {
    return this.#schedule.changes;
  }

  get fetching(): boolean {
    return this.#lookups.fetching;
  }

  tryAgain(): void {
    this.#intake.tryAgain();
  }

  #pumpDirty(): void {
    if (this.#state !== "open") return;
    this.rates.wake();
    for (const queue of this.#dirty) {
      this.#dirty.delete(queue);
      queue.pump();
    }
  }

  // Time

  #wake(now: number): void {
    const { deadlines, expiries } = this.#timetable;
    if (this.storageRefusal() !== undefined) this.#timetable.holdOff(now + LOOK_AGAIN_MS);
    for (;;) {
      const entry = deadlines.peek();
      if (entry === undefined || entry.deadline > now) break;
      entry.queue.settlement.timeOut(entry);
    }
    this.#releaseDue(now);
    for (;;) {
      const queue = expiries.peek();
      if (queue === undefined || queue.expiryAt > now) break;
      expiries.remove(queue);
      queue.expiryAt = Number.POSITIVE_INFINITY;
      queue.sweep(now);
    }
    this.#lookups.expire(now);
    this.#forgetting.look(now);
    // It was woken for the sooner of the two, and the other is still to come.
    this.#timetable.at(Math.min(this.#forgetting.nextAt, this.#lookups.nextExpiryAt));
  }

  /** After the store failed: what waited for it goes on. */
  #resume(): void {
    this.#timetable.holdOff(0);
    this.#readDelayed();
    for (const queue of this.queues.all()) {
      queue.watchExpiry();
      this.pumpSoon(queue);
    }
    this.#timetable.arm();
  }

  /** Those whose time has come wait no longer, on disk first; while that fails they stay delayed. */
  #releaseDue(now: number): void {
    if ((this.#delayed.nextDueAt ?? Number.POSITIVE_INFINITY) > now) return;
    if (this.storageRefusal() !== undefined) return;
    for (const place of this.#delayed.takeDue(now, RELEASED_AT_ONCE)) {
      const { lane, sequence, dueAt } = place;
      const queue = this.queues.byNumber(queueNumberOf(lane));
      if (queue === undefined) continue;
      this.storage.writer.release(lane, sequence, dueAt);
      this.storage.add(
        new PendingRelease(
          (gone) => queue.released(lane, sequence, gone),
          () => this.delayed(place),
        ),
      );
    }
    this.#readDelayed();
  }

  #readDelayed(): void {
    const plan = this.#delayed.plan();
    if (plan === undefined) return;
    const { dueAt, lane, sequence } = plan.after;
    this.storage.read({ kind: "due", dueAt, lane, after: sequence, limit: plan.limit }).then(
      ({ rows, complete }) => {
        const places = rows.map((row) => ({
          dueAt: row.dueAt!,
          lane: row.lane,
          sequence: row.sequence,
        }));
        this.#delayed.loaded(places, complete);
        this.#timetable.arm();
      },
      () => this.#delayed.failed(),
    );
  }
}
