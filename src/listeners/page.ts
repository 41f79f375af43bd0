/** Lists that are short enough to be held in memory, a page at a time [P-13.5]. */

/** The items behind the name `after`, at most `limit` of them, with the `next` to go on with. */
export function pageOf<T extends { readonly name: string }>(
  all: readonly T[],
  { limit, after }: { readonly limit: number; readonly after?: string },
): { items: T[]; next?: string } {
  const behind = all.filter(({ name }) => after === undefined || name > after);
  const items = behind.slice(0, limit);
  const last = items.at(-1);
  return {
    items,
    ...(last !== undefined && behind.length > items.length && { next: last.name }),
  };
}
