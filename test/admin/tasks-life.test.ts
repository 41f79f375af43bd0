/** What may come between a task and its end: full queues, lost queues, lost storage [P-13.10]. */
import { describe, expect, test } from "bun:test";
import { Tasks } from "../../src/broker/tasks.ts";
import { type Clock, systemClock, systemRandom } from "../../src/clock.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { completeSettings } from "../../src/engine/rules.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { eventually } from "../harness/eventually.ts";
import { serve } from "../harness/served.ts";
import { SmallDisk } from "../harness/small-disk.ts";
import { startTestWarren } from "../harness/warren.ts";
import { answersOf, becomes, dead, ended, idsIn, QUEUES } from "./dead-letters.ts";

const REDRIVE = `${QUEUES}/jobs.dead/redrive`;
/** One message, and the next one long after the test. */
const SLOWLY = { ratePerSecond: 0.01 };
const settings = (other: object = {}) => ({ queues: { jobs: { bindings: ["jobs/#"] }, other } });

test("[P-13.10] into a full queue it waits and says why, and goes on when there is room", async () => {
  await using broker = await startTestWarren(settings({ maxMessages: 2 }));
  await dead(broker, 3);
  const { body } = await broker.json("POST", REDRIVE, { to: "other" });
  const waiting = await becomes(broker, body.id, ({ reason }) => reason !== undefined);
  expect(waiting).toMatchObject({ state: "running", moved: 2, total: 3 });
  expect(waiting.reason).toContain("queue_full");
  const list = await broker.json("GET", "/admin/v1/tasks");
  expect(list.body.tasks[0].reason).toBe(waiting.reason);
  await broker.json("POST", `${QUEUES}/other/purge`);
  const task = await ended(broker, body.id);
  expect(task).toMatchObject({ state: "done", moved: 3 });
  expect(task.reason).toBeUndefined();
  expect(await idsIn(broker, "other")).toEqual(["m2"]);
});

test("[P-13.10, P-5.17] into a queue that is being drained it waits, until that is over", async () => {
  await using broker = await startTestWarren(settings());
  await dead(broker, 2);
  await broker.json("POST", `${QUEUES}/other/drain`);
  const { body } = await broker.json("POST", REDRIVE, { to: "other" });
  const waiting = await becomes(broker, body.id, ({ reason }) => reason !== undefined);
  expect(waiting).toMatchObject({ state: "running", moved: 0, total: 2 });
  expect(waiting.reason).toContain("queue_paused");
  await broker.json("POST", `${QUEUES}/other/resume`);
  expect(await ended(broker, body.id)).toMatchObject({ state: "done", moved: 2 });
});

test("[P-13.10] the same where bytes are what there is no room for; it is cancelled as it waits", async () => {
  await using broker = await startTestWarren(settings());
  await dead(broker, 3);
  const { body: queue } = await broker.json("GET", `${QUEUES}/jobs.dead`);
  const maxBytes = Math.floor((queue.counts.bytes / 3) * 1.5);
  await broker.json("PUT", `${QUEUES}/other`, { maxBytes });
  const { body } = await broker.json("POST", REDRIVE, { to: "other" });
  const waiting = await becomes(broker, body.id, ({ reason }) => reason !== undefined);
  expect(waiting).toMatchObject({ state: "running", moved: 1 });
  const { body: cancelled } = await broker.json("DELETE", `/admin/v1/tasks/${body.id}`);
  expect(cancelled).toMatchObject({ state: "cancelled", moved: 1 });
  expect(cancelled.reason).toBeUndefined();
  expect(await idsIn(broker, "jobs.dead")).toEqual(["m1", "m2"]);
});

describe("[P-13.10] a queue is deleted under it", () => {
  for (const [title, gone, fields, named] of [
    ["the one it runs on", "jobs", { to: "other" }, "jobs.dead"],
    ["the one it moves to", "other", { to: "other" }, "other"],
  ] as const) {
    test(`[P-13.10] ${title}: it has failed at once, whatever its rate, and says why`, async () => {
      await using broker = await startTestWarren(settings());
      await dead(broker, 4);
      const { body } = await broker.json("POST", REDRIVE, { ...SLOWLY, ...fields });
      await becomes(broker, body.id, ({ moved }) => moved === 1);
      expect((await broker.json("DELETE", `${QUEUES}/${gone}?force=true`)).status).toBe(204);
      const task = await ended(broker, body.id);
      expect(task).toMatchObject({ state: "failed", moved: 1, total: 4 });
      expect(task.reason).toContain(named);
      expect((await broker.json("DELETE", `/admin/v1/tasks/${body.id}`)).status).toBe(409);
      // A new queue of that name owes the old task nothing.
      await broker.json("PUT", `${QUEUES}/${gone}`, {});
      const again = await broker.json("POST", REDRIVE, { dryRun: true });
      expect(again.body).toMatchObject({ moved: gone === "jobs" ? 0 : 3 });
    });
  }
});

test("[P-13.10] what can never be is refused when it is asked for", async () => {
  await using broker = await startTestWarren(settings());
  const redrive = async (path: string, body: object) => {
    const answer = await broker.json("POST", path, body);
    return [answer.status, answer.body.code];
  };
  expect(await redrive(REDRIVE, { to: "none" })).toEqual([404, "unknown_queue"]);
  expect(await redrive(REDRIVE, { to: "other.dead" })).toEqual([409, "conflict"]);
  expect(await redrive(`${QUEUES}/jobs/redrive`, {})).toEqual([409, "conflict"]);
  expect((await broker.json("GET", "/admin/v1/tasks")).body.tasks).toEqual([]);
});

describe("[P-13.10] the clock is set back after messages died", () => {
  for (const [title, fields] of [
    ["all", {}],
    ["those of a filter", { topic: "jobs/#" }],
  ] as const) {
    test(`[P-13.10] ${title}: a redrive takes what is there, and what dies later is not its own`, async () => {
      let aheadMs = 0;
      const clock: Clock = {
        ...systemClock,
        now: () => systemClock.now() + aheadMs,
      };
      await using broker = await startTestWarren(settings(), { clock });
      await dead(broker, 3);
      aheadMs = -3_600_000;
      const dry = await broker.json("POST", REDRIVE, { ...fields, dryRun: true });
      expect(dry.body).toMatchObject({ moved: 3, total: 3 });
      const slow = { ...fields, ...SLOWLY, to: "other" };
      const { body } = await broker.json("POST", REDRIVE, slow);
      await becomes(broker, body.id, ({ moved }) => moved === 1);
      await broker.json("DELETE", `/admin/v1/tasks/${body.id}`);
      const again = await broker.json("POST", REDRIVE, { ...fields, to: "other" });
      expect(await ended(broker, again.body.id)).toMatchObject({ moved: 2, total: 2 });
      expect(await idsIn(broker, "other")).toEqual(["m0", "m1", "m2"]);
    });
  }
});

test("[P-13.10] what dies while it is made and runs is not its own", async () => {
  await using broker = await startTestWarren(settings());
  await dead(broker, 2);
  const { body } = await broker.json("POST", REDRIVE, { ratePerSecond: 5, topic: "jobs/#" });
  expect(body).toMatchObject({ moved: 0, state: "running" });
  // They die as they come back.
  const { body: pulled } = await broker.json("POST", "/v1/queues/jobs/pull", { waitMs: 20_000 });
  const reject = [{ tags: pulled.deliveries.map(({ tag }: { tag: number }) => tag) }];
  await broker.json("POST", "/v1/queues/jobs/settle", { reject });
  expect(await ended(broker, body.id)).toMatchObject({ state: "done", moved: 2, total: 2 });
  expect(await idsIn(broker, "jobs.dead")).toEqual(["m0"]);
});

test("[P-13.10] of two that are asked for at the same moment one is made", async () => {
  await using broker = await startTestWarren(settings());
  await dead(broker, 2);
  const both = await Promise.all([1, 2].map(() => broker.json("POST", REDRIVE, SLOWLY)));
  expect(both.map(({ status }) => status).toSorted()).toEqual([200, 409]);
  expect((await broker.json("GET", "/admin/v1/tasks")).body.tasks).toHaveLength(1);
});

test("[P-13.10] of those that have ended the last thousand are remembered", async () => {
  const limits = DEFAULT_LIMITS;
  const engine = new MemoryEngine({ clock: systemClock, random: systemRandom, limits });
  await engine.open({ queueChanged: () => {}, healthChanged: () => {} });
  await engine.queues.define("jobs", completeSettings({}), []);
  let made = 0;
  const tasks = new Tasks({ engine, clock: systemClock, newId: () => `t${++made}` });
  const order = { select: {}, dryRun: false, principal: "ann" } as const;
  const ids: string[] = [];
  for (let n = 0; n < 1010; n++) {
    const { id } = await tasks.create({ ...order, kind: "replay", queue: "jobs" });
    ids.push(id);
    await eventually(
      () => tasks.get(id)?.state === "done",
      () => `${id} to be done`,
    );
  }
  const kept = tasks.list().map(({ id }) => id);
  expect(kept).toEqual(ids.slice(-1000).toReversed());
  expect(tasks.get("t1")).toBeUndefined();
  tasks.stop();
  await engine.close();
});

const hasSmallDisk = await SmallDisk.available();

describe.skipIf(!hasSmallDisk)("[P-13.10] the disk is full in the middle of it", () => {
  test("[P-13.10, P-3.6] it waits and says why, is not cancelled by half, and goes on exactly", async () => {
    await using disk = await SmallDisk.mount(16);
    // A process of its own: its files are closed for good when it ends.
    await using served = await serve(disk.path);
    const broker = { json: answersOf(served.url) };
    await broker.json("PUT", `${QUEUES}/jobs`, { bindings: ["jobs/#"] });
    const ids = await dead(broker, 60, "x".repeat(2000));
    const { body } = await broker.json("POST", REDRIVE, { ratePerSecond: 20 });
    await becomes(broker, body.id, ({ moved }) => (moved as number) >= 2);
    await disk.fill();
    const isStuck = ({ reason }: Record<string, unknown>) => `${reason}`.includes("storage");
    expect(await becomes(broker, body.id, isStuck)).toMatchObject({ state: "running" });
    const cancel = await broker.json("DELETE", `/admin/v1/tasks/${body.id}`);
    expect([cancel.status, cancel.body.code]).toEqual([503, "storage_unavailable"]);
    await disk.free();
    const task = await ended(broker, body.id);
    expect(task).toMatchObject({ state: "done", moved: 60, total: 60 });
    expect(task.reason).toBeUndefined();
    expect((await idsIn(broker, "jobs")).toSorted()).toEqual(ids.toSorted());
    expect(await idsIn(broker, "jobs.dead")).toEqual([]);
  }, 90_000);
});
