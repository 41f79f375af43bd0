/**
 * Requests that wait for something, and are cut off when whoever asked is not to be served any more: a long
 * poll must not outlive its credentials [P-12.7], [P-14.4].
 */
import type { Clock } from "../clock.ts";
import type { WarrenError } from "../errors.ts";

/** Changes that come within this time are looked at together. */
const COLLECT_MS = 50;
/** Requests that are looked at before others have their turn. */
const LOOKS_A_TURN = 500;

export interface Wait {
  /** Aborted when the wait is over before its time, by the client or by us. */
  readonly signal: AbortSignal;
  /** Throws why it is over; does nothing while nothing speaks against it. */
  assert(): void;
  end(): void;
}

interface Waiting {
  readonly lost: () => WarrenError | undefined;
  readonly cut: AbortController;
}

export class Waits {
  readonly #clock: Clock;
  readonly #all = new Set<Waiting>();
  #collecting = false;
  #looking = false;
  #again = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `lost` says why nobody is to wait any more; it is asked when something changes, and at `until`. */
  begin(gone: AbortSignal, until: number | undefined, lost: Waiting["lost"]): Wait {
    const cut = new AbortController();
    const waiting: Waiting = { lost, cut };
    this.#all.add(waiting);
    const timer = until && this.#clock.after(until - this.#clock.now(), () => this.#look(waiting));
    return {
      signal: AbortSignal.any([gone, cut.signal]),
      assert() {
        const error = lost();
        if (error !== undefined) throw error;
      },
      end: () => {
        this.#all.delete(waiting);
        if (timer) timer.cancel();
      },
    };
  }

  /** Something has changed: all are looked at, a bounded part of them in each turn of the event loop. */
  look(): void {
    if (this.#collecting || this.#all.size === 0) return;
    this.#collecting = true;
    this.#clock.after(COLLECT_MS, () => {
      this.#collecting = false;
      this.#again = this.#looking;
      if (!this.#looking) this.#start();
    });
  }

  #start(): void {
    this.#looking = true;
    this.#turn(this.#all.values());
  }

  #turn(rest: IterableIterator<Waiting>): void {
    for (let looks = 0; looks < LOOKS_A_TURN; looks++) {
      const { value, done } = rest.next();
      if (done === true) {
        this.#looking = false;
        if (this.#again) this.look();
        this.#again = false;
        return;
      }
      this.#look(value);
    }
    this.#clock.endOfTurn(() => this.#turn(rest));
  }

  #look({ lost, cut }: Waiting): void {
    if (lost() !== undefined) cut.abort();
  }
}
