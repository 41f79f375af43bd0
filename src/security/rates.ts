/**
 * Who has had too much [P-14.11]: of connections, messages, bytes and refused credentials, for each
 * connection, principal, address and overall. Everything is a number that is looked at when something
 * comes; nothing runs by itself.
 */
import type { RateSettings, RoleRates } from "../../schemas/rates.ts";
import type { GrantRate } from "../broker/access.ts";
import type { Clock } from "../clock.ts";
import { WarrenError } from "../errors.ts";
import { type Account, Accounts } from "./accounts.ts";
import { addressGroup } from "./addresses.ts";
import { ANONYMOUS } from "./anonymous.ts";
import { Meter, type Payer, type Scope } from "./meter.ts";
import { Quota } from "./quota.ts";

/** Who connects or asks, as far as it is known. */
export interface Party {
  readonly address: string;
  readonly principal?: { readonly name: string; readonly rates?: RoleRates } | undefined;
}

interface Traffic {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

const FULL_WAIT_MS = 5000;
/** Nobody who is refused a connection is told to wait for longer, unless one takes longer. */
const TURN_MAX_MS = 60_000;

export class Rates {
  readonly settings: RateSettings;
  readonly clock: Clock;
  readonly overall: Account;
  readonly addresses: Accounts;
  readonly principals: Accounts;
  /** Those who may be banned for what they do, by whom the ban would mean. */
  readonly culprits: Accounts;
  /** Of principals under grants that have a rate [P-14.6]. */
  readonly grants: Accounts;
  /** Refused for a rate or a cap, since the start. */
  limited = 0;
  readonly #start: number;
  readonly #any: boolean;
  readonly #quotas = new Map<string, Quota | undefined>();
  /** Tokens bring rates of any number, so these go with the rights that they belong to. */
  readonly #ofGrants = new WeakMap<GrantRate, Quota>();

  constructor(settings: RateSettings, clock: Clock, maxIdle: number) {
    this.settings = settings;
    this.clock = clock;
    this.#start = clock.now();
    this.overall = new Accounts(1).of("overall");
    this.addresses = new Accounts(maxIdle);
    this.principals = new Accounts(maxIdle);
    this.culprits = new Accounts(maxIdle);
    this.grants = new Accounts(maxIdle);
    const { burstSeconds: _, flapping, abuse, ...scopes } = settings;
    const all = [...Object.values(scopes).flatMap((scope) => Object.values(scope))];
    this.#any = [...all, flapping.perMinute, abuse.perMinute].some((rate) => rate > 0);
  }

  /** Somebody begins to connect, not yet known by name. Throws `rate_limited`. */
  connecting(address: string): void {
    if (!this.#any) return;
    const { overall, address: each } = this.settings;
    const account = this.#addressIf(each.connectionsPerMinute, address);
    const all = this.#perMinute(overall.connectionsPerMinute);
    const one = this.#perMinute(each.connectionsPerMinute);
    const now = this.now();
    // Its own first: for that of all it is not to blame.
    this.#assertTurn(one, account, "address");
    this.#assertTurn(all, this.overall, "overall");
    if (all !== undefined) this.overall.connects = all.charged(this.overall.connects, now, 1);
    if (one !== undefined && account !== undefined) {
      account.connects = one.charged(account.connects, now, 1);
    }
  }

  /** Milliseconds since the start: small numbers, so that fractions of one are not rounded off. */
  now(): number {
    return this.clock.now() - this.#start;
  }

  /** Whether anything is limited for it at all. */
  watches({ principal }: Party): boolean {
    return this.#any || principal?.rates !== undefined;
  }

  /** It may have one more connection. Throws `rate_limited`. */
  connected(party: Party): void {
    const { connections } = this.settings.address;
    const open = this.#addressIf(connections, party.address)?.connections ?? 0;
    this.#assertBelow(connections, open, "address");
    this.named(party);
  }

  /** A connection has a principal now. Throws `rate_limited`. */
  named({ principal }: Party): void {
    if (principal === undefined) return;
    const rules = { ...this.settings.principal, ...principal.rates };
    if (rules.connections === 0 && rules.connectionsPerMinute === 0) return;
    const account = this.principals.of(principal.name);
    this.#assertBelow(rules.connections, account.connections, "principal");
    const quota = this.#perMinute(rules.connectionsPerMinute);
    this.#assertTurn(quota, account, "principal");
    if (quota !== undefined) {
      account.connects = quota.charged(account.connects, this.now(), 1);
    }
  }

  /** A credential is about to be looked at. Throws `rate_limited` after too many that were refused. */
  assertMayLogin(address: string): void {
    const { overall, address: each } = this.settings;
    const account = this.#addressIf(each.failedLoginsPerMinute, address);
    const one = this.#perMinute(each.failedLoginsPerMinute);
    this.#assertNow(one, account?.failedLogins, "address", "failed logins");
    const all = this.#perMinute(overall.failedLoginsPerMinute);
    this.#assertNow(all, this.overall.failedLogins, "overall", "failed logins");
  }

  loginFailed(address: string): void {
    const now = this.now();
    const { overall, address: each } = this.settings;
    const all = this.#perMinute(overall.failedLoginsPerMinute);
    if (all !== undefined) {
      this.overall.failedLogins = all.charged(this.overall.failedLogins, now, 1);
    }
    const one = this.#perMinute(each.failedLoginsPerMinute);
    if (one === undefined) return;
    const account = this.addresses.of(addressGroup(address));
    account.failedLogins = one.charged(account.failedLogins, now, 1);
  }

  /** One more of what is counted by the minute; true when that was one too many. */
  strike(kind: "ends" | "offences", account: Account): boolean {
    const { flapping, abuse } = this.settings;
    const quota = this.#perMinute((kind === "ends" ? flapping : abuse).perMinute);
    if (quota === undefined) return false;
    const now = this.now();
    const tooMany = quota.waitMs(account[kind], now) > 0;
    account[kind] = tooMany ? 0 : quota.charged(account[kind], now, 1);
    return tooMany;
  }

  /** The meter of a request; undefined when nothing of it is limited. */
  meterOf(party: Party): Meter | undefined {
    const meter = new Meter(this);
    meter.messages = this.payers("messages", party);
    meter.bytes = this.payers("bytes", party);
    return meter.idle ? undefined : meter;
  }

  /** Who pays for messages or bytes; `own` is the account of the connection, if there is one. */
  payers(kind: "messages" | "bytes", party: Party, own?: Account): Payer[] {
    const { connection, address, principal, overall } = this.settings;
    const payers: Payer[] = [];
    const add = (scope: Scope, rules: Traffic, account: () => Account) => {
      const perSecond = kind === "messages" ? rules.messagesPerSecond : rules.bytesPerSecond;
      const quota = this.#perSecond(perSecond);
      if (quota !== undefined) payers.push({ scope, quota, account: account() });
    };
    if (own !== undefined) add("connection", connection, () => own);
    const named = party.principal;
    if (named !== undefined) {
      add("principal", { ...principal, ...named.rates }, () => this.principals.of(named.name));
    }
    add("address", address, () => this.addresses.of(addressGroup(party.address)));
    add("overall", overall, () => this.overall);
    return payers;
  }

  /**
   * One message under grants that have a rate; throws `rate_limited`, and takes nothing, when one of them has
   * none left. Everyone who is anonymous has one name, so of these each address counts by itself.
   */
  underGrants({ address, principal }: Party, rates: readonly GrantRate[]): void {
    const name = principal?.name ?? ANONYMOUS;
    const who = name === ANONYMOUS ? `${name}\0${addressGroup(address)}` : name;
    const now = this.now();
    const charges = rates.map((rate) => ({
      quota: this.#ofGrant(rate),
      account: this.grants.of(`${who}\0${rate.grant}`),
    }));
    for (const { quota, account } of charges) {
      const wait = quota.waitMs(account.messages, now);
      if (wait > 0) throw this.limitedError("grant", "messages", wait);
    }
    for (const { quota, account } of charges) {
      account.messages = quota.charged(account.messages, now, 1);
    }
  }

  limitedError(scope: Scope, what: string, retryAfterMs: number): WarrenError {
    this.limited++;
    return new WarrenError("rate_limited", `Too many ${what}; slow down.`, {
      scope,
      retryAfterMs,
    });
  }

  /**
   * Who is refused a connection is told a turn of his own, one after the other as fast as the rate lets them in:
   * told the same, thousands would come back together, and nearly all of them in vain.
   */
  #assertTurn(quota: Quota | undefined, account: Account | undefined, scope: Scope): void {
    if (quota === undefined || account === undefined) return;
    const now = this.now();
    const wait = quota.waitMs(account.connects, now);
    if (wait === 0) return;
    const next = Math.max(account.lastTurn, now + wait - quota.costMs) + quota.costMs;
    // Turns that nobody takes must not keep others away for long.
    account.lastTurn = next > now + TURN_MAX_MS ? now + wait : next;
    throw this.limitedError(scope, "connections", Math.ceil(account.lastTurn - now));
  }

  #assertNow(
    quota: Quota | undefined,
    fullAt: number | undefined,
    scope: Scope,
    what: string,
  ): void {
    if (quota === undefined || fullAt === undefined) return;
    const wait = quota.waitMs(fullAt, this.now());
    if (wait > 0) throw this.limitedError(scope, what, wait);
  }

  #assertBelow(cap: number, open: number, scope: Scope): void {
    if (cap > 0 && open >= cap) throw this.limitedError(scope, "connections", FULL_WAIT_MS);
  }

  /** Nothing is remembered of an address that nothing is limited for. */
  #addressIf(limit: number, address: string): Account | undefined {
    return limit === 0 ? undefined : this.addresses.of(addressGroup(address));
  }

  #perMinute(rate: number): Quota | undefined {
    return this.#quota(`${rate}/min`, () => Quota.perMinute(rate));
  }

  #perSecond(rate: number): Quota | undefined {
    return this.#quota(`${rate}/s`, () => Quota.perSecond(rate, this.settings.burstSeconds));
  }

  #ofGrant(rate: GrantRate): Quota {
    const known = this.#ofGrants.get(rate);
    if (known !== undefined) return known;
    const quota = Quota.perSecond(rate.perSecond, this.settings.burstSeconds);
    if (quota === undefined) throw new Error("A grant has no rate of 0.");
    this.#ofGrants.set(rate, quota);
    return quota;
  }

  /** Quotas hold no state of anyone's, so there is one for each rate: as many as settings and roles name. */
  #quota(key: string, make: () => Quota | undefined): Quota | undefined {
    if (!this.#quotas.has(key)) this.#quotas.set(key, make());
    return this.#quotas.get(key);
  }
}
