/** Which operation a request is for, from the one table of them [P-12.1]. */
import { OPERATIONS, type OperationName } from "../../schemas/http.ts";
import { WarrenError } from "../errors.ts";

interface Pattern {
  readonly name: OperationName;
  readonly method: string;
  readonly segments: readonly string[];
}

export interface Match {
  readonly name: OperationName;
  readonly params: Readonly<Record<string, string>>;
}

const PATTERNS: readonly Pattern[] = Object.entries(OPERATIONS).map(([name, operation]) => ({
  name: name as OperationName,
  method: operation.method,
  segments: operation.path.slice(1).split("/"),
}));

/**
 * The operation for a method and a path. HEAD is answered as GET. Throws `not_found`, or
 * `method_not_allowed` with the methods that are (`allow`).
 */
export function matchOperation(method: string, pathname: string): Match {
  const wanted = method === "HEAD" ? "GET" : method;
  const allow: string[] = [];
  const given = pathname.slice(1).split("/");
  for (const pattern of PATTERNS) {
    const params = paramsOf(pattern.segments, given);
    if (params === undefined) continue;
    if (pattern.method === wanted) return { name: pattern.name, params };
    allow.push(pattern.method);
  }
  if (allow.length === 0) throw new WarrenError("not_found");
  if (allow.includes("GET")) allow.push("HEAD");
  throw new WarrenError("method_not_allowed", undefined, { allow });
}

function paramsOf(
  pattern: readonly string[],
  given: readonly string[],
): Record<string, string> | undefined {
  const params: Record<string, string> = {};
  for (let i = 0; i < pattern.length; i++) {
    const want = pattern[i] as string;
    const have = given[i];
    if (have === undefined) return undefined;
    if (want.endsWith("...}")) {
      params[want.slice(1, -4)] = decoded(given.slice(i).join("/"));
      return params;
    }
    if (want.startsWith("{")) params[want.slice(1, -1)] = decoded(have);
    else if (want !== have) return undefined;
  }
  return pattern.length === given.length ? params : undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new WarrenError("invalid_frame", "The address holds a % that begins no character.");
  }
}
