/**
 * Whether rights lie inside somebody's own [P-14.2]: whoever gives rights away gives none that he does not
 * have. It errs on the side of no: two of his grants do not add up to a wider one, and what he is denied in
 * part he cannot give as a whole.
 */
import type { Action, Grant, Qualifiers } from "../../schemas/access.ts";
import type { PlannedRights, PublishTerms, Rights } from "./access.ts";
import { isVariable } from "./grants.ts";

/** A right that goes beyond. */
export interface Excess {
  readonly action: Action;
  readonly on: string;
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
    if (action !== undefined) return { action, on };
  }
  return undefined;
}

function mayGive(own: Rights, action: Action, on: string, grant: Grant & Qualifiers): boolean {
  if (action === "publish") {
    const terms = own.publishTerms(on);
    return terms !== undefined && isWithin(grant, terms);
  }
  // Queue names have no levels: such a grant gives nothing.
  if (action === "consume" && on.includes("/")) return true;
  // What is bound to a queue changes: who may not be shown everything gives no queue away.
  return own.may(action, on) && (action !== "consume" || own.mayReceive("#"));
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
