/** A page of many things by their names [P-13.5], without holding up anybody while they are gone through. */
import type { SortedNames } from "./sorted-names.ts";

/** Who lets others have their turn: a clock. */
export interface Pacer {
  endOfTurn(action: () => void): void;
}

/** Names that are looked at before others have their turn. */
const LOOKS_A_TURN = 2000;

export interface PageQuery {
  readonly limit: number;
  /** The name behind which it begins. */
  readonly after?: string | undefined;
}

/**
 * At most `limit` things behind `after`, in the order of their names, and whether there are more. What
 * `get` does not give stands on no page. What comes or goes meanwhile may be on it or not.
 */
export async function pageByName<T>(
  names: SortedNames,
  { limit, after = "" }: PageQuery,
  get: (name: string) => T | undefined,
  clock: Pacer,
): Promise<{ page: T[]; more: boolean }> {
  const page: T[] = [];
  let last = after;
  for (;;) {
    const looked = names.after(last, LOOKS_A_TURN);
    for (const name of looked) {
      const item = get(name);
      if (item === undefined) continue;
      if (page.length === limit) return { page, more: true };
      page.push(item);
    }
    if (looked.length < LOOKS_A_TURN) return { page, more: false };
    last = looked.at(-1) ?? last;
    await new Promise<void>((resolve) => clock.endOfTurn(resolve));
  }
}
