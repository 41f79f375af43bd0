/**
 * All that waits in one queue: the window in memory, and the disk behind it. Reads pages when they are
 * needed and finds what has expired, one read at a time.
 */
import type { Timer } from "../../clock.ts";
import type { Row } from "./batch.ts";
import { Entry } from "./entry.ts";
import type { Read } from "./exchange.ts";
import type { QueueHost } from "./host.ts";
import { QUEUE_LANES } from "./lanes.ts";
import type { SqliteQueue } from "./queue.ts";
import { type PageRequest, Window } from "./window.ts";

const LINGER_MS = 1000;

export class Backlog {
  readonly window: Window;
  readonly #queue: SqliteQueue;
  readonly #host: QueueHost;
  #reading = false;
  /** Expired rows were found that could not be judged at the time. */
  #lookAgain = false;
  /** Counts up when what a read under way brings has become void. */
  #epoch = 0;
  /** A purge is under way, or the queue is gone: nothing is handed out. */
  #frozen = false;
  #unloading: Timer | undefined;
  #lingersUntil = 0;

  constructor(queue: SqliteQueue, host: QueueHost) {
    this.#queue = queue;
    this.#host = host;
    const { queueWindowMessages, queueWindowBytes } = host.limits;
    this.window = new Window({ messages: queueWindowMessages, bytes: queueWindowBytes });
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  freeze(): void {
    this.#frozen = true;
    this.#epoch++;
  }

  /** Ends what took some of the messages away: nothing below `below` waits on disk any more. */
  thaw(isGone: (entry: Entry) => boolean, below = 0): void {
    this.#frozen = false;
    this.#epoch++;
    this.window.clear(isGone, below);
    this.#seeExpired();
    this.#queue.watchExpiry();
    this.#host.tryAgain();
    this.#host.pumpSoon(this.#queue);
  }

  /** Whether it is kept in memory for a consumer that may come at once. */
  get lingers(): boolean {
    return this.#unloading !== undefined;
  }

  /**
   * The last consumer has left. Those who pull come and go with each request: what was read for one is kept
   * a moment for the next.
   */
  linger(): void {
    this.#lingersUntil = this.#host.clock.now() + LINGER_MS;
    this.#unloading ??= this.#host.clock.after(LINGER_MS, () => this.#lingered());
  }

  #lingered(): void {
    this.#unloading = undefined;
    if (this.#queue.consumers.size > 0) return;
    const leftMs = this.#lingersUntil - this.#host.clock.now();
    if (leftMs > 0) {
      this.#unloading = this.#host.clock.after(leftMs, () => this.#lingered());
      return;
    }
    this.unload();
    this.#queue.watchExpiry();
  }

  /** Leaves everything to the disk: nobody is there to take it. */
  unload(): void {
    this.#unloading?.cancel();
    this.#unloading = undefined;
    this.#epoch++;
    this.window.unload();
  }

  /** Reads the next page when the window runs low. */
  fill(): void {
    if (this.#reading || this.#frozen) return;
    const page = this.window.plan();
    if (page !== undefined) this.#readPage(page);
  }

  #readPage(page: PageRequest): void {
    const { rank, after, lastRank, limit } = page;
    this.#read(
      { kind: "page", lane: this.#lane(rank), after, lastLane: this.#lane(lastRank), limit },
      (rows, complete) => {
        this.window.loaded(page, rows, complete, (row) => Entry.fromRow(this.#queue, row));
      },
    );
  }

  /** Reads those that can give way; the host is told when that has ended. */
  readToYield(page: PageRequest): void {
    if (!this.#reading && !this.#frozen) this.#readPage(page);
  }

  /**
   * Finds, on disk behind the window, what the queue's time to live has ended. True when it looks, and
   * will see to the next expiry itself.
   */
  sweepDisk(now: number): boolean {
    if (this.#reading) return true;
    for (const { rank, after } of this.window.diskLanes(now - this.#queue.settings.ttlMs)) {
      const lane = this.#lane(rank);
      const limit = this.#host.limits.expiryPageMessages;
      this.#read({ kind: "page", lane, after, lastLane: lane, limit }, (rows, complete) =>
        this.#expireRows(rank, rows, complete),
      );
      return true;
    }
    return false;
  }

  #expireRows(rank: number, rows: readonly Row[], complete: boolean): void {
    const now = this.#host.clock.now();
    for (const row of rows) {
      const entry = Entry.fromRow(this.#queue, row);
      if (entry.expiresAt > now) {
        this.window.diskBegins(rank, entry.enteredAt);
        return;
      }
      this.window.skipped(rank, entry.sequence);
      this.#queue.settlement.expire(entry);
    }
    this.window.diskBegins(rank, complete ? undefined : now);
  }

  /** Expires rows that were found by a time of their own, unless the window has them; returns how many. */
  expireFound(rows: readonly Row[], now: number): number {
    let expired = 0;
    for (const row of rows) {
      const delayed = row.dueAt !== undefined;
      // One that has come due is on its way to its place, and a page may be on its way with the others.
      if (this.#frozen || (delayed ? row.dueAt! <= now : this.#reading)) {
        this.#lookAgain = true;
        continue;
      }
      if (!delayed && !this.window.isOnDisk(row.lane, row.sequence)) continue;
      const entry = Entry.fromRow(this.#queue, row);
      if (entry.expiresAt > now) continue;
      this.#queue.settlement.expire(entry, delayed);
      expired++;
    }
    return expired;
  }

  /**
   * A message that waited for its time takes the place of its age. Where that lies in the part that is
   * in memory, it is fetched by itself.
   */
  cameDue(lane: number, sequence: number, wanted: boolean): void {
    if (this.window.crowded) {
      this.#epoch++;
      this.window.trim();
    }
    if (wanted && !this.window.isOnDisk(lane, sequence)) {
      this.#host.fetch(lane, sequence);
    } else {
      // A read under way does not know that the disk begins earlier now.
      if (!wanted) this.#epoch++;
      this.window.reopen(lane, sequence);
      this.#seeExpired();
    }
  }

  /** What `fetch` brought. */
  fetched(row: Row): void {
    this.giveBack(Entry.fromRow(this.#queue, row));
    this.#queue.watchExpiry();
  }

  /** A message waits again: in memory while somebody is there to take it, else only where it lies. */
  giveBack(entry: Entry): void {
    if (this.#queue.wanted) {
      this.window.giveBack(entry);
    } else {
      this.#epoch++;
      this.window.reopen(entry.lane, entry.sequence);
    }
  }

  #lane(rank: number): number {
    return this.#queue.number * QUEUE_LANES + rank;
  }

  #read(read: Read, take: (rows: readonly Row[], complete: boolean) => void): void {
    this.#reading = true;
    const epoch = this.#epoch;
    this.#host.storage.read(read).then(
      ({ rows, complete }) => {
        this.#reading = false;
        if (epoch === this.#epoch) take(rows, complete);
        this.#seeExpired();
        this.#queue.watchExpiry();
        this.#host.tryAgain();
        this.#host.pumpSoon(this.#queue);
      },
      () => {
        // The store cannot be read now; the queue is pumped and swept again when it can.
        this.#reading = false;
        this.#seeExpired();
      },
    );
  }

  #seeExpired(): void {
    if (!this.#lookAgain) return;
    this.#lookAgain = false;
    this.#host.expiresEarly(this.#host.clock.now());
  }
}
