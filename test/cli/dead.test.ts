/** `dead …` as an operator types it [P-13.7]. */
import { expect, test } from "bun:test";
import { jsonLines, runCli } from "../harness/cli.ts";
import { eventually } from "../harness/eventually.ts";
import { startTestWarren } from "../harness/warren.ts";

test("[P-13.7, P-13.9] list, search, show, resend, delete, redrive, tasks, purge", async () => {
  await using broker = await startTestWarren({ queues: { jobs: { bindings: ["jobs/#"] } } });
  const dead = async (...words: string[]) => {
    const env = { WARREN_URL: broker.url };
    const { code, out, err } = await runCli(["dead", ...words], { env });
    return { code, err, values: jsonLines(out) };
  };
  const messages = [1, 2, 3, 4, 5].map((n) => ({
    topic: "jobs/a",
    messageId: `m${n}`,
    payload: { order: `number ${n}` },
  }));
  await broker.json("POST", "/v1/publish", messages);
  const { body } = await broker.json("POST", "/v1/queues/jobs/pull", { max: 5, waitMs: 20_000 });
  const reject = body.deliveries.map(({ tag }: { tag: number }) => tag);
  await broker.json("POST", "/v1/queues/jobs/settle", { reject });
  expect((await dead("list", "jobs")).values).toHaveLength(5);
  expect((await dead("list", "jobs.dead", "--limit", "2")).values).toHaveLength(2);
  const found = await dead("search", "jobs", "NUMBER 4");
  expect(found.values).toMatchObject([{ messageId: "m4", deaths: [{ reason: "rejected" }] }]);
  expect((await dead("show", "jobs", "m1")).values[0]).toMatchObject({ messageId: "m1" });
  const sent = await dead("resend", "jobs", "m1", "--payload", '{"mended":1}');
  expect(sent.values).toEqual([{ messageId: "m1", queue: "jobs" }]);
  expect((await dead("resend", "jobs", "m2", "--payload", "{")).code).toBe(1);
  expect((await dead("delete", "jobs", "m2")).values).toEqual([{ deleted: 1 }]);
  expect((await dead("delete", "jobs", "m2")).err).toContain("not_found");
  const dry = await dead("redrive", "jobs", "--dry-run");
  expect(dry.values).toMatchObject([{ state: "done", moved: 3 }]);
  expect((await dead("redrive", "jobs", "m3", "m4")).values).toMatchObject([{ state: "running" }]);
  await eventually(
    () => broker.warren.broker.engine.queues.describe("jobs").counts.ready === 3,
    () => "two more in the queue",
  );
  expect((await dead("tasks")).values).toMatchObject([{ kind: "redrive", queue: "jobs.dead" }]);
  expect((await dead("purge", "jobs")).values).toEqual([{ purged: 1 }]);
});
