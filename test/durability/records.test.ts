/** Records and the audit trail while storage fails, and a file of an earlier layout. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { drizzle } from "drizzle-orm/bun-sqlite";
import { migrate } from "drizzle-orm/bun-sqlite/migrator";
import { OpenedEngine } from "./opened-engine.ts";

async function inDirectory(work: (path: string) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), "warren-records-"));
  try {
    await work(path);
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

const role = (key: string) => ({ collection: "roles", key, value: { key } }) as const;

test("[P-13.5] while nothing can be stored, records are refused and audit entries counted as lost", () =>
  inDirectory(async (path) => {
    await using opened = await OpenedEngine.at(path);
    const { records, audit, counters } = opened.engine;
    const entry = { time: 1, action: "a.b", outcome: "done" } as const;
    await records.write([role("before")]);
    const file = join(path, "warren.db");
    await rename(file, `${file}.away`);
    audit.write({ ...entry, count: 1 });
    await expect(records.write([role("during")])).rejects.toMatchObject({
      code: "storage_unavailable",
    });
    expect(counters.auditDropped).toBe(1);
    audit.write({ ...entry, count: 2 });
    expect(counters.auditDropped).toBe(2);
    await expect(records.write([role("refused")])).rejects.toMatchObject({
      code: "storage_unavailable",
    });
    expect([...records.all("roles").keys()]).toEqual(["before"]);
    await rename(`${file}.away`, file);
    await opened.becomes("ready");
    audit.write({ ...entry, count: 3 });
    await records.write([role("after")]);
    expect([...records.all("roles").keys()]).toEqual(["before", "after"]);
    const { entries } = await audit.query({ limit: 10 });
    expect(entries.map(({ count }) => count)).toEqual([3]);
  }));

test("[P-5.8] a file of the first layout is brought up to date with all that it holds", () =>
  inDirectory(async (path) => {
    const migrationsFolder = join(path, "first");
    const source = join(import.meta.dir, "../../src/engine/sqlite/migrations");
    const journal = await Bun.file(join(source, "meta/_journal.json")).json();
    const first = { ...journal, entries: journal.entries.slice(0, 1) };
    await Bun.write(join(migrationsFolder, "meta/_journal.json"), JSON.stringify(first));
    const sql = `${first.entries[0].tag}.sql`;
    await Bun.write(join(migrationsFolder, sql), Bun.file(join(source, sql)));
    const database = new Database(join(path, "warren.db"));
    migrate(drizzle({ client: database }), { migrationsFolder });
    const record = `{"id":"m1","topic":"t","time":${Date.now()}}\n{"a":1}`;
    database.run(
      `INSERT INTO queues (number, name, settings, bindings, created_at, messages, bytes)
       VALUES (1, 'a', ?1, '["t"]', 1, 1, ?2)`,
      [JSON.stringify(SETTINGS), record.length],
    );
    database.run("INSERT INTO messages (id, record) VALUES ((21 << 44) | 1, ?1)", [
      Buffer.from(record),
    ]);
    database.close();
    await using opened = await OpenedEngine.at(path);
    expect(await opened.waiting("a")).toEqual(["m1"]);
    await opened.engine.records.write([role("r")]);
    expect(opened.engine.records.all("roles").size).toBe(1);
  }));

/** What a queue's row said in the first layout. */
const SETTINGS = {
  ackTimeoutMs: 30_000,
  maxDeliveries: 5,
  backoff: { minMs: 1000, maxMs: 300_000, factor: 2, jitter: 0.2 },
  ttlMs: 1_209_600_000,
  overflow: "reject",
  deadLetter: { ttlMs: 2_592_000_000 },
  defaultPriority: 4,
  dedupeWindowMs: 300_000,
  paused: false,
};
