/** Whose messages a request's are [P-4.2]. */
import { ANONYMOUS } from "../security/anonymous.ts";
import type { Call } from "./services.ts";

/** Undefined for an anonymous one. */
export function authorOf({ principal: { name } }: Pick<Call, "principal">): string | undefined {
  return name === ANONYMOUS ? undefined : name;
}
