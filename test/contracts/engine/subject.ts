/** An engine under test with its clock in hand, and short words for what the suite does to it. */
import type { QueueCounts, QueueDefinition } from "../../../schemas/queue.ts";
import type { Random } from "../../../src/clock.ts";
import type {
  AppendReceipt,
  Consumer,
  DeliverySink,
  Engine,
  EngineListener,
  Outcome,
  QueueDescription,
  QueueReport,
} from "../../../src/engine/engine.ts";
import { completeSettings } from "../../../src/engine/rules.ts";
import type { ScheduleChange } from "../../../src/engine/schedule.ts";
import type { HistoryBounds, KeepingChannel } from "../../../src/engine/topics.ts";
import type { WarrenError } from "../../../src/errors.ts";
import { DEFAULT_LIMITS, type Limits } from "../../../src/limits.ts";
import type { Delivery, Message } from "../../../src/message.ts";
import { Payload } from "../../../src/payload.ts";
import { eventually } from "../../harness/eventually.ts";
import { ManualClock } from "../../harness/manual-clock.ts";

/** What an engine is made of. */
export interface EngineParts {
  readonly clock: ManualClock;
  readonly random: Random;
  readonly limits: Limits;
}

/** One place where an engine keeps its messages. */
export interface EngineStore {
  /** A new engine on this store, not yet opened; the one before was closed. */
  create(): Engine;
  /** After the last engine was closed. */
  dispose(): Promise<void>;
}

/** A kind of engine, and how to get a store for it that is empty. */
export interface EngineKind {
  readonly name: string;
  readonly durable: boolean;
  open(parts: EngineParts): Promise<EngineStore>;
}

export interface SubjectOptions {
  readonly limits?: Partial<Limits>;
  /** Half by default: any fixed number would do. */
  readonly random?: Random;
}

export interface AppendOptions extends Partial<Message> {
  readonly dueAt?: number;
  readonly invalid?: string;
  readonly dedupe?: boolean;
  readonly history?: HistoryBounds;
  readonly retain?: "set" | "clear";
  readonly channel?: KeepingChannel;
}

const SENTRY = "sentry";
/** `quiet` stores, delivers and acks so many messages of its own. */
export const QUIET_MESSAGES = 4;

export class Subject {
  readonly clock: ManualClock;
  /** What the engine told of queues, the latest last. */
  readonly changes: [name: string, description: QueueDescription | undefined][] = [];
  /** What the engine told of records, the latest last. */
  readonly recordChanges: [collection: string, key: string, value: unknown][] = [];
  engine: Engine;
  readonly #store: EngineStore;
  #made = 0;
  #sentry: Peer | undefined;

  private constructor(clock: ManualClock, store: EngineStore) {
    this.clock = clock;
    this.#store = store;
    this.engine = store.create();
  }

  /** An engine that is open, on an empty store. */
  static async open(kind: EngineKind, options: SubjectOptions = {}): Promise<Subject> {
    const subject = await Subject.create(kind, options);
    await subject.engine.open(subject.listener);
    return subject;
  }

  /** An engine that is not open yet. */
  static async create(kind: EngineKind, options: SubjectOptions = {}): Promise<Subject> {
    const clock = new ManualClock();
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    const random = options.random ?? (() => 0.5);
    return new Subject(clock, await kind.open({ clock, random, limits }));
  }

  get listener(): EngineListener {
    return {
      queueChanged: (name, description) => this.changes.push([name, description]),
      healthChanged: () => {},
      recordChanged: (...change) => this.recordChanges.push(change),
    };
  }

  /** The end of this engine and the beginning of the next one on the same store. */
  async reopen(): Promise<void> {
    await this.engine.close();
    this.#sentry = undefined;
    this.engine = this.#store.create();
    await this.engine.open(this.listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.close();
    await this.#store.dispose();
  }

  define(name: string, definition: QueueDefinition = {}): Promise<QueueReport> {
    const { bindings = [], ...rest } = definition;
    return this.engine.queues.define(name, completeSettings(rest), bindings);
  }

  counts(name: string): QueueCounts {
    return this.engine.queues.describe(name).counts;
  }

  /** Ready, delayed, in flight. */
  states(name: string): [ready: number, delayed: number, inFlight: number] {
    const { ready, delayed, inFlight } = this.counts(name);
    return [ready, delayed, inFlight];
  }

  message(fields: Partial<Message> = {}): Message {
    return {
      id: `m${String(++this.#made).padStart(4, "0")}`,
      topic: "sensors/1",
      time: this.clock.now(),
      payload: Payload.fromValue({ n: this.#made }),
      ...fields,
    };
  }

  /** Resolves to the receipt, or rejects with why it was refused. */
  append(queues: string | readonly string[], options: AppendOptions = {}): Promise<AppendReceipt> {
    const { dueAt, invalid, history, retain, channel, dedupe = false, ...fields } = options;
    return new Promise((stored, failed) =>
      this.engine.append({
        message: this.message(fields),
        queues: typeof queues === "string" ? [queues] : queues,
        ...(dueAt !== undefined && { dueAt }),
        ...(invalid !== undefined && { invalid }),
        ...(history !== undefined && { history }),
        ...(retain !== undefined && { retain }),
        ...(channel !== undefined && { channel }),
        dedupe,
        stored,
        failed,
      }),
    );
  }

  /** Resolves to how many copies were changed, or taken back where there is no change. */
  reschedule(
    messageId: string,
    change: ScheduleChange | null,
    topic = "sensors/1",
  ): Promise<number> {
    return new Promise((done, failed) =>
      this.engine.reschedule({ topic, messageId, change, done, failed }),
    );
  }

  /** One message after the other, of these ids. */
  async appendAll(queue: string, ids: readonly string[], options: AppendOptions = {}) {
    await Promise.all(ids.map((id) => this.append(queue, { ...options, id })));
  }

  consume(queue: string, credit = 0): Peer {
    return new Peer(this.engine, queue, credit);
  }

  /**
   * Resolves when the engine has done all that it was going to do by itself: operations on another
   * queue, made after everything else, have gone all the way several times: what expires on disk is
   * found, read, left to a page that is on its way, found again and buried, one step after the other.
   */
  async quiet(): Promise<void> {
    if (this.#sentry === undefined) {
      await this.define(SENTRY);
      this.#sentry = this.consume(SENTRY, 1);
    }
    for (let round = 0; round < QUIET_MESSAGES; round++) {
      await this.append(SENTRY);
      await this.#sentry.has(1);
      await this.#sentry.ack(this.#sentry.take().tag);
    }
  }
}

/** One consumer and what came to it. */
export class Peer {
  readonly consumer: Consumer;
  readonly sink: DeliverySink;
  /** Everything that was delivered, oldest first. */
  readonly seen: Delivery[] = [];
  /** Why the engine ended it. */
  ended: WarrenError | undefined;
  /** What the sink does with a delivery besides noting it. */
  onDeliver: (delivery: Delivery) => void = () => {};
  #taken = 0;

  constructor(engine: Engine, queue: string, credit: number) {
    this.sink = {
      deliver: (delivery) => {
        this.seen.push(delivery);
        this.onDeliver(delivery);
      },
      ended: (error) => {
        this.ended = error;
      },
    };
    this.consumer = engine.consume(queue, this.sink);
    if (credit > 0) this.consumer.credit(credit);
  }

  /** Ids of everything that was delivered. */
  get ids(): string[] {
    return this.seen.map((delivery) => delivery.message.id);
  }

  /** Waits until `count` deliveries have come that were not taken. */
  async has(count: number): Promise<void> {
    await eventually(
      () => this.seen.length - this.#taken >= count,
      () => `${count} deliveries of ${this.consumer.queue}, came ${this.seen.length - this.#taken}`,
    );
  }

  /** The oldest delivery that was not taken. */
  take(): Delivery {
    const delivery = this.seen[this.#taken++];
    if (delivery === undefined) throw new Error("There is nothing to take.");
    return delivery;
  }

  /** The next delivery, waited for. */
  async next(): Promise<Delivery> {
    await this.has(1);
    return this.take();
  }

  /** Resolves to what `settled` was called with. */
  settle(tags: number | readonly number[], outcome: Outcome): Promise<WarrenError | undefined> {
    return new Promise((settled) =>
      this.consumer.settle(typeof tags === "number" ? [tags] : tags, outcome, settled),
    );
  }

  ack(tags: number | readonly number[]) {
    return this.settle(tags, { kind: "ack" });
  }

  nack(tags: number | readonly number[], delayMs?: number, reason?: string) {
    return this.settle(tags, {
      kind: "nack",
      ...(delayMs !== undefined && { delayMs }),
      ...(reason !== undefined && { reason }),
    });
  }

  reject(tags: number | readonly number[], reason?: string) {
    return this.settle(tags, { kind: "reject", ...(reason !== undefined && { reason }) });
  }

  extend(tags: number | readonly number[], byMs?: number) {
    return this.settle(tags, { kind: "extend", ...(byMs !== undefined && { byMs }) });
  }
}

/** The code with which a promise is refused, or `undefined` if it is not. */
export async function refusal(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (thrown) {
    return (thrown as WarrenError).code;
  }
}
