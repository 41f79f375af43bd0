/**
 * Looking at all sessions soon after something has changed: however often it does, they are gone through once,
 * in slices that hinder nobody.
 */
import type { Clock } from "../clock.ts";
import type { Session } from "./session.ts";

/** Changes that come within this time are looked at together. */
const COLLECT_MS = 50;
const SLICE = 2000;

export class Rounds {
  readonly #sessions: Iterable<Session>;
  readonly #clock: Clock;
  readonly #look: (session: Session) => void;
  #under = false;
  #again = false;

  constructor(sessions: Iterable<Session>, clock: Clock, look: (session: Session) => void) {
    this.#sessions = sessions;
    this.#clock = clock;
    this.#look = look;
  }

  soon(): void {
    this.#again = this.#under;
    if (this.#under) return;
    this.#under = true;
    this.#clock.after(COLLECT_MS, () => this.#slice([...this.#sessions], 0));
  }

  #slice(all: readonly Session[], from: number): void {
    const to = Math.min(all.length, from + SLICE);
    for (let i = from; i < to; i++) if (!all[i]!.over) this.#look(all[i]!);
    if (to < all.length) {
      this.#clock.after(0, () => this.#slice(all, to));
      return;
    }
    this.#under = false;
    if (this.#again) this.soon();
  }
}
