/**
 * Grants as they are written [P-13.1]: what is wrong with them, and what their filters become for one
 * principal. What they then allow is ruled in `access.ts`.
 */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import {
  ACTIONS,
  AllowGrant,
  DENIABLE,
  DenyGrant,
  type Grant,
  QUALIFIERS,
} from "../../schemas/access.ts";
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
    return [{ pointer: pointer + fault.path, message: better(fault.path, fault.message, grant) }];
  }
  const misplaced = misplacedQualifier(grant as Grant);
  if (misplaced !== undefined) {
    const message = "is a condition on publishing, which this grant does not allow";
    return [{ pointer: `${pointer}/${misplaced}`, message }];
  }
  return (grant as Grant).on.flatMap((filter, index) => {
    const message = filterFault(filter);
    return message === undefined ? [] : [{ pointer: `${pointer}/on/${index}`, message }];
  });
}

function better(path: string, message: string, grant: object): string {
  const name = path.slice(1);
  if (Object.hasOwn(grant, name) && message === "Unexpected property") {
    if ("deny" in grant && (QUALIFIERS as readonly string[]).includes(name)) {
      return "Unexpected property: a denial has no conditions";
    }
    return `Unexpected property: an allowing grant has allow, on, ${QUALIFIERS.join(", ")}`;
  }
  if (/^\/allow\/\d+$/.test(path) && (grant as { allow: unknown[] }).allow.includes("receive")) {
    return "receive is allowed unless it is denied, so it cannot be allowed";
  }
  if (/^\/(?:allow|deny)\/\d+$/.test(path)) {
    return `must be one of ${(path.startsWith("/allow") ? ACTIONS : DENIABLE).join(", ")}`;
  }
  return message;
}

function misplacedQualifier(grant: Grant): string | undefined {
  if (!("allow" in grant) || grant.allow.includes("publish")) return undefined;
  return QUALIFIERS.find((name) => grant[name] !== undefined);
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

/** Whether a level of a filter is a variable as a whole. */
export function isVariable(level: string): boolean {
  return VARIABLE.test(level);
}

/** The value of a variable such as `{principal}` if it can stand for exactly one level. */
export function usableValue(variable: string, variables: Variables): string | undefined {
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
