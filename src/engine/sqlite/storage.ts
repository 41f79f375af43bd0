/**
 * The event loop's side of the writer thread: group commit. All that arrives while a commit is running
 * goes into the next one; every operation is told in order whether it became durable. Knows when the
 * store cannot be written to, and finds out when it can again.
 *
 * What is written counts on what was written before it: a place is taken whose message is still leaving. So
 * when a commit fails, everything behind it that was written before that was known fails too.
 */
import type { Clock } from "../../clock.ts";
import { WarrenError } from "../../errors.ts";
import type { Limits } from "../../limits.ts";
import type { EngineHealth } from "../engine.ts";
import type { Admission } from "./admission.ts";
import { BatchWriter, type Row, reusable, unpackRows } from "./batch.ts";
import type { Durability } from "./database.ts";
import type {
  ControlAnswer,
  Reached,
  Read,
  Recounted,
  WriterFault,
  WriterReply,
  WriterRequest,
} from "./exchange.ts";
import { tellAll } from "./telling.ts";
import type { StartWriter, Writer } from "./thread.ts";
import type { KeptResult } from "./topic-exchange.ts";

/** One operation, or several that stand and fall together, waiting for the commit. */
export interface Pending {
  /** `withoutEffect` is true when the item's conditional operation changed nothing. */
  committed(withoutEffect: boolean): void;
  aborted(error: WarrenError): void;
  /** Whether the item wrote a conditional operation: at most one. */
  readonly conditional?: boolean;
  /** Called before `committed`, when the item wrote a control that tells something. */
  answered?(answer: ControlAnswer): void;
}

export type Opened = Extract<WriterReply, { kind: "opened" }>;

export interface Rows {
  readonly rows: readonly Row[];
  /** The last row that was looked at, where rows were left out. */
  readonly reached: Reached | undefined;
  /** There are no more behind these. */
  readonly complete: boolean;
}

const CLOSED = { reason: "the store is closed", advice: "", lasting: false };

interface Batch {
  readonly writer: BatchWriter;
  readonly items: Pending[];
}

/** Commits that may be on their way at once: one being written, one waiting so that the writer never idles. */
const OUTSTANDING_BATCHES = 1;
/**
 * So many operations do not wait for the end of the turn while the writer has nothing to do: it works on
 * them while the turn goes on. Fewer are not worth a flush of their own.
 */
const EAGER_OPERATIONS = 128;
const RECYCLED_BUFFERS = 4;
const PAGE_BYTES = 1024 * 1024;
const PROBE_MS = 1000;

export interface StorageDependencies {
  readonly dataDir: string;
  readonly durability: Durability;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly startWriter: StartWriter;
  /** Called once for each batch, after all of its items were told. */
  readonly afterCommit: (operations: number, durationMs: number) => void;
  readonly healthChanged: (health: EngineHealth) => void;
  /** What a batch changed in what topics keep; called before its items are told. */
  readonly kept: (result: KeptResult) => void;
  /** What was thought of these queues was wrong: this is what they hold after the last batch. */
  readonly recounted: (queues: readonly Recounted[]) => void;
  /** The writer thread is gone. All that it did not answer fails next, and may be on disk or not. */
  readonly lost: () => void;
  /** It was started again; what it found may differ from what was thought. */
  readonly reopened: (opened: Opened) => void;
}

export class Storage {
  readonly #deps: StorageDependencies;
  #thread: Writer | undefined;
  #current: Batch;
  /** Sealed batches that wait for a place among the outstanding ones. */
  readonly #sealed: Batch[] = [];
  #outstanding = 0;
  /** Counts the failures known of; the writer refuses what was sent in the era of one. */
  #era = 0;
  #scheduled = false;
  readonly #recycled: SharedArrayBuffer[] = [];
  readonly #pages: SharedArrayBuffer[] = [];
  #health: EngineHealth = { state: "ready" };
  /** Part of the file cannot be read: it stays unavailable, since writing on could do more harm. */
  #damaged = false;
  #waiting = 0;
  /** Items are being added that belong into one commit. */
  #joined = false;
  #closing = false;
  /** Why requests fail while there is no thread. */
  #gone: WriterFault = CLOSED;

  constructor(deps: StorageDependencies) {
    this.#deps = deps;
    this.#current = { writer: new BatchWriter(), items: [] };
  }

  get health(): EngineHealth {
    return this.#health;
  }

  /** Operations that are not durable yet. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Starts the writer thread and opens the store; rejects with a sentence for the operator. */
  async open(): Promise<Opened> {
    const reply = await this.#start();
    if (reply.kind === "opened") return reply;
    this.#closing = true;
    this.#stop();
    if (reply.kind === "failed") {
      throw new WarrenError("storage_unavailable", `${reply.fault.reason}. ${reply.fault.advice}`);
    }
    throw new WarrenError("storage_unavailable");
  }

  /** Where the operations of the next item are written; follow it with `add`. */
  get writer(): BatchWriter {
    return this.#current.writer;
  }

  /** What `write` adds goes into one commit. It must not read. */
  inOneCommit(write: () => void): void {
    this.#joined = true;
    try {
      write();
    } finally {
      this.#joined = false;
    }
  }

  /** What `write` adds goes into one commit, or fails alone where there is no room for its topics. */
  admitting(admission: Admission, write: () => void): void {
    const { writer, items } = this.#current;
    this.inOneCommit(() => {
      this.add(admission);
      const before = items.length;
      writer.admit(admission.question, write);
      admission.guarded = items.length - before;
    });
  }

  /** The operations written since the last `add` belong to `item`. */
  add(item: Pending): void {
    const { writer, items } = this.#current;
    items.push(item);
    this.#waiting++;
    const { commitOperations, commitBytes } = this.#deps.limits;
    const isFull = writer.operations >= commitOperations || writer.bytes >= commitBytes;
    if (isFull && !this.#joined) this.#seal();
    if (this.#isEager) this.#send();
    if (!this.#scheduled && this.#outstanding < OUTSTANDING_BATCHES) {
      this.#scheduled = true;
      // At the end of the turn, so that all that this turn brought goes into one commit.
      this.#deps.clock.endOfTurn(() => {
        this.#scheduled = false;
        this.#send();
      });
    }
  }

  get #isEager(): boolean {
    const isIdle = this.#outstanding === 0 && this.#thread !== undefined;
    return isIdle && !this.#joined && this.#current.writer.operations >= EAGER_OPERATIONS;
  }

  /**
   * Rows as they are after all operations so far, to be used before the end of the turn. Rejects with
   * `storage_unavailable`.
   */
  read(read: Read): Promise<Rows> {
    this.#sendAll();
    const buffer = this.#pages.pop() ?? new SharedArrayBuffer(PAGE_BYTES);
    return new Promise((resolve, reject) => {
      this.#request({ kind: "read", read, buffer }, (reply) => {
        // The records are views of it until then.
        this.#deps.clock.endOfTurn(() => {
          if (this.#pages.length < RECYCLED_BUFFERS) this.#pages.push(buffer);
        });
        if (reply.kind !== "rows") {
          this.#failed(reply);
          reject(unavailable());
        } else {
          const { buffer: packed, bytes, complete, reached } = reply;
          resolve({ rows: unpackRows(packed, bytes), complete, reached });
        }
      });
    });
  }

  /**
   * Asks for what is there after all operations so far. The answer comes in order with theirs, and from inside
   * this call only when there is no writer.
   */
  ask(request: WriterRequest, answered: (reply: WriterReply) => void): void {
    this.#sendAll();
    this.#request(request, (reply) => {
      if (reply.kind === "failed") this.#failed(reply);
      answered(reply);
    });
  }

  /** Resolves when all operations so far were told how they ended, and the file is closed. */
  async close(): Promise<void> {
    if (this.#thread === undefined) return;
    this.#closing = true;
    this.#sendAll();
    await new Promise<void>((resolve) => {
      this.#request({ kind: "close" }, () => resolve());
    });
    this.#stop();
  }

  #stop(): void {
    this.#thread?.stop();
    this.#thread = undefined;
  }

  #start(): Promise<WriterReply> {
    this.#thread = this.#deps.startWriter((reason) => this.#lost(reason));
    const { dataDir, durability } = this.#deps;
    return new Promise((resolve) => {
      this.#request({ kind: "open", dataDir, durability }, resolve);
    });
  }

  #request(request: WriterRequest, reply: (reply: WriterReply) => void): void {
    if (this.#thread !== undefined) this.#thread.request(request, reply);
    else reply({ kind: "failed", fault: this.#gone });
  }

  #seal(): void {
    this.#sealed.push(this.#current);
    this.#current = { writer: new BatchWriter(this.#recycled.pop()), items: [] };
  }

  /** Sends what may go now. */
  #send(): void {
    while (this.#outstanding < OUTSTANDING_BATCHES) {
      if (this.#sealed.length === 0) {
        if (this.#current.items.length === 0) return;
        this.#seal();
      }
      this.#post(this.#sealed.shift()!);
    }
  }

  /** Before a read, which must see everything: more batches than usual are on their way then. */
  #sendAll(): void {
    if (this.#current.items.length > 0) this.#seal();
    for (const batch of this.#sealed.splice(0)) this.#post(batch);
  }

  #post(batch: Batch): void {
    this.#outstanding++;
    const now = this.#deps.clock.now();
    const { operations, bytes } = batch.writer;
    const buffer = batch.writer.take();
    const era = this.#era;
    this.#request({ kind: "batch", buffer, bytes, now, era }, (reply) => {
      this.#outstanding--;
      this.#waiting -= batch.items.length;
      if (reusable(buffer) && this.#recycled.length < RECYCLED_BUFFERS) this.#recycled.push(buffer);
      if (reply.kind !== "committed" && era === this.#era) this.#era++;
      this.#settle(batch, reply);
      this.#deps.afterCommit(operations, this.#deps.clock.now() - now);
      this.#send();
    });
  }

  #settle(batch: Batch, reply: WriterReply): void {
    if (reply.kind !== "committed") {
      this.#failed(reply);
      const error = unavailable();
      for (const item of [...batch.items, ...this.#unsent()]) item.aborted(error);
      return;
    }
    this.#setHealth({ state: "ready" });
    const { kept, recounted } = reply.result;
    if (kept !== undefined) this.#deps.kept(kept);
    tellAll(batch.items, reply.result);
    if (recounted.length > 0) this.#deps.recounted(recounted);
  }

  /** What was not sent yet; it will not be. */
  #unsent(): Pending[] {
    if (this.#current.items.length > 0) this.#seal();
    const items = this.#sealed.splice(0).flatMap((batch) => batch.items);
    this.#waiting -= items.length;
    return items;
  }

  #failed(reply: WriterReply): void {
    const { reason, advice, lasting } = reply.kind === "failed" ? reply.fault : CLOSED;
    const wasReady = this.#health.state === "ready";
    this.#setHealth({ state: "unavailable", reason, advice });
    this.#damaged ||= lasting;
    if (wasReady && !lasting && !this.#closing) this.#probeLater();
  }

  #setHealth(health: EngineHealth): void {
    if (this.#damaged) return;
    const changed =
      health.state !== this.#health.state ||
      (health.state === "unavailable" &&
        this.#health.state === "unavailable" &&
        health.reason !== this.#health.reason);
    this.#health = health;
    if (changed) this.#deps.healthChanged(health);
  }

  /** A small write each second until one succeeds: the success itself makes the store ready again. */
  #probeLater(): void {
    this.#deps.clock.after(PROBE_MS, () => {
      if (this.#health.state === "ready" || this.#closing || this.#damaged) return;
      if (this.#thread === undefined) {
        this.#restart();
        return;
      }
      this.writer.control({ probe: this.#deps.clock.now() });
      this.add({ committed: () => {}, aborted: () => {} });
      this.#probeLater();
    });
  }

  /** The thread is gone; what was due fails next, and makes the store unavailable. */
  #lost(reason: string): void {
    this.#thread = undefined;
    this.#gone = { reason, advice: "It is started again.", lasting: false };
    this.#failed({ kind: "failed", fault: this.#gone });
    this.#deps.lost();
  }

  #restart(): void {
    this.#start().then((reply) => {
      if (this.#closing) return;
      if (reply.kind === "opened") {
        this.#deps.reopened(reply);
        this.#setHealth({ state: "ready" });
        this.#send();
      } else {
        this.#stop();
        this.#failed(reply);
        this.#probeLater();
      }
    });
  }
}

/** The reason names paths of this machine: it is for the log and for operators only. */
function unavailable(): WarrenError {
  return new WarrenError("storage_unavailable");
}
