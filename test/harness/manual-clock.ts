/** Time in the hands of a test: it stands still until it is advanced. */
import type { Clock, Timer } from "../../src/clock.ts";

interface Waiting {
  readonly at: number;
  readonly action: () => void;
}

export class ManualClock implements Clock {
  #now: number;
  #lookedMs = 0;
  /** What every look at a clock adds to `elapsedMs`: nothing, unless work is to seem costly. */
  lookMs = 0;
  /** In the order of their times, then of asking. */
  readonly #waiting: Waiting[] = [];

  constructor(now = 1_800_000_000_000) {
    this.#now = now;
  }

  now(): number {
    this.#lookedMs += this.lookMs;
    return this.#now;
  }

  elapsedMs(): number {
    this.#lookedMs += this.lookMs;
    return this.#now + this.#lookedMs;
  }

  after(delayMs: number, action: () => void): Timer {
    const waiting = { at: this.#now + Math.max(delayMs, 0), action };
    const before = this.#waiting.findLastIndex(({ at }) => at <= waiting.at);
    this.#waiting.splice(before + 1, 0, waiting);
    // What is due already does not wait for the next `advance`, nor is it called from inside this call.
    if (waiting.at === this.#now) setImmediate(() => this.advance(0));
    return {
      cancel: () => {
        const at = this.#waiting.indexOf(waiting);
        if (at >= 0) this.#waiting.splice(at, 1);
      },
    };
  }

  /** Real turns: what an engine has from other threads and from the disk keeps its own time. */
  endOfTurn(action: () => void): void {
    setImmediate(action);
  }

  /**
   * Lets time pass, calling every timer that becomes due, at its time and in order. What these do at
   * the end of a turn comes after this call, with the time already at its end.
   */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || next.at > end) break;
      this.#waiting.shift();
      this.#now = Math.max(this.#now, next.at);
      next.action();
    }
    this.#now = end;
  }
}
