/**
 * Which messages come due next, of all queues: places only, not the messages. Bounded: the nearest ones
 * are here, those beyond the horizon are read from the index when their turn comes near.
 */
import { Heap, type HeapItem } from "../../collections/heap.ts";
import { queueNumberOf } from "./lanes.ts";

export interface Place {
  readonly dueAt: number;
  readonly lane: number;
  readonly sequence: number;
}

interface Item extends Place, HeapItem {}

export class DelayedWindow {
  readonly #capacity: number;
  readonly #heap = new Heap<Item>(sooner);
  /** The last place that is here while there are others behind it; undefined when all are here. */
  #horizon: Place | undefined;
  #loading = false;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** At a start: everything is on disk, if there is anything. */
  startFromDisk(any: boolean): void {
    this.#heap.drain();
    this.#loading = false;
    this.#horizon = any ? { dueAt: -1, lane: 0, sequence: 0 } : undefined;
  }

  get nextDueAt(): number | undefined {
    return this.#heap.peek()?.dueAt;
  }

  add(place: Place): void {
    if (this.#horizon !== undefined && sooner(this.#horizon, place)) return;
    this.#heap.push({ ...place, heapIndex: -1 });
    if (this.#heap.size > this.#capacity) this.#cut();
  }

  /** Takes at most `limit` places whose time has come, in order. */
  takeDue(now: number, limit: number): Place[] {
    const due: Place[] = [];
    while (due.length < limit && (this.#heap.peek()?.dueAt ?? Number.POSITIVE_INFINITY) <= now) {
      due.push(this.#heap.pop()!);
    }
    return due;
  }

  /** Drops what a purge or removal took: the places of this queue below `sequence`. */
  forget(queueNumber: number, below: number): void {
    for (const item of this.#heap.drain()) {
      if (queueNumberOf(item.lane) === queueNumber && item.sequence < below) continue;
      this.#heap.push(item);
    }
  }

  /** The place after which to read next; undefined when there is no need now. Answer with `loaded`. */
  plan(): { readonly after: Place; readonly limit: number } | undefined {
    if (this.#loading || this.#horizon === undefined) return undefined;
    if (this.#heap.size > this.#capacity / 4) return undefined;
    this.#loading = true;
    return { after: this.#horizon, limit: Math.ceil(this.#capacity / 2) };
  }

  loaded(places: readonly Place[], complete: boolean): void {
    this.#loading = false;
    for (const place of places) this.#heap.push({ ...place, heapIndex: -1 });
    this.#horizon = complete ? undefined : places[places.length - 1];
  }

  failed(): void {
    this.#loading = false;
  }

  /** Keeps the nearer half. */
  #cut(): void {
    const items = this.#heap.drain().sort((a, b) => (sooner(a, b) ? -1 : 1));
    const kept = items.slice(0, Math.ceil(this.#capacity / 2));
    this.#horizon = kept[kept.length - 1];
    for (const item of kept) this.#heap.push(item);
  }
}

/** As the index has them: by due time, then by id. */
function sooner(a: Place, b: Place): boolean {
  if (a.dueAt !== b.dueAt) return a.dueAt < b.dueAt;
  return a.lane !== b.lane ? a.lane < b.lane : a.sequence < b.sequence;
}
