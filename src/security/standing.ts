/**
 * Whether somebody who was let in is still to be served: a request may take long, and its credentials, or
 * the patience of an operator, may be over before it is [P-14.4], [P-14.5].
 */
import type { Clock } from "../clock.ts";
import { WarrenError } from "../errors.ts";
import type { Known } from "./admission.ts";
import { type Bans, banned } from "./bans.ts";
import type { Validity } from "./validity.ts";

export class Standing {
  readonly #validity: Validity;
  readonly #bans: Bans;
  readonly #clock: Clock;

  constructor(validity: Validity, bans: Bans, clock: Clock) {
    this.#validity = validity;
    this.#bans = bans;
    this.#clock = clock;
  }

  /** Why it is not to be served any more; undefined while it is. */
  lost(who: Known): WarrenError | undefined {
    const ban = this.#bans.find(who);
    if (ban !== undefined) return banned(ban);
    if (who.principal === undefined) return undefined;
    const now = this.#clock.now();
    const ending = this.#validity.endingOf(who.principal);
    if (ending !== undefined && ending.at <= now) return ending.error;
    const { expiresAt } = who.principal;
    return expiresAt !== undefined && expiresAt <= now
      ? new WarrenError("token_expired")
      : undefined;
  }

  /** Throws `banned`, `token_revoked`, `token_expired` or `unauthenticated`. */
  assert(who: Known): void {
    const error = this.lost(who);
    if (error !== undefined) throw error;
  }

  /** Calls `listener` whenever somebody may have lost it, save by the passing of time. */
  onChange(listener: () => void): void {
    this.#validity.onChange(listener);
    this.#bans.onAdded(listener);
  }
}
