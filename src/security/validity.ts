/**
 * Whether credentials that were good when they were shown still are [P-14.4]: keys that are revoked or
 * rotated, revocations, and issuers that have taken the key of a token out of use.
 */
import type { Principal } from "../broker/access.ts";
import { WarrenError } from "../errors.ts";
import type { ApiKeys } from "./api-keys.ts";
import { endOf, type Revocations, revoked } from "./revocations.ts";

/** Credentials end, sooner than they said. */
export interface Ending {
  /** Milliseconds since 1970; what has passed means now. */
  readonly at: number;
  readonly error: WarrenError;
}

const NOW = 0;

export class Validity {
  readonly #keys: ApiKeys;
  readonly #revocations: Revocations;
  readonly #listeners: (() => void)[] = [];

  constructor(keys: ApiKeys, revocations: Revocations) {
    this.#keys = keys;
    this.#revocations = revocations;
    keys.withdrawn = () => this.#changed();
    revocations.changed = () => this.#changed();
  }

  /** Calls `listener` when live connections, and requests under way, may have to end. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** When and why these credentials end; undefined when nothing has happened to them. */
  endingOf(principal: Principal): Ending | undefined {
    const { credential } = principal;
    if (credential === undefined) return undefined;
    if (credential.vouchedFor?.() === false) {
      const why = "The key that signed the token is not its issuer's any more.";
      return { at: NOW, error: new WarrenError("unauthenticated", why) };
    }
    const byKey = credential.key && this.#endingOfKey(credential.key);
    const revocation = this.#revocations.find(principal);
    if (revocation === undefined) return byKey;
    const at = endOf(revocation);
    return byKey !== undefined && byKey.at <= at ? byKey : { at, error: revoked(revocation) };
  }

  #endingOfKey(key: { readonly id: string; readonly hash: string }): Ending | undefined {
    const at = this.#keys.goodUntil(key);
    if (at === undefined) return { at: NOW, error: new WarrenError("token_revoked") };
    if (at === Number.POSITIVE_INFINITY) return undefined;
    return { at, error: new WarrenError("token_expired") };
  }
}
