/**
 * Opening the file: the lock against a second broker, the pragmas, the migrations. Every way in which
 * this can fail ends in a sentence for the operator.
 */
import { Database } from "bun:sqlite";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { drizzle } from "drizzle-orm/bun-sqlite";
import { migrate } from "drizzle-orm/bun-sqlite/migrator";
import journal from "./migrations/meta/_journal.json";

export type Durability = "fsync" | "os";

export const DATABASE_FILE = "warren.db";
const LOCK_FILE = "warren.lock";
const MIGRATIONS_FOLDER = join(import.meta.dir, "migrations");

/** A reason and what to do about it, both for people. */
export class StorageError extends Error {
  readonly advice: string;

  /** Whether it does not pass by itself. */
  get lasting(): boolean {
    return /^SQLITE_(CORRUPT|NOTADB)/.test(codeOf(this.cause));
  }

  constructor(reason: string, advice: string, options?: ErrorOptions) {
    super(reason, options);
    this.advice = advice;
  }
}

export interface OpenDatabase {
  readonly database: Database;
  /** Of the file. */
  readonly inode: number;
  /**
   * Throws when the file or its log is no longer where it was first seen by this: what is written to it
   * then, no start would find.
   */
  assertInPlace(): void;
  close(): void;
}

/** Opens `dataDir`'s database, made anew where there is none. Throws `StorageError`. */
export function openDatabase(dataDir: string, durability: Durability): OpenDatabase {
  try {
    // Messages and the secrets of webhooks lie there in the clear.
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const lock = takeLock(dataDir);
    try {
      const path = join(dataDir, DATABASE_FILE);
      const database = openFile(path, durability);
      return {
        database,
        inode: statSync(path).ino,
        assertInPlace: watchPlaces([path, `${path}-wal`]),
        close() {
          database.close();
          lock.close();
        },
      };
    } catch (error) {
      lock.close();
      throw error;
    }
  } catch (error) {
    throw explain(error, dataDir);
  }
}

/**
 * A second database file whose exclusive lock is held for as long as the process lives: the system
 * drops it with the process, however that ends, and the data itself stays open to readers.
 */
function takeLock(dataDir: string): Database {
  const lock = new Database(join(dataDir, LOCK_FILE), { strict: true });
  try {
    lock.run("PRAGMA journal_mode = DELETE");
    lock.run("BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock.close();
    if (codeOf(error).startsWith("SQLITE_BUSY")) {
      throw new StorageError(
        `another broker is using ${dataDir}`,
        "Stop the other broker, or give this one a directory of its own with --data-dir.",
        { cause: error },
      );
    }
    throw error;
  }
}

function watchPlaces(paths: readonly string[]): () => void {
  const look = () => paths.map((path) => statSync(path, { throwIfNoEntry: false })?.ino);
  let first: readonly (number | undefined)[] | undefined;
  return () => {
    const now = look();
    first ??= now;
    const moved = paths.find((_, i) => now[i] !== first?.[i]);
    if (moved === undefined) return;
    throw new StorageError(
      `${moved} was removed or replaced while the broker had it open`,
      `Put the very file back and the broker goes on; or stop it and restore ${DATABASE_FILE}.`,
    );
  };
}

function openFile(path: string, durability: Durability): Database {
  // Before anything is written: a file that is not ours stays as it is, to the byte.
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0) {
    const looked = new Database(path, { readonly: true, strict: true });
    try {
      assertOurs(looked);
    } finally {
      looked.close();
    }
  }
  const database = new Database(path, { strict: true });
  try {
    database.run("PRAGMA busy_timeout = 2000");
    forgetPlaceOfBackup(database);
    database.run("PRAGMA journal_mode = WAL");
    // In WAL mode FULL syncs the log at every commit; NORMAL leaves that to the system [P-3.4].
    database.run(`PRAGMA synchronous = ${durability === "fsync" ? "FULL" : "NORMAL"}`);
    database.run("PRAGMA cache_size = -8192");
    // A checkpoint stalls the commit that sets it off; rarer and larger ones cost less in all.
    database.run("PRAGMA wal_autocheckpoint = 1000");
    database.run("PRAGMA journal_size_limit = 67108864");
    bringUpToDate(database);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * What `VACUUM INTO` has written is not in WAL mode, wherever it lies now: for its epochs it is a copy
 * (src/engine/sqlite/keeping.ts). It is marked before the mode changes, or a crash between would hide it.
 */
function forgetPlaceOfBackup(database: Database): void {
  const one = (text: string) => database.query(text).values()[0]?.[0];
  if (one("PRAGMA journal_mode") === "wal") return;
  const isKnown = one("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'keeping'");
  if (isKnown !== undefined) database.run("UPDATE keeping SET inode = -1");
}

const LAST_MIGRATION = Math.max(...journal.entries.map((entry) => entry.when));

/** Throws when a newer Warren or another program wrote it, or when it is no database. */
function assertOurs(database: Database): void {
  if (lastMigration(database) <= LAST_MIGRATION) return;
  throw new StorageError(
    "the data was written by a newer version of Warren",
    "Start the newer version, or give this one another directory. Nothing was changed.",
  );
}

/** Runs the migrations that are missing, in one transaction. */
export function bringUpToDate(database: Database): void {
  if (lastMigration(database) < LAST_MIGRATION) {
    migrate(drizzle({ client: database }), { migrationsFolder: MIGRATIONS_FOLDER });
  }
}

function lastMigration(database: Database): number {
  const tables = database
    .query<{ name: string }, []>("SELECT name FROM sqlite_master WHERE type = 'table'")
    .all()
    .map((row) => row.name);
  if (tables.length === 0) return 0;
  if (!tables.includes("__drizzle_migrations")) {
    throw new StorageError(
      "the file is a database of another program",
      "Give Warren a directory of its own with --data-dir. Nothing was changed.",
    );
  }
  const row = database
    .query<{ last: number | null }, []>("SELECT max(created_at) AS last FROM __drizzle_migrations")
    .get();
  return row?.last ?? 0;
}

/** The text of SQLite's error code, such as `SQLITE_FULL`; empty for other errors. */
export function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === "string" ? code : "";
}

const ADVICE: readonly (readonly [prefix: string, reason: string, advice: string])[] = [
  ["SQLITE_FULL", "the disk is full", "Free space on the disk; the broker goes on by itself."],
  ["ENOSPC", "the disk is full", "Free space on the disk; the broker goes on by itself."],
  [
    "SQLITE_READONLY",
    "the data directory or file is read-only",
    "Make it writable for the user that the broker runs as; the broker goes on by itself.",
  ],
  ["EROFS", "the file system is read-only", "Mount it writable, or use another --data-dir."],
  ["EACCES", "no permission for the data directory", "Give the broker's user the right to write."],
  ["EPERM", "no permission for the data directory", "Give the broker's user the right to write."],
  ["SQLITE_PERM", "no permission for the file", "Give the broker's user the right to write."],
  [
    "SQLITE_CANTOPEN",
    "the file cannot be opened",
    "Look at the owner and rights of the data directory and its files.",
  ],
  [
    "SQLITE_NOTADB",
    "the file is not a database, or is damaged",
    "Restore warren.db from a backup, or move it away to begin anew. Nothing was changed.",
  ],
  [
    "SQLITE_CORRUPT",
    "the database is damaged",
    "Stop the broker, keep a copy of the files, and restore a backup or run `sqlite3 warren.db .recover`.",
  ],
  [
    "SQLITE_BUSY",
    "another program holds the database locked",
    "End the program that holds it; the broker goes on by itself.",
  ],
  ["SQLITE_IOERR", "the disk reports an error", "Look at the system's log and the disk's health."],
];

/** Any failure of the store as a reason and an advice. */
export function explain(error: unknown, dataDir: string): StorageError {
  if (error instanceof StorageError) return error;
  const code = codeOf(error);
  const found = ADVICE.find(([prefix]) => code.startsWith(prefix));
  const reason = found?.[1] ?? (error instanceof Error ? error.message : String(error));
  const advice = found?.[2] ?? "Look at the broker's log.";
  return new StorageError(`${dataDir}: ${reason}${code ? ` (${code})` : ""}`, advice, {
    cause: error,
  });
}
