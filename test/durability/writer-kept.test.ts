/**
 * What topics keep, counted by channel, when the thread that writes is lost [P-14.9]: the counts are those of
 * what is there, and the bounds stay exact, whatever became of the commit that was under way.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../harness/eventually.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";
import { WireClient } from "../harness/wire-client.ts";
import { arm, armWorkers, POINTS } from "./points.ts";

const CHANNELS = {
  log: { filter: "log/#", history: { maxMessages: 2 }, maxTopics: 4 },
  value: { filter: "value/#", retained: true, maxTopics: 3 },
};
const MOST = { log: 4, value: 3 };
type Name = keyof typeof CHANNELS;
const NAMES: readonly Name[] = ["log", "value"];

let folder: string;
let pointFile: string;
let disarm: () => void;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "warren-kept-"));
  pointFile = join(folder, "point");
  disarm = armWorkers(pointFile, "thread");
});
afterEach(async () => {
  disarm();
  await rm(folder, { recursive: true, force: true });
});

/** How many topics keep something, as the broker counts and as reading them shows. */
async function kept(warren: TestWarren, name: Name, topics: readonly string[]) {
  const { body } = await warren.json("GET", `/admin/v1/channels/${name}`);
  let found = 0;
  for (const topic of topics) {
    const where = name === "log" ? "history" : "retained";
    const answer = await warren.json("GET", `/v1/${where}/${topic}`);
    if (name === "log" ? answer.body.messages?.length > 0 : answer.status === 200) found++;
  }
  return { counted: body.kept.topics, found };
}

describe.each(POINTS)("[P-14.9, P-3.4] lost %s", (point) => {
  test("the counts of each channel are those of what it keeps, and its bound is exact", async () => {
    await using warren = await startTestWarren({ channels: CHANNELS });
    using client = await WireClient.connect(`${warren.url.replace("http", "ws")}/ws`);
    const topics: Record<Name, string[]> = { log: [], value: [] };
    const publish = async (name: Name) => {
      const topic = `${name}/${topics[name].push("")}`;
      topics[name].splice(-1, 1, topic);
      const retain = name === "value";
      const frame = { type: "publish", topic, payload: 1, ...(retain && { retain }) };
      return (await client.request(frame)).code ?? "ok";
    };
    for (const name of NAMES) expect(await publish(name)).toBe("ok");
    for (const skipped of [0, 1]) {
      const before = warren.log.filter((line) => line.includes("can be written again")).length;
      arm(pointFile, point, skipped);
      const answers = [await publish("log"), await publish("value")];
      expect(answers).toContain("storage_unavailable");
      await eventually(
        () => warren.log.filter((line) => line.includes("can be written again")).length > before,
        () => `the writer to be started again: ${warren.log.join("")}`,
      );
      for (const name of NAMES) {
        const { counted, found } = await kept(warren, name, topics[name]);
        expect([name, counted]).toEqual([name, found]);
      }
    }
    for (const name of NAMES) {
      let { found } = await kept(warren, name, topics[name]);
      expect(found).toBeGreaterThan(0);
      while (found < MOST[name]) {
        expect(await publish(name)).toBe("ok");
        found++;
      }
      expect(await publish(name)).toBe("too_many_topics");
      expect(await kept(warren, name, topics[name])).toEqual({ counted: found, found });
    }
  }, 60_000);
});
