/** Redrives, replays, looking and the audit trail, as an operator types them [P-13.7]. */
import { expect, test } from "bun:test";
import { jsonLines, runCli } from "../harness/cli.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";

const settings = {
  queues: { jobs: { bindings: ["jobs/#"], retainAckedMs: 600_000, maxRedrives: 1 }, other: {} },
};

function typing(broker: TestWarren) {
  return async (...words: string[]) => {
    const env = { WARREN_URL: broker.url };
    const { code, out, err } = await runCli(words, { env });
    return { code, err, values: code === 2 ? [] : jsonLines(out) };
  };
}

/** Publishes these and settles all of them in one way. */
async function work(broker: TestWarren, ids: readonly string[], settle: "ack" | "reject") {
  const messages = ids.map((messageId, n) => ({
    topic: `jobs/${n % 2}`,
    messageId,
    payload: { order: `number-${messageId}` },
    headers: { kind: n === 0 ? "first" : "later", of: "test" },
  }));
  await broker.json("POST", "/v1/publish", messages);
  const { body } = await broker.json("POST", "/v1/queues/jobs/pull", {
    max: ids.length,
    waitMs: 20_000,
  });
  const tags = body.deliveries.map(({ tag }: { tag: number }) => tag);
  await broker.json("POST", "/v1/queues/jobs/settle", { [settle]: tags });
}

const idsOf = (values: readonly { messageId: string }[]) =>
  values.map(({ messageId }) => messageId);

test("[P-13.7, P-13.10] a redrive says what is held, and one that is named goes all the same", async () => {
  await using broker = await startTestWarren(settings);
  const warren = typing(broker);
  await work(broker, ["a", "b", "c"], "reject");
  const dry = await warren("dead", "redrive", "jobs", "--dry-run");
  expect(dry.values).toMatchObject([{ dryRun: true, moved: 0, held: 3 }]);
  const all = await warren("dead", "redrive", "jobs", "--wait");
  expect([all.code, all.values[0]]).toMatchObject([0, { state: "done", moved: 0, held: 3 }]);
  expect((await warren("dead", "list", "jobs")).values).toMatchObject(
    Array.from({ length: 3 }, () => ({ held: true })),
  );
  const named = await warren("dead", "redrive", "jobs", "b", "--wait");
  expect(named.values).toMatchObject([{ state: "done", moved: 1, held: 0 }]);
  const elsewhere = await warren("dead", "redrive", "jobs", "--to", "other", "--wait");
  expect(elsewhere.values).toMatchObject([{ moved: 2, held: 0, to: "other" }]);
  const { values } = await warren("dead", "tasks");
  expect(values.map(({ moved, held }) => [moved, held])).toEqual([
    [2, 0],
    [1, 0],
    [0, 3],
  ]);
});

test("[P-13.7, P-13.10] a task is cancelled where it is", async () => {
  await using broker = await startTestWarren({ queues: { jobs: { bindings: ["jobs/#"] }, x: {} } });
  const warren = typing(broker);
  await work(broker, ["a", "b", "c"], "reject");
  const begun = await warren("dead", "redrive", "jobs", "--rate", "1");
  const [task] = begun.values;
  expect([begun.code, task.state]).toEqual([0, "running"]);
  const cancelled = await warren("dead", "tasks", "cancel", task.id);
  expect(cancelled.values).toMatchObject([{ id: task.id, state: "cancelled", total: 3 }]);
  const again = await warren("dead", "tasks", "cancel", task.id);
  expect([again.code, again.err]).toEqual([1, expect.stringContaining("conflict")]);
  expect((await warren("dead", "tasks", "cancel")).code).toBe(2);
});

test("[P-13.7, P-13.10, P-5.15] acked messages are looked at and replayed", async () => {
  await using broker = await startTestWarren(settings);
  const warren = typing(broker);
  await work(broker, ["a", "b", "c"], "ack");
  const peek = async (...words: string[]) =>
    idsOf((await warren("queue", "peek", "jobs", "--state", "acked", ...words)).values);
  expect(await peek()).toEqual(["a", "b", "c"]);
  expect(await peek("--topic", "jobs/0")).toEqual(["a", "c"]);
  expect(await peek("--search", "order NUMBER-b")).toEqual(["b"]);
  expect(await peek("--header", "kind=later", "--header", "of=test")).toEqual(["b", "c"]);
  expect(await peek("--header", "kind=later", "--header", "of=other")).toEqual([]);
  expect(await peek("--from", "2100-01-01")).toEqual([]);
  expect(await peek("--from", "2020-01-01T00:00Z", "--to", "4102444800000")).toHaveLength(3);
  expect(await peek("--reason", "rejected")).toEqual([]);
  expect((await warren("queue", "peek", "jobs", "--from", "soon")).code).toBe(2);
  const dry = await warren("queue", "replay", "jobs", "--header", "kind=later", "--dry-run");
  expect(dry.values).toMatchObject([{ kind: "replay", moved: 2, dryRun: true }]);
  const later = await warren("queue", "replay", "jobs", "--after", "2100-01-01", "--wait");
  expect(later.values).toMatchObject([{ state: "done", moved: 0 }]);
  const some = await warren("queue", "replay", "jobs", "b", "--wait");
  expect([some.code, some.values[0]]).toMatchObject([0, { state: "done", moved: 1 }]);
  const copies = await warren("queue", "replay", "jobs", "--to", "other", "--wait");
  expect(copies.values).toMatchObject([{ moved: 3 }]);
  expect(idsOf((await warren("queue", "peek", "jobs")).values)).toEqual(["b"]);
  expect(await peek()).toEqual(["a", "b", "c"]);
});

test("[P-13.7, P-14.8] the audit trail is asked", async () => {
  await using broker = await startTestWarren(settings);
  const warren = typing(broker);
  await warren("queue", "pause", "jobs");
  await warren("queue", "resume", "jobs");
  await warren("queue", "purge", "none");
  const actions = async (...words: string[]) =>
    (await warren("audit", ...words)).values.map(({ action }) => action);
  expect(await actions("--limit", "3")).toEqual(["queue.purge", "queue.resume", "queue.pause"]);
  expect(await actions("--outcome", "refused", "--on", "none")).toEqual(["queue.purge"]);
  expect(await actions("--action", "queue.pause", "--principal", "anonymous")).toHaveLength(1);
  expect(await actions("--to", "2020-01-01")).toEqual([]);
  expect((await warren("audit", "--outcome", "perhaps")).code).toBe(1);
});
