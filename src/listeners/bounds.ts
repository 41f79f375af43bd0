/**
 * What the holder of one area of the operator's plane may do there: no more than he may do himself
 * [P-14.14]. Who administrates everything is bounded by what he is denied alone.
 */
import type { Action, Grant } from "../../schemas/access.ts";
import type { ChannelDefinition } from "../../schemas/channels.ts";
import type { RateSettings, RoleRates } from "../../schemas/rates.ts";
import type { Principal, Rights } from "../broker/access.ts";
import type { Broker } from "../broker/broker.ts";
import { type Excess, firstExcessOfChange, holds } from "../broker/containment.ts";
import { WarrenError } from "../errors.ts";
import { filterContains } from "../topic.ts";
import type { Call } from "./services.ts";

type Asker = Pick<Call, "principal">;

/** Throws `forbidden` for a rule that gives more than whoever changes it has himself. */
export function assertRules(
  before: readonly Grant[],
  after: readonly Grant[],
  { principal: { rights } }: Asker,
): void {
  const excess = firstExcessOfChange(before, after, rights);
  if (excess === undefined) return;
  const { rule, on } = excess;
  const at = after.indexOf(rule);
  const pointer = at < 0 ? undefined : `/grants/${at}/on/${rule.on.indexOf(on)}`;
  throw beyond(excess, rights, pointer);
}

/** The refusal of a rule that gives too much, or, where it denies, keeps back too little without it. */
export function beyond(excess: Excess, rights: Rights, pointer?: string): WarrenError {
  const { action, on } = excess;
  // The one filter of it: what a refusal leaves in the audit trail must not be what its author likes.
  const rule = { ...excess.rule, on: [on] };
  const text = JSON.stringify(rule);
  const given =
    "allow" in rule
      ? `The rule ${text} gives ${action} on ${on}.`
      : `Without the rule ${text} there is nothing against ${action} on ${on}.`;
  const why = `${given} Nobody gives what he has not: ${whyNot(rights, action, on)}`;
  return new WarrenError("forbidden", why, { action, on, rule, ...(pointer && { pointer }) });
}

/** Throws `forbidden` for rates that are higher than those before and than one's own; 0 is no limit. */
export function assertRates(
  before: RoleRates | undefined,
  after: RoleRates | undefined,
  { principal }: Asker,
  usual: RateSettings["principal"],
): void {
  if (principal.rights.may("admin", "#")) return;
  const own = { ...usual, ...principal.rates };
  for (const name of Object.keys(usual) as (keyof RoleRates)[]) {
    const rate = after?.[name] ?? (before?.[name] === undefined ? undefined : usual[name]);
    if (rate === undefined || isAtMost(rate, own[name])) continue;
    const was = before?.[name];
    if (was !== undefined && isAtMost(rate, was)) continue;
    const why = `The rate ${name} would be higher than your own. Nobody gives what he has not.`;
    throw new WarrenError("forbidden", why, { pointer: `/rates/${name}`, limit: own[name] });
  }
}

function isAtMost(rate: number, bound: number): boolean {
  return bound === 0 || (rate !== 0 && rate <= bound);
}

/**
 * Throws `forbidden` for a channel, to be made, changed or removed, on whose topics one may not publish
 * without conditions: it says what may be published there; and for what it would give to everyone.
 */
export function assertChannel(
  before: ChannelDefinition | undefined,
  after: ChannelDefinition | undefined,
  { principal: { rights } }: Asker,
): void {
  for (const channel of [before, after]) {
    if (channel === undefined || holds(rights, "publish", channel.filter)) continue;
    throw lacking(rights, "publish", channel.filter, "To say what holds on topics");
  }
  const { everyone = [], filter = "" } = after ?? {};
  everyone.forEach((action, at) => {
    const had = before?.everyone?.includes(action) && filterContains(before.filter, filter);
    if (had || holds(rights, action, filter)) return;
    const rule: Grant = { allow: [action], on: [filter] };
    throw beyond({ action, on: filter, rule }, rights, `/everyone/${at}`);
  });
}

/** Throws `forbidden` for a binding that brings into a queue what one may not subscribe to. */
export function assertBindable(
  before: readonly string[],
  after: readonly string[],
  { principal: { rights } }: Asker,
): void {
  const known = new Set(before);
  after.forEach((filter, at) => {
    if (known.has(filter) || holds(rights, "subscribe", filter)) return;
    throw lacking(rights, "subscribe", filter, "To bind a queue", { pointer: `/bindings/${at}` });
  });
}

/** Throws `forbidden` for a queue whose messages one may not be shown: one must be able to consume it. */
export function assertReadable(queue: string, { principal: { rights } }: Asker, broker: Broker) {
  const keptBack = broker.keptBack(rights, queue);
  if (holds(rights, "consume", queue) && keptBack === undefined) return;
  const why = broker.explain(rights, "consume", queue).reason;
  const text = `To work on the messages of ${queue} takes the right to consume it. ${why}`;
  throw new WarrenError("forbidden", text, { action: "consume", on: queue, queue });
}

/**
 * Throws `forbidden` for a queue into which one may not bring messages: one must be able to publish,
 * without conditions, to all that it is bound to.
 */
export function assertFillable(queue: string, { principal: { rights } }: Asker, broker: Broker) {
  const bindings = broker.router.bindingsOf(queue);
  if (bindings.length === 0) {
    if (rights.may("admin", "#")) return;
    const text = `The queue ${queue} is bound to nothing, so that nobody may publish into it.`;
    throw new WarrenError("forbidden", text, { action: "publish", on: "#", queue });
  }
  for (const filter of bindings) {
    if (holds(rights, "publish", filter)) continue;
    throw lacking(rights, "publish", filter, `To bring messages into ${queue}`, { queue });
  }
}

/** Throws `forbidden`. */
export function assertMayPublish(topic: string, { principal: { rights } }: Asker): void {
  if (!holds(rights, "publish", topic)) {
    throw lacking(rights, "publish", topic, "To send a message", { pointer: "/topic" });
  }
}

function lacking(
  rights: Rights,
  action: Action,
  on: string,
  what: string,
  detail: Readonly<Record<string, unknown>> = {},
): WarrenError {
  const text = `${what} takes the right to ${action} on ${on}. ${whyNot(rights, action, on)}`;
  return new WarrenError("forbidden", text, { action, on, ...detail });
}

/** Why he has it not, or not as a whole. */
function whyNot(rights: Rights, action: Action, on: string): string {
  const { allowed, reason } = rights.explain(action, on);
  if (!allowed) return reason;
  if (action === "consume") return "you are not shown everything, and bindings of queues change.";
  return `you have it under conditions: ${reason}`;
}

/** What `explain` adds to a right to one area, so that what it says is all of it. */
export function boundOfArea({ rights }: Pick<Principal, "rights">, area: string): string {
  if (!BOUNDED.has(area) || rights.may("admin", "#")) return "";
  return " What is given, shown or moved by it must lie within the holder's other rights.";
}

const BOUNDED = new Set(["roles", "channels", "queues", "keys"]);
