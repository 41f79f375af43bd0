/**
 * Data of released versions: each file under `fixtures/` was made by the code of its time and never
 * changes. What it holds is there after the start, and works.
 */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AppendReceipt } from "../../src/engine/engine.ts";
import { completeSettings, deadLetterSettings } from "../../src/engine/rules.ts";
import { Peer } from "../contracts/engine/subject.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { OpenedEngine } from "./opened-engine.ts";

/** When the files were made, by the clock that they were made with. */
const MADE_AT = 1_800_000_000_000;
const DAY_MS = 86_400_000;
const DUE_AT = MADE_AT + 3000 * DAY_MS;

let dataDir: string;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-migration-"));
  await copyFile(join(import.meta.dir, "fixtures/schema-0000.db"), join(dataDir, "warren.db"));
});
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const COMMON = {
  ttlMs: 3650 * DAY_MS,
  dedupeWindowMs: 7 * DAY_MS,
  deadLetter: { ttlMs: 3650 * DAY_MS },
  ackTimeoutMs: 20_000,
  maxDeliveries: 3,
};
const JOBS = completeSettings(COMMON);
const AUDIT = completeSettings({ ...COMMON, paused: true, maxMessages: 1000 });

const open = (clock = new ManualClock(MADE_AT + 1000)) => OpenedEngine.at(dataDir, { clock });

test("[P-5.8] queues of the first schema: settings with the defaults of what is new, and bindings", async () => {
  await using opened = await open();
  const { queues } = opened.engine;
  expect(queues.list().map(({ name }) => name)).toEqual([
    "audit",
    "audit.dead",
    "empty",
    "empty.dead",
    "jobs",
    "jobs.dead",
  ]);
  expect(queues.describe("jobs")).toMatchObject({ settings: JOBS, bindings: ["jobs/#", "both/+"] });
  expect(queues.describe("audit").settings).toEqual(AUDIT);
  expect(queues.describe("jobs.dead").settings).toEqual(deadLetterSettings(JOBS));
  expect(queues.describe("jobs").counts).toMatchObject({ ready: 5, delayed: 1, bytes: 561 });
  expect(queues.describe("jobs.dead").counts).toMatchObject({ ready: 1, bytes: 221 });
});

test("[P-5.8] messages of the first schema: in order, whole, with attempts and deaths", async () => {
  const opened = await open();
  const peer = new Peer(opened.engine, "jobs", 10);
  await peer.has(5);
  expect(peer.ids).toEqual(["urgent", "plain", "both", "headed", "binary"]);
  const by = (id: string) => peer.seen.find(({ message }) => message.id === id)!;
  expect(by("urgent").attempt).toBe(2);
  expect(by("plain").message.payload.json()).toBe('{"id":"plain"}');
  expect(by("headed").message).toMatchObject({
    headers: { a: "1", ü: "é" },
    key: "k",
    from: "ann",
    replyTo: "r/1",
    correlationId: "c",
    contentType: "text/x",
    expiresAt: DUE_AT,
  });
  expect([...by("binary").message.payload.storedBytes()]).toEqual([0, 255, 10, 1]);
  expect(await peer.ack(peer.seen.map(({ tag }) => tag))).toBeUndefined();
  const dead = new Peer(opened.engine, "jobs.dead", 1);
  expect(await dead.next()).toMatchObject({
    message: { id: "to-reject" },
    deaths: [{ queue: "jobs", reason: "rejected", attempts: 1, detail: "as an example" }],
  });
  await opened.engine.close();
  await using later = await open(new ManualClock(DUE_AT));
  const waiting = new Peer(later.engine, "jobs", 1);
  expect((await waiting.next()).message.id).toBe("delayed");
});

test("[P-3.5] message ids of the first schema are remembered", async () => {
  await using opened = await open();
  const message = { ...opened.message("both"), topic: "both/1" };
  const receipt = await new Promise((stored, failed) =>
    opened.engine.append({ message, queues: ["jobs", "audit"], dedupe: true, stored, failed }),
  );
  expect(receipt).toMatchObject({ queues: 0, duplicate: true });
});

/** Tables and indexes as the file has them. */
function schemaOf(folder: string): unknown {
  const database = new Database(join(folder, "warren.db"), { readonly: true });
  try {
    return database.query("SELECT name, sql FROM sqlite_master ORDER BY name").all();
  } finally {
    database.close();
  }
}

test("[P-5.8] brought up to date it is what a new file is, and stays so", async () => {
  await (await open()).engine.close();
  const migrated = schemaOf(dataDir);
  await (await open()).engine.close();
  expect(schemaOf(dataDir)).toEqual(migrated);
  const fresh = join(dataDir, "fresh");
  await (await OpenedEngine.at(fresh)).engine.close();
  expect(migrated).toEqual(schemaOf(fresh));
});

test("[P-4.3, P-5.8] topics keep history and values in a file of the first schema too", async () => {
  const first = await open();
  const keep = (opened: OpenedEngine, id: string) =>
    new Promise<AppendReceipt>((stored, failed) =>
      opened.engine.append({
        message: opened.message(id),
        queues: ["jobs"],
        dedupe: false,
        history: { maxMessages: 10 },
        retain: "set",
        stored,
        failed,
      }),
    );
  expect(first.engine.topics.totals).toMatchObject({ topics: 0, retainedMessages: 0 });
  const { position } = await keep(first, "1");
  expect(position).toMatchObject({ offset: 1 });
  await first.engine.close();
  await using second = await open();
  expect(second.engine.topics.totals).toMatchObject({ topics: 1, retainedMessages: 1 });
  expect((await keep(second, "2")).position).toEqual({ epoch: position!.epoch, offset: 2 });
});
