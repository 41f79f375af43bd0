/**
 * Ends the sessions of those who are shut out while they are connected [P-14.5]: however many bans come at
 * once, the sessions are gone through once, in slices that hinder nobody.
 */
import { CLOSE } from "../../schemas/errors.ts";
import type { Clock } from "../clock.ts";
import { type Bans, banned } from "../security/bans.ts";
import type { Session } from "./session.ts";

/** Bans that come within this time are looked for together. */
const COLLECT_MS = 50;
const SLICE = 2000;

export class Eviction {
  readonly #sessions: Iterable<Session>;
  readonly #bans: Bans;
  readonly #clock: Clock;
  #under = false;
  #again = false;

  constructor(sessions: Iterable<Session>, bans: Bans, clock: Clock) {
    this.#sessions = sessions;
    this.#bans = bans;
    this.#clock = clock;
    bans.added = () => this.#soon();
  }

  #soon(): void {
    this.#again = this.#under;
    if (this.#under) return;
    this.#under = true;
    this.#clock.after(COLLECT_MS, () => this.#slice([...this.#sessions], 0));
  }

  #slice(all: readonly Session[], from: number): void {
    const to = Math.min(all.length, from + SLICE);
    for (let i = from; i < to; i++) this.#look(all[i]!);
    if (to < all.length) {
      this.#clock.after(0, () => this.#slice(all, to));
      return;
    }
    this.#under = false;
    if (this.#again) this.#soon();
  }

  #look(session: Session): void {
    if (session.over) return;
    const ban = this.#bans.find(session);
    if (ban === undefined) return;
    session.refuse(undefined, undefined, banned(ban));
    session.close(ban.automatic ? CLOSE.abuse : CLOSE.kicked, ban.reason ?? "banned");
  }
}
