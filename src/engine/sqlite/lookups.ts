/**
 * Rows that are looked up by themselves, not page by page: messages on disk that expire by a time of
 * their own, found by the index over these times, and single ones that a queue wants in memory.
 */
import type { Row } from "./batch.ts";
import type { QueueHost } from "./host.ts";
import { idText, queueNumberOf } from "./lanes.ts";
import type { SqliteQueue } from "./queue.ts";

/** Expired messages that are read in one go. */
const EXPIRED_AT_ONCE = 1000;
/** Rows in one read of single ones: however large they are, all of them come. */
const READ_AT_ONCE = 256;
/**
 * Until the index of own expiries is read again, when it could not be, or when so many as are read in one go
 * stay in it although their time is over: consumers have them, and each look has to pass them by.
 */
const LOOK_AGAIN_MS = 1000;

export interface QueuesByNumber {
  byNumber(number: number): SqliteQueue | undefined;
}

export class Lookups {
  readonly #host: QueueHost;
  readonly #queues: QueuesByNumber;
  readonly #wakeAt: (time: number) => void;
  /** No message expires by a time of its own before this. */
  #nextExpiryAt = 0;
  #notBefore = 0;
  /** They are being looked for: a second look would find those of the first before they are gone. */
  #expiring = false;
  /** Ids of rows to be fetched once this commit has been dealt with. */
  readonly #wanted: string[] = [];
  /** Reads of such rows that are under way. */
  #fetches = 0;

  constructor(host: QueueHost, queues: QueuesByNumber, wakeAt: (time: number) => void) {
    this.#host = host;
    this.#queues = queues;
    this.#wakeAt = wakeAt;
  }

  /** At a new start of the store: nothing is known of it. */
  clear(): void {
    this.#nextExpiryAt = 0;
    this.#notBefore = 0;
    this.#wanted.length = 0;
  }

  expiresEarly(expiresAt: number): void {
    if (expiresAt >= this.#nextExpiryAt) return;
    this.#nextExpiryAt = expiresAt;
    this.#wakeAt(expiresAt);
  }

  /** When to look again; a look that is under way sees to that itself when it ends. */
  get nextExpiryAt(): number {
    if (this.#expiring) return Number.POSITIVE_INFINITY;
    return Math.max(this.#nextExpiryAt, this.#notBefore);
  }

  /** Looks for what has expired, when anything may have. */
  expire(now: number): void {
    if (now < this.nextExpiryAt) return;
    if (this.#host.storageRefusal() !== undefined) {
      this.#wakeAt(now + LOOK_AGAIN_MS);
      return;
    }
    this.#nextExpiryAt = Number.POSITIVE_INFINITY;
    this.#expiring = true;
    this.#findExpired()
      .catch(() => this.expiresEarly(this.#host.clock.now() + LOOK_AGAIN_MS))
      .then(() => {
        this.#expiring = false;
        this.#wakeAt(this.nextExpiryAt);
      });
  }

  /** Fetches the row of this place after the commit that is being dealt with. */
  want(lane: number, sequence: number): void {
    this.#wanted.push(idText(lane, sequence));
  }

  fetchWanted(): void {
    // All are asked for before any is answered: what else comes into memory meanwhile comes behind them.
    while (this.#wanted.length > 0) this.#fetch(this.#wanted.splice(0, READ_AT_ONCE));
  }

  #fetch(ids: readonly string[]): void {
    const fetched = this.#readIds(ids, (queue, rows) => {
      for (const row of rows) queue.backlog.fetched(row);
      this.#host.pumpSoon(queue);
    });
    this.#fetches++;
    // The store cannot be read now: again after the next commit.
    fetched
      .catch(() => this.#wanted.push(...ids))
      .then(() => {
        this.#fetches--;
        this.#host.tryAgain();
      });
  }

  /** Whether messages are on their way from disk to their places. */
  get fetching(): boolean {
    return this.#wanted.length > 0 || this.#fetches > 0;
  }

  /** Goes through all that is over, page by page: what consumers have must not hide what waits behind it. */
  async #findExpired(): Promise<void> {
    const { storage, clock } = this.#host;
    let after = { expiresAt: Number.MIN_SAFE_INTEGER, lane: 0, after: 0 };
    let stays = 0;
    for (;;) {
      const read = { kind: "expiring", ...after, limit: EXPIRED_AT_ONCE } as const;
      const { rows, complete } = await storage.read(read);
      const now = clock.now();
      const over = rows.filter((row) => row.expiresAt! <= now);
      if (over.length > 0) stays += over.length - (await this.#expireRows(over, now));
      const last = rows[rows.length - 1];
      if (over.length < rows.length) this.expiresEarly(rows[over.length]!.expiresAt!);
      if (complete || last === undefined || over.length < rows.length) break;
      after = { expiresAt: last.expiresAt!, lane: last.lane, after: last.sequence };
    }
    if (stays >= EXPIRED_AT_ONCE) this.#notBefore = clock.now() + LOOK_AGAIN_MS;
  }

  /** Reads those of which the window knows nothing, and sees to how many it was; the window sees to the others. */
  async #expireRows(over: readonly Row[], now: number): Promise<number> {
    const ids = over.map((row) => idText(row.lane, row.sequence));
    const { scheduleChanges } = this.#host;
    let expired = 0;
    await this.#readIds(ids, (queue, found) => {
      // What was read of a scheduled message may be outdated by a change on its way.
      const isCurrent = scheduleChanges === this.#host.scheduleChanges;
      const certain = isCurrent ? found : found.filter((row) => row.dueAt === undefined);
      if (!isCurrent) this.expiresEarly(now);
      expired += queue.backlog.expireFound(certain, now);
    });
    return expired;
  }

  async #readIds(
    ids: readonly string[],
    take: (queue: SqliteQueue, rows: readonly Row[]) => void,
  ): Promise<void> {
    const read = { kind: "ids", ids: `[${ids.join(",")}]`, limit: ids.length } as const;
    const { rows } = await this.#host.storage.read(read);
    for (const [number, group] of Map.groupBy(rows, (row) => queueNumberOf(row.lane))) {
      const queue = this.#queues.byNumber(number);
      if (queue !== undefined) take(queue, group);
    }
  }
}
