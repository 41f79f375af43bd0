/**
 * A system's clock as operators and time servers treat it: timers run by a time that only goes on, `now`
 * is set forward and back under them.
 */
import type { Clock, Timer } from "../../src/clock.ts";
import { ManualClock } from "./manual-clock.ts";

export class JumpingClock implements Clock {
  readonly #steady = new ManualClock();
  #aheadMs = 0;

  now(): number {
    return this.#steady.now() + this.#aheadMs;
  }

  elapsedMs(): number {
    return this.#steady.elapsedMs();
  }

  after(delayMs: number, action: () => void): Timer {
    return this.#steady.after(delayMs, action);
  }

  endOfTurn(action: () => void): void {
    this.#steady.endOfTurn(action);
  }

  /** Lets time pass. */
  advance(ms: number): void {
    this.#steady.advance(ms);
  }

  /** Somebody sets the clock, forward or back; no time passes. */
  jump(ms: number): void {
    this.#aheadMs += ms;
  }
}
