/**
 * The engine that keeps everything in memory: the readable reference for what the seam promises,
 * and what tests of the layers above run on. It scans where a faster engine would index.
 */
import type { Clock, Random } from "../../clock.ts";
import { toWarrenError, WarrenError } from "../../errors.ts";
import type { Limits } from "../../limits.ts";
import type { Message } from "../../message.ts";
import { PAYLOAD_FORMAT } from "../../payload.ts";
import type { EngineCounters } from "../counters.ts";
import type {
  AppendItem,
  AppendReceipt,
  AppendRequest,
  BatchRequest,
  Capabilities,
  Consumer,
  DeliverySink,
  Engine,
  EngineHealth,
  EngineListener,
} from "../engine.ts";
import { assertNotDraining, isKept } from "../rules.ts";
import type { ScheduleRequest } from "../schedule.ts";
import { MemoryAudit } from "./audit.ts";
import { MemoryConsumer } from "./consumer.ts";
import { Pulse } from "./pulse.ts";
import type { Entry, MemoryQueue } from "./queue.ts";
import { MemoryQueues } from "./queues.ts";
import { MemoryRecords } from "./records.ts";
import { reschedule } from "./schedule.ts";
import { MemoryTopics } from "./topics.ts";

export interface MemoryEngineOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Limits;
}

/** What a batch will do once all of it turns out to be possible. */
interface Plan {
  readonly items: PlannedItem[];
  /** Until when its ids will count as seen. */
  readonly ids: Map<string, number>;
  readonly room: Map<MemoryQueue, { messages: number; bytes: number; going: readonly Entry[] }>;
  /** Topics that will be known, and what they count for. */
  readonly topics: Map<string, string>;
}

interface PlannedItem {
  readonly item: AppendItem;
  readonly isDuplicate: boolean;
  /** None for a duplicate. */
  readonly queues: readonly MemoryQueue[];
  readonly bytes: number;
  readonly displaced: number;
}

export class MemoryEngine implements Engine {
  readonly name = "memory";
  readonly capabilities: Capabilities = { durable: false, shared: false };
  readonly health: EngineHealth = { state: "ready" };
  readonly queues: MemoryQueues;
  readonly records: MemoryRecords;
  readonly topics: MemoryTopics;
  readonly audit: MemoryAudit;
  readonly #pulse: Pulse;
  /** Until when a message id counts as seen, by topic and id. Times forget it. */
  readonly #seen = new Map<string, number>();
  #listener: EngineListener | undefined;
  #closing: Promise<void> | undefined;

  constructor({ clock, random, limits }: MemoryEngineOptions) {
    this.#pulse = new Pulse(clock, random, limits);
    this.records = new MemoryRecords(this.#pulse, (collection, key, value) =>
      this.#listener?.recordChanged?.(collection, key, value),
    );
    this.queues = new MemoryQueues(this.#pulse, this.records);
    this.topics = new MemoryTopics(this.#pulse);
    this.audit = new MemoryAudit(this.#pulse);
    this.#pulse.tallies = () => this.queues.all().map(({ tally }) => tally);
    this.#pulse.onTurn = () => {
      for (const queue of this.queues.all()) queue.handOut();
    };
    this.#pulse.onTime = () => {
      for (const queue of this.queues.all()) queue.onTime();
      this.#forget();
    };
  }

  get counters(): Readonly<EngineCounters> {
    return this.#pulse.counters;
  }

  async open(listener: EngineListener): Promise<void> {
    this.#listener = listener;
    this.queues.open(listener);
  }

  append(request: AppendRequest): void {
    this.appendBatch({
      items: [request],
      stored: ([receipt]) => request.stored(receipt as AppendReceipt),
      failed: (error) => request.failed(error),
    });
  }

  appendBatch(request: BatchRequest): void {
    const { refusal } = this.#pulse;
    if (refusal !== undefined) {
      this.#pulse.answer(() => request.failed(refusal));
      return;
    }
    const plan: Plan = { items: [], ids: new Map(), room: new Map(), topics: new Map() };
    for (const [index, item] of request.items.entries()) {
      try {
        plan.items.push(this.#planOne(item, plan));
      } catch (thrown) {
        const error = toWarrenError(thrown);
        this.#pulse.answer(() => request.failed(error, index));
        return;
      }
    }
    this.#carryOut(plan, request);
  }

  reschedule(request: ScheduleRequest): void {
    reschedule(this.#pulse, this.queues.all(), storedSize, request);
  }

  consume(name: string, sink: DeliverySink): Consumer {
    const queue = this.queues.get(name);
    const consumer = new MemoryConsumer(this.#pulse, queue, sink);
    queue.join(consumer);
    return consumer;
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#pulse.refusal = new WarrenError("draining");
      this.queues.close(this.#pulse.refusal);
      this.#pulse.stopTimer();
      this.#pulse.rates.stop();
      // Answers are given in the order of asking: all that were asked for come before this one.
      this.#pulse.answer(resolve);
    });
    return this.#closing;
  }

  /** Nothing changes yet: a later one may be refused. */
  #planOne(item: AppendItem, plan: Plan): PlannedItem {
    const queues = item.queues.map((name) => this.queues.get(name));
    if (item.dedupe) {
      const key = seenKey(item.message);
      const now = this.#pulse.clock.now();
      if ((plan.ids.get(key) ?? this.#seen.get(key) ?? 0) > now) {
        return { item, isDuplicate: true, queues: [], bytes: 0, displaced: 0 };
      }
      const windowsMs = queues.map(({ settings }) => settings.dedupeWindowMs);
      if (isKept(item)) windowsMs.push(this.#pulse.limits.dedupeWindowMs);
      plan.ids.set(key, now + Math.max(...windowsMs));
    }
    const bytes = storedSize(item.message);
    let displaced = 0;
    for (const queue of item.invalid === undefined ? queues : []) {
      assertNotDraining(queue);
      const room = plan.room.get(queue) ?? { messages: 0, bytes: 0, going: [] };
      const going = queue.toGiveWay(room.messages + 1, room.bytes + bytes);
      if (going === undefined) {
        throw new WarrenError("queue_full", undefined, { queue: queue.name });
      }
      displaced += going.length - room.going.length;
      plan.room.set(queue, { messages: room.messages + 1, bytes: room.bytes + bytes, going });
    }
    this.topics.assertRoom(item, plan.topics);
    return { item, isDuplicate: false, queues, bytes, displaced };
  }

  #carryOut({ items, ids, room }: Plan, request: BatchRequest): void {
    for (const [queue, { going }] of room) for (const entry of going) queue.displace(entry);
    for (const [key, until] of ids) {
      this.#seen.set(key, until);
      this.#pulse.at(until);
    }
    const entries = items.flatMap(({ item, queues, bytes }) =>
      queues.map((queue) =>
        item.invalid === undefined
          ? queue.publish(item.message, bytes, item.dueAt ?? 0)
          : queue.enterInvalid(item.message, bytes, item.invalid),
      ),
    );
    const { counters } = this.#pulse;
    counters.duplicates += items.filter(({ isDuplicate }) => isDuplicate).length;
    const receipts = items.map((planned) => this.#receipt(planned));
    this.#pulse.answer(() => {
      for (const entry of entries) entry.confirmed = true;
      request.stored(receipts);
    });
  }

  /** With what the topic keeps of the message. */
  #receipt({ item, isDuplicate, queues, bytes, displaced }: PlannedItem): AppendReceipt {
    const isEntering = !isDuplicate && isKept(item);
    const position = isEntering ? this.topics.enter(item, bytes) : undefined;
    return {
      queues: queues.length,
      duplicate: isDuplicate,
      ...(displaced > 0 && { displaced }),
      ...(position !== undefined && { position }),
    };
  }

  #forget(): void {
    const now = this.#pulse.clock.now();
    for (const [key, until] of this.#seen) {
      if (until <= now) this.#seen.delete(key);
      else this.#pulse.at(until);
    }
  }
}

/** Topics hold no control characters, so no two pairs make the same key. */
function seenKey(message: Message): string {
  return `${message.topic}\n${message.id}`;
}

/** About what a message takes on disk: its payload as stored, and its texts. */
function storedSize({ id, topic, key, headers, payload }: Message): number {
  const texts = [id, topic, key ?? "", ...Object.entries(headers ?? {}).flat()];
  const payloadBytes =
    payload.format === PAYLOAD_FORMAT.json
      ? Buffer.byteLength(payload.json())
      : payload.storedBytes().length;
  return texts.reduce((bytes, text) => bytes + Buffer.byteLength(text), payloadBytes);
}
