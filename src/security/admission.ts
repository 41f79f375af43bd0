/**
 * The door: who is turned away before anything is spent on them [P-14.5, P-14.11], in the order of what it
 * costs to find out: bans and rates of the address, then the credential, then what is known of its principal.
 */
import type { RateSettings } from "../../schemas/rates.ts";
import type { Principal } from "../broker/access.ts";
import type { Clock } from "../clock.ts";
import { WarrenError } from "../errors.ts";
import type { Account } from "./accounts.ts";
import { addressGroup } from "./addresses.ts";
import { ANONYMOUS } from "./anonymous.ts";
import type { Authenticator } from "./authenticator.ts";
import { Bans, type Target } from "./bans.ts";
import type { Meter } from "./meter.ts";
import { Rates } from "./rates.ts";

export interface AdmissionSettings {
  readonly rates: RateSettings;
  /** Accounts kept of those who are not connected, and bans made by rules. */
  readonly maxAccounts: number;
  readonly maxAutomaticBans: number;
  readonly clock: Clock;
}

export interface Known {
  readonly address: string;
  readonly principal: Principal | undefined;
}

export class Admission {
  readonly rates: Rates;
  readonly bans: Bans;
  /** Handshakes and requests refused for a ban, since the start. */
  turnedAway = 0;

  constructor({ rates, maxAccounts, maxAutomaticBans, clock }: AdmissionSettings) {
    this.rates = new Rates(rates, clock, maxAccounts);
    this.bans = new Bans(clock, maxAutomaticBans);
  }

  /** Somebody wants to connect. Throws `banned`, `rate_limited`. */
  knock(address: string): void {
    this.#assertNotBanned({ address, principal: undefined });
    this.#counted({ address, principal: undefined }, () => this.rates.connecting(address));
  }

  /** It may have a connection of its own. Throws `rate_limited`. */
  assertRoom(who: Known): void {
    this.#counted(who, () => this.rates.connected(who));
  }

  /** The principal of a connection that was there before it had one. Throws `rate_limited`. */
  assertRoomForPrincipal(who: Known): void {
    this.#counted(who, () => this.rates.named(who));
  }

  /** Somebody comes, for a request or a connection, and nothing is spent on it yet. Throws `banned`. */
  request(address: string): void {
    this.#assertNotBanned({ address, principal: undefined });
  }

  /** What a request may send; takes one message. Throws `rate_limited`. */
  meterOf(who: Known): Meter | undefined {
    const meter = this.rates.meterOf(who);
    if (meter === undefined) return undefined;
    this.#counted(who, () => {
      meter.assertMayRead();
      meter.message();
    });
    return meter;
  }

  /** One who went past its rates again and again; it may be banned for it. */
  offence(who: Known): void {
    const { perMinute, banMs } = this.rates.settings.abuse;
    if (perMinute === 0 || !this.rates.strike("offences", this.#accountOf(who))) return;
    this.bans.banForAWhile(targetOf(who), "over its rates again and again", banMs);
  }

  /**
   * Who is refused and comes again all the same gets nearer to a ban each time; not for what all together have too
   * much of, or a few could have everybody else shut out.
   */
  refused(who: Known, error: unknown): void {
    const isOfAll = error instanceof WarrenError && error.detail?.scope === "overall";
    if (!isOfAll) this.offence(who);
  }

  /** A connection has ended; one that comes and goes all the time is banned. */
  ended(who: Known): void {
    const { perMinute, banMs } = this.rates.settings.flapping;
    if (perMinute === 0 || !this.rates.strike("ends", this.#accountOf(who))) return;
    this.bans.banForAWhile(targetOf(who), "connects and disconnects all the time", banMs);
  }

  /** The authenticator behind the door: guesses are counted, and principals that are banned end here. */
  guard(inner: Authenticator): Authenticator {
    const { rates } = this;
    return {
      open: inner.open,
      get anonymousAllowed() {
        return inner.anonymousAllowed;
      },
      refreshKeys: () => inner.refreshKeys(),
      recheckKeys: () => inner.recheckKeys(),
      authenticate: async (credential, peer) => {
        const { address } = peer;
        const unknown = { address, principal: undefined };
        // Among thousands that wait for their turn the first may have been too many already.
        const mayGoOn = () => this.#counted(unknown, () => rates.assertMayLogin(address));
        if (credential !== undefined) mayGoOn();
        let principal: Principal;
        try {
          principal = await inner.authenticate(credential, { address, mayGoOn });
        } catch (error) {
          const refused = error instanceof WarrenError && error.code === "unauthenticated";
          if (refused && credential !== undefined) rates.loginFailed(address);
          throw error;
        }
        this.#assertNotBanned({ address, principal });
        return principal;
      },
    };
  }

  #assertNotBanned(who: Known): void {
    try {
      this.bans.assertNotBanned(who);
    } catch (error) {
      this.turnedAway++;
      throw error;
    }
  }

  #counted<T>(who: Known, action: () => T): T {
    try {
      return action();
    } catch (error) {
      this.refused(who, error);
      throw error;
    }
  }

  #accountOf(who: Known): Account {
    const { principal, client, address } = targetOf(who);
    // No name holds a control character, so none can be taken for another.
    const key = [principal, client, address].join("\0");
    return this.rates.culprits.of(key);
  }
}

/** A device by its own id; else a principal at an address, since many may share either of the two. */
function targetOf({ address, principal }: Known): Target {
  const place = addressGroup(address);
  if (principal === undefined || principal.name === ANONYMOUS) return { address: place };
  const { name, client } = principal;
  return client === undefined ? { principal: name, address: place } : { principal: name, client };
}
