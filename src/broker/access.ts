/**
 * Access control [P-13.1]: what a principal may do, decided from its grants. Deny by default, an
 * explicit deny wins, and a subscription must lie inside one granted filter as a whole.
 *
 * Grants are compiled once into a plan; a principal's rights are that plan plus the filters with its
 * variables filled in. Without variables everyone of a role shares one object, with them a connection
 * costs a few short strings.
 */
import { ACTIONS, type Action, type Grant } from "../../schemas/access.ts";
import { filterContains, filterOverlaps } from "../topic.ts";
import { allowedFilter, deniedFilter, hasVariables, type Variables } from "./grants.ts";

export { type Fault, grantFaults } from "./grants.ts";
export type { Action, Grant, Variables };

/** A rule as it was written in a token, a role or a key. */
export type GrantRule = Grant;

/** Who a connection is and what it may do. */
export interface Principal {
  /** A token's `sub`, a key's principal, or `anonymous`. */
  readonly name: string;
  /** The id of the device, from the token's `client`. */
  readonly client?: string;
  /** When the credentials end, milliseconds since 1970 UTC; absent means never. */
  readonly expiresAt?: number;
  readonly rights: Rights;
}

/** Why something is allowed or not, for the operator. */
export interface Explanation {
  readonly allowed: boolean;
  /** The rule that decided; absent when no rule speaks of it, so that it is denied. */
  readonly rule?: GrantRule;
  readonly reason: string;
}

/** What a principal may do. The checks neither allocate nor throw; topics and filters must be valid. */
export interface Rights {
  /** Every check is true, save on topics that begin with `$`, which no wildcard covers [P-3.1]. */
  readonly allowsAll: boolean;
  mayPublish(topic: string): boolean;
  /** True when `filter` lies inside one granted filter and shares no topic with a denied one. */
  maySubscribe(filter: string): boolean;
  /** By the queue's name; `<name>.dead` is a name of its own. */
  mayConsume(queue: string): boolean;
  may(action: Action, on: string): boolean;
  explain(action: Action, on: string): Explanation;
}

/** Grants in the form in which they are checked, shared by everyone who has the same ones. */
export interface Plan {
  /** The rights of a principal under these grants. */
  rightsFor(variables: Variables): Rights;
}

/** Compiles grants that `grantFaults` found nothing wrong with. */
export function compilePlan(grants: readonly Grant[]): Plan {
  return new GrantPlan(grants);
}

/** The rights that `grants` give to one principal. */
export function compileRights(grants: readonly Grant[], variables: Variables): Rights {
  return compilePlan(grants).rightsFor(variables);
}

const BIT: Readonly<Record<Action, number>> = {
  publish: 1,
  subscribe: 2,
  consume: 4,
  presence: 8,
  history: 16,
  admin: 32,
};
const EVERY_BIT = 63;

/** A filter that matches nothing, in the place of one whose variable has no usable value. */
const NOTHING = "";

interface Entry {
  readonly grant: Grant;
  /** As it was written, with variables. */
  readonly filter: string;
  readonly bits: number;
}

class GrantPlan implements Plan {
  /** One for each filter of each grant: denying ones first, since they win. */
  readonly entries: readonly Entry[];
  readonly bits: Uint8Array;
  readonly denials: number;
  readonly allowsAll: boolean;
  readonly #shared: Rights | undefined;

  constructor(grants: readonly Grant[]) {
    const denials = entriesOf(grants.filter((grant) => "deny" in grant));
    const permits = entriesOf(grants.filter((grant) => "allow" in grant));
    this.entries = [...denials, ...permits];
    this.bits = Uint8Array.from(this.entries, (entry) => entry.bits);
    this.denials = denials.length;
    this.allowsAll = denials.length === 0 && coversAll(permits);
    const filters = this.entries.map((entry) => entry.filter);
    this.#shared = filters.some(hasVariables) ? undefined : new PlannedRights(this, filters);
  }

  rightsFor(variables: Variables): Rights {
    return this.#shared ?? new PlannedRights(this, this.#fill(variables));
  }

  #fill(variables: Variables): string[] {
    return this.entries.map(({ filter }, index) => {
      if (!hasVariables(filter)) return filter;
      if (index < this.denials) return deniedFilter(filter, variables);
      return allowedFilter(filter, variables) ?? NOTHING;
    });
  }
}

function entriesOf(grants: readonly Grant[]): Entry[] {
  return grants.flatMap((grant) => {
    const actions = "deny" in grant ? grant.deny : grant.allow;
    const bits = actions.reduce((sum, action) => sum | BIT[action], 0);
    return grant.on.map((filter) => ({ grant, filter, bits }));
  });
}

function coversAll(permits: readonly Entry[]): boolean {
  let covered = 0;
  for (const { filter, bits } of permits) {
    if (filter === "#") covered |= bits;
    if (filter === "+/#") covered |= bits & ~BIT.consume;
    if (filter === "+") covered |= bits & BIT.consume;
  }
  return covered === EVERY_BIT;
}

class PlannedRights implements Rights {
  readonly #plan: GrantPlan;
  /** The filter of each entry of the plan, variables filled in. */
  readonly #filters: readonly string[];

  constructor(plan: GrantPlan, filters: readonly string[]) {
    this.#plan = plan;
    this.#filters = filters;
  }

  get allowsAll(): boolean {
    return this.#plan.allowsAll;
  }

  mayPublish(topic: string): boolean {
    return this.#may(BIT.publish, topic);
  }

  maySubscribe(filter: string): boolean {
    return this.#may(BIT.subscribe, filter);
  }

  mayConsume(queue: string): boolean {
    return this.#may(BIT.consume, queue);
  }

  may(action: Action, on: string): boolean {
    return this.#may(BIT[action], on);
  }

  #may(bit: number, on: string): boolean {
    // A denial's index is below `denials`, and so is -1.
    return this.#ruling(bit, on) >= this.#plan.denials;
  }

  /** The index of the entry that decides, -1 when none speaks of it. */
  #ruling(bit: number, on: string): number {
    const { bits, denials } = this.#plan;
    const filters = this.#filters;
    const forQueue = bit === BIT.consume;
    for (let i = 0; i < filters.length; i++) {
      const filter = filters[i];
      if (((bits[i] ?? 0) & bit) === 0 || filter === undefined || filter === NOTHING) continue;
      if (
        forQueue
          ? queueMatches(filter, on)
          : i < denials
            ? filterOverlaps(filter, on)
            : filterContains(filter, on)
      ) {
        return i;
      }
    }
    return -1;
  }

  explain(action: Action, on: string): Explanation {
    const at = this.#ruling(BIT[action], on);
    const entry = this.#plan.entries[at];
    if (entry === undefined) return { allowed: false, reason: this.#whyNot(action, on) };
    const allowed = at >= this.#plan.denials;
    const filled = this.#filters[at];
    const here = filled === entry.filter ? "" : `, here ${filled},`;
    const verb = allowed ? "allows" : "denies";
    return {
      allowed,
      rule: entry.grant,
      reason: `A grant on ${entry.filter}${here} ${verb} ${action} on ${on}.`,
    };
  }

  /** Why no rule allows it: the nearest miss, if there is one. */
  #whyNot(action: Action, on: string): string {
    const { entries, denials } = this.#plan;
    let unfilled: string | undefined;
    let speaksOfAction = false;
    for (let i = denials; i < entries.length; i++) {
      const entry = entries[i];
      const filter = this.#filters[i];
      if (entry === undefined || (entry.bits & BIT[action]) === 0) continue;
      speaksOfAction = true;
      if (filter === undefined || filter === NOTHING) unfilled ??= entry.filter;
      else if (action !== "consume" && filterOverlaps(filter, on)) {
        return `${on} reaches beyond the grant on ${filter}; ask for what lies inside it.`;
      }
    }
    if (!speaksOfAction) return `No grant allows ${action} on anything.`;
    if (on.startsWith("$")) return `No grant names ${on}, and wildcards do not cover $ topics.`;
    if (unfilled === undefined) return `No grant allows ${action} on ${on}.`;
    return (
      `No grant allows ${action} on ${on}. The grant on ${unfilled} allows nothing here: ` +
      "a variable in it has no value that can stand for one level."
    );
  }
}

/** Queue names have no levels: a filter is a name, or `#` or `+` for any. */
function queueMatches(filter: string, queue: string): boolean {
  return filter === queue || filter === "#" || filter === "+";
}

/** For a broker without credentials: everything is allowed. */
export const ALLOW_ALL: Rights = compileRights([{ allow: ACTIONS, on: ["#"] }], {
  principal: "anonymous",
});
