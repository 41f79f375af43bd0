/** Latencies in microseconds, kept as they are up to a bound and summed up as percentiles. */

const BOUND = 2_000_000;

export interface LatencySummary {
  readonly count: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

export class LatencyRecorder {
  #values = new Float64Array(4096);
  #count = 0;
  /** Nothing is recorded while false: warm-up. */
  active = false;

  add(us: number): void {
    if (!this.active || this.#count >= BOUND) return;
    if (this.#count === this.#values.length) {
      const larger = new Float64Array(this.#values.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#count++] = us;
  }

  summary(): LatencySummary {
    const sorted = this.#values.slice(0, this.#count).sort();
    const at = (share: number) =>
      sorted[Math.min(sorted.length - 1, sorted.length * share) | 0] ?? 0;
    return { count: this.#count, p50Us: at(0.5), p99Us: at(0.99) };
  }
}
