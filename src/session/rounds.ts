/**
 * Looking at all sessions after something has changed: however often it does, they are gone through once more,
 * a bounded part of them in each turn of the event loop, so that everyone else is served meanwhile.
 */
import { type Clock, PART_MS } from "../clock.ts";
import type { Session } from "./session.ts";

/** Changes that come within this time are looked at together. */
const COLLECT_MS = 50;
/**
 * Looked at in one turn, and no more than there is time for, since that depends on what is found. To end a
 * connection takes 60 to 70 µs, so that 2,000 of them in one turn stopped everybody else for 120 to 300 ms; to
 * compile a role of a thousand rules for somebody who has grants of his own takes longer still.
 */
const LOOKS_A_TURN = 2000;

/** All sessions, in an order in which one that goes gives its place to the last. */
export interface SessionList {
  readonly size: number;
  at(place: number): Session | undefined;
}

export class Rounds {
  readonly #sessions: SessionList;
  readonly #clock: Clock;
  readonly #look: (session: Session) => number;
  /** The places below it are still to be looked at; undefined while there is nothing to do. */
  #below: number | undefined;
  #collecting = false;
  #again = false;

  /** `look` returns at how many things it has looked; a session that is over is not looked at. */
  constructor(sessions: SessionList, clock: Clock, look: (session: Session) => number) {
    this.#sessions = sessions;
    this.#clock = clock;
    this.#look = look;
  }

  /** Whether some session has not been looked at since the last change. */
  get running(): boolean {
    return this.#below !== undefined;
  }

  /** Begins in a moment, with what else changes until then. */
  soon(): void {
    if (this.#collecting) return;
    this.#collecting = true;
    this.#clock.after(COLLECT_MS, () => {
      this.#collecting = false;
      this.start();
    });
  }

  /** Begins at the end of this turn, or once the round that is under way is over. */
  start(): void {
    this.#again = this.#below !== undefined;
    if (this.#again) return;
    this.#below = this.#sessions.size;
    this.#clock.endOfTurn(this.#turn);
  }

  readonly #turn = (): void => {
    const end = this.#clock.elapsedMs() + PART_MS;
    let place = Math.min(this.#below ?? 0, this.#sessions.size);
    let looks = 0;
    // Backwards: what takes the place of one that goes was looked at already.
    while (place > 0) {
      const session = this.#sessions.at(--place);
      looks += session === undefined || session.over ? 1 : this.#look(session);
      if (looks >= LOOKS_A_TURN || this.#clock.elapsedMs() >= end) break;
    }
    this.#below = place;
    if (place > 0) this.#clock.endOfTurn(this.#turn);
    else {
      this.#below = undefined;
      if (this.#again) this.start();
    }
  };
}
