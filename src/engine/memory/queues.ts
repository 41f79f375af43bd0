/** The queues of a memory engine by name, and what an operator does with them. */
import type { QueueSettings } from "../../../schemas/queue.ts";
import { WarrenError } from "../../errors.ts";
import type {
  ConsumerReport,
  EngineListener,
  PeekOptions,
  PeekPage,
  QueueReport,
  Queues,
} from "../engine.ts";
import {
  assertOrderingStays,
  assertQueueName,
  deadLetterName,
  deadLetterSettings,
  isDeadLetterName,
  notEmpty,
  transferTarget,
} from "../rules.ts";
import { matcherOf } from "../selection.ts";
import type { TransferPage, TransferRequest } from "../transfer.ts";
import type { Pulse } from "./pulse.ts";
import { type Entry, MemoryQueue } from "./queue.ts";
import type { MemoryRecords } from "./records.ts";
import { transfer } from "./transfer.ts";

export class MemoryQueues implements Queues {
  readonly #pulse: Pulse;
  readonly #records: MemoryRecords;
  readonly #byName = new Map<string, MemoryQueue>();
  #listener: EngineListener | undefined;
  #closed: WarrenError | undefined;

  constructor(pulse: Pulse, records: MemoryRecords) {
    this.#pulse = pulse;
    this.#records = records;
  }

  open(listener: EngineListener): void {
    this.#listener = listener;
  }

  close(error: WarrenError): void {
    this.#closed = error;
    for (const queue of this.all()) {
      for (const consumer of [...queue.consumers]) consumer.end(error);
    }
  }

  all(): MemoryQueue[] {
    return [...this.#byName.values()];
  }

  /** Throws `unknown_queue`, or `draining` once closed. */
  get(name: string): MemoryQueue {
    if (this.#closed !== undefined) throw this.#closed;
    const queue = this.#byName.get(name);
    if (queue === undefined) throw unknownQueue(name);
    return queue;
  }

  async define(
    name: string,
    settings: QueueSettings,
    bindings: readonly string[],
  ): Promise<QueueReport> {
    if (this.#closed !== undefined) throw this.#closed;
    assertQueueName(name);
    const queue = this.#byName.get(name) ?? this.#create(name, settings);
    const { ordering, keyRetry } = queue.settings;
    assertOrderingStays(name, queue.settings, settings, queue.entries.length);
    if (ordering !== settings.ordering || keyRetry !== settings.keyRetry) queue.turns.clear();
    queue.settings = settings;
    queue.bindings = bindings;
    const deadLetters = this.#byName.get(deadLetterName(name));
    if (deadLetters !== undefined) deadLetters.settings = deadLetterSettings(settings);
    queue.reconsider();
    const report = queue.report();
    await this.#tell(name, report);
    return report;
  }

  get size(): number {
    return this.#byName.size;
  }

  list({ after = "", atMost = Number.POSITIVE_INFINITY } = {}): QueueReport[] {
    return this.all()
      .filter(({ name }) => name > after)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .slice(0, atMost)
      .map((queue) => queue.report());
  }

  describe(name: string): QueueReport {
    return this.get(name).report();
  }

  consumers(name: string): ConsumerReport[] {
    return this.get(name).consumers.map((consumer) => consumer.report);
  }

  async remove(name: string, { ifEmpty = false } = {}): Promise<void> {
    const queue = this.get(name);
    if (isDeadLetterName(name)) {
      throw new WarrenError("conflict", "A dead-letter queue goes with its owner; remove that.", {
        queue: name,
      });
    }
    const all = [queue, this.get(deadLetterName(name))];
    if (ifEmpty && all.some(({ entries }) => entries.length > 0)) throw notEmpty(name);
    for (const gone of all) {
      this.#byName.delete(gone.name);
      this.#pulse.counters.retire(gone.tally);
      for (const consumer of [...gone.consumers]) consumer.end(unknownQueue(gone.name));
    }
    await this.#tell(name, undefined);
  }

  async purge(name: string): Promise<number> {
    const queue = this.get(name);
    const waiting = queue.entries.filter((entry) => entry.lease === undefined);
    for (const entry of waiting) queue.remove(entry);
    return waiting.length;
  }

  async transfer(name: string, request: TransferRequest): Promise<TransferPage> {
    const source = this.get(name);
    const to = transferTarget(source, request);
    const target = to === null ? undefined : this.get(to);
    const page = transfer(this.#pulse, source, target, request);
    if (request.record === undefined) return page;
    const { collection, key, value } = request.record;
    await this.#records.write([{ collection, key, value: { ...value, page } }]);
    return page;
  }

  async peek(name: string, options: PeekOptions): Promise<PeekPage> {
    const queue = this.get(name);
    if (options.state === "acked") return peekAcked(queue, options);
    const after = options.after === undefined ? undefined : parseCursor(options.after);
    const matches = matcherOf(options);
    const wanted = queue.entries.filter(
      (entry) =>
        (after === undefined || isAfter(entry, after)) &&
        (options.state === undefined || queue.state(entry) === options.state) &&
        matches({ message: entry.message, deaths: entry.deaths, at: entry.enteredAt }),
    );
    const page = wanted.slice(0, options.limit);
    const last = page.at(-1);
    return {
      messages: page.map((entry) => queue.stored(entry)),
      ...(last !== undefined &&
        wanted.length > page.length && { next: `${last.priority}-${last.age}` }),
    };
  }

  async find(name: string, messageId: string) {
    const queue = this.get(name);
    const entry = queue.entries.find(({ message }) => message.id === messageId);
    if (entry !== undefined) return queue.stored(entry);
    const kept = queue.retained.all.find((acked) => acked.entry.message.id === messageId);
    return kept && queue.retained.stored(kept);
  }

  #create(name: string, settings: QueueSettings): MemoryQueue {
    // Every queue has its dead-letter queue beside it, so half of those there are count.
    if (this.#byName.size / 2 >= this.#pulse.limits.queues) {
      throw new WarrenError("conflict", "There are as many queues as the broker may have.", {
        limit: this.#pulse.limits.queues,
      });
    }
    const deadLetters = new MemoryQueue(
      this.#pulse,
      deadLetterName(name),
      deadLetterSettings(settings),
      { deadLetterOf: name },
    );
    const queue = new MemoryQueue(this.#pulse, name, settings, { deadLetters });
    this.#byName.set(name, queue);
    this.#byName.set(deadLetters.name, deadLetters);
    return queue;
  }

  #tell(name: string, report: QueueReport | undefined): Promise<void> {
    return new Promise((resolve) => {
      this.#pulse.answer(() => {
        this.#listener?.queueChanged(name, report);
        resolve();
      });
    });
  }
}

function peekAcked(queue: MemoryQueue, options: PeekOptions): PeekPage {
  const after = options.after === undefined ? 0 : parseCursor(options.after).age;
  const matches = matcherOf(options);
  const wanted = queue.retained.all.filter(
    ({ entry: { message, deaths }, ackedAt, number }) =>
      number > after && matches({ message, deaths, at: ackedAt }),
  );
  const page = wanted.slice(0, options.limit);
  const last = page.at(-1);
  const messages = page.map((acked) => queue.retained.stored(acked));
  return last !== undefined && wanted.length > page.length
    ? { messages, next: `0-${last.number}` }
    : { messages };
}

interface Cursor {
  readonly priority: number;
  readonly age: number;
}

function parseCursor(text: string): Cursor {
  const parts = /^(\d)-(\d{1,15})$/.exec(text);
  if (parts === null) {
    throw new WarrenError("invalid_frame", "This is not the next of a page.", {
      pointer: "/after",
    });
  }
  return { priority: Number(parts[1]), age: Number(parts[2]) };
}

function isAfter(entry: Entry, { priority, age }: Cursor): boolean {
  return entry.priority < priority || (entry.priority === priority && entry.age > age);
}

function unknownQueue(name: string): WarrenError {
  return new WarrenError("unknown_queue", undefined, { queue: name });
}
