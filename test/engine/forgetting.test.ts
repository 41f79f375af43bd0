/** What the table of message ids holds: no more than the dedupe windows say [P-3.5]. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DATABASE_FILE } from "../../src/engine/sqlite/database.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { type EngineKind, Subject } from "../contracts/engine/subject.ts";

test("[P-3.5] however many ids are over, one look forgets them all", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "warren-engine-"));
  const kind: EngineKind = {
    name: "sqlite",
    durable: true,
    open: async (parts) => ({
      create: () => new SqliteEngine({ ...parts, dataDir, durability: "os" }),
      dispose: () => rm(dataDir, { recursive: true, force: true }),
    }),
  };
  await using subject = await Subject.open(kind);
  await subject.define("q", { dedupeWindowMs: 69_000 });
  await subject.define("long", { dedupeWindowMs: 600_000 });
  const ids = Array.from({ length: 5200 }, (_, n) => `id-${n}`);
  await subject.appendAll("q", ids, { dedupe: true });
  await subject.append("long", { id: "stays", dedupe: true });
  using database = new Database(join(dataDir, DATABASE_FILE), { readonly: true });
  const keys = () => database.query<{ key: string }, []>("SELECT key FROM recent_ids").all().length;
  expect(keys()).toBe(5201);
  // The look that was under way all this time was for the time before it.
  for (const passed of [65_000, 10_000]) {
    subject.clock.advance(passed);
    await subject.quiet();
  }
  for (let i = 0; i < 6; i++) await subject.quiet();
  expect(keys()).toBe(1);
  expect(await subject.append("long", { id: "stays", dedupe: true })).toMatchObject({
    duplicate: true,
  });
  expect(await subject.append("q", { id: "id-0", dedupe: true })).toMatchObject({ queues: 1 });
});
