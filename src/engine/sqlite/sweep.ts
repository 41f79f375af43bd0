/** What becomes of rows of one lane that were read because the queue's time to live may have ended them. */
import type { Row } from "./batch.ts";
import { Entry } from "./entry.ts";
import type { SqliteQueue } from "./queue.ts";

/** Rows that lie on disk behind the window; `complete`: there are none behind these. */
export function expireUnread(
  queue: SqliteQueue,
  rank: number,
  rows: readonly Row[],
  complete: boolean,
  now: number,
): void {
  const { window } = queue.backlog;
  let newest: number | undefined;
  for (const row of rows) {
    const entry = Entry.fromRow(queue, row);
    newest = entry.enteredAt;
    if (entry.expiresAt > now) {
      window.diskBegins(rank, entry.enteredAt);
      return;
    }
    window.skipped(rank, entry.sequence);
    if (!window.isAway(entry.sequence)) queue.settlement.expire(entry);
  }
  // What comes behind these may have expired too: it is looked at next.
  window.diskBegins(rank, complete ? undefined : newest);
}

/** The same where rows that the window has, or somebody holds, lie among the others. */
export function expirePassed(
  queue: SqliteQueue,
  rank: number,
  rows: readonly Row[],
  complete: boolean,
  now: number,
): void {
  const { backlog, settlement } = queue;
  let newest: Entry | undefined;
  for (const row of rows) {
    const entry = Entry.fromRow(queue, row);
    newest = entry;
    if (entry.expiresAt > now) {
      backlog.window.swept(rank, 0, entry.enteredAt);
      return;
    }
    if (backlog.isOnDiskOnly(entry)) settlement.expire(entry);
  }
  if (complete || newest === undefined) backlog.window.swept(rank, 0, Number.POSITIVE_INFINITY);
  else backlog.window.swept(rank, newest.sequence, newest.enteredAt);
}
