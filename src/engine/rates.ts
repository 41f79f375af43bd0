/**
 * How fast queues are at present: one timer samples the counters of all queues, and a rate is computed when
 * somebody asks. Nothing is done per message; only queues where something has happened within the last
 * minute take memory, and while there are none there is no timer.
 */
import { type QueueRates, RATED_COUNTERS, type RatedCounter } from "../../schemas/queue.ts";
import type { Clock, Timer } from "../clock.ts";
import type { QueueTally } from "./counters.ts";

const SAMPLE_MS = 2000;
const SHORT_MS = 10_000;
const LONG_MS = 60_000;
/** One is at least as old as the long span, whatever the moment of asking. */
const SAMPLES = LONG_MS / SAMPLE_MS + 2;
const WIDTH = RATED_COUNTERS.length;

/** The samples of one queue, at the places of the times at which they were taken. */
interface Samples {
  readonly values: Float64Array;
  /** How often in a row nothing had changed. */
  quiet: number;
}

export class RateSampler {
  readonly #clock: Clock;
  readonly #tallies: () => Iterable<QueueTally>;
  readonly #times = new Float64Array(SAMPLES);
  readonly #samples = new WeakMap<QueueTally, Samples>();
  /** What queues without samples had counted when something happened in them last. */
  readonly #bases = new WeakMap<QueueTally, readonly number[]>();
  #latest = 0;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(clock: Clock, tallies: () => Iterable<QueueTally>) {
    this.#clock = clock;
    this.#tallies = tallies;
  }

  /** Something may have been counted: to be called once a turn, or once a commit. */
  wake(): void {
    if (this.#timer !== undefined || this.#stopped) return;
    this.#times.fill(this.#clock.now());
    this.#later();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  ratesOf(tally: QueueTally): QueueRates {
    return { over10s: this.#over(tally, SHORT_MS), over60s: this.#over(tally, LONG_MS) };
  }

  #over(tally: QueueTally, spanMs: number): Record<RatedCounter, number> {
    const { at, ageMs } = this.#sampleBefore(spanMs);
    const values = this.#samples.get(tally)?.values;
    const base = this.#bases.get(tally);
    const rates: Record<RatedCounter, number> = { published: 0, delivered: 0, acked: 0 };
    for (let i = 0; i < WIDTH; i++) {
      const name = RATED_COUNTERS[i]!;
      const before = (values === undefined ? base?.[i] : values[at * WIDTH + i]) ?? 0;
      rates[name] = Math.round(((tally[name] - before) * 1e6) / ageMs) / 1000;
    }
    return rates;
  }

  /** The youngest sample that is as old as the span; before there is one, as if the oldest were. */
  #sampleBefore(spanMs: number): { at: number; ageMs: number } {
    const now = this.#clock.now();
    for (let back = 0; back < SAMPLES; back++) {
      const at = (this.#latest - back + SAMPLES) % SAMPLES;
      const ageMs = now - this.#times[at]!;
      if (ageMs >= spanMs) return { at, ageMs };
    }
    return { at: (this.#latest + 1) % SAMPLES, ageMs: spanMs };
  }

  #later(): void {
    this.#timer = this.#clock.after(SAMPLE_MS, () => {
      this.#timer = undefined;
      if (this.#sampleAll()) this.#later();
    });
  }

  /** Whether something has happened anywhere within the long span. */
  #sampleAll(): boolean {
    this.#latest = (this.#latest + 1) % SAMPLES;
    this.#times[this.#latest] = this.#clock.now();
    let active = false;
    for (const tally of this.#tallies()) if (this.#sample(tally)) active = true;
    return active;
  }

  #sample(tally: QueueTally): boolean {
    const last = (this.#latest - 1 + SAMPLES) % SAMPLES;
    let samples = this.#samples.get(tally);
    const base = this.#bases.get(tally);
    let changed = false;
    for (let i = 0; i < WIDTH && !changed; i++) {
      const before = (samples === undefined ? base?.[i] : samples.values[last * WIDTH + i]) ?? 0;
      changed = tally[RATED_COUNTERS[i]!] !== before;
    }
    if (samples === undefined) {
      if (!changed) return false;
      samples = { values: new Float64Array(SAMPLES * WIDTH), quiet: 0 };
      for (let i = 0; i < samples.values.length; i++) samples.values[i] = base?.[i % WIDTH] ?? 0;
      this.#samples.set(tally, samples);
    }
    samples.quiet = changed ? 0 : samples.quiet + 1;
    const present = RATED_COUNTERS.map((name) => tally[name]);
    samples.values.set(present, this.#latest * WIDTH);
    if (samples.quiet < SAMPLES) return true;
    this.#samples.delete(tally);
    this.#bases.set(tally, present);
    return false;
  }
}
