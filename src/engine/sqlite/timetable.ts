/**
 * Everything that happens at a time: ack deadlines, delayed messages, expiry.
 * One timer for all, set to the earliest.
 */
import type { Clock, Timer } from "../../clock.ts";
import { Heap } from "../../collections/heap.ts";
import type { DelayedWindow } from "./delayed.ts";
import type { Entry } from "./entry.ts";
import type { SqliteQueue } from "./queue.ts";

/**
 * Then the time is looked at again whatever it was: somebody may have set the clock, and a timer that was
 * set by the wrong time would hold up all the others.
 */
const LONGEST_WAIT_MS = 5000;

export class Timetable {
  readonly deadlines = new Heap<Entry>((a, b) => a.deadline < b.deadline);
  /** Queues by when a message of theirs may expire. */
  readonly expiries = new Heap<SqliteQueue>((a, b) => a.expiryAt < b.expiryAt);
  readonly #clock: Clock;
  readonly #delayed: DelayedWindow;
  readonly #wake: (now: number) => void;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  /** When the engine itself wants to be woken, at the latest. */
  #engineAt = Number.POSITIVE_INFINITY;
  #notBefore = 0;

  /** `wake` is called when something is due. */
  constructor(clock: Clock, delayed: DelayedWindow, wake: (now: number) => void) {
    this.#clock = clock;
    this.#delayed = delayed;
    this.#wake = wake;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timerAt = Number.NEGATIVE_INFINITY;
  }

  /** Nothing of what was to come holds any more. */
  clear(): void {
    this.deadlines.drain();
    this.expiries.drain();
  }

  /** Nothing can be done before this time: what is due waits. */
  holdOff(until: number): void {
    this.#notBefore = until;
  }

  /** Wakes the engine at this time, whatever else is due. */
  at(time: number): void {
    this.#engineAt = Math.min(this.#engineAt, time);
    this.arm();
  }

  /** To be called when something may have become due earlier than all else. */
  arm(): void {
    const soonest = Math.min(
      this.#engineAt,
      this.deadlines.peek()?.deadline ?? Number.POSITIVE_INFINITY,
      this.expiries.peek()?.expiryAt ?? Number.POSITIVE_INFINITY,
      this.#delayed.nextDueAt ?? Number.POSITIVE_INFINITY,
    );
    const at = Math.max(soonest, this.#notBefore);
    // A timer that goes off too early costs less than moving it at every delivery.
    if (at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    const waitMs = Math.min(at - this.#clock.now(), LONGEST_WAIT_MS);
    this.#timer = this.#clock.after(waitMs, () => this.#ring());
  }

  #ring(): void {
    if (this.#timerAt === Number.NEGATIVE_INFINITY) return;
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    if (this.#engineAt <= now) this.#engineAt = Number.POSITIVE_INFINITY;
    this.#wake(now);
    this.arm();
  }
}
