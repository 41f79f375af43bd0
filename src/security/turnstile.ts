/**
 * How many costly things are done in one turn of the event loop, handshakes or signatures: when thousands connect
 * at once, those who are connected already are served in between.
 */
import type { Clock } from "../clock.ts";
import { Deque } from "../collections/deque.ts";
import { WarrenError } from "../errors.ts";

/** A handshake takes 50 to 100 µs, a signature 30 to 130 µs: some milliseconds. */
const A_TURN = 32;
const WAITING_MAX = 20_000;

export class Turnstile {
  readonly #clock: Clock;
  readonly #waiting = new Deque<() => void>();
  #left = A_TURN;
  #asked = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Undefined: go on at once. Else resolves in a later turn, first come, first served. Throws `busy`. */
  pass(): Promise<void> | undefined {
    if (!this.#asked) this.#ask();
    if (this.#left > 0) {
      this.#left--;
      return undefined;
    }
    if (this.#waiting.size >= WAITING_MAX) {
      throw new WarrenError("busy", "Too many come at once.");
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #ask(): void {
    this.#asked = true;
    this.#clock.endOfTurn(() => {
      this.#left = A_TURN;
      // Nobody passes those who wait.
      while (this.#left > 0 && this.#waiting.size > 0) {
        this.#left--;
        this.#waiting.shift()?.();
      }
      if (this.#waiting.size > 0) this.#ask();
      else this.#asked = false;
    });
  }
}
