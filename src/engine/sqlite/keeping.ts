/**
 * What is known of the store as a whole: how often it was opened, and its name, with which the epochs of its
 * topics begin. The name is another one whenever offsets that were given may be given again: when commits may
 * have been lost with the power of the machine, and when the file is a copy (docs/decisions/0032).
 */
import type { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";

const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";
/** Of a machine that does not tell its boots apart: equal to none. */
const UNKNOWN_BOOT = "unknown";
/** What `PRAGMA synchronous` says when every commit is on disk at its end. */
const FULL = 2;

interface Row {
  readonly store: string;
  readonly inode: number;
  readonly unsyncedBoot: string | null;
}

/** Returns the name of the store; its row is there afterwards. */
export function openKeeping(database: Database, inode: number): string {
  const boot = bootId();
  const synchronous = synchronousOf(database);
  const row = database
    .query<Row, []>("SELECT store, inode, unsynced_boot AS unsyncedBoot FROM keeping")
    .get();
  const unsyncedBoot = synchronous >= FULL ? null : boot;
  const isSame = row?.inode === inode && !mayHaveLost(row, boot);
  const store = isSame ? row.store : crypto.randomUUID().slice(-12);
  if (isSame && row.unsyncedBoot === unsyncedBoot) return store;
  // On disk before anything that it tells of is written.
  synced(database, () =>
    database.run(
      `INSERT INTO keeping (id, store, inode, unsynced_boot, generation, topics, history_messages,
         history_bytes, retained_messages) VALUES (1, ?1, ?2, ?3, 1, 0, 0, 0, 0)
       ON CONFLICT (id) DO UPDATE SET store = excluded.store, inode = excluded.inode,
         unsynced_boot = excluded.unsynced_boot`,
      [store, inode, unsyncedBoot],
    ),
  );
  return store;
}

/**
 * How often the store has been opened, this time included. Kept where SQLite has a number for its user; the
 * migrations keep a table of their own.
 */
export function countOpening(database: Database): number {
  const row = database.query<{ user_version: number }, []>("PRAGMA user_version").get();
  const openings = ((row?.user_version ?? 0) % 2 ** 30) + 1;
  database.run(`PRAGMA user_version = ${openings}`);
  return openings;
}

/** Everything back into the one file, as far as readers let it. */
export function checkpoint(database: Database): void {
  database.run("PRAGMA wal_checkpoint(TRUNCATE)");
}

function mayHaveLost({ unsyncedBoot }: Row, boot: string): boolean {
  if (unsyncedBoot === null) return false;
  return unsyncedBoot !== boot || unsyncedBoot === UNKNOWN_BOOT;
}

/** Everything is on disk from now on. */
export function closeKeeping(database: Database): void {
  if (synchronousOf(database) >= FULL) return;
  try {
    synced(database, () => database.run("UPDATE keeping SET unsynced_boot = NULL"));
  } catch {
    // It stays as it is: in doubt after the next boot.
  }
}

/** In WAL mode a commit that is synced brings all before it to the disk. */
function synced(database: Database, write: () => void): void {
  const synchronous = synchronousOf(database);
  database.run("PRAGMA synchronous = FULL");
  try {
    write();
  } finally {
    database.run(`PRAGMA synchronous = ${synchronous}`);
  }
}

function synchronousOf(database: Database): number {
  const row = database.query<{ synchronous: number }, []>("PRAGMA synchronous").get();
  return row?.synchronous ?? 0;
}

/** Of the running system: as long as it is the same, what was written has not been lost. */
function bootId(): string {
  try {
    return readFileSync(BOOT_ID_FILE, "utf8").trim();
  } catch {
    return UNKNOWN_BOOT;
  }
}
