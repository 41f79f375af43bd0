/** Queues over HTTP: pull, long poll, settle in a later request [P-12.7], [P-12.8]. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock, systemRandom } from "../../src/clock.ts";
import { configFrom } from "../../src/config.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { hashKey } from "../../src/security/keys.ts";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";

const JOBS = { queues: { jobs: { bindings: ["jobs/#"], maxDeliveries: 3 } } };

async function publish(broker: TestWarren, ...payloads: unknown[]): Promise<void> {
  const messages = payloads.map((payload) => ({ topic: "jobs/a", payload }));
  await broker.json("POST", "/v1/publish", messages);
}

/** Waits, for those who expect something: what is ready comes when a page has been read. */
const pull = async (broker: TestWarren, asked: object = {}, headers?: Record<string, string>) => {
  const body = { waitMs: 20_000, ...asked };
  return (await broker.json("POST", "/v1/queues/jobs/pull", body, headers)).body.deliveries;
};

const settle = async (broker: TestWarren, body: object, headers?: Record<string, string>) =>
  (await broker.json("POST", "/v1/queues/jobs/settle", body, headers)).body.results;

const counts = async (broker: TestWarren, queue = "jobs") =>
  (await broker.json("GET", `/admin/v1/queues/${queue}`)).body.counts;

describe("[P-12.7] pull", () => {
  test("[P-12.7] takes up to max, oldest first, with the fields of a delivery", async () => {
    await using broker = await startTestWarren(JOBS);
    await publish(broker, 1, 2, 3);
    const deliveries = await pull(broker, { max: 2 });
    expect(deliveries.map((one: { payload: unknown }) => one.payload)).toEqual([1, 2]);
    expect(deliveries[0]).toMatchObject({
      queue: "jobs",
      topic: "jobs/a",
      attempt: 1,
      tag: expect.any(Number),
      messageId: expect.any(String),
      time: expect.any(Number),
    });
    expect(await counts(broker)).toMatchObject({ ready: 1, inFlight: 2 });
  });

  test("[P-12.7] an empty queue answers with nothing, at once or after the wait", async () => {
    await using broker = await startTestWarren(JOBS);
    expect(await pull(broker, { waitMs: 0 })).toEqual([]);
    expect(await pull(broker, { waitMs: 20 })).toEqual([]);
    expect(await counts(broker)).toMatchObject({ consumers: 0 });
  });

  for (const waitMs of [0, 50]) {
    test(`[P-12.7] what is ready comes after a wait of ${waitMs} ms, however slow the disk is`, async () => {
      const dataDir = await mkdtemp(join(tmpdir(), "warren-pull-"));
      const engine = new SqliteEngine({
        ...{ dataDir, durability: "os", limits: DEFAULT_LIMITS, random: systemRandom },
        clock: systemClock,
      });
      // To those who wait time passes faster than any disk can turn.
      const clock: Clock = {
        ...systemClock,
        after: (delayMs, action) => systemClock.after(delayMs <= 200 ? 0 : delayMs, action),
      };
      await using broker = await startTestWarren(JOBS, { engine, clock });
      const payloads = Array.from({ length: 100 }, (_, n) => n);
      await publish(broker, ...payloads);
      const deliveries = await pull(broker, { max: 10, waitMs });
      expect(deliveries.map((one: { payload: unknown }) => one.payload)).toEqual(
        payloads.slice(0, 10),
      );
      await broker.warren.stop("end of test");
      await rm(dataDir, { recursive: true, force: true });
    });
  }

  test("[P-12.7] a waiting pull is answered by what is published meanwhile", async () => {
    await using broker = await startTestWarren(JOBS);
    const waiting = pull(broker, { waitMs: 60_000 });
    await eventually(
      () => broker.warren.broker.engine.queues.describe("jobs").counts.consumers === 1,
      () => "a waiting consumer",
    );
    await publish(broker, "late");
    expect((await waiting)[0].payload).toBe("late");
  });

  test("[P-12.7] a client that goes away while it waits takes nothing with it", async () => {
    await using broker = await startTestWarren(JOBS);
    const gone = new AbortController();
    const waiting = fetch(`${broker.url}/v1/queues/jobs/pull`, {
      method: "POST",
      body: '{"waitMs":60000}',
      signal: gone.signal,
    }).catch(() => "gone");
    const { queues } = broker.warren.broker.engine;
    const consumers = () => queues.describe("jobs").counts.consumers;
    await eventually(
      () => consumers() === 1,
      () => "a waiting consumer",
    );
    gone.abort();
    expect(await waiting).toBe("gone");
    await eventually(
      () => consumers() === 0,
      () => "no consumer any more",
    );
    await publish(broker, 1);
    expect((await pull(broker))[0]).toMatchObject({ payload: 1, attempt: 1 });
  });

  test("[P-12.7] refuses an unknown queue, a bad body and more than the credit", async () => {
    await using broker = await startTestWarren({ ...JOBS, limits: { credit: 4 } });
    const ask = async (queue: string, body: object) => {
      const answer = await broker.json("POST", `/v1/queues/${queue}/pull`, body);
      return [answer.status, answer.body.code, answer.body.pointer];
    };
    expect(await ask("nope", {})).toEqual([404, "unknown_queue", undefined]);
    expect(await ask("jobs", { max: 0 })).toEqual([400, "invalid_frame", "/max"]);
    expect(await ask("jobs", { maximum: 1 })).toEqual([400, "invalid_frame", "/maximum"]);
    expect(await ask("jobs", { max: 5 })).toEqual([400, "invalid_frame", "/max"]);
    await publish(broker, 1, 2, 3, 4, 5);
    expect(await pull(broker, { max: 4 })).toHaveLength(4);
    expect(await ask("jobs", { max: 1 })).toEqual([429, "rate_limited", undefined]);
  });

  test("[P-5.5] what is not settled in time comes again and counts as an attempt", async () => {
    const clock = new ManualClock(Date.now());
    const { limits } = configFrom({});
    const engine = new MemoryEngine({ clock, random: systemRandom, limits });
    await using broker = await startTestWarren(JOBS, { engine });
    await publish(broker, 1);
    const [first] = await pull(broker);
    clock.advance(30_000);
    const [second] = await pull(broker);
    expect([first.attempt, second.attempt]).toEqual([1, 2]);
    expect(await settle(broker, { ack: [first.tag, second.tag] })).toMatchObject([
      { tag: first.tag, type: "error", code: "stale_delivery" },
      { tag: second.tag, type: "ok" },
    ]);
  });
});

describe("[P-12.8] settle", () => {
  test("[P-12.8] ack in a later request; the answer means it is on disk", async () => {
    await using broker = await startTestWarren(JOBS);
    await publish(broker, 1, 2);
    const tags = (await pull(broker, { max: 2 })).map((one: { tag: number }) => one.tag);
    expect(await settle(broker, { ack: tags })).toEqual(
      tags.map((tag: number) => ({ type: "ok", tag })),
    );
    expect(await counts(broker)).toMatchObject({ ready: 0, inFlight: 0 });
  });

  test("[P-12.8] each outcome, with options and without, in one request", async () => {
    await using broker = await startTestWarren(JOBS);
    await publish(broker, "ack", "again", "later", "never", "longer");
    const tags: number[] = (await pull(broker, { max: 5 })).map((one: { tag: number }) => one.tag);
    const [ack, again, later, never, longer] = tags;
    const results = await settle(broker, {
      ack: [ack],
      nack: [again, { tags: [later], delayMs: 3_600_000, reason: "not now" }],
      reject: [{ tags: [never], reason: "nonsense" }],
      extend: [longer],
    });
    expect(results).toEqual(tags.map((tag) => ({ type: "ok", tag })));
    expect(await counts(broker)).toMatchObject({ ready: 0, delayed: 2, inFlight: 1 });
    const dead = (await broker.json("GET", "/admin/v1/queues/jobs.dead/messages")).body.messages;
    expect(dead).toHaveLength(1);
    expect(dead[0]).toMatchObject({
      payload: "never",
      deaths: [{ queue: "jobs", reason: "rejected", detail: "nonsense" }],
    });
  });

  test("[P-5.4] a stale or unknown tag is an error of its own; the others settle", async () => {
    await using broker = await startTestWarren(JOBS);
    await publish(broker, 1);
    const [{ tag }] = await pull(broker);
    const results = await settle(broker, { ack: [tag, 999], nack: [tag] });
    expect(results).toMatchObject([
      { tag, type: "ok" },
      { tag: 999, type: "error", code: "stale_delivery" },
      { tag, type: "error", code: "stale_delivery" },
    ]);
  });

  test("[P-12.8] tags of several pulls in any order, one of them named again", async () => {
    await using broker = await startTestWarren(JOBS);
    await publish(broker, 1, 2, 3, 4);
    const pulled = [...(await pull(broker, { max: 2 })), ...(await pull(broker, { max: 2 }))];
    const [a, b, c, d] = pulled.map((one: { tag: number }) => one.tag);
    const results = await settle(broker, { ack: [c, a, a, 999, b, d], extend: [a] });
    expect(results.map(({ tag, type }: { tag: number; type: string }) => [tag, type])).toEqual([
      [c, "ok"],
      [a, "ok"],
      [a, "error"],
      [999, "error"],
      [b, "ok"],
      [d, "ok"],
      [a, "error"],
    ]);
    expect(await counts(broker)).toMatchObject({ ready: 0, inFlight: 0 });
  });

  test("[P-12.7] pulled one after the other in their order, while more is published", async () => {
    await using broker = await startTestWarren(JOBS);
    await publish(broker, 1, 2, 3);
    const seen: unknown[] = [];
    for (let next = 4; next < 10; next++) {
      const [{ tag, payload }] = await pull(broker);
      seen.push(payload);
      await settle(broker, { ack: [tag] });
      await publish(broker, next);
    }
    const rest = await pull(broker, { max: 10 });
    seen.push(...rest.map(({ payload }: { payload: unknown }) => payload));
    expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test("[P-12.8] an empty body settles nothing; a bad one is refused by its pointer", async () => {
    await using broker = await startTestWarren(JOBS);
    expect(await settle(broker, {})).toEqual([]);
    const bad = await broker.json("POST", "/v1/queues/jobs/settle", { ack: ["x"] });
    expect([bad.status, bad.body.code, bad.body.pointer]).toEqual([400, "invalid_frame", "/ack/0"]);
  });

  test("[P-13.1] deliveries belong to who pulled them, and pulling needs the right", async () => {
    const keys = ["wk_a_0123456789abcdef", "wk_b_0123456789abcdef", "wk_c_0123456789abcdef"];
    const [a, b, c] = keys.map((key) => ({ Authorization: `Bearer ${key}` }));
    const grants = [{ allow: ["consume", "publish", "admin"], on: ["#"] }];
    const entry = (name: string, at: number, more: object) => ({
      id: name,
      hash: hashKey(keys[at] as string),
      principal: name,
      ...more,
    });
    await using broker = await startTestWarren({
      ...JOBS,
      keys: [entry("a", 0, { grants }), entry("b", 1, { grants }), entry("c", 2, {})],
    });
    await broker.json("POST", "/v1/publish", { topic: "jobs/a", payload: 1 }, a);
    const [{ tag }] = await pull(broker, {}, a);
    expect((await settle(broker, { ack: [tag] }, b))[0]).toMatchObject({ code: "stale_delivery" });
    expect((await settle(broker, { ack: [tag] }, a))[0]).toEqual({ type: "ok", tag });
    const refused = await broker.json("POST", "/v1/queues/jobs/pull", {}, c);
    expect([refused.status, refused.body.code]).toEqual([403, "forbidden"]);
    const hidden = await broker.json("POST", "/v1/queues/unknown/pull", {}, c);
    expect(hidden.body.code).toBe("forbidden");
  });
});
