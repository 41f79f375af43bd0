/** What waits for a commit: each knows what its becoming durable, or its failing, changes. */
import type { WarrenError } from "../../errors.ts";
import type { EngineTally, QueueTally } from "../counters.ts";
import type { AppendRequest, Settled } from "../engine.ts";
import type { Entry } from "./entry.ts";
import type { SqliteQueue } from "./queue.ts";
import type { Pending } from "./storage.ts";

/** A message on its way into one or more queues. */
export class PendingAppend implements Pending {
  readonly #request: AppendRequest;
  readonly #queues: readonly SqliteQueue[];
  readonly #entries: readonly Entry[];
  readonly #dueAt: number | undefined;
  readonly #displaced: number;
  readonly #counters: EngineTally;
  /** It may turn out to be a duplicate: that is not known yet, as it is for one that waited. */
  readonly #unsure: boolean;

  /** `displaced` messages give way to it, over all queues. */
  constructor(
    request: AppendRequest,
    queues: readonly SqliteQueue[],
    entries: readonly Entry[],
    dueAt: number | undefined,
    displaced: number,
    unsure: boolean,
    counters: EngineTally,
  ) {
    this.#request = request;
    this.#dueAt = dueAt;
    this.#unsure = unsure;
    if (unsure) for (const entry of entries) entry.queue.totals.unsure++;
    this.#queues = queues;
    this.#entries = entries;
    this.#displaced = displaced;
    this.#counters = counters;
  }

  get conditional(): boolean {
    return this.#request.dedupe;
  }

  committed(duplicate: boolean): void {
    this.#known();
    for (let at = 0; at < this.#entries.length; at++) {
      const entry = this.#entries[at]!;
      if (duplicate) {
        entry.queue.appendDropped(entry);
        continue;
      }
      // What does not fit its channel is written elsewhere, and counts where it was sent to.
      const tally = this.#queues[at]!.tally;
      tally.published++;
      if (this.#request.invalid !== undefined) tally.deadLettered++;
      entry.queue.appended(entry, this.#dueAt);
    }
    if (duplicate) this.#counters.duplicates++;
    const receipt = { queues: duplicate ? 0 : this.#entries.length, duplicate };
    const displaced = this.#displaced;
    this.#request.stored(displaced === 0 ? receipt : { ...receipt, displaced });
  }

  aborted(error: WarrenError): void {
    this.#known();
    for (const entry of this.#entries) entry.queue.appendDropped(entry);
    this.#request.failed(error);
  }

  #known(): void {
    if (this.#unsure) for (const entry of this.#entries) entry.queue.totals.unsure--;
  }
}

/** Why a message leaves, as its queue counts it. */
export type Cause = keyof QueueTally;

/** Messages that are leaving their queue for good. */
export class PendingRemoval implements Pending {
  readonly #entries: readonly Entry[];
  readonly #cause: Cause | undefined;
  readonly #settled: Settled | undefined;
  readonly #keptAt: number | undefined;

  /** All of one queue. `keptAt`: they were acked then, and their queue keeps them. */
  constructor(
    entries: readonly Entry[],
    cause: Cause | undefined,
    settled: Settled | undefined,
    keptAt?: number,
  ) {
    this.#entries = entries;
    this.#cause = cause;
    this.#settled = settled;
    this.#keptAt = keptAt;
  }

  committed(): void {
    for (const entry of this.#entries) {
      entry.queue.settlement.removed(entry);
      if (this.#cause !== undefined) entry.queue.tally[this.#cause]++;
    }
    if (this.#keptAt !== undefined) {
      this.#entries[0]?.queue.retained.kept(this.#entries, this.#keptAt);
    }
    this.#settled?.(undefined);
  }

  /** Nothing of it is on disk, so they are waiting still, and are handed out again. */
  aborted(error: WarrenError): void {
    for (const entry of this.#entries) entry.queue.settlement.notRemoved(entry);
    this.#settled?.(error);
  }
}

/** A message that moves into the dead-letter queue as `dead`. */
export class PendingDeath implements Pending {
  readonly conditional = true;
  readonly #entry: Entry;
  readonly #dead: Entry;
  readonly #cause: Cause | undefined;
  readonly #settled: Settled | undefined;

  constructor(entry: Entry, dead: Entry, cause: Cause | undefined, settled: Settled | undefined) {
    this.#entry = entry;
    this.#cause = cause;
    this.#dead = dead;
    this.#settled = settled;
  }

  committed(gone: boolean): void {
    if (gone) {
      this.#entry.queue.settlement.wasGone(this.#entry);
      this.#dead.queue.appendDropped(this.#dead);
    } else {
      const { settlement, tally } = this.#entry.queue;
      settlement.removed(this.#entry);
      tally.deadLettered++;
      if (this.#cause !== undefined) tally[this.#cause]++;
      this.#dead.queue.appended(this.#dead, undefined);
    }
    this.#settled?.(undefined);
  }

  aborted(error: WarrenError): void {
    this.#dead.queue.appendDropped(this.#dead);
    this.#entry.queue.settlement.notRemoved(this.#entry);
    this.#settled?.(error);
  }
}

/** A nacked message that waits for its next attempt, until `dueAt` or not at all. */
export class PendingDelay implements Pending {
  readonly #entry: Entry;
  readonly #dueAt: number | undefined;
  readonly #settled: Settled;

  constructor(entry: Entry, dueAt: number | undefined, settled: Settled) {
    this.#entry = entry;
    this.#dueAt = dueAt;
    this.#settled = settled;
  }

  committed(): void {
    this.#entry.queue.tally.nacked++;
    if (this.#dueAt === undefined) this.#entry.queue.settlement.waitsAgain(this.#entry);
    else this.#entry.queue.settlement.delayed(this.#entry, this.#dueAt);
    this.#settled(undefined);
  }

  aborted(error: WarrenError): void {
    this.#entry.queue.settlement.waitsAgain(this.#entry);
    this.#settled(error);
  }
}

/** The question whether an id was seen, before a publisher is refused or others give way to it. */
export class PendingLookup implements Pending {
  readonly conditional = true;
  readonly #answered: (isDuplicate: boolean) => void;

  constructor(answered: (isDuplicate: boolean) => void) {
    this.#answered = answered;
  }

  committed(isDuplicate: boolean): void {
    this.#answered(isDuplicate);
  }

  /** Without the store the append fails for another reason. */
  aborted(): void {
    this.#answered(false);
  }
}

/** A message whose time has come. */
export class PendingRelease implements Pending {
  readonly conditional = true;
  readonly #released: (gone: boolean) => void;
  readonly #failed: () => void;

  constructor(released: (gone: boolean) => void, failed: () => void) {
    this.#released = released;
    this.#failed = failed;
  }

  committed(gone: boolean): void {
    this.#released(gone);
  }

  aborted(): void {
    this.#failed();
  }
}

/** Anything else: told how it ended. */
export class PendingChange implements Pending {
  readonly #ended: (error: WarrenError | undefined) => void;

  constructor(ended: (error: WarrenError | undefined) => void) {
    this.#ended = ended;
  }

  committed(): void {
    this.#ended(undefined);
  }

  aborted(error: WarrenError): void {
    this.#ended(error);
  }
}

/** Calls `settled` once, when `count` outcomes are known; with the first error, if there was one. */
export function whenAll(count: number, settled: Settled | undefined): Settled {
  let left = count;
  let first: WarrenError | undefined;
  return (error) => {
    first ??= error;
    left--;
    if (left === 0) settled?.(first);
  };
}
