/**
 * Everything that happens at a time: ack deadlines, delayed messages, the sweep for what has expired.
 * One timer for all, set to the earliest.
 */
import type { Clock, Timer } from "../../clock.ts";
import { Heap } from "../../collections/heap.ts";
import type { DelayedWindow } from "./delayed.ts";
import type { Entry } from "./entry.ts";

/** How late an expiry may be noticed. A sweep looks at bounds kept in memory, seldom at more. */
const SWEEP_MS = 100;

export class Timetable {
  readonly deadlines = new Heap<Entry>((a, b) => a.deadline < b.deadline);
  readonly #clock: Clock;
  readonly #delayed: DelayedWindow;
  readonly #wake: (now: number, sweep: boolean) => void;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #nextSweepAt = 0;

  /** `wake` is called when something is due; `sweep` says that it is time for that, too. */
  constructor(clock: Clock, delayed: DelayedWindow, wake: (now: number, sweep: boolean) => void) {
    this.#clock = clock;
    this.#delayed = delayed;
    this.#wake = wake;
  }

  start(): void {
    this.#nextSweepAt = this.#clock.now();
    this.arm();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Number.NEGATIVE_INFINITY;
  }

  /** To be called when something may have become due earlier than all else. */
  arm(): void {
    const at = Math.min(
      this.#nextSweepAt,
      this.deadlines.peek()?.deadline ?? Number.POSITIVE_INFINITY,
      this.#delayed.nextDueAt ?? Number.POSITIVE_INFINITY,
    );
    // A timer that goes off too early costs less than moving it at every delivery.
    if (at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.after(at - this.#clock.now(), () => this.#ring());
  }

  #ring(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    const sweep = now >= this.#nextSweepAt;
    if (sweep) this.#nextSweepAt = now + SWEEP_MS;
    this.#wake(now, sweep);
    if (this.#timerAt === Number.POSITIVE_INFINITY) this.arm();
  }
}
