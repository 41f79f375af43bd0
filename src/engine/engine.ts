/**
 * The engine seam (docs/ARCHITECTURE.md): what keeps messages, and in which order it promises what.
 * Every engine passes `test/contracts/engine.contract.ts`; where prose and suite differ, the suite is
 * wrong or the engine is.
 *
 * Rules that hold for every method:
 * - Calls take effect in the order in which they are made; nothing is confirmed before it is durable in
 *   the engine's configured durability.
 * - Callbacks are called asynchronously, never from inside the call that registers them, each exactly
 *   once, and never throw into the engine.
 * - Failures are `WarrenError`s: `unknown_queue`, `queue_full`, `storage_unavailable`, `busy`, …
 */
import type { QueueCounts, QueueSettings } from "../../schemas/queue.ts";
import type { WarrenError } from "../errors.ts";
import type { DeathRecord, Delivery, Message } from "../message.ts";

/** What an engine cannot do is said here, with the broker refusing with `not_supported`. */
export interface Capabilities {
  /** Whether a confirmed message survives the end of the process. */
  readonly durable: boolean;
  /** Whether other nodes share the queues. */
  readonly shared: boolean;
}

export interface AppendReceipt {
  /** How many queues hold a copy; 0 for a duplicate. */
  readonly queues: number;
  /** The message id was seen on this topic within the dedupe window: nothing was stored [P-3.5]. */
  readonly duplicate: boolean;
}

/**
 * One message for one or more queues, all or none [P-3.6]. The request is its own receipt: exactly one
 * of `stored` and `failed` is called, in the order of the `append` calls among those that succeed.
 */
export interface AppendRequest {
  readonly message: Message;
  /** Names of existing queues, each once; at least one. */
  readonly queues: readonly string[];
  /** Not to be handed out before this time; absent means at once. */
  readonly dueAt?: number;
  /** The publisher chose the message id, so a repetition within the window is a duplicate. */
  readonly dedupe: boolean;
  stored(receipt: AppendReceipt): void;
  failed(error: WarrenError): void;
}

/** Where deliveries go. The engine calls it; the session implements it. */
export interface DeliverySink {
  deliver(delivery: Delivery): void;
  /** The consumer has ended by no act of its own: the queue is gone, or the engine is closing. */
  ended(error: WarrenError): void;
}

/** How a delivery ends. */
export type Outcome =
  | { readonly kind: "ack" }
  /** Another attempt, after `delayMs` or the queue's backoff; dead-lettered past `maxDeliveries`. */
  | { readonly kind: "nack"; readonly delayMs?: number; readonly reason?: string }
  | { readonly kind: "reject"; readonly reason?: string }
  /** The ack deadline moves to now + `byMs`, or the queue's `ackTimeoutMs`. */
  | { readonly kind: "extend"; readonly byMs?: number };

/** Called when an outcome is durable, or with the error when it could not be made so. */
export type Settled = (error: WarrenError | undefined) => void;

/**
 * One consumer of one queue [P-5.2]. The engine hands it at most `credit` unsettled deliveries, each
 * ready message to one consumer, higher priority first, then oldest [P-5.7], in turn between consumers.
 */
export interface Consumer {
  readonly queue: string;
  /** Sets how many deliveries may be unsettled at once. */
  credit(credit: number): void;
  /** While held, nothing is handed out although there is credit: the way to the peer is full. */
  hold(held: boolean): void;
  /** Whether this consumer holds the delivery. */
  holds(tag: number): boolean;
  /**
   * Settles deliveries. `stale_delivery` (through `settled`) when a tag is not held by this consumer:
   * then nothing changes for any of the tags [P-5.4].
   */
  settle(tags: readonly number[], outcome: Outcome, settled?: Settled): void;
  /** Stops; what is unsettled is ready again at once and burns no attempt [P-5.2]. */
  cancel(): void;
  /**
   * The connection ended: what is unsettled is ready again at once, and counts as an attempt only if it
   * was held for longer than the grace time [P-5.5].
   */
  disconnect(): void;
}

export interface QueueDescription {
  readonly name: string;
  readonly settings: QueueSettings;
  readonly bindings: readonly string[];
  readonly createdAt: number;
  /** The queue whose dead letters this one keeps; absent for an ordinary queue. */
  readonly deadLetterOf?: string;
}

export interface QueueReport extends QueueDescription {
  readonly counts: QueueCounts;
  /** When the oldest message of the queue was published; absent when it is empty. */
  readonly oldestTime?: number;
}

export type MessageState = "ready" | "delayed" | "inflight";

/** A message of a queue as an operator sees it, without taking it [P-13.3]. */
export interface StoredMessage {
  readonly message: Message;
  readonly state: MessageState;
  /** Attempts that have been counted so far. */
  readonly attempts: number;
  readonly dueAt?: number;
  readonly expiresAt?: number;
  readonly deaths?: readonly DeathRecord[];
}

export interface PeekOptions {
  readonly state?: MessageState;
  /** Only messages whose topic this filter matches. */
  readonly topic?: string;
  /** Only messages in whose topic, headers or payload text this occurs. */
  readonly search?: string;
  readonly limit: number;
  /** The `next` of the page before. */
  readonly after?: string;
}

export interface PeekPage {
  readonly messages: readonly StoredMessage[];
  /** Present when there may be more. A page may be short of its limit and still have a next. */
  readonly next?: string;
}

export interface Queues {
  /**
   * Creates the queue with its dead-letter queue `<name>.dead`, or changes settings and bindings of an
   * existing one. Resolves when durable.
   */
  define(name: string, settings: QueueSettings, bindings: readonly string[]): Promise<QueueReport>;
  /** Every queue, by name. */
  list(): QueueReport[];
  /** Throws `unknown_queue`. */
  describe(name: string): QueueReport;
  /** Removes the queue, its dead-letter queue and their messages; its consumers end. `unknown_queue`. */
  remove(name: string): Promise<void>;
  /** Removes all messages that are not in flight; resolves to how many. */
  purge(name: string): Promise<number>;
  /** Waiting messages, highest priority first, then oldest. Never a side effect. */
  peek(name: string, options: PeekOptions): Promise<PeekPage>;
  /** One message by its id, whatever its state; undefined when the queue does not hold it. */
  find(name: string, messageId: string): Promise<StoredMessage | undefined>;
}

export type EngineHealth =
  | { readonly state: "ready" }
  /** Writing is refused; `advice` says what the operator can do about it. */
  | { readonly state: "unavailable"; readonly reason: string; readonly advice: string };

/** What the engine tells without being asked. */
export interface EngineListener {
  /** After a queue was defined, changed or removed, in this node or another. */
  queueChanged(name: string, description: QueueDescription | undefined): void;
  healthChanged(health: EngineHealth): void;
}

/** Plain counters since the start, for metrics. */
export interface EngineCounters {
  stored: number;
  delivered: number;
  redelivered: number;
  acked: number;
  nacked: number;
  deadLettered: number;
  expired: number;
  timedOut: number;
  duplicates: number;
  commits: number;
  commitOperations: number;
  commitMs: number;
}

export interface Engine {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly queues: Queues;
  readonly counters: Readonly<EngineCounters>;
  readonly health: EngineHealth;
  /** Recovers what was stored. Rejects with a message for the operator when the store cannot be used. */
  open(listener: EngineListener): Promise<void>;
  /** Stores a message. Refusals come through `request.failed`, never as a throw. */
  append(request: AppendRequest): void;
  /** Throws `unknown_queue`. A consumer starts with no credit. */
  consume(queue: string, sink: DeliverySink): Consumer;
  /**
   * Ends all consumers (as `cancel`), makes durable what was accepted, answers it and closes. Safe to
   * call twice, and before `open`.
   */
  close(): Promise<void>;
}
