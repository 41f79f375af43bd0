/**
 * Grants as they are written [P-13.1]: what is wrong with them, and what their filters become for one
 * principal. What they then allow is ruled in `access.ts`.
 */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { AllowGrant, DenyGrant, type Grant } from "../../schemas/access.ts";
import { WarrenError } from "../errors.ts";
import { assertFilter } from "../topic.ts";

/** What the variables in filters stand for. */
export interface Variables {
  readonly principal: string;
  readonly client?: string | undefined;
  /** The claims of the token, for `{claims.<name>}`. */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
}

/** A fault in what someone wrote: where, as a JSON Pointer, and a sentence that says what. */
export interface Fault {
  readonly pointer: string;
  readonly message: string;
}

const MAX_GRANTS = 256;
// An operator may raise the limits for topics up to these; a grant only must be well formed.
const WIDEST = { topicBytes: 4095, topicLevels: 1024 };
const VARIABLE = /^\{(?:principal|client|claims\.([A-Za-z0-9_-]{1,64}))\}$/;

const allowGrant = TypeCompiler.Compile(AllowGrant);
const denyGrant = TypeCompiler.Compile(DenyGrant);

/** Every fault of `grants`, which may be anything; `pointer` is where they stand. */
export function grantFaults(grants: unknown, pointer: string): Fault[] {
  if (!Array.isArray(grants)) return [{ pointer, message: "must be an array of grants" }];
  if (grants.length > MAX_GRANTS) {
    return [{ pointer, message: `must hold at most ${MAX_GRANTS} grants` }];
  }
  return grants.flatMap((grant, index) => faultsOfOne(grant, `${pointer}/${index}`));
}

function faultsOfOne(grant: unknown, pointer: string): Fault[] {
  if (typeof grant !== "object" || grant === null || Array.isArray(grant)) {
    return [{ pointer, message: "must be {allow: […], on: […]} or {deny: […], on: […]}" }];
  }
  if ("allow" in grant && "deny" in grant) {
    return [{ pointer, message: "must have allow or deny, not both" }];
  }
  const shape = "deny" in grant ? denyGrant : allowGrant;
  const fault = shape.Errors(grant).First();
  if (fault !== undefined) {
    return [{ pointer: pointer + fault.path, message: fault.message }];
  }
  return (grant as Grant).on.flatMap((filter, index) => {
    const message = filterFault(filter);
    return message === undefined ? [] : [{ pointer: `${pointer}/on/${index}`, message }];
  });
}

function filterFault(filter: string): string | undefined {
  const levels = filter.split("/");
  for (const level of levels) {
    if (/[{}]/.test(level) && !VARIABLE.test(level)) {
      return "may hold { and } only as {principal}, {client} or {claims.<name>}, a whole level each";
    }
  }
  try {
    assertFilter(levels.map((level) => (isVariable(level) ? "x" : level)).join("/"), WIDEST);
  } catch (error) {
    if (error instanceof WarrenError) return error.message;
    throw error;
  }
  return undefined;
}

export function hasVariables(filter: string): boolean {
  return filter.includes("{");
}

function isVariable(level: string): boolean {
  return VARIABLE.test(level);
}

/**
 * The filter of an allowing grant for one principal; undefined when a variable has no value that can
 * stand for one level, so that the grant allows nothing [P-13.1].
 */
export function allowedFilter(filter: string, variables: Variables): string | undefined {
  const levels = filter.split("/");
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i] ?? "";
    if (!isVariable(level)) continue;
    const value = usableValue(level, variables);
    // A principal that calls itself `$…` must not come by the topics of the broker.
    if (value === undefined || (i === 0 && value.startsWith("$"))) return undefined;
    levels[i] = value;
  }
  return levels.join("/");
}

/**
 * The filter of a denying grant for one principal. A variable without a usable value denies every value:
 * a missing claim must not open what the rule was written to close.
 */
export function deniedFilter(filter: string, variables: Variables): string {
  return filter
    .split("/")
    .map((level) => (isVariable(level) ? (usableValue(level, variables) ?? "+") : level))
    .join("/");
}

/** The value of a variable if it can stand for exactly one level. */
function usableValue(variable: string, variables: Variables): string | undefined {
  const value = claimedValue(variable, variables);
  const text = Number.isSafeInteger(value) ? String(value) : value;
  return typeof text === "string" && text !== "" && !/[/+#]/.test(text) ? text : undefined;
}

function claimedValue(variable: string, variables: Variables): unknown {
  if (variable === "{principal}") return variables.principal;
  if (variable === "{client}") return variables.client;
  const name = VARIABLE.exec(variable)?.[1];
  const { claims } = variables;
  return name !== undefined && claims !== undefined && Object.hasOwn(claims, name)
    ? claims[name]
    : undefined;
}
