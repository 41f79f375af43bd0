/**
 * The part of a queue's waiting messages that is in memory, in the order of delivery; the rest waits on
 * disk behind it. Decides which page to read next, reads nothing itself.
 *
 * For every lane: all waiting messages up to `loadedThrough` are here (or out with a consumer); `more`
 * says that behind it there may be others on disk. So the window stays a prefix of the queue, whatever
 * is committed, handed out and returned meanwhile.
 */
import { Deque } from "../../collections/deque.ts";
import { Heap } from "../../collections/heap.ts";
import { effectivePriority } from "../rules.ts";
import type { Row } from "./batch.ts";
import type { Entry } from "./entry.ts";
import { PRIORITIES, rankOf } from "./lanes.ts";

interface Lane {
  /** Never handed out, or at least not returned, in the order of their sequence. */
  readonly fresh: Deque<Entry>;
  /** Given back; they keep their place. */
  readonly returned: Heap<Entry>;
  loadedThrough: number;
  /** The last one that was ever handed out. */
  takenThrough: number;
  more: boolean;
  /** No message on disk behind the window came before this time. */
  diskEnteredAt: number;
}

export interface PageRequest {
  readonly rank: number;
  readonly after: number;
  readonly lastRank: number;
  readonly limit: number;
}

export interface WindowBounds {
  readonly messages: number;
  readonly bytes: number;
}

/** Of a lane whose messages on disk were not looked at yet: the next sweep does. */
const UNKNOWN = Number.NEGATIVE_INFINITY;
const PAGE_MESSAGES = 2048;

const sooner = (a: Entry, b: Entry) => a.place < b.place;

/** The first of the lane that is here. */
function headOf({ fresh, returned }: Lane): Entry | undefined {
  const first = fresh.peek();
  const again = returned.peek();
  if (first === undefined || again === undefined) return first ?? again;
  return again.place < first.place ? again : first;
}

export class Window {
  readonly #bounds: WindowBounds;
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

  /**
   * Makes room by leaving the youngest of the least urgent to the disk, where they are: but none that is
   * older than one that was handed out, which a page would then bring a second time.
   */
  trim(): void {
    for (let rank = PRIORITIES - 1; rank >= 0 && this.#size > this.#bounds.messages; rank--) {
      const lane = this.#lanes[rank];
      if (lane === undefined) continue;
      const entries = [...lane.fresh, ...lane.returned.values()]
        .filter((entry) => entry.sequence > lane.takenThrough)
        .sort((a, b) => a.sequence - b.sequence);
      const surplus = this.#size - this.#bounds.messages;
      const first = entries[Math.max(entries.length - surplus, 0)];
      if (first === undefined) continue;
      const left = this.#takeOut(lane, (entry) => entry.sequence < first.sequence);
      lane.loadedThrough = first.sequence - 1;
      for (const entry of left) this.leave(entry.lane, entry.enteredAt);
    }
  }

  /**
   * Takes the next message: of the first of each lane the one with the highest effective priority, of
   * equals the one that came first [P-5.11]. Undefined when there is none, or when one that may go
   * before it must be read from disk.
   */
  next(now: number, ageingMs: number): Entry | undefined {
    let lane: Lane | undefined;
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
      lane = other;
      place = head.place;
      priority = urgency;
    }
    this.#needed = unread ? this.#unreadBefore(place, priority, now, ageingMs) : -1;
    return lane === undefined || this.#needed >= 0 ? undefined : this.#take(lane);
  }

  /** The lane on disk that may hold one to go before this, or -1. When each came is a lower bound. */
  #unreadBefore(place: number, priority: number, now: number, ageingMs: number): number {
    let needed = -1;
    let most = priority;
    for (let rank = 0; rank < PRIORITIES; rank++) {
      const lane = this.#lanes[rank];
      if (lane?.more !== true) continue;
      const head = headOf(lane);
      if (head !== undefined && head.place <= lane.loadedThrough) continue;
      const base = PRIORITIES - 1 - rank;
      const urgency = effectivePriority(base, lane.diskEnteredAt, now, ageingMs);
      const first = needed < 0 && urgency === most && lane.loadedThrough + 1 < place;
      if (urgency < most || (urgency === most && !first)) continue;
      needed = rank;
      most = urgency;
    }
    return needed;
  }

  #take(lane: Lane): Entry {
    const fresh = lane.fresh.peek();
    const returned = lane.returned.peek();
    const entry =
      fresh === undefined || (returned !== undefined && returned.place < fresh.place)
        ? lane.returned.pop()!
        : lane.fresh.shift()!;
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
    const lastRank = this.#lastUntouched(rank);
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
      newest = entryOf(row);
      this.#append(this.#lane(rankOf(row.lane)), newest);
    }
    for (let rank = page.rank; rank <= page.lastRank; rank++) {
      const lane = this.#lane(rank);
      if (rank < reached) {
        lane.more = false;
        lane.diskEnteredAt = Number.POSITIVE_INFINITY;
      } else if (rank === reached) {
        lane.diskEnteredAt = newest?.enteredAt ?? UNKNOWN;
      }
    }
  }

  /** Lanes with messages on disk that may have been there since `enteredBefore` or longer. */
  *diskLanes(enteredBefore: number): Iterable<{ rank: number; after: number }> {
    for (const [rank, lane] of this.#lanes.entries()) {
      if (lane?.more === true && lane.diskEnteredAt <= enteredBefore) {
        yield { rank, after: lane.loadedThrough };
      }
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

  /** Whether a row of this place waits on disk, where a page will find it. */
  isOnDisk(laneNumber: number, sequence: number): boolean {
    const lane = this.#lanes[rankOf(laneNumber)];
    return lane?.more === true && sequence > lane.loadedThrough;
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
      if (lane?.more === true) next = Math.min(next, lane.diskEnteredAt + ttlMs);
    }
    return next;
  }

  /** When the oldest message that waits came into the queue, as far as is known here. */
  oldestEnteredAt(): number | undefined {
    let oldest = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes) {
      if (lane === undefined) continue;
      oldest = Math.min(
        oldest,
        lane.fresh.peek()?.enteredAt ?? oldest,
        lane.returned.peek()?.enteredAt ?? oldest,
        lane.more ? lane.diskEnteredAt : oldest,
      );
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
      lane = {
        fresh: new Deque(),
        returned: new Heap(sooner),
        loadedThrough: 0,
        takenThrough: 0,
        more: false,
        diskEnteredAt: Number.POSITIVE_INFINITY,
      };
      this.#lanes[rank] = lane;
    }
    return lane;
  }

  #append(lane: Lane, entry: Entry): void {
    lane.fresh.push(entry);
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
    }
    return out;
  }

  #counted(entry: Entry): void {
    this.#size++;
    this.#bytes += entry.bytes;
    if (entry.expiresAt < this.#earliestExpiry) this.#earliestExpiry = entry.expiresAt;
  }

  /** One read may go on through the following lanes as long as nothing of them is here. */
  #lastUntouched(from: number): number {
    let rank = from;
    while (rank + 1 < PRIORITIES) {
      const lane = this.#lanes[rank + 1];
      if (lane !== undefined && (!lane.more || lane.loadedThrough > 0)) break;
      rank++;
    }
    return rank;
  }
}
