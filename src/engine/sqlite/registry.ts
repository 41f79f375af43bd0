/** Which queues there are: definitions, changes and removals, one after the other; and looking into them. */
import type { QueueSettings } from "../../../schemas/queue.ts";
import { SortedNames } from "../../collections/sorted-names.ts";
import { WarrenError } from "../../errors.ts";
import { QueueTally } from "../counters.ts";
import type {
  ConsumerReport,
  EngineListener,
  PeekOptions,
  PeekPage,
  QueueDescription,
  QueueReport,
  Queues,
  StoredMessage,
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
import type { TransferPage, TransferRequest } from "../transfer.ts";
import type { DelayedWindow } from "./delayed.ts";
import type { Entry } from "./entry.ts";
import type { Control, ControlAnswer, QueueRow, QueueState, Recounted } from "./exchange.ts";
import type { QueueHost } from "./host.ts";
import { idText, QUEUE_NUMBERS } from "./lanes.ts";
import { find, peek } from "./peek.ts";
import { SqliteQueue } from "./queue.ts";
import { transfer } from "./transfers.ts";

/** Messages that one commit of a purge deletes: a commit stays short, and the log small. */
const PURGED_AT_ONCE = 1000;

export class QueueRegistry implements Queues {
  readonly #host: QueueHost;
  readonly #delayed: DelayedWindow;
  readonly #changed: EngineListener["queueChanged"];
  readonly #byName = new Map<string, SqliteQueue>();
  readonly #byNumber = new Map<number, SqliteQueue>();
  /** Those of `#byName` in their order. */
  readonly #names = new SortedNames();
  /** Changes of the registry wait for one another. */
  #lastChange: Promise<unknown> = Promise.resolve();

  constructor(host: QueueHost, delayed: DelayedWindow, changed: EngineListener["queueChanged"]) {
    this.#host = host;
    this.#delayed = delayed;
    this.#changed = changed;
  }

  recover(states: readonly QueueState[]): void {
    for (const state of states) this.#enter(state).recover(state);
    this.#joinDeadLetters();
  }

  /**
   * The store was opened anew in mid-life, and is right: about messages, and about queues, since a
   * definition or a removal may have been written though its answer was lost. No queue has consumers.
   */
  rebuild(states: readonly QueueState[]): void {
    const before = [...this.#byName.keys()];
    const known = new Map(this.#byNumber);
    this.#byName.clear();
    this.#byNumber.clear();
    for (const name of before) this.#names.delete(name);
    for (const state of states) {
      const same = known.get(state.number);
      const isSame = same?.name === state.name && same.createdAt === state.createdAt;
      if (isSame) known.delete(state.number);
      this.#enter(state, isSame ? same.tally : undefined).recover(state);
    }
    for (const { tally } of known.values()) this.#host.counters.retire(tally);
    this.#joinDeadLetters();
    for (const name of before) if (!this.#byName.has(name)) this.#tell(name, undefined);
    for (const queue of this.#byName.values()) this.#tell(queue.name, queue.description);
  }

  #tell(name: string, description: QueueDescription | undefined): void {
    if (!isDeadLetterName(name)) this.#changed(name, description);
  }

  /** The store says what these queues hold. */
  recounted(queues: readonly Recounted[]): void {
    for (const queue of queues) this.#byNumber.get(queue.number)?.recounted(queue);
  }

  all(): Iterable<SqliteQueue> {
    return this.#byName.values();
  }

  /** The counters of all queues, those that are being removed included. */
  *tallies(): Iterable<QueueTally> {
    for (const { tally } of this.#byNumber.values()) yield tally;
  }

  byNumber(number: number): SqliteQueue | undefined {
    return this.#byNumber.get(number);
  }

  /** Throws `unknown_queue`. */
  open(name: string): SqliteQueue {
    const queue = this.#byName.get(name);
    if (queue === undefined) throw new WarrenError("unknown_queue", undefined, { queue: name });
    return queue;
  }

  get size(): number {
    return this.#byName.size;
  }

  list({ after = "", atMost = this.size } = {}): QueueReport[] {
    return this.#names.after(after, atMost).map((name) => this.open(name).report);
  }

  describe(name: string): QueueReport {
    return this.open(name).report;
  }

  consumers(name: string): ConsumerReport[] {
    return [...this.open(name).consumers].map((consumer) => consumer.report);
  }

  define(name: string, settings: QueueSettings, bindings: readonly string[]): Promise<QueueReport> {
    return this.#inTurn(async () => {
      assertQueueName(name);
      const existing = this.#byName.get(name);
      const rows = existing
        ? this.#changedRows(existing, settings, bindings)
        : this.#newRows(name, settings, bindings);
      await this.#commitDefinition(existing, settings, rows);
      for (const row of rows) {
        const queue = this.#byName.get(row.name) ?? this.#enter(row);
        const filters = JSON.parse(row.bindings) as string[];
        queue.redefine(JSON.parse(row.settings) as QueueSettings, filters);
      }
      this.#joinDeadLetters();
      this.#changed(name, this.open(name).description);
      return this.describe(name);
    });
  }

  /** What comes in from here on has what orders it, should the queue be ordered then. */
  async #commitDefinition(
    existing: SqliteQueue | undefined,
    settings: QueueSettings,
    rows: QueueRow[],
  ): Promise<void> {
    if (existing === undefined) return this.#commit({ define: rows });
    const { totals, isIndexed } = existing;
    const held = totals.messages + totals.pendingMessages;
    assertOrderingStays(existing.name, existing.settings, settings, held);
    existing.isIndexed ||= settings.ordering === "key";
    try {
      await this.#commit({ define: rows });
    } catch (error) {
      existing.isIndexed = isIndexed;
      throw error;
    }
  }

  remove(name: string, { ifEmpty = false } = {}): Promise<void> {
    return this.#inTurn(async () => {
      const queue = this.open(name);
      if (queue.deadLetterOf !== undefined) {
        throw new WarrenError("conflict", `It goes with its queue ${queue.deadLetterOf}.`);
      }
      const gone = queue.deadLetters === undefined ? [queue] : [queue, queue.deadLetters];
      if (ifEmpty && gone.some(({ totals }) => totals.present > 0)) throw notEmpty(name);
      // From here on nothing more comes in; should the removal fail, it is there again.
      this.#changed(name, undefined);
      for (const each of gone) {
        this.#byName.delete(each.name);
        this.#names.delete(each.name);
        each.endConsumers(new WarrenError("unknown_queue", undefined, { queue: each.name }));
      }
      try {
        for (const each of gone) {
          await this.#purge(each);
          await this.#forgetAcked(each);
        }
        await this.#commit({ remove: gone.map((each) => each.number) });
      } catch (error) {
        for (const each of gone) {
          this.#byName.set(each.name, each);
          this.#names.add(each.name);
        }
        this.#changed(name, queue.description);
        throw error;
      }
      for (const each of gone) {
        this.#byNumber.delete(each.number);
        this.#host.counters.retire(each.tally);
      }
    });
  }

  purge(name: string): Promise<number> {
    return this.#inTurn(() => this.#purge(this.open(name)));
  }

  transfer(name: string, request: TransferRequest): Promise<TransferPage> {
    // What changes nothing waits for no change, and no change for it.
    if (request.dryRun === true) return this.#transfer(name, request);
    return this.#inTurn(() => this.#transfer(name, request));
  }

  async #transfer(name: string, request: TransferRequest): Promise<TransferPage> {
    const source = this.open(name);
    const to = transferTarget(source, request);
    const target = to === null ? undefined : this.open(to);
    return transfer(this.#host, source, target, request);
  }

  async peek(name: string, options: PeekOptions): Promise<PeekPage> {
    return peek(this.#host, this.open(name), options);
  }

  async find(name: string, messageId: string): Promise<StoredMessage | undefined> {
    return find(this.#host, this.open(name), messageId);
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#lastChange.then(change);
    this.#lastChange = result.catch(() => {});
    return result;
  }

  #enter(row: QueueRow, tally = new QueueTally()): SqliteQueue {
    const queue = new SqliteQueue(this.#host, row, tally);
    this.#byName.set(row.name, queue);
    this.#names.add(row.name);
    this.#byNumber.set(row.number, queue);
    return queue;
  }

  #joinDeadLetters(): void {
    for (const queue of this.#byName.values()) {
      queue.deadLetters =
        queue.deadLetterOf === undefined ? this.#byName.get(deadLetterName(queue.name)) : undefined;
    }
  }

  #newRows(name: string, settings: QueueSettings, bindings: readonly string[]): QueueRow[] {
    if (this.#byName.size / 2 >= this.#host.limits.queues) {
      throw new WarrenError("conflict", `There are ${this.#host.limits.queues} queues already.`);
    }
    const [number, deadNumber] = this.#freeNumbers();
    const createdAt = this.#host.clock.now();
    return [
      row(number, name, settings, bindings, createdAt, null),
      row(deadNumber, deadLetterName(name), deadLetterSettings(settings), [], createdAt, name),
    ];
  }

  #changedRows(
    queue: SqliteQueue,
    settings: QueueSettings,
    bindings: readonly string[],
  ): QueueRow[] {
    const { number, name, createdAt, deadLetters } = queue;
    const rows = [row(number, name, settings, bindings, createdAt, queue.deadLetterOf ?? null)];
    if (deadLetters !== undefined) {
      const { paused } = deadLetters.settings;
      const dead = { ...deadLetterSettings(settings), paused };
      rows.push(row(deadLetters.number, deadLetters.name, dead, [], createdAt, name));
    }
    return rows;
  }

  #freeNumbers(): [number, number] {
    const free: number[] = [];
    for (let number = 1; free.length < 2 && number <= QUEUE_NUMBERS; number++) {
      if (!this.#byNumber.has(number)) free.push(number);
    }
    return free as [number, number];
  }

  async #purge(queue: SqliteQueue): Promise<number> {
    const below = queue.lastSequence + 1;
    const kept = new Set<Entry>(queue.inFlight());
    const keep = [...kept].map((entry) => idText(entry.lane, entry.sequence));
    let count = 0;
    queue.backlog.freeze();
    try {
      for (let went = PURGED_AT_ONCE; went === PURGED_AT_ONCE; count += went) {
        const control = { purge: queue.number, below, keep, limit: PURGED_AT_ONCE };
        await this.#commit(control, (answer) => {
          if (answer.kind !== "purged") return;
          queue.purged(answer);
          went = answer.messages;
        });
      }
      this.#delayed.forget(queue.number, below);
      queue.backlog.thaw((entry) => entry.sequence < below && !kept.has(entry), below);
      return count;
    } catch (error) {
      queue.backlog.thaw(() => false);
      throw error;
    }
  }

  /** Lets go of all that the queue keeps of acked messages. */
  async #forgetAcked(queue: SqliteQueue): Promise<void> {
    const before = Number.MAX_SAFE_INTEGER;
    while (queue.retained.messages > 0) {
      const control = { trimAcked: queue.number, before, maxBytes: 0, limit: PURGED_AT_ONCE };
      await this.#commit(control, (answer) => queue.retained.trimmed(answer));
    }
  }

  #commit(control: Control, answered?: (answer: ControlAnswer) => void): Promise<void> {
    const refusal = this.#host.storageRefusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      this.#host.storage.writer.control(control);
      this.#host.storage.add({
        committed: () => resolve(),
        aborted: reject,
        ...(answered === undefined ? {} : { answered }),
      });
    });
  }
}

function row(
  number: number,
  name: string,
  settings: QueueSettings,
  bindings: readonly string[],
  createdAt: number,
  deadLetterOf: string | null,
): QueueRow {
  return {
    number,
    name,
    settings: JSON.stringify(settings),
    bindings: JSON.stringify(bindings),
    createdAt,
    deadLetterOf,
  };
}
