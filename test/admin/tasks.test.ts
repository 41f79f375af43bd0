/** What operators do with dead letters and with what is kept of acked messages [P-13.9], [P-13.10]. */
import { describe, expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { startTestWarren } from "../harness/warren.ts";
import { dead, ended, idsIn, QUEUES } from "./dead-letters.ts";

const settings = { queues: { jobs: { bindings: ["jobs/#"] }, other: {} } };

describe("[P-13.9] dead letters", () => {
  test("[P-13.9] found by words, header, reason, topic and time, without a side effect", async () => {
    await using broker = await startTestWarren(settings);
    await dead(broker, 6);
    const find = (query: string) => idsIn(broker, "jobs.dead", query);
    expect(await find("&search=order%204")).toEqual(["m4"]);
    expect(await find("&search=BROKEN%20number")).toHaveLength(6);
    expect(await find("&header=kind=a")).toEqual(["m0", "m3"]);
    expect(await find("&header=kind=a&header=kind=a")).toEqual(["m0", "m3"]);
    expect(await find("&header=kind=a&header=other=")).toEqual([]);
    expect(await find("&header=toString=")).toEqual([]);
    expect(await find("&topic=jobs/1&reason=rejected")).toEqual(["m1", "m3", "m5"]);
    expect(await find("&reason=expired")).toEqual([]);
    expect(await find(`&from=${Date.now() + 60_000}`)).toEqual([]);
    expect(await find(`&from=1&to=${Date.now() + 60_000}`)).toHaveLength(6);
    const { body } = await broker.json("GET", `${QUEUES}/jobs.dead`);
    expect(body.counts).toMatchObject({ ready: 6, inFlight: 0 });
    expect((await broker.json("GET", `${QUEUES}/jobs/messages?header=x`)).status).toBe(400);
  });

  test("[P-13.9] one is deleted; one that is in flight or gone is not", async () => {
    await using broker = await startTestWarren(settings);
    await dead(broker, 2);
    const remove = async (id: string) =>
      (await broker.json("DELETE", `${QUEUES}/jobs.dead/messages/${id}`)).status;
    expect([await remove("m0"), await remove("m0")]).toEqual([204, 404]);
    await broker.json("POST", "/v1/queues/jobs.dead/pull", { waitMs: 30_000 });
    expect(await remove("m1")).toBe(409);
    expect(await idsIn(broker, "jobs.dead")).toEqual(["m1"]);
    const { body } = await broker.json("GET", "/admin/v1/audit?action=message.delete");
    const told = body.entries.map((entry: { outcome: string; code?: string }) => entry.code);
    expect(told).toEqual(["conflict", "not_found", undefined]);
  });

  test("[P-13.9] edited and sent again: the new one is there, the dead one gone", async () => {
    await using broker = await startTestWarren(settings);
    await dead(broker, 2);
    const resend = (id: string, body: object) =>
      broker.json("POST", `${QUEUES}/jobs.dead/messages/${id}/resend`, body);
    const edit = { payload: { mended: 1 }, headers: null, topic: "jobs/x", priority: 9 };
    expect((await resend("m0", edit)).body).toEqual({ messageId: "m0", queue: "jobs" });
    const moved = await resend("m1", { messageId: "new", to: "other" });
    expect(moved.body).toEqual({ messageId: "new", queue: "other" });
    const { body } = await broker.json("GET", `${QUEUES}/jobs/messages/m0`);
    expect(body).toMatchObject({ payload: { mended: 1 }, topic: "jobs/x", priority: 9 });
    expect(body.headers).toBeUndefined();
    expect(body.deaths).toMatchObject([{ queue: "jobs", detail: "broken" }]);
    expect(await idsIn(broker, "other")).toEqual(["new"]);
    expect(await idsIn(broker, "jobs.dead")).toEqual([]);
    expect((await resend("m0", {})).status).toBe(404);
    expect((await resend("m0", { topic: "a/#" })).body.code).toBe("invalid_topic");
  });
});

describe("[P-13.10] tasks", () => {
  test("[P-13.10] a redrive counts first, moves what was selected, and says how far it is", async () => {
    await using broker = await startTestWarren(settings);
    const ids = await dead(broker, 20);
    const redrive = (body: object) => broker.json("POST", `${QUEUES}/jobs.dead/redrive`, body);
    const dry = await redrive({ dryRun: true, header: ["kind=a"] });
    expect(dry.body).toMatchObject({ state: "done", moved: 7, total: 7, dryRun: true });
    expect(await idsIn(broker, "jobs.dead")).toHaveLength(20);
    const some = await redrive({ topic: "jobs/1", limit: 3, to: "other" });
    expect(some.body).toMatchObject({ kind: "redrive", queue: "jobs.dead", state: "running" });
    const task = await ended(broker, some.body.id);
    expect(task).toMatchObject({ state: "done", moved: 3, held: 0, failed: 0, total: 3 });
    expect(await idsIn(broker, "other")).toEqual(["m1", "m3", "m5"]);
    const rest = await ended(broker, (await redrive({})).body.id);
    expect(rest).toMatchObject({ state: "done", moved: 17, total: 17 });
    expect((await idsIn(broker, "jobs")).toSorted()).toEqual(
      ids.filter((id) => !["m1", "m3", "m5"].includes(id)).toSorted(),
    );
    const list = await broker.json("GET", "/admin/v1/tasks?limit=1");
    expect(list.body).toMatchObject({ tasks: [{ id: rest.id }], next: rest.id });
    const behind = async (after: string) =>
      (await broker.json("GET", `/admin/v1/tasks?after=${after}`)).body.tasks;
    expect(await behind(`${rest.id}`)).toMatchObject([{ id: some.body.id }]);
    // Of those that have ended the oldest go, also between two pages.
    expect(await behind("00000000-0000-7000-8000-000000000000")).toEqual([]);
  });

  test("[P-13.10] one runs per queue; cancelled it stays where it is", async () => {
    await using broker = await startTestWarren(settings);
    await dead(broker, 10);
    const redrive = () =>
      broker.json("POST", `${QUEUES}/jobs.dead/redrive`, { ratePerSecond: 0.01 });
    const { body: task } = await redrive();
    await eventually(
      () => broker.warren.broker.engine.queues.describe("jobs").counts.ready === 1,
      () => "the first message to be moved",
    );
    const second = await redrive();
    expect([second.status, second.body.code]).toEqual([409, "conflict"]);
    const cancelled = await broker.json("DELETE", `/admin/v1/tasks/${task.id}`);
    expect(cancelled.body).toMatchObject({ state: "cancelled", moved: 1, total: 10 });
    expect((await broker.json("DELETE", `/admin/v1/tasks/${task.id}`)).status).toBe(409);
    expect((await broker.json("DELETE", "/admin/v1/tasks/none")).status).toBe(404);
    expect(await idsIn(broker, "jobs.dead")).toHaveLength(9);
  });

  test("[P-13.10] a task goes on after a restart, neither repeating nor skipping", async () => {
    const first = await startTestWarren(settings);
    await dead(first, 10);
    const { body: task } = await first.json("POST", `${QUEUES}/jobs.dead/redrive`, {
      ratePerSecond: 2,
    });
    await eventually(
      () => first.warren.broker.engine.queues.describe("jobs").counts.ready >= 2,
      () => "some to be moved",
    );
    await first.warren.stop("restart");
    await using broker = await startTestWarren({ ...settings, dataDir: first.dataDir });
    expect(await ended(broker, task.id)).toMatchObject({ state: "done", moved: 10, total: 10 });
    const ids = await idsIn(broker, "jobs");
    expect([ids.length, new Set(ids).size]).toEqual([10, 10]);
    await first[Symbol.asyncDispose]();
  });

  test("[P-13.10, P-5.15] a replay copies what was kept of acked messages", async () => {
    const jobs = { bindings: ["jobs/#"], retainAckedMs: 60_000 };
    await using broker = await startTestWarren({ queues: { jobs } });
    const messages = ["m1", "m2"].map((messageId) => ({ topic: "jobs/a", messageId, payload: 1 }));
    await broker.json("POST", "/v1/publish", messages);
    const { body } = await broker.json("POST", "/v1/queues/jobs/pull", { max: 5, waitMs: 20_000 });
    const ack = body.deliveries.map(({ tag }: { tag: number }) => tag);
    await broker.json("POST", "/v1/queues/jobs/settle", { ack });
    expect(await idsIn(broker, "jobs", "&state=acked")).toEqual(["m1", "m2"]);
    const made = await broker.json("POST", `${QUEUES}/jobs/replay`, { ids: ["m2"] });
    expect(await ended(broker, made.body.id)).toMatchObject({ state: "done", moved: 1 });
    expect(await idsIn(broker, "jobs")).toEqual(["m2"]);
    const wrong = await broker.json("POST", `${QUEUES}/jobs/redrive`, {});
    expect([wrong.status, wrong.body.code]).toEqual([409, "conflict"]);
    const unknown = await broker.json("POST", `${QUEUES}/none/replay`, {});
    expect(unknown.body.code).toBe("unknown_queue");
  });
});
