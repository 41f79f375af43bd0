/**
 * Why something is allowed or not [P-13.4], in a sentence: the rule that decides, where it comes from,
 * and where none does, the nearest miss. For people; nothing here runs for a message.
 */
import type { Action, Deniable, Grant } from "../../schemas/access.ts";
import { filterOverlaps } from "../topic.ts";
import { isVariable } from "./grants.ts";
import { NONE } from "./matcher.ts";

/** Where a rule comes from. */
export type Source =
  | { readonly kind: "token" | "certificate" | "anonymous" | "request" | "open" }
  | { readonly kind: "role" | "channel"; readonly name: string }
  | { readonly kind: "key"; readonly id: string };

/** Why something is allowed or not, for the operator. */
export interface Explanation {
  readonly allowed: boolean;
  /** The rule that decided, as it was written; absent when none speaks of it, so that it is denied. */
  readonly rule?: Grant;
  /** Where that rule comes from. */
  readonly source?: Source;
  readonly reason: string;
}

/** One filter of one grant. */
interface Rule {
  readonly filter: string;
  readonly grant: Grant;
  readonly actions: readonly Deniable[];
  readonly source: Source;
}

/** Rights that can be asked for the rule behind each of their answers, by its number; `NONE` is none. */
export interface Rules {
  /** Every rule, denials first. */
  readonly entries: readonly Rule[];
  denial(action: Deniable, on: string): number;
  /** A rule that allows it without conditions. */
  permit(action: Action, on: string): number;
  /** A rule that allows to publish there under conditions. */
  conditionalPermit(topic: string): number;
  /** The filter with its variables filled in where they have values. */
  filled(filter: string): string;
}

/** The answer of `rights` to this question, with its reason. */
export function explain(rights: Rules, action: Deniable, on: string): Explanation {
  const denied = rights.denial(action, on);
  if (denied !== NONE) return byRule(rights, denied, action, on);
  if (action === "receive") {
    return { allowed: true, reason: `No rule keeps ${on} from being shown.` };
  }
  const permitted = rights.permit(action, on);
  if (permitted !== NONE) return byRule(rights, permitted, action, on);
  const conditional = action === "publish" ? rights.conditionalPermit(on) : NONE;
  if (conditional !== NONE) return byRule(rights, conditional, action, on);
  return { allowed: false, reason: whyNot(rights, action, on) };
}

function byRule(rights: Rules, at: number, action: Deniable, on: string): Explanation {
  const { filter, grant, source } = rights.entries[at]!;
  const filled = rights.filled(filter);
  const here = filled === filter ? "" : `, here ${filled},`;
  const allowed = "allow" in grant;
  const verb = allowed
    ? "allows"
    : actionDenied(grant, action)
      ? "denies"
      : "denies to receive, so";
  const conditions = action === "publish" ? conditionsOf(grant) : "";
  return {
    allowed,
    rule: grant,
    source,
    reason: `A grant ${sourceText(source)} on ${filter}${here} ${verb} ${action} on ${on}${conditions}.`,
  };
}

function actionDenied(grant: Grant, action: Deniable): boolean {
  return "deny" in grant && grant.deny.includes(action);
}

function conditionsOf(grant: Grant): string {
  if (!("allow" in grant)) return "";
  const parts = [
    grant.retain === false ? "not with retain" : "",
    grant.queues === false ? "not where queues are bound" : "",
    grant.maxPayloadBytes === undefined ? "" : `up to ${grant.maxPayloadBytes} bytes of payload`,
    grant.maxRatePerSecond === undefined ? "" : `up to ${grant.maxRatePerSecond} a second`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "" : `, ${parts.join(", ")}`;
}

/** Such as `of the role operator`. */
export function sourceText(source: Source): string {
  switch (source.kind) {
    case "role":
      return `of the role ${source.name}`;
    case "channel":
      return `of the channel ${source.name}`;
    case "key":
      return `of the key ${source.id}`;
    case "token":
      return "of the token";
    case "anonymous":
      return "for anonymous";
    case "certificate":
      return "for client certificates";
    case "request":
      return "given with the question";
    case "open":
      return "of a broker without credentials";
  }
}

/** Why no rule allows it: the nearest miss, if there is one. */
function whyNot(rights: Rules, action: Action, on: string): string {
  let unfilled: string | undefined;
  let speaksOfAction = false;
  for (const { grant, filter, actions } of rights.entries) {
    if (!("allow" in grant) || !actions.includes(action)) continue;
    speaksOfAction = true;
    const filled = rights.filled(filter);
    if (filled.split("/").some(isVariable)) unfilled ??= filter;
    else if (action !== "consume" && filterOverlaps(filled, on)) {
      return `${on} reaches beyond the grant on ${filled}; ask for what lies inside it.`;
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
