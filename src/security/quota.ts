/**
 * One rule of how much in how long: a token bucket as a single number, the time at which it is full again.
 * Nothing is allocated to ask it, no timer fills it, and whoever keeps the number keeps the bucket.
 */

const MINUTE_MS = 60_000;
/** No debt is longer, nor does a clock that was set back lock anyone out for longer. */
const DEBT_MS = 60_000;
/** A rate may be as small as a number can be; what it costs has to stay one. */
const COST_MAX_MS = 1e12;
/** What the rounding of many small sums may come to. */
const ROUNDING_MS = 0.001;

export class Quota {
  /** Time that one costs, in milliseconds. */
  readonly costMs: number;
  /** Time that a full bucket holds. */
  readonly #burstMs: number;

  private constructor(costMs: number, burstMs: number) {
    this.costMs = Math.min(costMs, COST_MAX_MS);
    this.#burstMs = Math.max(burstMs, this.costMs);
  }

  /** A bucket of `burstSeconds` times the rate; undefined for 0, which is no limit. */
  static perSecond(rate: number, burstSeconds: number): Quota | undefined {
    return rate === 0 ? undefined : new Quota(1000 / rate, burstSeconds * 1000);
  }

  /** A bucket of one minute's worth; undefined for 0, which is no limit. */
  static perMinute(rate: number): Quota | undefined {
    return rate === 0 ? undefined : new Quota(MINUTE_MS / rate, MINUTE_MS);
  }

  /** Milliseconds until one more is within the rate; 0 when it is now. */
  waitMs(fullAt: number, now: number): number {
    const wait = Math.min(fullAt - now, this.#burstMs + DEBT_MS) - (this.#burstMs - this.costMs);
    return wait > ROUNDING_MS ? Math.ceil(wait - ROUNDING_MS) : 0;
  }

  /** When the bucket is full again after `count` more, which may be more than there was in it. */
  charged(fullAt: number, now: number, count: number): number {
    const from = Math.max(fullAt, now);
    return Math.min(from + count * this.costMs, now + this.#burstMs + DEBT_MS);
  }
}
