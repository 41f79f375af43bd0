/**
 * What lasts longer than the look at its credentials, and is cut off when whoever asked for it is not to be
 * served any more: requests that wait, and work that was pulled [P-12.7], [P-14.4].
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

interface Watched {
  /** Why nobody is to be served any more. */
  readonly lost: () => WarrenError | undefined;
  readonly cut: (why: WarrenError) => void;
}

export class Waits {
  readonly #clock: Clock;
  readonly #all = new Set<Watched>();
  #collecting = false;
  #looking = false;
  #again = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `lost` says why nobody is to wait any more; it is asked when something changes, and at `until`. */
  begin(gone: AbortSignal, until: number | undefined, lost: Watched["lost"]): Wait {
    const over = new AbortController();
    const watched: Watched = { lost, cut: () => over.abort() };
    const end = this.#watch(watched);
    const timer = until && this.#clock.after(until - this.#clock.now(), () => look(watched));
    return {
      signal: AbortSignal.any([gone, over.signal]),
      assert() {
        const error = lost();
        if (error !== undefined) throw error;
      },
      end() {
        end();
        if (timer) timer.cancel();
      },
    };
  }

  /** Calls `cut` once, when something changes and `lost` says why; never after the returned function was called. */
  watch(lost: Watched["lost"], cut: Watched["cut"]): () => void {
    const end = this.#watch({
      lost,
      cut(why) {
        end();
        cut(why);
      },
    });
    return end;
  }

  #watch(watched: Watched): () => void {
    this.#all.add(watched);
    return () => this.#all.delete(watched);
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

  #turn(rest: IterableIterator<Watched>): void {
    for (let looks = 0; looks < LOOKS_A_TURN; looks++) {
      const { value, done } = rest.next();
      if (done === true) {
        this.#looking = false;
        if (this.#again) this.look();
        this.#again = false;
        return;
      }
      look(value);
    }
    this.#clock.endOfTurn(() => this.#turn(rest));
  }
}

function look({ lost, cut }: Watched): void {
  const why = lost();
  if (why !== undefined) cut(why);
}
