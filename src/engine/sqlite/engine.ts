/**
 * The embedded engine: queues in memory over one SQLite file that a writer thread commits to. This file
 * joins the parts: appends, time, health; queues keep their own messages, `registry.ts` keeps the queues.
 */
import type { Clock, Random } from "../../clock.ts";
import { WarrenError } from "../../errors.ts";
import type { Limits } from "../../limits.ts";
import type { Message } from "../../message.ts";
import type {
  AppendRequest,
  Capabilities,
  Consumer,
  DeliverySink,
  Engine,
  EngineCounters,
  EngineHealth,
  EngineListener,
} from "../engine.ts";
import { SqliteConsumer } from "./consumer.ts";
import type { Durability } from "./database.ts";
import { DelayedWindow, type Place } from "./delayed.ts";
import type { Entry } from "./entry.ts";
import type { QueueHost } from "./host.ts";
import { queueNumberOf } from "./lanes.ts";
import { PendingAppend, PendingChange } from "./pending.ts";
import type { SqliteQueue } from "./queue.ts";
import { QueueRegistry } from "./registry.ts";
import { Storage } from "./storage.ts";
import { Timetable } from "./timetable.ts";

/** Delayed messages that join their lanes in one go. */
const PROMOTED_AT_ONCE = 1000;
const EXPIRED_AT_ONCE = 1000;

export interface SqliteEngineDependencies {
  readonly dataDir: string;
  readonly durability: Durability;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Limits;
}

export class SqliteEngine implements Engine, QueueHost {
  readonly name = "sqlite";
  readonly capabilities: Capabilities = { durable: true, shared: false };
  readonly queues: QueueRegistry;
  readonly counters: EngineCounters = {
    stored: 0,
    delivered: 0,
    redelivered: 0,
    acked: 0,
    nacked: 0,
    deadLettered: 0,
    expired: 0,
    timedOut: 0,
    duplicates: 0,
    commits: 0,
    commitOperations: 0,
    commitMs: 0,
  };
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Limits;
  readonly storage: Storage;
  readonly durability: Durability;

  readonly #delayed: DelayedWindow;
  readonly #timetable: Timetable;
  readonly #dirty = new Set<SqliteQueue>();
  readonly #pump = () => this.#pumpDirty();
  #listener: EngineListener | undefined;
  #state: "new" | "open" | "closed" = "new";
  #lastTag = 0;
  #lastForgetAt = 0;

  constructor(deps: SqliteEngineDependencies) {
    this.clock = deps.clock;
    this.random = deps.random;
    this.limits = deps.limits;
    this.durability = deps.durability;
    this.#delayed = new DelayedWindow(deps.limits.delayedWindow);
    this.#timetable = new Timetable(deps.clock, this.#delayed, (now, sweep) =>
      this.#wake(now, sweep),
    );
    this.storage = new Storage({
      ...deps,
      afterCommit: (operations, durationMs) => {
        this.counters.commits++;
        this.counters.commitOperations += operations;
        this.counters.commitMs += durationMs;
        this.#pumpDirty();
      },
      healthChanged: (health) => this.#listener?.healthChanged(health),
      reopened: (states) => this.queues.resynchronise(states),
    });
    this.queues = new QueueRegistry(this, this.#delayed, (name, description) =>
      this.#listener?.queueChanged(name, description),
    );
  }

  get health(): EngineHealth {
    return this.storage.health;
  }

  async open(listener: EngineListener): Promise<void> {
    const states = await this.storage.open();
    this.#listener = listener;
    this.#state = "open";
    // Tags of an earlier life must not be taken for tags of this one.
    this.#lastTag = this.clock.now() * 1000;
    this.queues.recover(states);
    if (states.some((state) => state.delayed > 0)) this.#delayed.startFromDisk();
    this.#timetable.start();
    this.#readDelayed();
    for (const queue of this.queues.all()) listener.queueChanged(queue.name, queue.description);
  }

  append(request: AppendRequest): void {
    try {
      const queues = this.#destinations(request);
      this.#store(request, queues);
    } catch (error) {
      if (!(error instanceof WarrenError)) throw error;
      this.later(() => request.failed(error));
    }
  }

  #destinations(request: AppendRequest): SqliteQueue[] {
    const refusal = this.storageRefusal();
    if (refusal !== undefined) throw refusal;
    if (this.storage.waiting >= this.limits.pendingOperations) throw new WarrenError("busy");
    const queues = request.queues.map((name) => this.queues.open(name));
    // Nobody gets a copy unless everybody has room [P-3.6].
    const bytes = sizeOf(request.message);
    for (const queue of queues) queue.assertRoom(bytes);
    return queues;
  }

  #store(request: AppendRequest, queues: readonly SqliteQueue[]): void {
    const { message, dueAt, dedupe } = request;
    if (dedupe) {
      const windowMs = Math.max(...queues.map((queue) => queue.settings.dedupeWindowMs));
      const expiresAt = this.clock.now() + windowMs;
      this.storage.writer.dedupe(`${message.topic}\0${message.id}`, expiresAt, queues.length);
    }
    const entries = queues.map((queue) => queue.write(message, message.time, undefined, dueAt));
    this.storage.add(new PendingAppend(request, entries, dueAt, this.counters));
  }

  consume(name: string, sink: DeliverySink): Consumer {
    const queue = this.queues.open(name);
    const consumer = new SqliteConsumer(queue, sink);
    queue.consume(consumer);
    return consumer;
  }

  async close(): Promise<void> {
    if (this.#state !== "open") {
      this.#state = "closed";
      return;
    }
    this.#state = "closed";
    this.#timetable.stop();
    for (const queue of this.queues.all()) queue.endConsumers(new WarrenError("draining"));
    await this.storage.close();
  }

  // What a queue needs of the engine

  storageRefusal(): WarrenError | undefined {
    if (this.#state !== "open") return new WarrenError("draining");
    const { health } = this;
    if (health.state === "ready") return undefined;
    return new WarrenError("storage_unavailable", undefined, { reason: health.reason });
  }

  nextTag(): number {
    return ++this.#lastTag;
  }

  later(action: () => void): void {
    this.clock.endOfTurn(action);
  }

  pumpSoon(queue: SqliteQueue): void {
    if (this.#dirty.size === 0) queueMicrotask(this.#pump);
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

  #pumpDirty(): void {
    if (this.#state !== "open") return;
    for (const queue of this.#dirty) {
      this.#dirty.delete(queue);
      queue.pump();
    }
  }

  // Time

  #wake(now: number, sweep: boolean): void {
    const { deadlines } = this.#timetable;
    for (;;) {
      const entry = deadlines.peek();
      if (entry === undefined || entry.deadline > now) break;
      entry.queue.timeOut(entry);
    }
    this.#promoteDue(now);
    if (sweep) this.#sweep(now);
  }

  /** Those whose time has come join their lanes, on disk first; while that fails they stay delayed. */
  #promoteDue(now: number): void {
    if (this.storageRefusal() !== undefined) return;
    for (const place of this.#delayed.takeDue(now, PROMOTED_AT_ONCE)) {
      const queue = this.queues.byNumber(queueNumberOf(place.lane));
      if (queue === undefined) continue;
      const { promoted } = queue.promote(place.lane, place.sequence);
      this.storage.add(
        new PendingChange((error) => {
          if (error === undefined) promoted();
          else this.delayed(place);
        }),
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

  #sweep(now: number): void {
    for (const queue of this.queues.all()) queue.sweep(now);
    this.#readDelayed();
    if (this.storageRefusal() !== undefined) return;
    this.#expireOwn(now);
    if (now - this.#lastForgetAt >= 10_000) {
      this.#lastForgetAt = now;
      this.storage.writer.control({ forgetIdsBefore: now });
      this.storage.add(new PendingChange(() => {}));
    }
  }

  /** Messages on disk that expire by a time of their own: the index over these times finds them. */
  #expireOwn(now: number): void {
    this.storage.read({ kind: "expired", now, limit: EXPIRED_AT_ONCE }).then(
      ({ rows }) => {
        if (this.storageRefusal() !== undefined) return;
        for (const row of rows) {
          this.queues.byNumber(queueNumberOf(row.lane))?.expireRow(row);
        }
      },
      () => {},
    );
  }
}

/** An estimate of what the record will take, for bounds in bytes: within a few bytes of it. */
function sizeOf(message: Message): number {
  const { payload } = message;
  const body = payload.format === 0 ? payload.json().length : payload.storedBytes().length;
  const headers = message.headers === undefined ? 0 : JSON.stringify(message.headers).length;
  return 50 + message.id.length + message.topic.length + headers + body;
}
