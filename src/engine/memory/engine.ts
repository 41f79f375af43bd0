/**
 * The engine that keeps everything in memory: the readable reference for what the seam promises,
 * and what tests of the layers above run on. It scans where a faster engine would index.
 */
import type { Clock, Random } from "../../clock.ts";
import { toWarrenError, WarrenError } from "../../errors.ts";
import type { Limits } from "../../limits.ts";
import type { Message } from "../../message.ts";
import { PAYLOAD_FORMAT } from "../../payload.ts";
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
import { MemoryAudit } from "./audit.ts";
import { MemoryConsumer } from "./consumer.ts";
import { Pulse } from "./pulse.ts";
import type { MemoryQueue } from "./queue.ts";
import { MemoryQueues } from "./queues.ts";
import { MemoryRecords } from "./records.ts";

export interface MemoryEngineOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Limits;
}

export class MemoryEngine implements Engine {
  readonly name = "memory";
  readonly capabilities: Capabilities = { durable: false, shared: false };
  readonly health: EngineHealth = { state: "ready" };
  readonly queues: MemoryQueues;
  readonly records: MemoryRecords;
  readonly audit: MemoryAudit;
  readonly #pulse: Pulse;
  /** Until when a message id counts as seen, by topic and id. Times forget it. */
  readonly #seen = new Map<string, number>();
  #listener: EngineListener | undefined;
  #closing: Promise<void> | undefined;

  constructor({ clock, random, limits }: MemoryEngineOptions) {
    this.#pulse = new Pulse(clock, random, limits);
    this.queues = new MemoryQueues(this.#pulse);
    this.records = new MemoryRecords(this.#pulse, (collection, key, value) =>
      this.#listener?.recordChanged?.(collection, key, value),
    );
    this.audit = new MemoryAudit(this.#pulse);
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
    try {
      this.#append(request);
    } catch (thrown) {
      const error = toWarrenError(thrown);
      this.#pulse.answer(() => request.failed(error));
    }
  }

  consume(name: string, sink: DeliverySink): Consumer {
    const queue = this.queues.get(name);
    const consumer = new MemoryConsumer(this.#pulse, queue, sink);
    queue.consumers.push(consumer);
    return consumer;
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#pulse.refusal = new WarrenError("draining");
      this.queues.close(this.#pulse.refusal);
      this.#pulse.stopTimer();
      // Answers are given in the order of asking: all that were asked for come before this one.
      this.#pulse.answer(resolve);
    });
    return this.#closing;
  }

  #append(request: AppendRequest): void {
    const { message, dueAt } = request;
    const queues = request.queues.map((name) => this.queues.get(name));
    if (request.dedupe && this.#isDuplicate(message)) {
      this.#pulse.counters.duplicates++;
      this.#pulse.answer(() => request.stored({ queues: 0, duplicate: true }));
      return;
    }
    const bytes = storedSize(message);
    for (const queue of queues) {
      if (queue.settings.draining) {
        throw new WarrenError("queue_paused", "The queue is draining.", { queue: queue.name });
      }
      if (!queue.hasRoomFor(bytes)) {
        throw new WarrenError("queue_full", undefined, { queue: queue.name });
      }
    }
    if (request.dedupe) this.#remember(message, queues);
    const entries = queues.map((queue) => queue.enter(message, bytes, dueAt ?? 0));
    this.#pulse.counters.stored += entries.length;
    this.#pulse.answer(() => {
      for (const entry of entries) entry.confirmed = true;
      request.stored({ queues: entries.length, duplicate: false });
    });
  }

  #isDuplicate(message: Message): boolean {
    const until = this.#seen.get(seenKey(message));
    return until !== undefined && until > this.#pulse.clock.now();
  }

  #remember(message: Message, queues: readonly MemoryQueue[]): void {
    const windowMs = Math.max(...queues.map(({ settings }) => settings.dedupeWindowMs));
    const until = this.#pulse.clock.now() + windowMs;
    this.#seen.set(seenKey(message), until);
    this.#pulse.at(until);
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
