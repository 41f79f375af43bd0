/** Whose messages a request's are [P-4.2]. */
import type { Call } from "./services.ts";

/** Undefined for an anonymous one. */
export function authorOf({ principal: { name } }: Pick<Call, "principal">): string | undefined {
  return name === "anonymous" ? undefined : name;
}
