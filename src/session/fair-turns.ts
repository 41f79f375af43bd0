/**
 * Whose input is taken next, when there is more than one turn of the event loop should take [P-11.2]. One read of a
 * socket may bring thousands of frames: whoever has had its share waits, behind the others that wait, and
 * everyone else is served in between.
 */
import type { Clock } from "../clock.ts";
import { Deque } from "../collections/deque.ts";

/** Shares that are taken between two looks at the network. */
const SHARES_A_TURN = 2;

export interface Waiting {
  /** Takes its share of what was read; asks for another turn where that is not all. */
  takeTurn(): void;
}

export class FairTurns {
  readonly #clock: Clock;
  readonly #maxHeldBytes: number;
  readonly #waiting = new Deque<Waiting>();
  #asked = false;
  /** Of all who wait. */
  heldBytes = 0;

  constructor(clock: Clock, maxHeldBytes: number) {
    this.#clock = clock;
    this.#maxHeldBytes = maxHeldBytes;
  }

  /** Whether so much is held that what comes had better be taken at once, however unfair. */
  get isFull(): boolean {
    return this.heldBytes >= this.#maxHeldBytes;
  }

  join(one: Waiting): void {
    this.#waiting.push(one);
    this.#ask();
  }

  #ask(): void {
    if (this.#asked) return;
    this.#asked = true;
    this.#clock.endOfTurn(this.#serve);
  }

  readonly #serve = (): void => {
    this.#asked = false;
    for (let left = Math.min(SHARES_A_TURN, this.#waiting.size); left > 0; left--) {
      this.#waiting.shift()?.takeTurn();
    }
    if (this.#waiting.size > 0) this.#ask();
  };
}
