/** What operators do with queues [P-13.3], [P-13.5]. */
import { describe, expect, test } from "bun:test";
import { publishBatch } from "../../src/broker/batch.ts";
import type { Publication } from "../../src/broker/publication.ts";
import { Payload } from "../../src/payload.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";

const path = (name: string, rest = "") => `/admin/v1/queues/${name}${rest}`;

async function fill(broker: TestWarren, count: number, topic = "jobs/a"): Promise<void> {
  const messages = Array.from({ length: count }, (_, at) => ({ topic, payload: { at } }));
  await broker.json("POST", "/v1/publish", messages);
}

describe("[P-13.3] defining queues", () => {
  test("[P-5.1] what is left out has its default, then keeps its value", async () => {
    await using broker = await startTestWarren();
    const made = await broker.json("PUT", path("jobs"), { bindings: ["jobs/#"], maxDeliveries: 7 });
    expect(made.status).toBe(200);
    expect(made.body).toMatchObject({
      name: "jobs",
      bindings: ["jobs/#"],
      maxDeliveries: 7,
      ackTimeoutMs: 30_000,
      backoff: { minMs: 1000, maxMs: 300_000, factor: 2 },
      ttlMs: 14 * 86_400_000,
      deadLetter: { ttlMs: 30 * 86_400_000 },
      paused: false,
      counts: { ready: 0, delayed: 0, inFlight: 0, consumers: 0 },
    });
    const changed = await broker.json("PUT", path("jobs"), { ackTimeoutMs: 5000 });
    expect(changed.body).toMatchObject({
      ackTimeoutMs: 5000,
      maxDeliveries: 7,
      bindings: ["jobs/#"],
    });
    expect((await broker.json("GET", path("jobs"))).body).toEqual(changed.body);
  });

  test("[P-13.5] the same PUT twice changes nothing", async () => {
    await using broker = await startTestWarren();
    const once = await broker.json("PUT", path("jobs"), { bindings: ["a"] });
    await fill(broker, 2, "a");
    const twice = await broker.json("PUT", path("jobs"), { bindings: ["a"] });
    const settingsOf = ({
      counts: _1,
      counters: _2,
      rates: _3,
      ...rest
    }: Record<string, unknown>) => ({
      ...rest,
      oldestTime: 0,
      oldestAgeMs: 0,
    });
    expect(settingsOf(twice.body)).toEqual(settingsOf(once.body));
    expect(twice.body.counts.ready).toBe(2);
  });

  test("[P-13.3] a definition that does not fit is refused by its pointer", async () => {
    await using broker = await startTestWarren();
    const ask = async (name: string, body: object) => {
      const answer = await broker.json("PUT", path(name), body);
      return [answer.status, answer.body.code, answer.body.pointer];
    };
    expect(await ask("jobs", { ttl: 3 })).toEqual([400, "invalid_frame", "/ttl"]);
    expect(await ask("jobs", { maxDeliveries: 0 })).toEqual([
      400,
      "invalid_frame",
      "/maxDeliveries",
    ]);
    expect(await ask("jobs", { overflow: "burn" })).toEqual([400, "invalid_frame", "/overflow"]);
    expect(await ask("jobs", { bindings: ["a", "b/#/c"] })).toEqual([
      400,
      "invalid_filter",
      "/bindings/1",
    ]);
    expect(await ask("jobs", { backoff: { minMs: 10, maxMs: 5 } })).toEqual([
      400,
      "invalid_frame",
      "/backoff/maxMs",
    ]);
    expect((await ask("jobs.dead", {}))[0]).toBe(400);
    expect((await ask("-jobs", {}))[0]).toBe(400);
    expect((await broker.json("GET", "/admin/v1/queues")).body.queues).toEqual([]);
  });

  test("[P-13.6] queues of the settings are there at the start, and keep what they leave out", async () => {
    const settings = { queues: { jobs: { bindings: ["jobs/#"] } } };
    await using broker = await startTestWarren(settings);
    await broker.json("POST", path("jobs", "/pause"));
    await broker.warren.stop("restart");
    await using again = await startTestWarren({ ...settings, dataDir: broker.dataDir });
    expect((await again.json("GET", path("jobs"))).body).toMatchObject({
      bindings: ["jobs/#"],
      paused: true,
    });
  });
});

describe("[P-13.5] listing", () => {
  test("[P-13.5] queues by name, dead-letter queues among them, in pages", async () => {
    await using broker = await startTestWarren();
    for (const name of ["c", "a", "b"]) await broker.json("PUT", path(name), {});
    const names: string[] = [];
    let next: string | undefined;
    do {
      const after: string = next === undefined ? "" : `&after=${encodeURIComponent(next)}`;
      const { body } = await broker.json("GET", `/admin/v1/queues?limit=2${after}`);
      names.push(...body.queues.map((queue: { name: string }) => queue.name));
      next = body.next;
    } while (next !== undefined);
    expect(names).toEqual(["a", "a.dead", "b", "b.dead", "c", "c.dead"]);
    expect((await broker.json("GET", path("a.dead"))).body.deadLetterOf).toBe("a");
  });

  test("[P-13.3] an unknown queue is 404 everywhere", async () => {
    await using broker = await startTestWarren();
    for (const [method, rest] of [
      ["GET", ""],
      ["DELETE", ""],
      ["POST", "/pause"],
      ["POST", "/drain"],
      ["POST", "/resume"],
      ["POST", "/purge"],
      ["GET", "/messages"],
      ["GET", "/messages/x"],
    ] as const) {
      const { status, body } = await broker.json(method, path("nope", rest));
      expect([status, body.code], `${method} ${rest}`).toEqual([404, "unknown_queue"]);
    }
  });
});

describe("[P-13.3] changing what a queue does and holds", () => {
  const settings = { queues: { jobs: { bindings: ["jobs/#"] } } };

  test("[P-13.3] pause stops handing out, resume goes on; storing never stops", async () => {
    await using broker = await startTestWarren(settings);
    expect((await broker.json("POST", path("jobs", "/pause"))).body.paused).toBe(true);
    await fill(broker, 1);
    const pull = async (waitMs = 0) =>
      (await broker.json("POST", "/v1/queues/jobs/pull", { waitMs })).body.deliveries.length;
    expect(await pull()).toBe(0);
    expect((await broker.json("POST", path("jobs", "/resume"))).body.paused).toBe(false);
    expect(await pull(30_000)).toBe(1);
    const dead = await broker.json("POST", path("jobs.dead", "/pause"));
    expect([dead.status, dead.body.code]).toEqual([501, "not_supported"]);
  });

  test("[P-13.3, P-5.17] drain lets nothing in and hands out; resume ends it", async () => {
    await using broker = await startTestWarren(settings);
    await fill(broker, 1);
    const { body } = await broker.json("POST", path("jobs", "/drain"));
    expect([body.draining, body.paused]).toEqual([true, false]);
    const publish = () => broker.json("POST", "/v1/publish", { topic: "jobs/1", payload: 1 });
    const refused = await publish();
    expect([refused.status, refused.body.code]).toEqual([409, "queue_paused"]);
    const pulled = await broker.json("POST", "/v1/queues/jobs/pull", { waitMs: 30_000 });
    expect(pulled.body.deliveries.length).toBe(1);
    expect((await broker.json("POST", path("jobs", "/resume"))).body.draining).toBe(false);
    expect((await publish()).status).toBe(200);
    const dead = await broker.json("POST", path("jobs.dead", "/drain"));
    expect([dead.status, dead.body.code]).toEqual([501, "not_supported"]);
  });

  test("[P-13.3] purge removes what is not in flight, and says how many", async () => {
    await using broker = await startTestWarren(settings);
    await fill(broker, 3);
    await broker.json("POST", "/v1/queues/jobs/pull", { max: 1, waitMs: 20_000 });
    expect((await broker.json("POST", path("jobs", "/purge"))).body).toEqual({ purged: 2 });
    expect((await broker.json("GET", path("jobs"))).body.counts).toMatchObject({
      ready: 0,
      inFlight: 1,
    });
  });

  test("[P-13.3] a queue that holds messages is deleted only by force", async () => {
    await using broker = await startTestWarren(settings);
    await fill(broker, 2);
    const refused = await broker.json("DELETE", path("jobs"));
    expect([refused.status, refused.body.code, refused.body.messages]).toEqual([
      409,
      "conflict",
      2,
    ]);
    expect(refused.body.detail).toContain("2 messages");
    expect((await broker.json("DELETE", path("jobs.dead"))).status).toBe(409);
    expect((await broker.json("DELETE", path("jobs", "?force=maybe"))).status).toBe(400);
    const deleted = await broker.json("DELETE", path("jobs", "?force=true"));
    expect([deleted.status, deleted.body]).toEqual([204, undefined]);
    expect((await broker.json("GET", "/admin/v1/queues")).body.queues).toEqual([]);
    const unbound = await broker.json("POST", "/v1/publish", { topic: "jobs/a" });
    expect(unbound.body.results[0].queues).toBe(0);
  });

  test("[P-3.6, P-13.3] a publish that waits for room in a queue that goes may be sent again", async () => {
    await using started = await startTestWarren();
    const full = { bindings: ["jobs/#"], maxMessages: 1, overflow: "drop-oldest" };
    await started.json("PUT", path("jobs"), full);
    await fill(started, 1);
    const { broker } = started.warren;
    const payload = Payload.fromValue(1);
    const publication = (id: string) => ({
      message: { id, topic: "jobs/a", time: Date.now(), payload },
      dedupe: true,
    });
    const publish = (send: (answers: Pick<Publication, "accepted" | "refused">) => void) =>
      new Promise((answer) => send({ accepted: answer, refused: answer }));
    // Before others give way to them it is asked whether they were there before.
    const answers = [
      publish((to) => broker.publish({ ...publication("a"), ...to })),
      publish((to) => publishBatch(broker, [{ ...publication("b"), ...to }])),
    ];
    const removed = broker.engine.queues.remove("jobs");
    for (const answer of answers) expect(await answer).toMatchObject({ code: "busy" });
    await removed;
    expect((await started.json("POST", "/v1/publish", { topic: "jobs/a" })).status).toBe(200);
  });

  test("[P-13.3] changes that come at the same time do not undo each other", async () => {
    await using broker = await startTestWarren(settings);
    await Promise.all([
      broker.json("PUT", path("jobs"), { maxMessages: 7 }),
      broker.json("POST", path("jobs", "/pause")),
      broker.json("PUT", path("jobs"), { ttlMs: 60_000 }),
      broker.json("POST", path("jobs", "/drain")),
      broker.json("PUT", path("jobs"), { bindings: ["jobs/#", "other"] }),
      broker.json("PUT", path("jobs"), { backoff: { minMs: 5 } }),
    ]);
    expect((await broker.json("GET", path("jobs"))).body).toMatchObject({
      ...{ maxMessages: 7, paused: true, draining: true, ttlMs: 60_000 },
      bindings: ["jobs/#", "other"],
      backoff: { minMs: 5, maxMs: 300_000 },
    });
  });

  test("[P-13.5] every change is in the log, with who made it", async () => {
    await using broker = await startTestWarren();
    await broker.json("PUT", path("jobs"), {});
    await broker.json("PUT", path("jobs"), { maxDeliveries: 2 });
    for (const verb of ["pause", "resume", "purge"])
      await broker.json("POST", path("jobs", `/${verb}`));
    await broker.json("DELETE", path("jobs"));
    const entries = broker.log.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "audit");
    expect(entries.map(({ action }) => action)).toEqual([
      "queue.define",
      "queue.change",
      "queue.pause",
      "queue.resume",
      "queue.purge",
      "queue.delete",
    ]);
    for (const entry of entries)
      expect(entry).toMatchObject({ principal: "anonymous", on: "jobs" });
  });
});

describe("[P-13.3] looking at messages", () => {
  const settings = { queues: { jobs: { bindings: ["jobs/#"] } } };

  test("[P-13.3] by state, topic and text, in pages, without a side effect", async () => {
    await using broker = await startTestWarren(settings);
    await fill(broker, 5);
    await broker.json("POST", "/v1/publish", [
      { topic: "jobs/other", payload: "needle" },
      { topic: "jobs/late", payload: 1, delayMs: 3_600_000 },
    ]);
    await broker.json("POST", "/v1/queues/jobs/pull", { max: 1, waitMs: 20_000 });
    const look = async (query: string) =>
      (await broker.json("GET", path("jobs", `/messages${query}`))).body;
    const topics = (page: { messages: { topic: string }[] }) =>
      page.messages.map((message) => message.topic);
    expect((await look("?state=inflight")).messages[0]).toMatchObject({
      payload: { at: 0 },
      state: "inflight",
    });
    expect(topics(await look("?state=delayed"))).toEqual(["jobs/late"]);
    expect((await look("?state=delayed")).messages[0].dueAt).toBeGreaterThan(0);
    expect(topics(await look("?topic=jobs/other"))).toEqual(["jobs/other"]);
    expect(topics(await look("?search=needle"))).toEqual(["jobs/other"]);
    const seen: unknown[] = [];
    let after = "";
    for (;;) {
      const page = await look(`?state=ready&limit=2${after}`);
      seen.push(...page.messages.map((message: { messageId: string }) => message.messageId));
      if (page.next === undefined) break;
      after = `&after=${encodeURIComponent(page.next)}`;
    }
    expect(new Set(seen).size).toBe(5);
    expect(seen).toHaveLength(5);
    const { counts } = (await broker.json("GET", path("jobs"))).body;
    expect(counts).toMatchObject({ ready: 5, delayed: 1, inFlight: 1 });
    const bad = await broker.json("GET", path("jobs", "/messages?state=lost"));
    expect([bad.status, bad.body.pointer]).toEqual([400, "/state"]);
    const filter = await broker.json("GET", path("jobs", "/messages?topic=a/%23/b"));
    expect(filter.body.code).toBe("invalid_filter");
  });

  test("[P-13.3] one message by its id; 404 for one that is not there", async () => {
    await using broker = await startTestWarren(settings);
    const published = await broker.json("POST", "/v1/publish", {
      topic: "jobs/a",
      payload: 1,
      messageId: "me/1",
    });
    expect(published.body.results[0].queues).toBe(1);
    const found = await broker.json("GET", path("jobs", "/messages/me%2F1"));
    expect(found.body).toMatchObject({ messageId: "me/1", state: "ready", attempts: 0 });
    const missing = await broker.json("GET", path("jobs", "/messages/other"));
    expect([missing.status, missing.body.code]).toEqual([404, "not_found"]);
  });

  test("[P-5.6] the same on the dead-letter queue, with the record of why", async () => {
    await using broker = await startTestWarren(settings);
    await fill(broker, 1);
    const { body } = await broker.json("POST", "/v1/queues/jobs/pull", { waitMs: 30_000 });
    const [{ tag, messageId }] = body.deliveries;
    const reject = [{ tags: [tag], reason: "broken" }];
    await broker.json("POST", "/v1/queues/jobs/settle", { reject });
    const dead = await broker.json("GET", path("jobs.dead", `/messages/${messageId}`));
    expect(dead.body.deaths).toEqual([
      expect.objectContaining({ queue: "jobs", reason: "rejected", attempts: 1, detail: "broken" }),
    ]);
    expect((await broker.json("POST", path("jobs.dead", "/purge"))).body).toEqual({ purged: 1 });
  });
});
