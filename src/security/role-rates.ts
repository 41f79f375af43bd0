/** The rates that roles give to their principals [P-14.11]. */
import type { RoleRates } from "../../schemas/rates.ts";

/** Of several roles the most generous one counts, for each rate by itself; undefined when none says anything. */
export function ratesOf(
  roleNames: readonly string[] | undefined,
  rates: (role: string) => RoleRates | undefined,
): RoleRates | undefined {
  let merged: RoleRates | undefined;
  for (const name of roleNames ?? []) {
    const own = rates(name);
    if (own === undefined) continue;
    for (const [key, rate] of Object.entries(own) as [keyof RoleRates, number][]) {
      merged = { ...merged, [key]: more(merged?.[key], rate) };
    }
  }
  return merged;
}

/** 0 is no limit, so nothing is more. */
function more(one: number | undefined, other: number): number {
  if (one === undefined) return other;
  return one === 0 || other === 0 ? 0 : Math.max(one, other);
}
