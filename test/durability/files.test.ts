/** Files that are not what they should be: found at the start or under way, told, and left as they are. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Peer } from "../contracts/engine/subject.ts";
import { runCli } from "../harness/cli.ts";
import { eventually } from "../harness/eventually.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { serve } from "../harness/served.ts";
import { idsOf, OpenedEngine } from "./opened-engine.ts";

let dataDir: string;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-files-"));
});
afterEach(() => rm(dataDir, { recursive: true, force: true }));

/** The files as kill -9 would leave them now: everything that was asked for has been answered. */
async function crashImage(from: string): Promise<string> {
  const image = await mkdtemp(join(tmpdir(), "warren-image-"));
  for (const name of ["warren.db", "warren.db-wal"]) await cp(join(from, name), join(image, name));
  return image;
}

/** Every file that holds something, with a digest of its bytes; the lock is ours and says nothing. */
async function digests(path: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of (await readdir(path)).toSorted()) {
    const bytes = await Bun.file(join(path, name)).bytes();
    if (bytes.length === 0 || /^warren\.lock|-shm$/.test(name)) continue;
    found[name] = Bun.hash(bytes).toString(16);
  }
  return found;
}

/** Starts a broker on the directory; it must refuse in a sentence, and leave the files alone. */
async function refuses(path: string, sentence: string): Promise<void> {
  const before = await digests(path);
  const { code, out, err } = await runCli(["serve", "--port", "0", "--data-dir", path]);
  expect(code).toBe(1);
  expect(err).toContain(sentence);
  expect(`${out}${err}`).not.toContain("    at ");
  expect(await digests(path)).toEqual(before);
}

/** What the last migration of a newer Warren leaves behind. */
const NEWER = "INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('x', 9e15)";

/** As another program would change it. */
function change(path: string, statements: string): void {
  const program = `
    const { Database } = require("bun:sqlite");
    const database = new Database(process.argv[1]);
    database.exec("PRAGMA busy_timeout = 20000");
    database.exec(process.argv[2]);
    database.close();`;
  const words = [process.execPath, "-e", program, join(path, "warren.db"), statements];
  const { exitCode, stderr } = Bun.spawnSync(words);
  if (exitCode !== 0) throw new Error(stderr.toString());
}

async function fill(count: number): Promise<void> {
  await using opened = await OpenedEngine.at(dataDir);
  await opened.define("a");
  await opened.appendAll("a", idsOf(count));
  await opened.engine.close();
  // The thread lets go of the file as it ends, and only then is the log empty.
  const log = join(dataDir, "warren.db-wal");
  await eventually(
    () => !existsSync(log),
    () => "the end of the log",
  );
}

describe("[P-13.6] a file that is not ours is refused and left as it is", () => {
  test("[P-5.8] of a newer version", async () => {
    await fill(5);
    change(dataDir, NEWER);
    await refuses(dataDir, "newer version of Warren");
  });

  test("[P-5.8] of a newer version that was killed", async () => {
    await using opened = await OpenedEngine.at(dataDir);
    await opened.define("a");
    change(dataDir, NEWER);
    const image = await crashImage(dataDir);
    try {
      await refuses(image, "newer version of Warren");
    } finally {
      await rm(image, { recursive: true });
    }
  });

  test("[P-13.6] a database of another program", async () => {
    change(dataDir, "CREATE TABLE customers (name TEXT); INSERT INTO customers VALUES ('Ann')");
    await refuses(dataDir, "another program");
  });

  test("[P-13.6] no database at all", async () => {
    await writeFile(join(dataDir, "warren.db"), "Dear diary, ".repeat(1000));
    await refuses(dataDir, "not a database");
  });

  test("[P-5.8] a database whose first page is damaged", async () => {
    await fill(5);
    const path = join(dataDir, "warren.db");
    const bytes = await Bun.file(path).bytes();
    bytes.fill(0x5a, 100, 4096);
    await writeFile(path, bytes);
    await refuses(dataDir, "damaged");
  });
});

describe("[P-5.8] a log whose end was lost or garbled", () => {
  /** Messages one after the other, and how long the log was when each was confirmed. */
  async function written(opened: OpenedEngine, ids: readonly string[]): Promise<number[]> {
    const sizes: number[] = [];
    for (const [i, id] of ids.entries()) {
      await opened.append("a", id, { bytes: i % 3 === 0 ? 6000 : 50 });
      sizes.push((await stat(join(dataDir, "warren.db-wal"))).size);
    }
    return sizes;
  }

  const DAMAGE = {
    "cut off": (path: string, at: number) => truncate(path, at),
    garbled: async (path: string, at: number) => {
      const bytes = await Bun.file(path).bytes();
      const random = seededRandom(at);
      for (let i = at; i < bytes.length; i++) bytes[i] = random() * 256;
      await writeFile(path, bytes);
    },
    "followed by nonsense": async (path: string, at: number) => {
      const bytes = await Bun.file(path).bytes();
      await writeFile(path, Buffer.concat([bytes.subarray(0, at), Buffer.alloc(9000, at)]));
    },
  };

  for (const [name, damage] of Object.entries(DAMAGE)) {
    test(`[P-5.8] ${name}: all that was confirmed before that point is there, in order`, async () => {
      await using opened = await OpenedEngine.at(dataDir);
      await opened.define("a");
      const ids = idsOf(12);
      const sizes = await written(opened, ids);
      const random = seededRandom(7);
      for (let round = 0; round < 10; round++) {
        const image = await crashImage(dataDir);
        const first = sizes[0] as number;
        const at = Math.floor(first + random() * ((sizes.at(-1) as number) - first));
        await damage(join(image, "warren.db-wal"), at);
        {
          await using damaged = await OpenedEngine.at(image);
          const whole = sizes.filter((size) => size <= at).length;
          const there = await damaged.waiting("a");
          expect(there).toEqual(ids.slice(0, there.length));
          expect(there.length).toBeGreaterThanOrEqual(whole);
          expect(damaged.engine.queues.describe("a").counts.ready).toBe(there.length);
          await damaged.append("a", "after");
          expect(await damaged.waiting("a")).toEqual([...there, "after"]);
        }
        await rm(image, { recursive: true });
      }
    });
  }
});

describe("[P-5.8] a page that is damaged under way", () => {
  test("[P-12.2] it is told, and what lies elsewhere is still there", async () => {
    await using opened = await OpenedEngine.at(dataDir);
    await opened.define("a");
    await opened.define("b");
    await opened.append("b", "elsewhere");
    await opened.appendAll("a", idsOf(800), { bytes: 2000 });
    await opened.engine.close();
    await using again = await OpenedEngine.at(dataDir);
    const path = join(dataDir, "warren.db");
    const bytes = Buffer.from(await Bun.file(path).bytes());
    const at = bytes.lastIndexOf("m00400");
    const page = at - (at % 4096);
    bytes.fill(0xff, page, page + 4096);
    await writeFile(path, bytes);
    const peer = new Peer(again.engine, "a", 100);
    peer.onDeliver = ({ tag }) => void peer.ack(tag);
    await eventually(
      () => again.healths.some(({ state }) => state === "unavailable"),
      () => `the damage to be told; ${peer.seen.length} came`,
    );
    expect(again.healths[0]).toMatchObject({ reason: expect.stringContaining("damaged") });
    const other = new Peer(again.engine, "b", 1);
    expect((await other.next()).message.id).toBe("elsewhere");
  });
});

describe("[P-5.8] files that are taken away under way", () => {
  for (const name of ["warren.db", "warren.db-wal"]) {
    test(`[P-3.4] nothing is confirmed that the next start would not find: ${name} removed`, async () => {
      await using opened = await OpenedEngine.at(dataDir);
      await opened.define("a");
      await opened.append("a", "before");
      const hidden = join(dataDir, "hidden");
      await rename(join(dataDir, name), hidden);
      await expect(opened.append("a", "into the void")).rejects.toMatchObject({
        code: "storage_unavailable",
      });
      await eventually(
        () => opened.healths.length > 0,
        () => "the health to change",
      );
      expect(opened.engine.health).toMatchObject({ state: "unavailable" });
      await rename(hidden, join(dataDir, name));
      await eventually(
        () => opened.engine.health.state === "ready",
        () => "the file to be found again",
      );
      await opened.append("a", "after");
      expect(await opened.waiting("a")).toEqual(["before", "after"]);
    });
  }

  test("[P-3.4] nothing is confirmed that the next start would not find: another file", async () => {
    await using opened = await OpenedEngine.at(dataDir);
    await opened.define("a");
    await opened.append("a", "before");
    const path = join(dataDir, "warren.db");
    const copy = await Bun.file(path).bytes();
    await rm(path);
    await writeFile(path, copy);
    await expect(opened.append("a", "into the void")).rejects.toMatchObject({
      code: "storage_unavailable",
    });
    await eventually(
      () => opened.healths.length > 0,
      () => "the health to change",
    );
    expect(opened.healths[0]).toMatchObject({ advice: expect.stringContaining("warren.db") });
  });
});

test("[P-13.6] a second broker on the directory does the first one no harm", async () => {
  await using broker = await serve(dataDir);
  const put = { method: "PUT", body: JSON.stringify({ bindings: ["jobs/#"] }) };
  await fetch(`${broker.url}/admin/v1/queues/jobs`, put);
  const publish = async () => {
    const post = { method: "POST", body: JSON.stringify({ topic: "jobs/1", payload: 1 }) };
    const answer = await fetch(`${broker.url}/v1/publish`, post);
    return answer.status;
  };
  expect(await publish()).toBe(200);
  await refusesBeside(dataDir);
  expect(await publish()).toBe(200);
  const report = await (await fetch(`${broker.url}/admin/v1/queues/jobs`)).json();
  expect(report).toMatchObject({ counts: { ready: 2 } });
});

async function refusesBeside(path: string): Promise<void> {
  const { code, err } = await runCli(["serve", "--port", "0", "--data-dir", path]);
  expect(code).toBe(1);
  expect(err).toContain("another broker is using");
}
