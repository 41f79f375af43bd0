/**
 * How many may read of what topics keep at once [P-4.8]: each of them holds a page in memory until its answer
 * has been sent. The others wait, in the order of their coming: after a restart it is all who are back that
 * have something to recover.
 */
import { Deque } from "../collections/deque.ts";

export class ReadSlots {
  readonly #waiting = new Deque<() => void>();
  #free: number;
  #serving = false;

  constructor(slots: number) {
    this.#free = slots;
  }

  /** `begin` is called when there is a slot, at once if there is one, and must not throw; it gives it back. */
  take(begin: () => void): void {
    this.#waiting.push(begin);
    this.#serve();
  }

  giveBack(): void {
    this.#free++;
    this.#serve();
  }

  /** In a loop: what begins may be over at once, and so may the thousand behind it. */
  #serve(): void {
    if (this.#serving) return;
    this.#serving = true;
    while (this.#free > 0) {
      const begin = this.#waiting.shift();
      if (begin === undefined) break;
      this.#free--;
      begin();
    }
    this.#serving = false;
  }
}
