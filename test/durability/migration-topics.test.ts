/** What topics kept before they counted for channels (`fixtures/schema-0005.db`) is there, and is counted. */
import { expect, test } from "bun:test";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { Keeping, WIDE } from "../contracts/engine/keeping.ts";
import { type EngineKind, refusal } from "../contracts/engine/subject.ts";

/** When the file was made, by the clock that it was made with. */
const MADE_AT = 1_800_000_000_000;

const old: EngineKind = {
  name: "sqlite",
  durable: true,
  open: async (parts) => {
    const dataDir = await mkdtemp(join(tmpdir(), "warren-migration-"));
    await copyFile(join(import.meta.dir, "fixtures/schema-0005.db"), join(dataDir, "warren.db"));
    return {
      create: () => new SqliteEngine({ ...parts, dataDir, durability: "fsync" }),
      dispose: () => rm(dataDir, { recursive: true, force: true }),
    };
  },
};

test("[P-5.8, P-14.9] histories and values of an earlier schema count for no channel at first", async () => {
  await using keeping = await Keeping.open(old, { limits: { keptTopics: 6 } });
  const { clock, engine } = keeping.subject;
  clock.advance(MADE_AT + 500 - clock.now());
  const { topics } = engine;
  expect(topics.totals).toMatchObject({ topics: 5, historyMessages: 4, retainedMessages: 3 });
  expect([...topics.channels]).toEqual([
    ["", { topics: 5, historyBytes: topics.totals.historyBytes }],
  ]);
  expect(await keeping.values()).toBe("a/both=4 b/short=6 b/value=5");
  expect(await keeping.offsets({ topic: "a/history" })).toBe("1:1 2:2 3:3");
  const idle = await topics.idle("", Number.MAX_SAFE_INTEGER, 9);
  expect(idle.map(({ topic, offset }) => [topic, offset])).toEqual([["c/empty", 1]]);
  // Those that keep something go on, and count for whom they enter by.
  const channel = { name: "a", maxTopics: 1 };
  const entered = await keeping.publish("8", { topic: "a/history", channel });
  expect(entered.position).toMatchObject({ offset: 4 });
  const again = { topic: "a/both", channel, history: WIDE };
  expect(await refusal(keeping.publish("9", again))).toBeUndefined();
  expect(await refusal(keeping.publish("10", { topic: "a/new", channel }))).toBe("too_many_topics");
  expect(topics.channels.get("a")?.topics).toBe(2);
  await keeping.publish("11", { topic: "new" });
  expect(await refusal(keeping.publish("12", { topic: "newer" }))).toBe("too_many_topics");
  // As the broker does once after a start.
  clock.advance(1000);
  const one = { topic: "b/short", channel: "b", retained: true, forgetBefore: clock.now() };
  await topics.trim([one]);
  expect(await keeping.known("b/short")).toBeUndefined();
  expect(topics.totals).toMatchObject({ topics: 5, retainedMessages: 2 });
});
