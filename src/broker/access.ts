/**
 * Access control [P-13.1]: what a principal may do, decided from its grants. Deny by default, an
 * explicit deny wins, and a subscription must lie inside one granted filter as a whole.
 *
 * Grants are compiled once into a plan; a principal's rights are that plan plus the values of the
 * variables in it. Without variables everyone of a role shares one object, with them a connection
 * costs a few short strings.
 */
import {
  ACTIONS,
  type Action,
  DENIABLE,
  type Deniable,
  type Grant,
  QUALIFIERS,
  type Qualifiers,
} from "../../schemas/access.ts";
import type { RoleRates } from "../../schemas/rates.ts";
import { type Explanation, explain, type Source } from "./explanation.ts";
import { isVariable, usableValue, type Variables } from "./grants.ts";
import { FilterMatcher, NONE, type Values } from "./matcher.ts";
import { type Alternative, type GrantRate, PublishTerms, UNCONDITIONAL } from "./terms.ts";

export { type Fault, grantFaults } from "./grants.ts";
export type { Action, Deniable, Explanation, Grant, GrantRate, Source, Variables };
export { PublishTerms };

/** Grants with where they come from. */
export interface SourcedGrants {
  readonly source: Source;
  readonly grants: readonly Grant[];
}

/** Who a connection is and what it may do. */
export interface Principal {
  /** A token's `sub`, a key's principal, or `anonymous`. */
  readonly name: string;
  /** The id of the device, from the token's `client`. */
  readonly client?: string;
  /** When the credentials end, milliseconds since 1970 UTC; absent means never. */
  readonly expiresAt?: number;
  readonly rights: Rights;
  /** What its roles say of its rates, in the place of what the settings say [P-14.11]. */
  readonly rates?: RoleRates;
  /** What it was let in with; absent where that was nothing. */
  readonly credential?: CredentialFacts;
}

/** What is known of a credential, for whoever takes it back. */
export interface CredentialFacts {
  /** An API key, and the hash of the secret that was shown: while it is rotated it has several. */
  readonly key?: { readonly id: string; readonly hash: string };
  /** The id of a token. */
  readonly jti?: string;
  /** Milliseconds since 1970; absent where the credential does not say. */
  readonly issuedAt?: number;
  /** Whether the token's issuer still has the key that signed it; absent where that cannot change. */
  readonly vouchedFor?: () => boolean;
}

/** What a principal may do. The checks do not throw; topics and filters must be valid. */
export interface Rights {
  /** Every check is true, save on topics that begin with `$`, which no wildcard covers [P-3.1]. */
  readonly allowsAll: boolean;
  /** Not zero. Rights that have the same number, these or others, now or before, answer the same. */
  readonly version: number;
  mayPublish(topic: string): boolean;
  /** Under which conditions it may publish; undefined when it may not at all [P-14.6]. */
  publishTerms(topic: string): PublishTerms | undefined;
  /** True when `filter` lies inside one granted filter and shares no topic with a denied one. */
  maySubscribe(filter: string): boolean;
  /** By the queue's name; `<name>.dead` is a name of its own. */
  mayConsume(queue: string): boolean;
  /** Whether nothing that `filter` matches is kept from it [P-14.6]. */
  mayReceive(filter: string): boolean;
  may(action: Deniable, on: string): boolean;
  /** Whether a rule denies some of it, whatever else allows it. */
  isDenied(action: Deniable, on: string): boolean;
  explain(action: Deniable, on: string): Explanation;
  /** These rights as they are now, whatever becomes of them. */
  snapshot(): Rights;
}

/** Grants in the form in which they are checked, shared by everyone who has the same ones. */
export interface Plan {
  /** The rights of a principal under these grants. */
  rightsFor(variables: Variables): PlannedRights;
}

/** Compiles grants that `grantFaults` found nothing wrong with; of rules that say the same the first counts. */
export function compilePlan(grants: readonly Grant[] | readonly SourcedGrants[]): Plan {
  const sourced = grants.flatMap((one) =>
    "grants" in one
      ? one.grants.map((grant) => ({ grant, source: one.source }))
      : [{ grant: one, source: { kind: "token" } as const }],
  );
  return new GrantPlan(sourced);
}

/** The rights that `grants` give to one principal. */
export function compileRights(grants: readonly Grant[], variables: Variables): Rights {
  return compilePlan(grants).rightsFor(variables);
}

/** One filter of one grant. */
export interface Entry {
  readonly grant: Grant;
  readonly source: Source;
  /** As it was written, with variables. */
  readonly filter: string;
  readonly actions: readonly Deniable[];
}

/** Being shown something takes a right and no denial of `receive` on it. */
const SHOWING: readonly Deniable[] = ["subscribe", "presence", "history"];
/** Combinations of conditional grants whose terms are remembered. */
const TERMS_KEPT = 256;

class GrantPlan implements Plan {
  /** One for each filter of each grant: denying ones first, since they win. */
  readonly entries: readonly Entry[];
  readonly denials: number;
  readonly allowsAll: boolean;
  readonly denying: Readonly<Record<Deniable, FilterMatcher>>;
  /** For `publish` those without conditions. */
  readonly allowing: Readonly<Record<Action, FilterMatcher>>;
  readonly conditional: FilterMatcher;
  readonly #variables: string[] = [];
  readonly #terms = new Map<string | number, PublishTerms>();
  readonly #shared: PlannedRights | undefined;
  #latest: PlannedRights | undefined;

  constructor(grants: readonly { readonly grant: Grant; readonly source: Source }[]) {
    const denials = grants.filter(({ grant }) => "deny" in grant).flatMap(entriesOf);
    const permits = grants.filter(({ grant }) => "allow" in grant).flatMap(entriesOf);
    this.entries = [...denials, ...permits];
    this.denials = denials.length;
    this.allowsAll = denials.length === 0 && coversAll(permits);
    this.denying = matchers(DENIABLE, this.#numberOf);
    this.allowing = matchers(ACTIONS, this.#numberOf);
    this.conditional = new FilterMatcher(this.#numberOf);
    this.entries.forEach((entry, number) => {
      if (number < this.denials) this.#deny(entry, number);
      else this.#allow(entry, number);
    });
    this.#shared = this.#variables.length === 0 ? new PlannedRights(this, []) : undefined;
  }

  rightsFor(variables: Variables): PlannedRights {
    if (this.#shared !== undefined) return this.#shared;
    const values = this.#variables.map((name) => usableValue(name, variables));
    // One that connects several times, one after the other.
    if (this.#latest?.isFor(values) !== true) this.#latest = new PlannedRights(this, values);
    return this.#latest;
  }

  /** What the variables of a filter stand for; one without a usable value stays as it was written. */
  filled(filter: string, values: Values): string {
    const levels = filter.split("/");
    return levels.map((level) => values[this.#variables.indexOf(level)] ?? level).join("/");
  }

  /** The terms of several conditional grants together. */
  termsOf(numbers: readonly number[]): PublishTerms {
    const key = numbers.length === 1 ? numbers[0]! : numbers.join();
    let terms = this.#terms.get(key);
    if (terms === undefined) {
      const grants = new Set(numbers.map((number) => this.entries[number]!.grant));
      terms = new PublishTerms([...grants].map(alternativeOf));
      if (this.#terms.size >= TERMS_KEPT) this.#terms.clear();
      this.#terms.set(key, terms);
    }
    return terms;
  }

  readonly #numberOf = (level: string): number => {
    if (!isVariable(level)) return NONE;
    const known = this.#variables.indexOf(level);
    return known >= 0 ? known : this.#variables.push(level) - 1;
  };

  #deny({ filter, actions }: Entry, number: number): void {
    for (const action of actions) {
      if (action !== "consume" || isQueueFilter(filter)) this.denying[action].add(filter, number);
      if (action !== "receive") continue;
      for (const showing of SHOWING) this.denying[showing].add(filter, number);
    }
  }

  #allow({ filter, actions, grant }: Entry, number: number): void {
    for (const action of actions) {
      if (action === "receive" || (action === "consume" && !isQueueFilter(filter))) continue;
      const conditional = action === "publish" && isQualified(grant);
      (conditional ? this.conditional : this.allowing[action]).add(filter, number);
    }
  }
}

function matchers<A extends string>(
  actions: readonly A[],
  numberOf: (level: string) => number,
): Record<A, FilterMatcher> {
  return Object.fromEntries(
    actions.map((action) => [action, new FilterMatcher(numberOf)]),
  ) as Record<A, FilterMatcher>;
}

/** Queue names have no levels: a filter is a name, or `#` or `+` for any. */
function isQueueFilter(filter: string): boolean {
  return !filter.includes("/");
}

function entriesOf({ grant, source }: { grant: Grant; source: Source }): Entry[] {
  const actions = "deny" in grant ? grant.deny : grant.allow;
  return grant.on.map((filter) => ({ grant, source, filter, actions }));
}

function isQualified(grant: Grant): grant is Extract<Grant, { allow: unknown }> {
  return "allow" in grant && Object.keys(qualifiersOf(grant)).length > 0;
}

/** The conditions of a grant; those that always hold are none. */
function qualifiersOf(grant: Grant): Qualifiers {
  if (!("allow" in grant)) return {};
  return Object.fromEntries(
    QUALIFIERS.filter((name) => grant[name] !== undefined && grant[name] !== true).map((name) => [
      name,
      grant[name],
    ]),
  );
}

function alternativeOf(grant: Grant): Alternative {
  const qualifiers = qualifiersOf(grant);
  const { maxRatePerSecond: perSecond } = qualifiers;
  if (perSecond === undefined) return qualifiers;
  const name = Bun.hash(JSON.stringify(grant)).toString(36);
  return { ...qualifiers, rates: [{ grant: name, perSecond }] };
}

function coversAll(permits: readonly Entry[]): boolean {
  const covered = new Set<Deniable>();
  for (const { filter, actions, grant } of permits) {
    for (const action of actions) {
      if (action === "publish" && isQualified(grant)) continue;
      const all = action === "consume" ? ["#", "+"] : ["#", "+/#"];
      if (all.includes(filter)) covered.add(action);
    }
  }
  return ACTIONS.every((action) => covered.has(action));
}

let versions = 0;

/** For rights that may answer otherwise than any before. */
export function newVersion(): number {
  return ++versions;
}

/** The conditional grants that cover a topic; used within one check only. */
const covering: number[] = [];

/** Rights that do not change. The checks allocate nothing, save for several conditional grants at once. */
export class PlannedRights implements Rights {
  readonly version = newVersion();
  readonly #plan: GrantPlan;
  readonly #values: Values;

  constructor(plan: GrantPlan, values: Values) {
    this.#plan = plan;
    this.#values = values;
  }

  get allowsAll(): boolean {
    return this.#plan.allowsAll;
  }

  isFor(values: Values): boolean {
    return values.every((value, at) => value === this.#values[at]);
  }

  mayPublish(topic: string): boolean {
    return this.publishTerms(topic) !== undefined;
  }

  publishTerms(topic: string): PublishTerms | undefined {
    if (this.denial("publish", topic) !== NONE) return undefined;
    if (this.permit("publish", topic) !== NONE) return UNCONDITIONAL;
    if (this.#plan.conditional.size === 0) return undefined;
    covering.length = 0;
    this.#plan.conditional.allCovering(topic, this.#values, covering);
    return covering.length === 0 ? undefined : this.#plan.termsOf(covering);
  }

  maySubscribe(filter: string): boolean {
    return this.may("subscribe", filter);
  }

  mayConsume(queue: string): boolean {
    return this.may("consume", queue);
  }

  mayReceive(filter: string): boolean {
    return this.denial("receive", filter) === NONE;
  }

  may(action: Deniable, on: string): boolean {
    if (action === "publish") return this.mayPublish(on);
    if (this.denial(action, on) !== NONE) return false;
    return action === "receive" || this.permit(action, on) !== NONE;
  }

  isDenied(action: Deniable, on: string): boolean {
    return this.denial(action, on) !== NONE;
  }

  explain(action: Deniable, on: string): Explanation {
    return explain(this, action, on);
  }

  snapshot(): Rights {
    return this;
  }

  /** Every rule, denials first, with its variables filled in where they have values. */
  get entries(): readonly Entry[] {
    return this.#plan.entries;
  }

  filled(filter: string): string {
    return this.#plan.filled(filter, this.#values);
  }

  /** The number of the rule that denies it, or `NONE`. */
  denial(action: Deniable, on: string): number {
    return this.#plan.denying[action].overlapping(on, this.#values);
  }

  /** The number of a rule that allows it without conditions, or `NONE`. */
  permit(action: Action, on: string): number {
    return this.#plan.allowing[action].covering(on, this.#values);
  }

  /** The number of a rule that allows to publish there under conditions, or `NONE`. */
  conditionalPermit(topic: string): number {
    return this.#plan.conditional.covering(topic, this.#values);
  }
}

/** For a broker without credentials: everything is allowed. */
export const ALLOW_ALL: Rights = compilePlan([
  { source: { kind: "open" }, grants: [{ allow: ACTIONS, on: ["#"] }] },
]).rightsFor({ principal: "anonymous" });
