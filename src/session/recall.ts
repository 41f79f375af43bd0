/**
 * Credentials that were good when their session began, and are not any more [P-14.4]: looked at when they are
 * taken back, and again at intervals.
 */
import type { Clock } from "../clock.ts";
import type { Authenticator } from "../security/authenticator.ts";
import type { Validity } from "../security/validity.ts";
import { Rounds, type SessionList } from "./rounds.ts";
import type { Session } from "./session.ts";

/** How often all credentials are looked at again, and issuers asked whether their keys are the same. */
export const RECHECK_MS = 60_000;

export interface RecallDeps {
  readonly sessions: SessionList;
  readonly validity: Validity;
  readonly authenticator: Authenticator;
  readonly clock: Clock;
}

export class Recall {
  readonly #deps: RecallDeps;
  readonly #rounds: Rounds;
  #checkedAt: number;

  constructor(deps: RecallDeps) {
    this.#deps = deps;
    this.#checkedAt = deps.clock.now();
    this.#rounds = new Rounds(deps.sessions, deps.clock, (session) => {
      this.#look(session);
      return 1;
    });
    deps.validity.onChange(() => this.#rounds.soon());
  }

  /** Called now and then while there are sessions. */
  tick(): void {
    const sinceMs = this.#deps.clock.now() - this.#checkedAt;
    // A clock that was set back must not put it off.
    if (sinceMs >= RECHECK_MS || sinceMs < 0) this.check();
  }

  /** Looks at all credentials, once issuers have said which keys are theirs. */
  check(): void {
    const { authenticator, clock } = this.#deps;
    this.#checkedAt = clock.now();
    authenticator.recheckKeys().then(() => this.#rounds.soon());
  }

  #look({ principal, credentials }: Session): void {
    if (principal === undefined) return;
    const { validity, clock } = this.#deps;
    credentials.endAs(validity.endingOf(principal), clock.now());
  }
}
