/** A page out of many things that stand in no order. */

/**
 * At most `limit` items with ids behind `after`, in the order of their ids, and whether there are more. Only
 * what may stand on the page is sorted, however many there are.
 */
export function pageById<T extends { readonly id: string }>(
  items: Iterable<T>,
  { limit, after = "" }: { readonly limit: number; readonly after?: string | undefined },
): { page: T[]; more: boolean } {
  const page: T[] = [];
  let more = false;
  let last = "";
  for (const item of items) {
    if (item.id <= after || (more && item.id > last)) continue;
    page.push(item);
    if (page.length < 2 * limit) continue;
    more = firstOf(page, limit) || more;
    last = page.at(-1)?.id ?? "";
  }
  more = firstOf(page, limit) || more;
  return { page, more };
}

/** Leaves the first so many by id in their order; true when there were more. */
function firstOf<T extends { readonly id: string }>(items: T[], limit: number): boolean {
  items.sort((a, b) => (a.id < b.id ? -1 : 1));
  if (items.length <= limit) return false;
  items.length = limit;
  return true;
}
