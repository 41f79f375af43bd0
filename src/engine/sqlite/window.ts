/**
 * The part of a queue's waiting messages that is in memory, in the order of delivery; the rest waits on
 * disk behind it. Decides which page to read next, reads nothing itself.
 *
 * For every lane: all waiting messages up to `loadedThrough` are here (or out with a consumer); `more`
 * says that behind it there may be others on disk. So the window stays a prefix of the queue, whatever
 * is committed, handed out and returned meanwhile. In a queue with ordering the prefix is one of keys:
 * all that are the first of their key are here, and the others are `passed`.
 */
import { effectivePriority } from "../rules.ts";
import type { Row } from "./batch.ts";
import type { Entry } from "./entry.ts";
import type { Keys } from "./keys.ts";
import {
  headOf,
  type Lane,
  lastUntouched,
  newLane,
  oldestIn,
  oldestOnDisk,
  type PageRequest,
  restart,
  surplusFrom,
  takeHead,
  UNKNOWN,
  unreadBefore,
  type WindowBounds,
} from "./lane.ts";
import { PRIORITIES, rankOf } from "./lanes.ts";

const PAGE_MESSAGES = 2048;

export class Window {
  /** In a queue with ordering: which messages may stand here. */
  keys: Keys | undefined;
  readonly #bounds: WindowBounds;
  /** Sequences of those that were out when all was left to the disk: a page must not bring them. */
  #away = new Set<number>();
  readonly #lanes: (Lane | undefined)[] = new Array(PRIORITIES).fill(undefined);
  #size = 0;
  #bytes = 0;
  /** The rank of the lane that must be read before anything else is handed out, or -1. */
  #needed = -1;
  /** No entry here expires before this time. */
  #earliestExpiry = Number.POSITIVE_INFINITY;

  constructor(bounds: WindowBounds) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#size;
  }

  /** Whether it holds twice what it should. */
  get crowded(): boolean {
    return this.#size >= 2 * this.#bounds.messages;
  }

  /** Takes a message that was just stored, or leaves it on disk; true when it is in the window. */
  offer(entry: Entry): boolean {
    const lane = this.#lane(rankOf(entry.lane));
    const full = this.#size >= this.#bounds.messages || this.#bytes >= this.#bounds.bytes;
    if (lane.more || full) {
      this.leave(entry.lane, entry.enteredAt);
      return false;
    }
    this.#append(lane, entry);
    return true;
  }

  /** A message of this lane is on disk only. */
  leave(laneNumber: number, enteredAt: number): void {
    const lane = this.#lane(rankOf(laneNumber));
    lane.more = true;
    lane.diskEnteredAt = Math.min(lane.diskEnteredAt, enteredAt);
  }

  /** An entry that was out comes back to its place, unless a page will bring it from disk anyway. */
  giveBack(entry: Entry): void {
    if (this.isOnDisk(entry.lane, entry.sequence)) {
      this.leave(entry.lane, entry.enteredAt);
      return;
    }
    const lane = this.#lane(rankOf(entry.lane));
    lane.returned.push(entry);
    // It may be younger than all that was read: a delayed one that has come due.
    lane.loadedThrough = Math.max(lane.loadedThrough, entry.sequence);
    this.#counted(entry);
  }

  /** Makes room by leaving the youngest of the least urgent to the disk, where they are. */
  trim(): void {
    for (let rank = PRIORITIES - 1; rank >= 0 && this.#size > this.#bounds.messages; rank--) {
      const lane = this.#lanes[rank];
      if (lane === undefined) continue;
      const first = surplusFrom(lane, this.#size - this.#bounds.messages);
      if (first === Number.POSITIVE_INFINITY) continue;
      const left = this.#takeOut(lane, ({ sequence }) => sequence < first);
      lane.loadedThrough = first - 1;
      for (const entry of left) this.leave(entry.lane, entry.enteredAt);
    }
  }

  /**
   * Takes the next message: of the first of each lane the one with the highest effective priority, of
   * equals the one that came first [P-5.11]. Undefined when there is none, or when one that may go
   * before it must be read from disk.
   */
  next(now: number, ageingMs: number): Entry | undefined {
    let best = -1;
    let place = Number.POSITIVE_INFINITY;
    let priority = -1;
    let unread = false;
    for (let rank = 0; rank < PRIORITIES; rank++) {
      const other = this.#lanes[rank];
      if (other === undefined) continue;
      unread ||= other.more;
      const head = headOf(other);
      if (head === undefined) continue;
      const urgency = effectivePriority(PRIORITIES - 1 - rank, head.enteredAt, now, ageingMs);
      if (urgency < priority || (urgency === priority && head.place > place)) continue;
      best = rank;
      place = head.place;
      priority = urgency;
    }
    this.#needed = unread
      ? unreadBefore(this.#lanes, this.#isFull, { rank: best, place, priority, now, ageingMs })
      : -1;
    const lane = this.#lanes[best];
    return lane === undefined || this.#needed >= 0 ? undefined : this.#take(lane);
  }

  /** So much of it is here that turns are taken among these. */
  readonly #isFull = ({ fresh, returned }: Lane): boolean =>
    fresh.size + returned.size >= this.#bounds.messages || this.#bytes >= this.#bounds.bytes;

  #take(lane: Lane): Entry {
    const entry = takeHead(lane);
    this.keys?.goes(entry);
    lane.takenThrough = Math.max(lane.takenThrough, entry.sequence);
    this.#size--;
    this.#bytes -= entry.bytes;
    return entry;
  }

  /** Takes out the oldest of the least urgent to give way [P-5.9], or says what to read first. */
  yieldOne(): Entry | PageRequest | undefined {
    const rank = this.#lanes.findLastIndex((lane) => lane && (lane.more || headOf(lane)));
    const lane = this.#lanes[rank];
    if (lane === undefined || headOf(lane) !== undefined) return lane && this.#take(lane);
    return { rank, after: lane.loadedThrough, lastRank: rank, limit: PAGE_MESSAGES / 8 };
  }

  /** The page that should be read now, if any. */
  plan(): PageRequest | undefined {
    const isNeeded = this.#lanes[this.#needed]?.more === true;
    const rank = isNeeded ? this.#needed : this.#lanes.findIndex((lane) => lane?.more === true);
    const lane = this.#lanes[rank];
    if (lane === undefined) return undefined;
    const waiting = lane.fresh.size + lane.returned.size;
    const room = this.#bounds.messages - this.#size;
    const low = waiting < this.#bounds.messages / 2 && room > 0 && this.#bytes < this.#bounds.bytes;
    // An empty lane holds up all lower ones: it is read even when those fill the window.
    if (!low && !isNeeded && waiting > 0) return undefined;
    const lastRank = lastUntouched(this.#lanes, rank);
    // What is stored in these lanes from now on is either in the page or behind it.
    for (let next = rank + 1; next <= lastRank; next++) this.#lane(next).more = true;
    return {
      rank,
      after: lane.loadedThrough,
      lastRank,
      limit: Math.max(Math.min(room, PAGE_MESSAGES), Math.ceil(this.#bounds.messages / 8)),
    };
  }

  /** The rows that a planned page brought; `complete` when there are no more behind them. */
  loaded(
    page: PageRequest,
    rows: readonly Row[],
    complete: boolean,
    entryOf: (row: Row) => Entry,
  ): void {
    const last = rows[rows.length - 1];
    const reached = complete || last === undefined ? page.lastRank + 1 : rankOf(last.lane);
    let newest: Entry | undefined;
    for (const row of rows) {
      const lane = this.#lane(rankOf(row.lane));
      lane.loadedThrough = Math.max(lane.loadedThrough, row.sequence);
      if (row.record.length === 0 || this.#away.has(row.sequence)) continue;
      newest = entryOf(row);
      if (this.keys === undefined || this.keys.admit(newest)) this.#append(lane, newest);
    }
    for (let rank = page.rank; rank <= page.lastRank; rank++) {
      const lane = this.#lane(rank);
      const before = lane.diskEnteredAt;
      if (this.keys !== undefined) lane.passedEnteredAt = Math.min(lane.passedEnteredAt, before);
      if (rank < reached) {
        lane.more = false;
        lane.diskEnteredAt = Number.POSITIVE_INFINITY;
      } else if (newest !== undefined && rankOf(newest.lane) === rank) {
        lane.diskEnteredAt = newest.enteredAt;
      }
    }
  }

  /** Lanes with messages on disk that may have been there since `enteredBefore` or longer. */
  *diskLanes(enteredBefore: number): Iterable<{ rank: number; after: number }> {
    for (const [rank, lane] of this.#lanes.entries()) {
      if (lane === undefined || oldestOnDisk(lane) > enteredBefore) continue;
      yield { rank, after: this.keys === undefined ? lane.loadedThrough : lane.sweptThrough };
    }
  }

  /** All rows of the lane up to `sequence` are gone from disk. */
  skipped(rank: number, sequence: number): void {
    const lane = this.#lane(rank);
    lane.loadedThrough = Math.max(lane.loadedThrough, sequence);
  }

  /** The first message of the lane on disk came at `enteredAt`; undefined when there is none. */
  diskBegins(rank: number, enteredAt: number | undefined): void {
    const lane = this.#lane(rank);
    lane.more = enteredAt !== undefined;
    lane.diskEnteredAt = enteredAt ?? Number.POSITIVE_INFINITY;
  }

  /** Swept up to `through`, or 0: to the end of what has expired. None came before `enteredAt`. */
  swept(rank: number, through: number, enteredAt: number): void {
    const lane = this.#lane(rank);
    lane.sweptThrough = through;
    lane.passedEnteredAt = enteredAt;
    lane.diskEnteredAt = Math.max(lane.diskEnteredAt, enteredAt);
  }

  /** Whether all that waits is here, or passed. */
  get isAllRead(): boolean {
    return !this.#lanes.some((lane) => lane?.more === true);
  }

  /** A message stays on disk although all before it is read: it is found by its key. */
  pass(laneNumber: number, sequence: number, enteredAt: number): void {
    const lane = this.#lane(rankOf(laneNumber));
    lane.loadedThrough = Math.max(lane.loadedThrough, sequence);
    lane.passedEnteredAt = Math.min(lane.passedEnteredAt, enteredAt);
  }

  /** Takes out one that gives way to an older one of its key; it is passed now. */
  drop(entry: Entry): void {
    this.takeOut(entry);
    this.pass(entry.lane, entry.sequence, entry.enteredAt);
  }

  /** Takes out one that waits here. */
  takeOut(entry: Entry): void {
    const lane = this.#lane(rankOf(entry.lane));
    lane.returned.remove(entry);
    lane.takenThrough = Math.max(lane.takenThrough, entry.sequence);
    this.#size--;
    this.#bytes -= entry.bytes;
  }

  /** Leaves everything to the disk, to be read anew from the beginning, save what is `out`. */
  rewind(out: Iterable<Entry>): void {
    for (const entry of out) this.#away.add(entry.sequence);
    for (const lane of this.#lanes) {
      if (lane === undefined) continue;
      this.#takeOut(lane, () => false);
      restart(lane);
    }
  }

  /** What was out at a `rewind` is out no more. */
  returned({ sequence }: Entry): void {
    if (this.#away.size > 0) this.#away.delete(sequence);
  }

  /** Whether it was out at a `rewind`, and is still. */
  isAway(sequence: number): boolean {
    return this.#away.has(sequence);
  }

  /** Whether a row of this place waits on disk, where a page will find it. */
  isOnDisk(laneNumber: number, sequence: number): boolean {
    const lane = this.#lanes[rankOf(laneNumber)];
    return lane?.more === true && sequence > lane.loadedThrough && !this.#away.has(sequence);
  }

  /** A row lies on disk, maybe before what was read: that is read again then. None of its lane is out. */
  reopen(laneNumber: number, sequence: number): void {
    const lane = this.#lane(rankOf(laneNumber));
    if (sequence <= lane.loadedThrough) {
      this.#takeOut(lane, (entry) => entry.sequence < sequence);
      lane.loadedThrough = sequence - 1;
    }
    lane.more = true;
    lane.diskEnteredAt = UNKNOWN;
  }

  /** Leaves everything to the disk, where it is: nobody is there to take it. */
  unload(): void {
    for (const lane of this.#lanes) {
      if (lane === undefined) continue;
      for (const entry of this.#takeOut(lane, () => false)) {
        this.reopen(entry.lane, entry.sequence);
      }
    }
  }

  /** Takes out what has expired. */
  takeExpired(now: number): Entry[] {
    if (now < this.#earliestExpiry) return [];
    const expired: Entry[] = [];
    this.#earliestExpiry = Number.POSITIVE_INFINITY;
    const keep = (entry: Entry) => {
      if (entry.expiresAt <= now) return false;
      this.#earliestExpiry = Math.min(this.#earliestExpiry, entry.expiresAt);
      return true;
    };
    for (const lane of this.#lanes) {
      if (lane === undefined) continue;
      expired.push(...this.#takeOut(lane, keep));
    }
    return expired;
  }

  /** After settings changed: expiries must be looked at anew. */
  reconsiderExpiry(): void {
    this.#earliestExpiry = 0;
  }

  /** No message here, nor behind on disk by a time to live of `ttlMs`, expires before this. */
  nextExpiryAt(ttlMs: number): number {
    let next = this.#earliestExpiry;
    for (const lane of this.#lanes) {
      if (lane !== undefined) next = Math.min(next, oldestOnDisk(lane) + ttlMs);
    }
    return next;
  }

  /** When the oldest message came that waits for no other of its key, as far as is known here. */
  oldestEnteredAt(): number | undefined {
    let oldest = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes) {
      if (lane !== undefined) oldest = Math.min(oldest, oldestIn(lane, this.keys !== undefined));
    }
    return Number.isFinite(oldest) ? oldest : undefined;
  }

  /** Forgets what is gone from disk; nothing below `below` waits there. */
  clear(isGone: (entry: Entry) => boolean, below: number): void {
    for (const lane of this.#lanes) {
      if (lane === undefined) continue;
      this.#takeOut(lane, (entry) => !isGone(entry));
      lane.loadedThrough = Math.max(lane.loadedThrough, below - 1);
    }
  }

  #lane(rank: number): Lane {
    let lane = this.#lanes[rank];
    if (lane === undefined) {
      lane = newLane();
      this.#lanes[rank] = lane;
    }
    return lane;
  }

  #append(lane: Lane, entry: Entry): void {
    if (this.keys === undefined) lane.fresh.push(entry);
    else lane.returned.push(entry);
    lane.loadedThrough = Math.max(lane.loadedThrough, entry.sequence);
    this.#counted(entry);
  }

  /** Takes out those for which `stays` is false. */
  #takeOut(lane: Lane, stays: (entry: Entry) => boolean): Entry[] {
    const out = lane.fresh.filter(stays);
    for (const entry of [...lane.returned.values()]) {
      if (stays(entry)) continue;
      lane.returned.remove(entry);
      out.push(entry);
    }
    for (const entry of out) {
      this.#size--;
      this.#bytes -= entry.bytes;
      this.keys?.left(entry);
    }
    return out;
  }

  #counted(entry: Entry): void {
    this.#size++;
    this.#bytes += entry.bytes;
    if (entry.expiresAt < this.#earliestExpiry) this.#earliestExpiry = entry.expiresAt;
  }
}
