/**
 * Who a session is and until when, and what that allows. Rights are asked where they are needed and not
 * copied; only the topic last published to is remembered as allowed, since most devices have one.
 */
import type { Principal } from "../broker/access.ts";
import type { Broker } from "../broker/broker.ts";
import type { Draft } from "../broker/publication.ts";
import type { Router, TopicEntry } from "../broker/router.ts";
import { assertTerms, type PublishTerms, UNCONDITIONAL } from "../broker/terms.ts";
import { WarrenError } from "../errors.ts";
import { ANONYMOUS } from "../security/anonymous.ts";
import type { Rates } from "../security/rates.ts";
import type { Ending } from "../security/validity.ts";
import type { Deadlines, HasDeadline } from "./deadlines.ts";

/** How long before its end a token's holder is told [P-9.1]. */
const EXPIRY_NOTICE_MS = 30_000;

export interface CredentialsOwner {
  readonly address: string;
  /** No principal came in time. */
  notAuthenticatedInTime(): void;
  expiring(expiresAt: number): void;
  credentialsEnded(why: WarrenError): void;
}

/** What all sessions share. */
export interface CredentialsDeps {
  readonly deadlines: Deadlines;
  readonly admission: { readonly rates: Rates };
}

export class Credentials implements HasDeadline {
  readonly #owner: CredentialsOwner;
  readonly #deadlines: Deadlines;
  readonly #rates: Rates;
  #principal: Principal | undefined;
  #topic: TopicEntry | undefined;
  /** Of that topic, as the rights were then. */
  #terms: PublishTerms = UNCONDITIONAL;
  #version = 0;
  /** They were taken back, and end before their time. */
  #ending: Ending | undefined;
  deadline = 0;
  heapIndex = -1;

  constructor(owner: CredentialsOwner, deps: CredentialsDeps, principal: Principal | undefined) {
    this.#owner = owner;
    this.#deadlines = deps.deadlines;
    this.#rates = deps.admission.rates;
    this.#principal = principal;
  }

  get principal(): Principal | undefined {
    return this.#principal;
  }

  /** What `from` says of its messages; absent for anonymous ones [P-4.2]. */
  get from(): string | undefined {
    const name = this.#principal?.name;
    return name === ANONYMOUS ? undefined : name;
  }

  /** Time begins to run: until the credentials end, or until there have to be some. */
  start(now: number, handshakeTimeoutMs: number): void {
    if (this.#principal !== undefined) this.#watch(this.#principal, now);
    else this.#deadlines.set(this, now + handshakeTimeoutMs);
  }

  stop(): void {
    this.#deadlines.clear(this);
  }

  /** Takes other credentials of the same principal, or the first ones. Throws `forbidden`. */
  replace(principal: Principal, now: number): void {
    const present = this.#principal?.name ?? ANONYMOUS;
    if (present !== ANONYMOUS && present !== principal.name) {
      throw new WarrenError("forbidden", "A connection may not change its principal.");
    }
    this.#principal = principal;
    this.#topic = undefined;
    this.#ending = undefined;
    this.#watch(principal, now);
  }

  /** The topic's entry, for now, when it may be published to. Throws `invalid_topic`, `forbidden`. */
  publishTo(topic: string, router: Router): TopicEntry {
    const entry = router.glance(topic, this.#topic);
    const rights = this.#principal?.rights;
    const version = rights?.version ?? 0;
    if (entry === this.#topic && version === this.#version) return entry;
    const terms = entry.rightsVersion === version ? entry.terms : rights?.publishTerms(topic);
    if (terms === undefined) throw forbidden("publish", topic);
    entry.terms = terms;
    entry.rightsVersion = version;
    this.#topic = entry;
    this.#terms = terms;
    this.#version = version;
    return entry;
  }

  /**
   * Whether the draft may go to the topic that `publishTo` was asked for last, under the conditions
   * of its grants [P-14.6]; takes one message of their rates. Throws `forbidden`, `rate_limited`.
   */
  admit({ message }: Draft, entry: TopicEntry, retain: boolean): void {
    const { rates } = assertTerms(this.#terms, message, entry.queues, retain);
    if (rates === undefined) return;
    this.#rates.underGrants({ address: this.#owner.address, principal: this.#principal }, rates);
  }

  /** Throws `forbidden`. */
  assertMay(action: "subscribe" | "presence" | "history", filter: string): void {
    if (this.#principal?.rights.may(action, filter) !== true) throw forbidden(action, filter);
  }

  /** Throws `forbidden`. */
  assertMayConsume(queue: string, broker: Broker): void {
    const rights = this.#principal?.rights;
    if (rights === undefined || !broker.mayConsume(rights, queue)) {
      throw forbidden("consume", queue);
    }
  }

  /**
   * They end like this, sooner than they said, unless there are others by then: whoever holds them is told at
   * once. Undefined: they end as they said, whatever was said before.
   */
  endAs(ending: Ending | undefined, now: number): void {
    if (ending?.at === this.#ending?.at) return;
    this.#ending = ending;
    const end = this.#endOf(this.#principal);
    if (end === undefined) this.#deadlines.clear(this);
    else if (end.at <= now) this.#owner.credentialsEnded(end.error());
    else {
      const noticeAt = end.at - EXPIRY_NOTICE_MS;
      this.#deadlines.set(this, noticeAt > now ? noticeAt : end.at);
      if (ending !== undefined) this.#owner.expiring(end.at);
    }
  }

  onDeadline(now: number): void {
    const end = this.#endOf(this.#principal);
    if (end === undefined) this.#owner.notAuthenticatedInTime();
    else if (end.at <= now) this.#owner.credentialsEnded(end.error());
    else {
      this.#deadlines.set(this, end.at);
      this.#owner.expiring(end.at);
    }
  }

  #watch(principal: Principal, now: number): void {
    const end = this.#endOf(principal);
    if (end === undefined) this.#deadlines.clear(this);
    else this.#deadlines.set(this, Math.max(end.at - EXPIRY_NOTICE_MS, now));
  }

  #endOf(principal: Principal | undefined): { at: number; error(): WarrenError } | undefined {
    const ending = this.#ending;
    const expiresAt = principal?.expiresAt;
    if (ending !== undefined && ending.at < (expiresAt ?? Number.POSITIVE_INFINITY)) {
      return { at: ending.at, error: () => ending.error };
    }
    if (expiresAt === undefined) return undefined;
    return { at: expiresAt, error: () => new WarrenError("token_expired") };
  }
}

function forbidden(action: string, on: string): WarrenError {
  return new WarrenError("forbidden", `There is no right to ${action} here.`, { action, on });
}
