/** Ends the sessions of those who are shut out while they are connected [P-14.5]. */
import { CLOSE } from "../../schemas/errors.ts";
import type { Clock } from "../clock.ts";
import { type Bans, banned } from "../security/bans.ts";
import { Rounds, type SessionList } from "./rounds.ts";
import type { Session } from "./session.ts";

export class Eviction {
  readonly #bans: Bans;

  constructor(sessions: SessionList, bans: Bans, clock: Clock) {
    this.#bans = bans;
    const rounds = new Rounds(sessions, clock, (session) => {
      this.#look(session);
      return 1;
    });
    bans.onAdded(() => rounds.soon());
  }

  #look(session: Session): void {
    const ban = this.#bans.find(session);
    if (ban === undefined) return;
    session.refuse(undefined, undefined, banned(ban));
    session.close(ban.automatic ? CLOSE.abuse : CLOSE.kicked, ban.reason ?? "banned");
  }
}
