/** What is in memory of one queue at one priority, and what is known of the rest on disk. */
import { Deque } from "../../collections/deque.ts";
import { Heap } from "../../collections/heap.ts";
import { effectivePriority } from "../rules.ts";
import type { Entry } from "./entry.ts";
import { PRIORITIES } from "./lanes.ts";

export interface Lane {
  /** Never handed out, or at least not returned, in the order of their sequence; none where keys take turns. */
  readonly fresh: Deque<Entry>;
  /** Given back, and where keys take turns all: they keep their place. */
  readonly returned: Heap<Entry>;
  loadedThrough: number;
  /** The last one that was ever handed out. */
  takenThrough: number;
  more: boolean;
  /** No message on disk behind `loadedThrough` came before this time. */
  diskEnteredAt: number;
  /**
   * Nor any that lies on disk before that, passed over: each is found by its key when it is its turn.
   * Infinity: there is none.
   */
  passedEnteredAt: number;
  /** Where the sweep for expired ones goes on, when those that were passed are among them. */
  sweptThrough: number;
}

/** Of a lane whose messages on disk were not looked at yet: the next sweep does. */
export const UNKNOWN = Number.NEGATIVE_INFINITY;

const sooner = (a: Entry, b: Entry) => a.place < b.place;

/** The first of the lane that is here. */
export function headOf({ fresh, returned }: Lane): Entry | undefined {
  const first = fresh.peek();
  const again = returned.peek();
  if (first === undefined || again === undefined) return first ?? again;
  return again.place < first.place ? again : first;
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

export function newLane(): Lane {
  return {
    fresh: new Deque(),
    returned: new Heap(sooner),
    loadedThrough: 0,
    takenThrough: 0,
    more: false,
    diskEnteredAt: Number.POSITIVE_INFINITY,
    passedEnteredAt: Number.POSITIVE_INFINITY,
    sweptThrough: 0,
  };
}

/**
 * From which sequence on so many of those that are here, the youngest, may be left to the disk; none that
 * is older than one that was handed out, which a page would then bring a second time.
 */
export function surplusFrom({ fresh, returned, takenThrough }: Lane, surplus: number): number {
  const sequences = [...fresh, ...returned.values()]
    .map(({ sequence }) => sequence)
    .filter((sequence) => sequence > takenThrough)
    .sort((a, b) => a - b);
  return sequences[Math.max(sequences.length - surplus, 0)] ?? Number.POSITIVE_INFINITY;
}

/** Takes out the first that is here; there must be one. */
export function takeHead(lane: Lane): Entry {
  const fresh = lane.fresh.peek();
  const returned = lane.returned.peek();
  const isReturned =
    fresh === undefined || (returned !== undefined && returned.place < fresh.place);
  return isReturned ? lane.returned.pop()! : lane.fresh.shift()!;
}

/**
 * When the oldest of the lane came into the queue, as far as is known here; of none, never. What was
 * passed over is younger than the first of its key.
 */
export function oldestIn({ fresh, returned, more, diskEnteredAt }: Lane, byTurns: boolean): number {
  let oldest = more ? diskEnteredAt : Number.POSITIVE_INFINITY;
  oldest = Math.min(oldest, fresh.peek()?.enteredAt ?? oldest);
  if (!byTurns) return Math.min(oldest, returned.peek()?.enteredAt ?? oldest);
  for (const { enteredAt } of returned.values()) oldest = Math.min(oldest, enteredAt);
  return oldest;
}

/** When the oldest came that may be on disk only; of none, never. */
export function oldestOnDisk({ more, diskEnteredAt, passedEnteredAt }: Lane): number {
  return more ? Math.min(diskEnteredAt, passedEnteredAt) : passedEnteredAt;
}

/** An empty lane, to be read from the beginning. */
export function restart(lane: Lane): void {
  lane.loadedThrough = 0;
  lane.takenThrough = 0;
  lane.more = true;
  lane.sweptThrough = 0;
  lane.diskEnteredAt = UNKNOWN;
  lane.passedEnteredAt = Number.POSITIVE_INFINITY;
}

/** One read may go on through the following lanes as long as nothing of them is here. */
export function lastUntouched(lanes: readonly (Lane | undefined)[], from: number): number {
  let rank = from;
  while (rank + 1 < PRIORITIES) {
    const lane = lanes[rank + 1];
    if (lane !== undefined && (!lane.more || lane.loadedThrough > 0)) break;
    rank++;
  }
  return rank;
}

/** The one that would be handed out, and by what priorities are compared. */
interface Candidate {
  readonly rank: number;
  readonly place: number;
  readonly priority: number;
  readonly now: number;
  readonly ageingMs: number;
}

/** The rank on disk that may hold one to go before this, or -1. When each came is a lower bound. */
export function unreadBefore(
  lanes: readonly (Lane | undefined)[],
  isFull: (lane: Lane) => boolean,
  { rank: chosen, place, priority, now, ageingMs }: Candidate,
): number {
  let needed = -1;
  let most = priority;
  for (let rank = 0; rank < PRIORITIES; rank++) {
    const lane = lanes[rank];
    if (lane?.more !== true) continue;
    const head = headOf(lane);
    if (head !== undefined && (head.place <= lane.loadedThrough || isFull(lane))) continue;
    // Within a lane it is the place that counts, whatever the age.
    if (rank === chosen) return rank;
    const urgency = effectivePriority(PRIORITIES - 1 - rank, lane.diskEnteredAt, now, ageingMs);
    const isFirst = needed < 0 && urgency === most && lane.loadedThrough + 1 < place;
    if (urgency < most || (urgency === most && !isFirst)) continue;
    needed = rank;
    most = urgency;
  }
  return needed;
}
