/**
 * The engine seam (docs/ARCHITECTURE.md): what keeps messages, and in which order it promises what.
 * Every engine passes `test/contracts/engine.contract.ts`; where prose and suite differ, the suite
 * is wrong or the engine is.
 *
 * Rules that hold for every method:
 * - Calls take effect in the order in which they are made; nothing is confirmed before it is
 *   durable in the engine's configured durability.
 * - Callbacks are called asynchronously, never from inside the call that registers them, each
 *   exactly once, and never throw into the engine.
 * - Failures are `WarrenError`s: `unknown_queue`, `queue_full`, `storage_unavailable`, `busy`, …;
 *   after `close` they are `draining`.
 * - Times are acted on at their millisecond by the clock's timers, never early: a message is due,
 *   expired or timed out when `now` has reached its time.
 *
 * The life of a message in a queue:
 * - It is handed out only after its `stored` was called, so that nobody works on what may yet fail.
 * - Its age is the order in which it was stored. It keeps its place whenever it returns, and a
 *   delayed message takes the place of its age when it is due [P-5.7].
 * - Priority is fixed when it enters; other settings act at once: `ttlMs` (for a message that waits
 *   for its time: when that comes), `paused`, `draining`, `maxDeliveries`, `priorityAgeingMs`,
 *   `maxInFlight` and `maxInFlightPerConsumer` (below what is out: until as much is back), and
 *   `ackTimeoutMs` for what is handed out or extended from then on.
 * - With `ordering: "key"` [P-5.10] a message with a key is handed out only while no other of its key
 *   is out, nor in the commit of what becomes of it, and none that is older waits (under `keyRetry`
 *   `block`, one that waits for its retry counts). Which one that is may have to be looked up: when one of
 *   its key enters, when its key gets free by whatever became of another, and when one of it becomes due.
 *   What is ready meanwhile may overtake it, of other keys and of none; and one that has become due may
 *   be overtaken by a younger one of its key, unless it holds its key by `block`. Among keys of a
 *   priority, one handed out goes behind all that had entered by then, however it returns, as long as
 *   anybody consumes, for `LINGER_MS` after that, and while neither `ordering` nor `keyRetry` changes.
 *   `ordering` changes only while the queue is empty (`conflict`), and `overflow` is `reject`.
 * - A nack, a reject, an ack timeout, and a disconnect after the grace time count as an attempt; a
 *   cancel, an earlier disconnect and the end of the process do not [P-5.5]. A message whose
 *   counted attempts reach `maxDeliveries` is dead-lettered as `max_deliveries`. Only a nack waits
 *   (its delay or the backoff); what returns otherwise is ready at once.
 * - What returns, dies or becomes due takes its place, and what ends leaves its room, when that is
 *   durable where it must be; what is ready meanwhile may overtake it.
 * - It expires while it waits, ready or delayed, whether anybody consumes or not. In flight it may
 *   still be settled after its time; if it returns instead it expires then.
 * - Dead letters enter `<name>.dead` at the end, with their priority, no attempts, and a time to
 *   live of their own (the owner's `deadLetter.ttlMs`), whatever bounds the owner has. A
 *   dead-letter queue has no dead-letter queue: there a reject or the expiry removes the message
 *   for good, and attempts have no end. Neither `define` nor `remove` takes its name, and nothing
 *   is appended to it by name.
 * - Where `retainAckedMs` says so, an acked message is kept in the same commit as its ack, outside the
 *   bounds of the queue, until that time or `retainAckedBytes` is over; soon after, the oldest first
 *   [P-5.15]. What is kept goes with the queue.
 */
import type { QueueCounters, QueueCounts, QueueRates, QueueSettings } from "../../schemas/queue.ts";
import type { WarrenError } from "../errors.ts";
import type { DeathRecord, Delivery, Message } from "../message.ts";
import type { AuditTrail } from "./audit.ts";
import type { EngineCounters } from "./counters.ts";
import type { Collection, Records } from "./records.ts";
import type { ScheduleRequest } from "./schedule.ts";
import type { Selection } from "./selection.ts";
import type { HistoryBounds, KeepingChannel, Position, Topics } from "./topics.ts";
import type { TransferPage, TransferRequest } from "./transfer.ts";

/** What an engine cannot do is said here, with the broker refusing with `not_supported`. */
export interface Capabilities {
  /** Whether a confirmed message survives the end of the process. */
  readonly durable: boolean;
  /** Whether other nodes share the queues. */
  readonly shared: boolean;
}

export interface AppendReceipt {
  /** How many queues took a copy; 0 for a duplicate. */
  readonly queues: number;
  /** The message id was seen on this topic within the dedupe window: nothing was stored [P-3.5]. */
  readonly duplicate: boolean;
  /** How many messages gave way to it, over all queues; absent when none did [P-5.9]. */
  readonly displaced?: number;
  /** Where it stands in the history of its topic, which keeps one [P-4.3]. */
  readonly position?: Position;
}

/** A message and where it is to go. */
export interface AppendItem {
  readonly message: Message;
  /** Names of existing queues, each once; with none, and nothing to be kept, it has its place in the order only. */
  readonly queues: readonly string[];
  /** Present: the topic keeps a history within these bounds, and this is its newest message. */
  readonly history?: HistoryBounds;
  /** Whether it becomes the retained value of its topic, or takes away the one there is. */
  readonly retain?: "set" | "clear";
  /** Whom the topic counts for if it keeps something of the message; absent: for no channel. */
  readonly channel?: KeepingChannel;
  /** Not to be handed out before this time; absent means at once. */
  readonly dueAt?: number;
  /**
   * The publisher chose the message id, so a repetition on the same topic is a duplicate, for the
   * longest `dedupeWindowMs` of the queues that stored it, or that of the limits where its topic keeps it
   * and that is longer. What failed, and what came without `dedupe`, is not remembered; a duplicate does
   * not prolong the window [P-3.5].
   */
  readonly dedupe: boolean;
  /**
   * Present: the payload does not fit its channel, and this says why. The message goes to the dead-letter
   * queues of these queues instead, with the reason `invalid` and this as the detail of its death; their
   * bounds, `draining` and `dueAt` do not count then [P-14.10].
   */
  readonly invalid?: string;
}

/**
 * One message for one or more queues, all or none [P-3.6]. The request is its own receipt: exactly
 * one of `stored` and `failed` is called, among those that succeed and share a topic or a queue in
 * the order of the calls.
 *
 * Checked in this order: `unknown_queue`, then the duplicate, then for each queue `queue_paused`
 * (it is draining) and `queue_full` (detail `queue`), then `too_many_topics` (detail `scope`, `limit`).
 * The bounds `maxMessages` and `maxBytes` count everything in the queue, in flight and on its way
 * to disk included.
 *
 * Where a queue is full and its `overflow` says so, as many messages as are needed, and no more,
 * give way in the same commit [P-5.9]: only such as are ready to be handed out, of the least urgent
 * priority present the oldest first. Calls take effect one after the other: what an earlier call
 * brought may give way to a later one. `queue_full` when too few can.
 */
export interface AppendRequest extends AppendItem {
  stored(receipt: AppendReceipt): void;
  failed(error: WarrenError): void;
}

/**
 * Several messages in one commit, all or none [P-5.14]; otherwise each as if it came by itself, in
 * their order, save that none gives way to another of the same batch.
 */
export interface BatchRequest {
  /** At least one. */
  readonly items: readonly AppendItem[];
  /** A receipt for each item. */
  stored(receipts: readonly AppendReceipt[]): void;
  /** `index` is that of the item at fault, where it is the fault of one. */
  failed(error: WarrenError, index?: number): void;
}

/**
 * Where deliveries go. The engine calls it; the session implements it, and may call the engine and
 * the consumer from within. Neither is called once `cancel` or `disconnect` was.
 */
export interface DeliverySink {
  /** Whose it is, for operators. */
  readonly holder?: ConsumerHolder;
  deliver(delivery: Delivery): void;
  /**
   * The consumer has ended by no act of its own: the queue is gone (`unknown_queue`), the engine is
   * closing (`draining`), or it lost its store for a while (`storage_unavailable`): what was not
   * answered then may have been written or not. What it held is no longer its own.
   */
  ended(error: WarrenError): void;
}

/** A connection, or a consumer that has none and a name, or not even that. */
export interface ConsumerHolder {
  readonly session?: string;
  readonly consumer?: string;
  readonly principal?: string;
}

/** A consumer as an operator sees it [P-13.3]. */
export interface ConsumerReport {
  readonly holder: ConsumerHolder;
  readonly credit: number;
  readonly inFlight: number;
  /** When it began. */
  readonly since: number;
  /** When it was handed what it holds for longest. */
  readonly oldestDeliveryAt?: number;
}

/** How a delivery ends. */
export type Outcome =
  | { readonly kind: "ack" }
  /**
   * Another attempt, after `delayMs` or the queue's backoff; dead-lettered when `maxDeliveries` is
   * reached, with `reason` as the detail of its death.
   */
  | { readonly kind: "nack"; readonly delayMs?: number; readonly reason?: string }
  /**
   * Dead-lettered now, with `reason` as the detail of its death; removed from a dead-letter queue.
   */
  | { readonly kind: "reject"; readonly reason?: string }
  /** The ack deadline moves to now + `byMs`, or the queue's `ackTimeoutMs`. */
  | { readonly kind: "extend"; readonly byMs?: number };

/** Called when an outcome is durable, or with the error when it could not be made so. */
export type Settled = (error: WarrenError | undefined) => void;

/**
 * One consumer of one queue [P-5.2]. The engine hands it at most `credit` unsettled deliveries,
 * each ready message to one consumer, higher priority first, then oldest [P-5.7], where waiting
 * raises the priority (`effectivePriority`) [P-5.11], in turn between the consumers that have
 * credit and are not held, within `maxInFlight` and `maxInFlightPerConsumer` [P-5.17].
 */
export interface Consumer {
  readonly queue: string;
  /**
   * Sets how many deliveries may be unsettled at once; below what it holds, it keeps what it holds.
   */
  credit(credit: number): void;
  /** While held, nothing is handed out although there is credit: the way to the peer is full. */
  hold(held: boolean): void;
  /**
   * Calls `done`, once, when nothing is on its way to it: what is ready has been handed out or may not be,
   * and nothing is being read to find that out. Not called once the consumer has ended.
   */
  atRest(done: () => void): void;
  /** Whether this consumer holds the delivery. */
  holds(tag: number): boolean;
  /**
   * Settles deliveries. `stale_delivery` (through `settled`) when a tag is not held by this
   * consumer: then nothing changes for any of the tags [P-5.4]. A tag named twice counts once, and
   * no tags at all are answered too. A settled tag is no longer held when the call returns, and its
   * credit is free, whatever becomes of `settled`.
   */
  settle(tags: readonly number[], outcome: Outcome, settled?: Settled): void;
  /**
   * Stops; what is unsettled is ready again at once and burns no attempt [P-5.2]. A consumer that
   * has ended ignores further calls, and every tag is stale to it.
   */
  cancel(): void;
  /**
   * The connection ended: what is unsettled is ready again at once, and counts as an attempt only
   * if it was held for longer than the grace time [P-5.5].
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
  /** Exact; what was in doubt when a store was lost counts as not done [P-5.18]. */
  readonly counters: QueueCounters;
  readonly rates: QueueRates;
  /**
   * When the message came that has been in the queue for longest, delayed ones and those that wait for
   * another of their key aside, and how long ago that is; absent when there is none, and for a moment
   * while that is being looked up on disk.
   */
  readonly oldestTime?: number;
  readonly oldestAgeMs?: number;
}

/** `acked`: in the queue no more, and kept for a replay [P-5.15]. */
export type MessageState = "ready" | "delayed" | "inflight" | "acked";

/** A message of a queue as an operator sees it, without taking it [P-13.3]. */
export interface StoredMessage {
  readonly message: Message;
  readonly state: MessageState;
  /** Attempts that have been counted so far. */
  readonly attempts: number;
  /** Present when it is delayed. */
  readonly dueAt?: number;
  /** Present when it was acked; then `expiresAt` is when it is kept no longer. */
  readonly ackedAt?: number;
  readonly expiresAt?: number;
  readonly deaths?: readonly DeathRecord[];
  /** A dead letter that is moved only if it is named: it died too often [P-13.10]. */
  readonly held?: true;
}

export interface PeekOptions extends Omit<Selection, "ids"> {
  /** Only messages in this state; absent: all but the acked ones. Acked ones: oldest ack first. */
  readonly state?: MessageState;
  readonly limit: number;
  /**
   * The `next` of the page before, whatever became of its messages; `invalid_frame` if it is not
   * one.
   */
  readonly after?: string;
}

export interface PeekPage {
  readonly messages: readonly StoredMessage[];
  /** Present when there may be more. A page may be short of its limit and still have a next. */
  readonly next?: string;
}

export interface Queues {
  /**
   * Creates the queue with its dead-letter queue `<name>.dead`, or changes settings and bindings of
   * an existing one. Resolves when durable, after `queueChanged`. `invalid_frame` for a name that
   * may not be defined, `conflict` beyond `limits.queues` (dead-letter queues aside).
   */
  define(name: string, settings: QueueSettings, bindings: readonly string[]): Promise<QueueReport>;
  /** How many there are, dead-letter queues among them. */
  readonly size: number;
  /**
   * Every queue, dead-letter queues among them, by name; or at most so many of those whose names come
   * behind `after`. Costs what it gives, however many there are.
   */
  list(page?: { readonly after?: string | undefined; readonly atMost?: number }): QueueReport[];
  /** Throws `unknown_queue`. */
  describe(name: string): QueueReport;
  /** Who consumes the queue, in no order. Throws `unknown_queue`. */
  consumers(name: string): ConsumerReport[];
  /**
   * Removes the queue, its dead-letter queue and their messages; their consumers end.
   * `unknown_queue`; `conflict` for a dead-letter queue, which goes with its owner, and with `ifEmpty`
   * where they hold a message or one is on its way into them.
   */
  remove(name: string, options?: { readonly ifEmpty?: boolean }): Promise<void>;
  /**
   * Removes all messages that are not in flight, for good; resolves to how many. What is kept of
   * acked ones stays. `unknown_queue`.
   */
  purge(name: string): Promise<number>;
  /**
   * Moves or copies a page of messages (see transfer.ts), in one commit, all or none. `unknown_queue`;
   * `conflict` for a source or target that may not be; `queue_full` when the target has no room for the
   * next, and `queue_paused` when it is draining; `invalid_frame` for an `after` that no page gave.
   */
  transfer(name: string, request: TransferRequest): Promise<TransferPage>;
  /** Messages, highest priority first, then oldest. Never a side effect. `unknown_queue`. */
  peek(name: string, options: PeekOptions): Promise<PeekPage>;
  /**
   * One message by its id, whatever its state, acked ones last; undefined when the queue does not hold it.
   * `unknown_queue`.
   */
  find(name: string, messageId: string): Promise<StoredMessage | undefined>;
}

export type EngineHealth =
  | { readonly state: "ready" }
  /** Writing is refused; `advice` says what the operator can do about it. */
  | { readonly state: "unavailable"; readonly reason: string; readonly advice: string };

/** What the engine tells without being asked. */
export interface EngineListener {
  /**
   * After a queue was defined, changed or removed, in this node or another. Its dead-letter queue
   * comes and goes with it and is not told; nor is what `open` recovered, which `list` tells.
   */
  queueChanged(name: string, description: QueueDescription | undefined): void;
  healthChanged(health: EngineHealth): void;
  /**
   * After a record was written or removed (`undefined`), in this node or another; not what `open`
   * recovered, which `records.all` tells.
   */
  recordChanged?(collection: Collection, key: string, value: unknown): void;
}

export interface Engine {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly queues: Queues;
  readonly records: Records;
  readonly topics: Topics;
  readonly audit: AuditTrail;
  readonly counters: Readonly<EngineCounters>;
  readonly health: EngineHealth;
  /**
   * Recovers what was stored. Rejects with a message for the operator when the store cannot be
   * used.
   */
  open(listener: EngineListener): Promise<void>;
  /** Stores a message. Refusals come through `request.failed`, never as a throw. */
  append(request: AppendRequest): void;
  /** Stores several messages or none, refusing like `append`. */
  appendBatch(request: BatchRequest): void;
  /**
   * Changes a message that waits for its first due time, or takes it back (see schedule.ts). Refusals
   * come through `request.failed`.
   */
  reschedule(request: ScheduleRequest): void;
  /**
   * Throws `unknown_queue`, or `storage_unavailable` while it is not known what is stored. A consumer
   * starts with no credit.
   */
  consume(queue: string, sink: DeliverySink): Consumer;
  /**
   * Ends all consumers (as `cancel`), makes durable what was accepted, answers it and closes. Safe
   * to call twice, and before `open`.
   */
  close(): Promise<void>;
}
