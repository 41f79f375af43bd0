/** The SQLite engine as the contract suite and the fuzzers open it: in a directory of its own. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import type { EngineKind } from "../contracts/engine/subject.ts";

export const sqlite: EngineKind = {
  name: "sqlite",
  durable: true,
  async open(parts) {
    const dataDir = await mkdtemp(join(tmpdir(), "warren-engine-"));
    return {
      create: () => new SqliteEngine({ ...parts, dataDir, durability: "os" }),
      dispose: () => rm(dataDir, { recursive: true, force: true }),
    };
  },
};
