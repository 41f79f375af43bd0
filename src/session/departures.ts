/**
 * Letting go of what sessions held whose sockets are closed. When a line breaks for thousands, they are all closed in
 * one turn of the event loop; the first of them are seen to at once and the others in later turns, so that those
 * who are still connected are served in between.
 *
 * Nobody is let in until all who left before are seen to: whoever is back finds nothing that it left behind, or it
 * would be a member of its topics twice [P-7.2].
 */
import { type Clock, PART_MS } from "../clock.ts";
import { Deque } from "../collections/deque.ts";

/** More than leave in one turn when nothing has happened to them all. */
const AT_ONCE = 32;

export class Departures {
  readonly #clock: Clock;
  /** No more than there were connections, for nobody is let in meanwhile. */
  readonly #waiting = new Deque<() => void>();
  /** How many may still be seen to at once in this turn. */
  #left = AT_ONCE;
  #asked = false;
  #finished = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Those who have left and are still to be seen to. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Runs `letGo` now, or in a later turn, after those of all who left before. */
  take(letGo: () => void): void {
    if (this.#finished) {
      letGo();
      return;
    }
    if (!this.#asked) {
      this.#asked = true;
      this.#clock.endOfTurn(this.#turn);
    }
    if (this.#left > 0) {
      this.#left--;
      letGo();
    } else this.#waiting.push(letGo);
  }

  /** All are seen to at once, from now on. */
  finish(): void {
    this.#finished = true;
    while (this.#waiting.size > 0) this.#waiting.shift()?.();
  }

  readonly #turn = (): void => {
    if (this.#waiting.size === 0) {
      this.#left = AT_ONCE;
      this.#asked = false;
      return;
    }
    // What they hold decides how many that are, from one to some hundred.
    const end = this.#clock.elapsedMs() + PART_MS;
    do this.#waiting.shift()?.();
    while (this.#waiting.size > 0 && this.#clock.elapsedMs() < end);
    this.#clock.endOfTurn(this.#turn);
  };
}
