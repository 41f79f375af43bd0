/**
 * Whether rights lie inside somebody's own [P-14.2], [P-14.14]: whoever gives rights away gives none that
 * he does not have. It errs on the side of no: two of his grants do not add up to a wider one, and what he
 * is denied in part he cannot give as a whole. Who administrates everything has everything to give, save
 * what he is denied.
 */
import {
  type Action,
  DENIABLE,
  type Deniable,
  type Grant,
  type Qualifiers,
} from "../../schemas/access.ts";
import { compilePlan, type PlannedRights, type PublishTerms, type Rights } from "./access.ts";
import { isVariable } from "./grants.ts";
import { FilterMatcher, NONE } from "./matcher.ts";

/** A right that goes beyond, and the rule by which it would be given. */
export interface Excess {
  readonly action: Action;
  readonly on: string;
  readonly rule: Grant;
}

/** Being shown something: what a denial of `receive` keeps back. */
const SHOWING = ["subscribe", "presence", "history"] as const;

/** Whether somebody has a right, as far as the operator's plane goes: who administrates all has all. */
export function holds(own: Rights, action: Action, on: string, under: Qualifiers = {}): boolean {
  return own.may("admin", "#") ? !own.isDenied(action, on) : isAllowed(own, action, on, under);
}

function isAllowed(own: Rights, action: Action, on: string, under: Qualifiers): boolean {
  if (action !== "publish") return own.may(action, on);
  const terms = own.publishTerms(on);
  return terms !== undefined && isWithin(under, terms);
}

/** The first thing that `given` allows and `own` does not allow in the same way; undefined for none. */
export function firstExcess(given: PlannedRights, own: Rights): Excess | undefined {
  for (const { grant, filter, source } of given.entries) {
    // What channels grant to everyone is nobody's to give.
    if (!("allow" in grant) || source.kind === "channel") continue;
    const on = given.filled(filter);
    // A variable that stands for nothing here gives nothing.
    if (on.split("/").some(isVariable)) continue;
    const action = grant.allow.find((one) => !mayGive(own, one, on, grant));
    if (action !== undefined) return { action, on, rule: grant };
  }
  return undefined;
}

/**
 * The first thing that somebody would come by when rules change from `before` to `after`, whoever he is and
 * whatever other rules he has, that he did not have before and that `own` does not hold; undefined for none.
 * A denial that goes or shrinks gives all that it denied.
 */
export function firstExcessOfChange(
  before: readonly Grant[],
  after: readonly Grant[],
  own: Rights,
): Excess | undefined {
  return liftedExcess(before, after, own) ?? addedExcess(before, after, own);
}

function addedExcess(
  before: readonly Grant[],
  after: readonly Grant[],
  own: Rights,
): Excess | undefined {
  const permits = before.flatMap((grant) =>
    "allow" in grant ? [{ ...grant, on: grant.on.map(stoodIn) }] : [],
  );
  const had = compilePlan(permits).rightsFor({ principal: "" });
  for (const rule of after) {
    if (!("allow" in rule)) continue;
    for (const on of rule.on) {
      const action = rule.allow.find(
        (one) => !isAllowed(had, one, stoodIn(on), rule) && !mayGive(own, one, widened(on), rule),
      );
      if (action !== undefined) return { action, on, rule };
    }
  }
  return undefined;
}

function liftedExcess(
  before: readonly Grant[],
  after: readonly Grant[],
  own: Rights,
): Excess | undefined {
  const kept = denialsOf(after);
  for (const rule of before) {
    if (!("deny" in rule)) continue;
    for (const on of rule.on) {
      const ways = everyWay(on);
      for (const denied of rule.deny) {
        const stays = ways.every((way) => kept.get(denied)?.covering(way, []) !== NONE);
        if (stays) continue;
        const given = denied === "receive" ? SHOWING : [denied];
        const action = given.find((one) => !mayLift(own, one, on));
        if (action !== undefined) return { action, on, rule };
      }
    }
  }
  return undefined;
}

function denialsOf(grants: readonly Grant[]): ReadonlyMap<Deniable, FilterMatcher> {
  const matchers = new Map(DENIABLE.map((action) => [action, new FilterMatcher()]));
  for (const rule of grants) {
    if (!("deny" in rule)) continue;
    for (const action of rule.deny.flatMap(meant)) {
      for (const filter of rule.on) {
        // It denies nothing: queue names have no levels.
        if (action === "consume" && filter.includes("/")) continue;
        for (const way of everyWay(filter)) matchers.get(action)?.add(way, 0);
      }
    }
  }
  return matchers;
}

/** Denying to receive denies to be shown. */
function meant(denied: Deniable): readonly Deniable[] {
  return denied === "receive" ? [denied, ...SHOWING] : [denied];
}

function mayLift(own: Rights, action: Action, on: string): boolean {
  const hasAll = own.may("admin", "#");
  // Somebody who is denied one area may have them all without that denial, and so give everything.
  if (action === "admin") return hasAll;
  if (!mayGive(own, action, widened(on), {})) return false;
  // A denial, unlike a grant, is on `$…` too where a variable begins it; names of queues have no `$`.
  return hasAll || action === "consume" || !isVariable(on.split("/", 1)[0] ?? "");
}

function mayGive(own: Rights, action: Action, on: string, under: Qualifiers): boolean {
  // Queue names have no levels: such a grant gives nothing.
  if (action === "consume" && on.includes("/")) return true;
  // What is bound to a queue changes: who may not be shown everything gives no queue away.
  return holds(own, action, on, under) && (action !== "consume" || own.mayReceive("#"));
}

/** The filter whatever its variables stand for. */
function widened(filter: string): string {
  if (!filter.includes("{")) return filter;
  const levels = filter.split("/");
  return levels.map((level) => (isVariable(level) ? "+" : level)).join("/");
}

/** A variable as a value that no written level equals, the same one wherever it stands. */
function stoodIn(filter: string): string {
  if (!filter.includes("{")) return filter;
  const levels = filter.split("/");
  return levels.map((level) => (isVariable(level) ? `\u0001${level}` : level)).join("/");
}

/** The same, with the first level also as a value that begins with `$`, which no wildcard covers. */
function everyWay(filter: string): readonly string[] {
  const usual = stoodIn(filter);
  return usual.startsWith("\u0001") ? [usual, `$${usual}`] : [usual];
}

/** Whether conditions are at least as strict as one of those. */
function isWithin(given: Qualifiers, { unconditional, alternatives }: PublishTerms): boolean {
  if (unconditional) return true;
  return alternatives.some(
    (one) =>
      (one.retain !== false || given.retain === false) &&
      (one.queues !== false || given.queues === false) &&
      atMost(given.maxPayloadBytes, one.maxPayloadBytes) &&
      atMost(given.maxRatePerSecond, one.maxRatePerSecond),
  );
}

function atMost(given: number | undefined, bound: number | undefined): boolean {
  return bound === undefined || (given !== undefined && given <= bound);
}
