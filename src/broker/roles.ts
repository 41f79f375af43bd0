/**
 * Roles, and the rights of everyone who has some [P-13.1]. Roles may change while their holders are
 * connected: rights are compiled anew when they are next asked for, so that a change holds for the very
 * next publish. What is already subscribed or consumed is for the sessions to look at (`changed`).
 *
 * A role of the settings is the word of whoever deploys the broker: a stored one of the same name is
 * kept, but does not count.
 */
import type { RoleSettings } from "../../schemas/access.ts";
import {
  compilePlan,
  type Deniable,
  type Explanation,
  type Fault,
  type Grant,
  grantFaults,
  type Plan,
  type PlannedRights,
  type PublishTerms,
  type Rights,
  type Source,
  type SourcedGrants,
  type Variables,
} from "./access.ts";

/** Different sets of roles and grants whose compiled form is kept; the one unused longest goes first. */
const PLANS_KEPT = 1024;

/** What somebody's rights are made of. */
export interface Holder {
  /** Names; those of roles that do not exist give nothing until they do. */
  readonly roles: readonly string[];
  /** Of its own, as a credential brings them: they may be anything. */
  readonly grants: unknown;
  /** Where the grants come from. */
  readonly source: Source;
  readonly variables: Variables;
}

/** The holder's own grants are none; says where and why. */
export class GrantsFault extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(`${fault.pointer} ${fault.message}`);
    this.fault = fault;
  }
}

export interface RoleView extends RoleSettings {
  readonly name: string;
  readonly origin: "settings" | "stored";
}

export class RoleBook {
  readonly #settings: ReadonlyMap<string, RoleSettings>;
  readonly #stored = new Map<string, RoleSettings>();
  readonly #plans = new Map<string, Plan>();
  readonly #listeners: (() => void)[] = [];
  #everyone: () => readonly SourcedGrants[] = () => [];
  /** Counts up whenever rights may have changed. */
  version = 1;

  constructor(settings: Readonly<Record<string, RoleSettings>> = {}) {
    this.#settings = new Map(Object.entries(settings));
  }

  /** Whether the settings define it, so that it cannot be changed while the broker runs. */
  isOfSettings(name: string): boolean {
    return this.#settings.has(name);
  }

  isStored(name: string): boolean {
    return this.#stored.has(name);
  }

  /** What is stored under this name, whether it counts or not. */
  stored(name: string): RoleSettings | undefined {
    return this.#stored.get(name);
  }

  /** The role that counts under this name. */
  get(name: string): RoleView | undefined {
    const configured = this.#settings.get(name);
    if (configured !== undefined) return { ...configured, name, origin: "settings" };
    const stored = this.#stored.get(name);
    return stored && { ...stored, name, origin: "stored" };
  }

  /** Every role that counts, by name. */
  list(): RoleView[] {
    const names = new Set([...this.#settings.keys(), ...this.#stored.keys()]);
    return [...names].sort().flatMap((name) => this.get(name) ?? []);
  }

  /** A stored role has come, changed, or gone (undefined). */
  learn(name: string, role: RoleSettings | undefined): void {
    if (role === undefined) this.#stored.delete(name);
    else this.#stored.set(name, role);
    this.changed();
  }

  /** What everyone may do besides, whatever they hold; asked for when rights are compiled, after `changed`. */
  grantEveryone(grants: () => readonly SourcedGrants[]): void {
    this.#everyone = grants;
    this.changed();
  }

  /** Rights may be others than before, in whatever way. */
  changed(): void {
    this.version++;
    this.#plans.clear();
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after each change, for what rights were asked for before and last until now. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Rights that follow the roles. Throws `GrantsFault` when the grants are none. */
  rightsFor(holder: Holder): Rights {
    return new RoleRights(this, holder);
  }

  /** The rights of the holder as the roles are now. Throws `GrantsFault`. */
  planned(holder: Holder): PlannedRights {
    const roles = holder.roles.flatMap((name) => this.get(name) ?? []);
    const own = holder.grants ?? [];
    const source = Array.isArray(own) && own.length === 0 ? undefined : holder.source;
    // A role that does not exist gives nothing, and must not make a key of its own.
    const key = JSON.stringify([roles.map(({ name }) => name), own, source]);
    const plan = this.#plans.get(key) ?? this.#compile(roles, own, holder.source);
    this.#plans.delete(key);
    this.#plans.set(key, plan);
    if (this.#plans.size > PLANS_KEPT) {
      for (const oldest of this.#plans.keys()) {
        this.#plans.delete(oldest);
        break;
      }
    }
    return plan.rightsFor(holder.variables);
  }

  #compile(roles: readonly RoleView[], own: unknown, source: Source): Plan {
    const fault = grantFaults(own, "/grants")[0];
    if (fault !== undefined) throw new GrantsFault(fault);
    return compilePlan([
      ...roles.map(({ name, grants }) => ({ source: { kind: "role", name } as const, grants })),
      { source, grants: own as readonly Grant[] },
      ...this.#everyone(),
    ]);
  }
}

/** Whoever holds it asks it anew each time; it looks for changes by one number. */
class RoleRights implements Rights {
  readonly #book: RoleBook;
  readonly #holder: Holder;
  #planned: PlannedRights;
  #at: number;

  constructor(book: RoleBook, holder: Holder) {
    this.#book = book;
    this.#planned = book.planned(holder);
    this.#at = book.version;
    const { principal, client, claims } = holder.variables;
    // It lives as long as its connection: of the claims only what a variable can stand for is kept.
    this.#holder = { ...holder, variables: { principal, client, claims: usableClaims(claims) } };
  }

  get version(): number {
    return this.#now().version;
  }

  get allowsAll(): boolean {
    return this.#now().allowsAll;
  }

  mayPublish(topic: string): boolean {
    return this.#now().mayPublish(topic);
  }

  publishTerms(topic: string): PublishTerms | undefined {
    return this.#now().publishTerms(topic);
  }

  maySubscribe(filter: string): boolean {
    return this.#now().maySubscribe(filter);
  }

  mayConsume(queue: string): boolean {
    return this.#now().mayConsume(queue);
  }

  mayReceive(filter: string): boolean {
    return this.#now().mayReceive(filter);
  }

  may(action: Deniable, on: string): boolean {
    return this.#now().may(action, on);
  }

  isDenied(action: Deniable, on: string): boolean {
    return this.#now().isDenied(action, on);
  }

  explain(action: Deniable, on: string): Explanation {
    return this.#now().explain(action, on);
  }

  snapshot(): Rights {
    return this.#now();
  }

  #now(): PlannedRights {
    if (this.#at !== this.#book.version) {
      this.#planned = this.#book.planned(this.#holder);
      this.#at = this.#book.version;
    }
    return this.#planned;
  }
}

/** Longest claim that can stand for a level of a topic. */
const CLAIM_LENGTH = 4096;

function usableClaims(
  claims: Readonly<Record<string, unknown>> | undefined,
): Readonly<Record<string, unknown>> | undefined {
  if (claims === undefined) return undefined;
  const kept = Object.entries(claims).filter(
    ([, value]) =>
      Number.isSafeInteger(value) || (typeof value === "string" && value.length < CLAIM_LENGTH),
  );
  return Object.fromEntries(kept);
}
