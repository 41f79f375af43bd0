/**
 * The name of those who show no credential [P-1.3]. Nobody else has it: whoever proved who he is would
 * count as one who did not, in rates, in what messages are `from`, and where a connection takes credentials.
 */
import { WarrenError } from "../errors.ts";

export const ANONYMOUS = "anonymous";

/** Throws `unauthenticated` for a credential in this name. */
export function assertNamed(principal: string): void {
  if (principal !== ANONYMOUS) return;
  throw new WarrenError("unauthenticated", `Nobody proves that he is "${ANONYMOUS}".`);
}
