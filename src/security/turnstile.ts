/**
 * How many costly things are done in one turn of the event loop, handshakes or signatures: when thousands connect
 * at once, those who are connected already are served in between. What one costs is not the same on every machine
 * nor at every time (a broker that has just been started takes several times as long), so that the turns themselves
 * say how many fit into one.
 */
import type { Clock } from "../clock.ts";
import { Deque } from "../collections/deque.ts";
import { WarrenError } from "../errors.ts";

/** At first, and at most: warm, a handshake with a token takes a seventh of a millisecond. */
const A_TURN_MOST = 8;
/** However long turns take, so that those who wait get in. */
const A_TURN_LEAST = 2;
/** A turn that took longer, whatever with, has half as many after it; after any other one there are a few more. */
const TURN_MS = 2;
const MORE = 1;

export class Turnstile {
  readonly #clock: Clock;
  readonly #most: number;
  readonly #isShut: () => boolean;
  readonly #waiting = new Deque<() => void>();
  #aTurn = A_TURN_MOST;
  #left = A_TURN_MOST;
  #asked = false;
  /** When the turn began, or the first came in it. */
  #since = 0;

  /** At most so many wait. While `isShut`, nobody passes. */
  constructor(clock: Clock, most: number, isShut = () => false) {
    this.#clock = clock;
    this.#most = most;
    this.#isShut = isShut;
  }

  /** Undefined: go on at once. Else resolves in a later turn, first come, first served. Throws `busy`. */
  pass(): Promise<void> | undefined {
    if (!this.#asked) this.#ask();
    if (this.#left > 0 && this.#waiting.size === 0 && !this.#isShut()) {
      this.#left--;
      return undefined;
    }
    if (this.#waiting.size >= this.#most) {
      throw new WarrenError("busy", "Too many come at once.");
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #ask(): void {
    this.#asked = true;
    this.#since = this.#clock.elapsedMs();
    this.#clock.endOfTurn(() => {
      const isLong = this.#clock.elapsedMs() - this.#since > TURN_MS;
      this.#aTurn = isLong
        ? Math.max(this.#aTurn >> 1, A_TURN_LEAST)
        : Math.min(this.#aTurn + MORE, A_TURN_MOST);
      this.#left = this.#aTurn;
      // Nobody passes those who wait.
      while (!this.#isShut() && this.#left > 0 && this.#waiting.size > 0) {
        this.#left--;
        this.#waiting.shift()?.();
      }
      if (this.#waiting.size > 0) this.#ask();
      else this.#asked = false;
    });
  }
}
