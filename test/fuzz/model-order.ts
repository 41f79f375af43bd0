/** Who goes first in a queue, by the model: by key, by turn, by priority and by age. */
import type { Copy, ModelQueue } from "./model-queue.ts";

/** Whether it could be handed out, were it its turn. */
export function isReady(copy: Copy, now: number): boolean {
  return copy.confirmed && copy.lease === undefined && copy.dueAt <= now;
}

/** The order of a queue at one moment. */
export class ModelOrder {
  readonly #queue: ModelQueue;
  readonly #now: number;

  constructor(queue: ModelQueue, now: number) {
    this.#queue = queue;
    this.#now = now;
  }

  /** Whether `other` must be out of the way before `copy` of the same key is handed out. */
  #holds(other: Copy, copy: Copy): boolean {
    const { ordering, keyRetry } = this.#queue.settings;
    if (ordering === "none" || copy.key === undefined || other.key !== copy.key) return false;
    if (other === copy) return false;
    if (other.lease !== undefined) return true;
    // Of those that came at the same time from elsewhere nobody says which goes first.
    if (other.rank >= copy.rank) return false;
    if (other.attempts > 0 && keyRetry === "block") return true;
    // One that has come due may still be on its way through storage.
    return other.dueAt <= this.#now && other.settled;
  }

  isFree(copy: Copy): boolean {
    return !this.#queue.copies.some((other) => this.#holds(other, copy));
  }

  /** Behind all that was there when its key had its last turn. */
  #placeOf({ key, rank }: Copy): number {
    const { settings, turns } = this.#queue;
    if (settings.ordering === "none" || key === undefined) return rank;
    return Math.max(rank, turns.get(key) ?? 0);
  }

  /** Whether nothing of its priority that is in place comes before it. */
  #isFirst(copy: Copy): boolean {
    const place = this.#placeOf(copy);
    return (
      this.isFree(copy) &&
      !this.#queue.copies.some(
        (other) =>
          other.priority === copy.priority &&
          this.#placeOf(other) < place &&
          this.#isInPlace(other) &&
          this.isFree(other),
      )
    );
  }

  /**
   * The first of its priority, and those that are instead if they are in their place already: younger
   * ones may stand before it, when its key had a turn since.
   */
  #mayBeFirst(first: Copy): Copy[] {
    const place = this.#placeOf(first);
    return this.#queue.copies.filter(
      (copy) =>
        copy === first ||
        (copy.priority === first.priority &&
          !copy.placed &&
          isReady(copy, this.#now) &&
          this.isFree(copy) &&
          this.#placeOf(copy) < place),
    );
  }

  /**
   * Turns are taken among as many as fit into memory. Where there are large messages that may be fewer than
   * there are keys, and one that had its turn stands before those that entered after it.
   */
  #isOutOfSight(copy: Copy): boolean {
    if (
      this.#queue.settings.ordering === "none" ||
      !this.#queue.copies.some(({ blocks }) => blocks > 0)
    )
      return false;
    return this.#queue.copies.some(
      (other) =>
        other.priority === copy.priority &&
        other.rank < copy.rank &&
        isReady(other, this.#now) &&
        this.#placeOf(other) > this.#placeOf(copy),
    );
  }

  /** Whether `a` goes first, if both are the first of their priority. */
  #isBefore(a: Copy, b: Copy): boolean {
    const isEarlier = this.#placeOf(a) < this.#placeOf(b);
    if (a.priority === b.priority) return isEarlier;
    const [urgencyOfA, urgencyOfB] = [this.#urgencyOf(a), this.#urgencyOf(b)];
    return urgencyOfA > urgencyOfB || (urgencyOfA === urgencyOfB && isEarlier);
  }

  #urgencyOf({ priority, enteredAt }: Copy): number {
    const { priorityAgeingMs } = this.#queue.settings;
    if (priorityAgeingMs === 0) return priority;
    return Math.min(9, priority + Math.floor((this.#now - enteredAt) / priorityAgeingMs));
  }

  #isInPlace(copy: Copy): boolean {
    return copy.placed && isReady(copy, this.#now);
  }

  /** One that had to be handed out before this one, if there is any. */
  before(copy: Copy): Copy | undefined {
    return this.#queue.copies.find(
      (other) =>
        this.#isInPlace(other) &&
        this.#isFirst(other) &&
        !this.#isOutOfSight(other) &&
        this.#mayBeFirst(other).every((first) => this.#isBefore(first, copy)),
    );
  }

  /** One of its key that has to be out of the way first, if there is any. */
  holderOf(copy: Copy): Copy | undefined {
    return this.#queue.copies.find((other) => this.#holds(other, copy));
  }
}
