/**
 * Long work on messages: redriving dead letters and replaying acked ones, page by page, at a rate
 * [P-13.10]. A task is a record of the engine, written in the same commit as each of its pages: what the
 * record says is what was done, and a start goes on from there.
 */
import type { QueueCounts } from "../../schemas/queue.ts";
import type { Clock, Timer } from "../clock.ts";
import type { Engine } from "../engine/engine.ts";
import { deadLetterName, transferTarget } from "../engine/rules.ts";
import type { Selection } from "../engine/selection.ts";
import type { TransferPage, TransferRequest } from "../engine/transfer.ts";
import { toWarrenError, WarrenError } from "../errors.ts";

/** Tasks that are remembered after their end; the oldest go. */
const ENDED_KEPT = 1000;
const PAGE_MESSAGES = 256;
/** Until a page is tried again that a full queue or the storage refused. */
const RETRY_MS = 1000;

export type TaskKind = "redrive" | "replay";
export type TaskState = "running" | "done" | "cancelled" | "failed";

export interface TaskOrder {
  readonly kind: TaskKind;
  readonly queue: string;
  readonly select: Selection;
  readonly to?: string;
  readonly limit?: number;
  readonly ratePerSecond?: number;
  readonly dryRun: boolean;
  /** Who asked for it. */
  readonly principal: string;
}

export interface Task extends TaskOrder {
  readonly id: string;
  readonly state: TaskState;
  readonly createdAt: number;
  readonly endedAt?: number;
  readonly moved: number;
  readonly held: number;
  readonly failed: number;
  /** How many there were when it began, as far as they have been counted. */
  readonly total?: number;
  /** Why it failed, or waits. */
  readonly reason?: string;
}

/** As it is stored: the page that came last is beside the sums of those before it. */
interface Stored extends Task {
  readonly page?: TransferPage;
}

export interface TasksDeps {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly newId: () => string;
}

export class Tasks {
  readonly #deps: TasksDeps;
  readonly #timers = new Map<string, Timer>();
  /** Why those wait that cannot go on at present. */
  readonly #waits = new Map<string, string>();
  /** Queues on which a task is being made. */
  readonly #making = new Set<string>();
  #started = false;
  #stopped = false;

  constructor(deps: TasksDeps) {
    this.#deps = deps;
  }

  /** Goes on with what was running. To be called once the engine is open. */
  start(): void {
    this.#started = true;
    for (const { id } of this.#stored()) this.#begin(id);
  }

  /**
   * The record of a task is another one. It may be news: one whose maker was told that it could not be
   * stored, since the writer was lost between its commit and the answer, has been stored all the same.
   */
  recordChanged(id: string): void {
    if (this.#started) this.#begin(id);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  /** Newest first. */
  list(): Task[] {
    return this.#stored()
      .map((stored) => this.#shown(stored))
      .reverse();
  }

  get(id: string): Task | undefined {
    const stored = this.#find(id);
    return stored && this.#shown(stored);
  }

  /** A queue has gone: what ran on it or into it finds that out now, not when its rate lets it go on. */
  queueGone(name: string): void {
    for (const { id, state, queue, to } of this.#stored()) {
      const isOfIt = [name, deadLetterName(name)].includes(queue) || to === name;
      if (state !== "running" || !isOfIt || !this.#timers.has(id)) continue;
      this.#timers.get(id)?.cancel();
      this.#timers.delete(id);
      void this.#step(id);
    }
  }

  /**
   * Makes a task and begins it. `unknown_queue`; `conflict` for a queue that it cannot be made of, or
   * that one is running on; with `dryRun` resolves when everything was counted.
   */
  async create(order: TaskOrder): Promise<Task> {
    const { engine, clock, newId } = this.#deps;
    const { name, deadLetterOf } = engine.queues.describe(order.queue);
    const to = order.to === undefined ? {} : { to: order.to };
    const target = transferTarget({ name, deadLetterOf }, { state: stateOf(order), ...to });
    if (target !== null) engine.queues.describe(target);
    const counts = { moved: 0, held: 0, failed: 0 };
    const known = { ...order, id: newId(), createdAt: clock.now(), ...counts };
    const task: Stored = { ...known, state: "running" };
    if (order.dryRun) return { ...task, ...(await this.#count(task)), state: "done" };
    const running = this.#stored().find(
      ({ state, queue }) => state === "running" && queue === order.queue,
    );
    if (running !== undefined || this.#making.has(order.queue)) {
      const detail = running === undefined ? { queue: order.queue } : { task: running.id };
      throw new WarrenError("conflict", "A task is running on this queue.", detail);
    }
    this.#making.add(order.queue);
    try {
      const placed = await this.#placed(task);
      await this.#remember(placed);
      this.#begin(task.id);
      return summed(placed);
    } finally {
      this.#making.delete(order.queue);
    }
  }

  /**
   * With the place where its first page begins, which knows what is there by now: what comes later is not
   * its own, whatever the clocks say that it is dated by.
   */
  async #placed(task: Stored): Promise<Stored> {
    const { queues } = this.#deps.engine;
    const { counts } = queues.describe(task.queue);
    const request = { ...requestOf(task, undefined), limit: 0, dryRun: true };
    const { next } = await queues.transfer(task.queue, request);
    const page = { moved: 0, held: 0, failed: 0 };
    if (next === undefined) return { ...task, total: 0, page };
    const total = takesAll(task.select) ? { total: atMost(task, counts) } : {};
    return { ...task, ...total, page: { ...page, next } };
  }

  /** Writes a new task; of those that have ended the oldest go for it. */
  async #remember(task: Stored): Promise<void> {
    const gone = this.#stored().filter(({ state }) => state !== "running");
    const oldest = gone.slice(0, Math.max(0, gone.length - ENDED_KEPT + 1));
    await this.#deps.engine.records.write([
      ...oldest.map(({ id }) => ({ collection: "tasks", key: id, value: undefined }) as const),
      { collection: "tasks", key: task.id, value: task },
    ]);
  }

  /** Ends it where it is; `not_found`, or `conflict` when it has ended. */
  async cancel(id: string): Promise<Task> {
    const task = this.get(id);
    if (task === undefined) throw new WarrenError("not_found", "There is no such task.", { id });
    if (task.state !== "running") {
      throw new WarrenError("conflict", `The task is ${task.state} already.`, { id });
    }
    this.#cancelled.add(id);
    this.#timers.get(id)?.cancel();
    this.#timers.delete(id);
    try {
      await this.#steps.get(id);
      // Its last page may have been under way.
      if (this.get(id)?.state === "running") await this.#end(id, "cancelled");
    } finally {
      this.#cancelled.delete(id);
      // It could not be written: the task is not over, and says so.
      if (this.get(id)?.state === "running") this.#later(id, RETRY_MS);
    }
    return this.get(id) ?? task;
  }

  readonly #cancelled = new Set<string>();
  /** Pages that are under way. */
  readonly #steps = new Map<string, Promise<void>>();

  #stored(): Stored[] {
    return [...this.#deps.engine.records.all("tasks").values()] as Stored[];
  }

  #find(id: string): Stored | undefined {
    return this.#deps.engine.records.all("tasks").get(id) as Stored | undefined;
  }

  /** Goes on with the task, unless that is under way or it is over. */
  #begin(id: string): void {
    const isUnderWay = this.#steps.has(id) || this.#timers.has(id);
    if (!isUnderWay && this.#find(id)?.state === "running") void this.#step(id);
  }

  #step(id: string): Promise<void> {
    const step = this.#page(id).catch((error) => this.#refused(id, toWarrenError(error)));
    this.#steps.set(id, step);
    return step.finally(() => {
      if (this.#steps.get(id) === step) this.#steps.delete(id);
    });
  }

  /** One page, then the next when the rate allows. */
  async #page(id: string): Promise<void> {
    let stored = this.#find(id);
    if (stored === undefined || stored.state !== "running" || this.#isOver(id)) return;
    if (stored.total === undefined) stored = await this.#counted(stored);
    if (this.#isOver(id)) return;
    const task = summed(stored);
    const { moved, limit = Number.POSITIVE_INFINITY, ratePerSecond } = task;
    const over = stored.page !== undefined && stored.page.next === undefined;
    if (over || moved >= limit) return this.#end(id, "done");
    // A tenth of a second's worth at a time, or one message after the other.
    const pace = ratePerSecond === undefined ? PAGE_MESSAGES : Math.ceil(ratePerSecond / 10);
    const page = await this.#deps.engine.queues.transfer(task.queue, {
      ...requestOf(task, stored.page?.next),
      limit: Math.min(PAGE_MESSAGES, pace, limit - moved),
      record: { collection: "tasks", key: id, value: { ...task } },
    });
    this.#waits.delete(id);
    const waitMs = ratePerSecond === undefined ? 0 : (page.moved * 1000) / ratePerSecond;
    this.#later(id, waitMs);
  }

  #isOver(id: string): boolean {
    return this.#stopped || this.#cancelled.has(id);
  }

  #later(id: string, delayMs: number): void {
    if (this.#isOver(id)) return;
    const timer = this.#deps.clock.after(delayMs, () => {
      this.#timers.delete(id);
      void this.#step(id);
    });
    this.#timers.set(id, timer);
  }

  /** What may pass is tried again; anything else ends the task. */
  async #refused(id: string, error: WarrenError): Promise<void> {
    if (this.#isOver(id) || error.code === "draining") return;
    if (error.retry) this.#waitFor(id, error);
    else await this.#end(id, "failed", sentenceOf(error)).catch(() => this.#later(id, RETRY_MS));
  }

  /** Tries again in a while; until then the task says why it waits. */
  #waitFor(id: string, error: WarrenError): void {
    this.#waits.set(id, sentenceOf(error));
    this.#later(id, RETRY_MS);
  }

  /** As operators see it: summed up, and with what it waits for. */
  #shown(stored: Stored): Task {
    const reason = stored.state === "running" ? this.#waits.get(stored.id) : undefined;
    return { ...summed(stored), ...(reason === undefined ? {} : { reason }) };
  }

  async #end(id: string, state: TaskState, reason?: string): Promise<void> {
    const stored = this.#find(id);
    if (stored === undefined) return;
    const endedAt = this.#deps.clock.now();
    const value = {
      ...summed(stored),
      state,
      endedAt,
      ...(reason === undefined ? {} : { reason }),
    };
    await this.#deps.engine.records.write([{ collection: "tasks", key: id, value }]);
    this.#waits.delete(id);
  }

  async #counted(stored: Stored): Promise<Stored> {
    const { total } = await this.#count(stored);
    const value = { ...stored, total };
    await this.#deps.engine.records.write([{ collection: "tasks", key: stored.id, value }]);
    return value;
  }

  /** How many there are, touching none. */
  async #count(task: Stored): Promise<Pick<Task, "moved" | "held" | "failed"> & { total: number }> {
    const { limit = Number.POSITIVE_INFINITY } = task;
    const sum = { moved: 0, held: 0, failed: 0 };
    let after = task.page?.next;
    do {
      const request = { ...requestOf(task, after), limit: PAGE_MESSAGES, dryRun: true };
      const page = await this.#deps.engine.queues.transfer(task.queue, request);
      sum.moved += page.moved;
      sum.held += page.held;
      sum.failed += page.failed;
      after = page.next;
    } while (after !== undefined && sum.moved < limit && !this.#isOver(task.id));
    sum.moved = Math.min(sum.moved, limit);
    return { ...sum, total: sum.moved + sum.held + sum.failed };
  }
}

function stateOf({ kind }: Pick<Task, "kind">): TransferRequest["state"] {
  return kind === "redrive" ? "waiting" : "acked";
}

/** Everything there is: how many that are need not be counted. */
function takesAll(select: Selection): boolean {
  return Object.values(select).every((field) => field === undefined);
}

function atMost({ kind, limit }: TaskOrder, { ready, delayed, retained }: QueueCounts): number {
  return Math.min(
    limit ?? Number.POSITIVE_INFINITY,
    kind === "redrive" ? ready + delayed : retained,
  );
}

function requestOf(task: Task, after: string | undefined): Omit<TransferRequest, "limit"> {
  return {
    state: stateOf(task),
    select: task.select,
    ...(task.to === undefined ? {} : { to: task.to }),
    ...(after === undefined ? {} : { after }),
  };
}

/** What an operator reads of an error: its code, and which queue it is about. */
function sentenceOf({ code, message, detail }: WarrenError): string {
  const about = typeof detail?.queue === "string" ? ` (${detail.queue})` : "";
  return `${code}: ${message}${about}`;
}

/** The task with its last page in the sums. */
function summed({ page, ...task }: Stored): Task {
  if (page === undefined) return task;
  return {
    ...task,
    moved: task.moved + page.moved,
    held: task.held + page.held,
    failed: task.failed + page.failed,
  };
}
