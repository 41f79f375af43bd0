/** Many sessions, each with at most one time at which something is due, on one timer. */
import { type Clock, PART_MS, type Timer } from "../clock.ts";
import { Heap, type HeapItem } from "../collections/heap.ts";

export interface HasDeadline extends HeapItem {
  /** Milliseconds since 1970; only `Deadlines` changes it. */
  deadline: number;
  /** The time has come; may set another one. */
  onDeadline(now: number): void;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #heap = new Heap<HasDeadline>((a, b) => a.deadline < b.deadline);
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set(item: HasDeadline, at: number): void {
    this.#heap.remove(item);
    item.deadline = at;
    this.#heap.push(item);
    this.#arm();
  }

  clear(item: HasDeadline): void {
    this.#heap.remove(item);
    // The timer may now be early; it looks again then. Once nothing is left it must not keep on.
    if (this.#heap.size === 0) this.#disarm();
  }

  /** What is due is seen to, should the clock have been set forward since the timer was. */
  look(): void {
    const first = this.#heap.peek();
    if (first !== undefined && first.deadline <= this.#clock.now()) this.#fire();
  }

  #arm(): void {
    const at = this.#heap.peek()?.deadline;
    if (at === undefined || at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.after(at - this.#clock.now(), this.#fire);
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  readonly #fire = (): void => {
    this.#disarm();
    // Tokens that were made together end in the same second, and to end a connection takes 60 to 70 µs.
    const end = this.#clock.elapsedMs() + PART_MS;
    do {
      const now = this.#clock.now();
      const first = this.#heap.peek();
      if (first === undefined || first.deadline > now) break;
      this.#heap.remove(first);
      first.onDeadline(now);
    } while (this.#clock.elapsedMs() < end);
    // Those who are still due are seen to at once, but not before others had their turn.
    this.#arm();
  };
}
