/**
 * All that waits in one queue: the window in memory, and the disk behind it. Reads pages when they are
 * needed and finds what has expired, one read at a time.
 */
import type { Row } from "./batch.ts";
import { Entry } from "./entry.ts";
import type { Read } from "./exchange.ts";
import type { QueueHost } from "./host.ts";
import { Keys } from "./keys.ts";
import type { PageRequest } from "./lane.ts";
import { orderingOf, QUEUE_LANES } from "./lanes.ts";
import { Linger } from "./linger.ts";
import type { SqliteQueue } from "./queue.ts";
import { expirePassed, expireUnread } from "./sweep.ts";
import { Window } from "./window.ts";

export class Backlog {
  readonly window: Window;
  readonly #queue: SqliteQueue;
  readonly #host: QueueHost;
  /** The read that is under way. */
  #reading: Read["kind"] | undefined;
  /** A page comes before the next look for keys: neither keeps the other waiting. */
  #pageIsNext = false;
  /** A sweep found a read under way, and comes next. */
  #sweepIsNext = false;
  /** Expired rows were found that could not be judged at the time. */
  #lookAgain = false;
  /** Counts up when what a read under way brings has become void. */
  #epoch = 0;
  /** A purge is under way, or the queue is gone: nothing is handed out. */
  #frozen = false;
  readonly #linger: Linger;
  /** In a queue with ordering. */
  #keys: Keys | undefined;
  /** Sequences of what came due, on its way from disk; true for what a page finds there too. */
  readonly #arriving = new Map<number, boolean>();

  constructor(queue: SqliteQueue, host: QueueHost) {
    this.#queue = queue;
    this.#host = host;
    this.#linger = new Linger(host.clock, () => this.#lingered());
    const { queueWindowMessages, queueWindowBytes } = host.limits;
    this.window = new Window({ messages: queueWindowMessages, bytes: queueWindowBytes });
    this.#useKeys();
  }

  get keys(): Keys | undefined {
    return this.#keys;
  }

  /** Everything that waits is looked at anew; turns go on as `before` had them. */
  readAnew(before?: Keys): void {
    this.#epoch++;
    this.#arriving.clear();
    this.#useKeys(before);
    this.window.rewind(this.#queue.inFlight());
    for (const entry of this.#queue.inFlight()) this.#keys?.wasOut(entry);
    this.#queue.watchExpiry();
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  freeze(): void {
    this.#frozen = true;
    this.#epoch++;
  }

  #useKeys(before?: Keys): void {
    const isOrdered = this.#queue.settings.ordering === "key";
    const { queueWindowMessages } = this.#host.limits;
    this.#keys = isOrdered ? new Keys(this.window, queueWindowMessages, before) : undefined;
    this.window.keys = this.#keys;
  }

  /** Ends what took some of the messages away: nothing below `below` waits on disk any more. */
  thaw(isGone: (entry: Entry) => boolean, below = 0): void {
    this.#frozen = false;
    this.#epoch++;
    this.window.clear(isGone, below);
    if (this.#keys !== undefined) this.readAnew(this.#keys);
    this.#seeExpired();
    this.#queue.watchExpiry();
    this.#host.tryAgain();
    this.#host.pumpSoon(this.#queue);
  }

  /** Whether it is kept in memory for a consumer that may come at once. */
  get lingers(): boolean {
    return this.#linger.isOn;
  }

  /** The last consumer has left. */
  linger(): void {
    this.#linger.begin();
  }

  #lingered(): void {
    if (this.#queue.consumers.size > 0) return;
    this.unload();
    this.#queue.watchExpiry();
  }

  /** Leaves everything to the disk: nobody is there to take it. */
  unload(): void {
    this.#linger.cancel();
    this.#epoch++;
    if (this.#keys === undefined) {
      this.window.unload();
      return;
    }
    this.#keys.unload();
    this.#arriving.clear();
    this.window.rewind([]);
  }

  /** Reads the first of keys that are free, or a page. True while it reads; a pump follows. */
  fill(): boolean {
    if (this.#reading !== undefined || this.#frozen) return true;
    if (this.#pageIsNext && this.#readOn()) return true;
    return this.#lookForKeys() || this.#readOn();
  }

  /** True when a page is read. */
  #readOn(): boolean {
    this.#pageIsNext = false;
    const page = this.window.plan();
    if (page !== undefined) this.#readPage(page);
    return page !== undefined;
  }

  #readPage(page: PageRequest): void {
    const { rank, after, lastRank, limit } = page;
    const range = { lane: this.#lane(rank), after, lastLane: this.#lane(lastRank), limit };
    this.#read(
      this.#keys === undefined
        ? { kind: "page", ...range }
        : { kind: "heads", ...range, block: this.#blocks },
      (rows, complete) => {
        this.window.loaded(page, rows, complete, (row) => Entry.fromRow(this.#queue, row));
      },
    );
  }

  /**
   * Takes out the oldest of the least urgent to give way [P-5.9]. `later` when that has to be read first:
   * the host is told when that has ended. Follow it with `putBack`, or the commit of its going.
   */
  yieldOne(): Entry | "later" | undefined {
    const found = this.window.yieldOne();
    if (found === undefined || !("limit" in found)) return found;
    if (this.#reading === undefined && !this.#frozen) this.#readPage(found);
    return "later";
  }

  /** It was taken out, and stays after all. */
  putBack(entry: Entry): void {
    this.#keys?.back(entry);
    this.#wait(entry);
  }

  get #blocks(): boolean {
    return this.#queue.settings.keyRetry === "block";
  }

  #lookForKeys(): boolean {
    const keys = this.#keys;
    const wanted = keys?.takeWanted() ?? [];
    if (keys === undefined || wanted.length === 0) return false;
    this.#pageIsNext = true;
    const names = wanted.map((key) => orderingOf(this.#queue.number, key));
    // What waits for its retry is counted before its key is free: where there is none, none is looked for.
    const block = this.#blocks && this.#queue.totals.delayed > 0;
    this.#read(
      { kind: "keys", keys: names, block },
      (rows, complete) => {
        const firsts = new Map<string | undefined, Row>();
        const entries = new Map<string | undefined, Entry>();
        for (const row of rows) {
          const entry = Entry.fromRow(this.#queue, row);
          firsts.set(entry.message.key, row);
          entries.set(entry.message.key, entry);
        }
        for (const key of wanted) {
          const entry = entries.get(key);
          if (entry === undefined && !complete) keys.missed(key);
          else if (!keys.found(key) || entry === undefined) continue;
          // One that waits for its retry holds the others; it comes by itself when that is due.
          else if (firsts.get(key)?.dueAt === undefined) this.#wait(entry);
        }
      },
      () => {
        for (const key of wanted) keys.missed(key);
      },
    );
    return true;
  }

  /**
   * Finds, on disk behind the window, what the queue's time to live has ended. True when it looks, and
   * will see to the next expiry itself.
   */
  sweepDisk(now: number): boolean {
    this.#sweepIsNext = this.#reading !== undefined && this.#keys !== undefined;
    if (this.#reading !== undefined) return true;
    for (const { rank, after } of this.window.diskLanes(now - this.#queue.settings.ttlMs)) {
      const lane = this.#lane(rank);
      const limit = this.#host.limits.expiryPageMessages;
      this.#read({ kind: "page", lane, after, lastLane: lane, limit }, (rows, complete) => {
        const expire = this.#keys === undefined ? expireUnread : expirePassed;
        expire(this.#queue, rank, rows, complete, this.#host.clock.now());
      });
      return true;
    }
    return false;
  }

  /** Whether a message that waits for no time is known to nobody but the disk. */
  isOnDiskOnly({ lane, sequence, message: { key } }: Entry): boolean {
    if (this.window.isOnDisk(lane, sequence)) return true;
    if (this.#keys === undefined || key === undefined) return false;
    return !this.#keys.holds(key, sequence) && !this.#arriving.has(sequence);
  }

  /** Expires rows that were found by a time of their own, unless the window has them; returns how many. */
  expireFound(rows: readonly Row[], now: number): number {
    let expired = 0;
    for (const row of rows) {
      const delayed = row.dueAt !== undefined;
      // One that has come due is on its way to its place, and a page may be on its way with the others;
      // what a look for keys brings does not come in while it is about to go.
      const isRead = this.#reading !== undefined && this.#reading !== "keys";
      const isComing = delayed ? row.dueAt! <= now : isRead || this.#arriving.has(row.sequence);
      if (this.#frozen || isComing) {
        this.#lookAgain = true;
        continue;
      }
      const entry = Entry.fromRow(this.#queue, row);
      if (!delayed && !this.isOnDiskOnly(entry)) continue;
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
    const isRead = wanted && !this.window.isOnDisk(lane, sequence);
    if (this.#keys !== undefined && wanted) this.#arriving.set(sequence, !isRead);
    // It may be older than one of its key that waits here already.
    if (isRead || (this.#keys !== undefined && wanted)) this.#host.fetch(lane, sequence);
    if (!isRead) {
      // A read under way does not know that the disk begins earlier now.
      if (!wanted) this.#epoch++;
      this.window.reopen(lane, sequence);
      this.#seeExpired();
    }
  }

  /** What `fetch` brought. */
  fetched(row: Row): void {
    const isInPage = this.#arriving.get(row.sequence) === true;
    this.#arriving.delete(row.sequence);
    const entry = Entry.fromRow(this.#queue, row);
    const { key } = entry.message;
    if (this.#keys === undefined || !this.#queue.wanted || (key === undefined && !isInPage)) {
      this.giveBack(entry);
    } else if (key !== undefined) {
      if (this.window.isOnDisk(entry.lane, entry.sequence)) {
        this.window.leave(entry.lane, entry.enteredAt);
      } else {
        this.window.pass(entry.lane, entry.sequence, entry.enteredAt);
      }
      this.#keys.cameDue(entry);
      this.#seeExpired();
    }
    this.#queue.watchExpiry();
  }

  /** Messages were stored in a lane, behind all that were there, and stay on disk. */
  leave(lane: number, enteredAt: number): void {
    this.window.leave(lane, enteredAt);
  }

  /** A message was stored; `alone` says that none of its queue waits for a time. */
  arrived(entry: Entry, alone: boolean): void {
    const { key } = entry.message;
    const { lane, sequence, enteredAt } = entry;
    if (this.#keys === undefined || key === undefined) {
      this.window.offer(entry);
    } else if (this.window.isOnDisk(lane, sequence)) {
      this.window.leave(lane, enteredAt);
    } else if (this.#keys.isBusy) {
      this.window.leave(lane, enteredAt);
    } else if (this.#keys.has(key) || !this.window.isAllRead || !alone || this.#arriving.size > 0) {
      // Others of its key are before it, or may be.
      this.window.pass(lane, sequence, enteredAt);
      this.#keys.look(key);
    } else if (this.#keys.admit(entry) && !this.window.offer(entry)) {
      this.#keys.left(entry);
    }
  }

  /** It is not in the window any more, and about to go. */
  goes(entry: Entry): void {
    this.#keys?.goes(entry);
  }

  /** It is acked, and goes by the next commit. */
  leaves(entry: Entry): void {
    if (this.#queue.wanted) this.#keys?.leaves(entry);
  }

  /** It has gone from the line, for good or for a while. */
  gone(entry: Entry): void {
    this.window.returned(entry);
    if (this.#keys === undefined) return;
    this.#keys.gone(entry, this.#queue.wanted);
    this.#host.pumpSoon(this.#queue);
  }

  /** A message waits again: in memory while somebody is there to take it, else only where it lies. */
  giveBack(entry: Entry): void {
    this.window.returned(entry);
    // In turn by its age again, unless its key has had one since.
    entry.place = entry.sequence;
    if (this.#queue.wanted) {
      this.#keys?.back(entry);
      this.#wait(entry);
    } else {
      this.#keys?.gone(entry, false);
      this.#epoch++;
      this.window.reopen(entry.lane, entry.sequence);
    }
  }

  #wait(entry: Entry): void {
    const { lane, sequence, enteredAt } = entry;
    if (this.#keys === undefined) {
      this.window.giveBack(entry);
    } else if (this.window.isOnDisk(lane, sequence)) {
      this.window.leave(lane, enteredAt);
      this.#keys.unread(entry);
    } else if (this.#keys.admit(entry)) {
      this.window.giveBack(entry);
    } else {
      this.window.pass(lane, sequence, enteredAt);
    }
  }

  #lane(rank: number): number {
    return this.#queue.number * QUEUE_LANES + rank;
  }

  /** `missed` is called instead of `take` when the answer is void or none. */
  #read(
    read: Read,
    take: (rows: readonly Row[], complete: boolean) => void,
    missed: () => void = () => {},
  ): void {
    this.#reading = read.kind;
    const epoch = this.#epoch;
    this.#host.storage.read(read).then(
      ({ rows, complete }) => {
        this.#reading = undefined;
        if (epoch === this.#epoch) take(rows, complete);
        else missed();
        if (this.#sweepIsNext && !this.#frozen) this.sweepDisk(this.#host.clock.now());
        this.#seeExpired();
        this.#queue.watchExpiry();
        this.#host.tryAgain();
        this.#host.pumpSoon(this.#queue);
      },
      () => {
        // The store cannot be read now; the queue is pumped and swept again when it can.
        this.#reading = undefined;
        missed();
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
