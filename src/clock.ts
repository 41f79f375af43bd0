/** Time and randomness as arguments, so that tests and the simulation can hold them in hand. */

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since 1970 UTC. */
  now(): number;
  /** Milliseconds, with their fractions, of a time that only goes on, whatever anybody sets. */
  elapsedMs(): number;
  /** Calls `action` once, `delayMs` from now at the earliest. */
  after(delayMs: number, action: () => void): Timer;
  /** Calls `action` at the end of this turn of the event loop, after all input that is waiting. */
  endOfTurn(action: () => void): void;
}

/** Work for many that can be done in parts takes no longer than this of one turn of the event loop. */
export const PART_MS = 1;

/** A number in [0, 1). */
export type Random = () => number;

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsedMs: () => performance.now(),
  after(delayMs, action) {
    // Node's and Bun's timers fire at once for delays over 2^31-1 ms; a long wait is cut and looked at again.
    const timer = setTimeout(action, Math.min(Math.max(delayMs, 0), 2_147_483_647));
    return { cancel: () => clearTimeout(timer) };
  },
  endOfTurn(action) {
    setImmediate(action);
  },
};

export const systemRandom: Random = () => Math.random();
