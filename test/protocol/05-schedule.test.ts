/** Messages published for later, changed and taken back, over sockets, HTTP and the command line [P-5.13]. */
import { describe, expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import { jsonLines, runCli } from "../harness/cli.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const HOUR_MS = 3_600_000;
const JOBS = { queues: { jobs: { bindings: ["jobs/#"] }, all: { bindings: ["#"] } } };

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test("[P-5.13] deliverAt holds a message back; reschedule brings it, changed", async () => {
      await using broker = await startBroker();
      await broker.queue("jobs", ["jobs/#"]);
      await broker.queue("all", ["#"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const topic = "jobs/1";
      const deliverAt = Date.now() + HOUR_MS;
      const publish = { type: "publish", topic, payload: 1, deliverAt };
      const { messageId } = await client.ok(publish);
      await client.ok({ ...publish, deliverAt: Date.now() - 1, payload: "past" });
      await client.ok({ type: "consume", queue: "jobs", credit: 5 });
      expect((await client.expect("delivery")).payload).toBe("past");
      const change = { type: "reschedule", topic, messageId };
      const headers = { a: "b" };
      const moved = await client.ok({ ...change, delayMs: HOUR_MS, headers });
      expect(moved).toEqual({ type: "ok", id: moved.id, queues: 2 });
      expect(await client.everythingUntilNow()).toEqual([]);
      const payload = { changed: [1.5] };
      await client.ok({ ...change, deliverAt: 0, payload });
      expect(await client.expect("delivery")).toMatchObject({ messageId, payload, headers });
      const late = await client.request({ ...change, delayMs: 5 });
      expect(late).toMatchObject({ type: "error", code: "not_found", retry: false });
    });

    test("[P-5.13] unschedule takes it back from all its queues, once", async () => {
      await using broker = await startBroker();
      await broker.queue("jobs", ["jobs/#"]);
      await broker.queue("all", ["#"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const topic = "jobs/1";
      const { messageId } = await client.ok({ type: "publish", topic, delayMs: HOUR_MS });
      const taken = { type: "unschedule", topic, messageId };
      expect(await client.request({ ...taken, topic: "jobs/2" })).toMatchObject({
        code: "not_found",
      });
      expect((await client.ok(taken)).queues).toBe(2);
      expect((await client.request(taken)).code).toBe("not_found");
      const { queues } = broker.warren.broker.engine;
      for (const queue of ["jobs", "all"]) {
        expect(queues.describe(queue).counts).toMatchObject({ delayed: 0, bytes: 0 });
      }
    });

    test("[P-5.13] a change that makes no sense is refused, naming the field", async () => {
      await using broker = await startBroker();
      await broker.queue("q", ["t"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const publish = { type: "publish", topic: "t" };
      const both = { delayMs: 5, deliverAt: 5 };
      const { messageId } = await client.ok({ ...publish, delayMs: HOUR_MS, ttlMs: 2 * HOUR_MS });
      const change = { type: "reschedule", topic: "t", messageId };
      const cases: [object, string, string][] = [
        [{ ...publish, ...both }, "invalid_frame", "/deliverAt"],
        [{ ...publish, deliverAt: -1 }, "invalid_frame", "/deliverAt"],
        [{ ...publish, deliverAt: Date.now() + HOUR_MS, ttlMs: 5 }, "invalid_frame", "/ttlMs"],
        [{ ...change, ...both }, "invalid_frame", "/deliverAt"],
        [change, "invalid_frame", "/deliverAt"],
        [
          { ...change, delayMs: 9, payload: 5, payloadEncoding: "base64" },
          "invalid_frame",
          "/payload",
        ],
      ];
      for (const [frame, code, pointer] of cases) {
        expect(await client.request(frame)).toMatchObject({ code, detail: { pointer } });
      }
      const early = await client.request({ ...change, delayMs: 3 * HOUR_MS });
      expect(early).toMatchObject({ type: "error", code: "conflict" });
      await client.ok({ ...change, delayMs: 3 * HOUR_MS, ttlMs: 4 * HOUR_MS });
    });

    test("[P-5.13, P-14.6, P-14.9] it takes the right to publish, and its bounds", async () => {
      const channels = { tight: { filter: "tight", maxPayloadBytes: 9 } };
      await using broker = await startBroker({ access: { ...TOKENS_ONLY, channels } });
      await broker.queue("q", ["#"]);
      const grants = [
        { allow: ["publish"], on: ["mine", "tight"] },
        { allow: ["publish"], on: ["short"], maxPayloadBytes: 3 },
      ];
      const token = await tokenFor("ada", { grants });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      const long = { payload: "x".repeat(20) };
      for (const [topic, code] of [
        ["tight", "too_large"],
        ["short", "forbidden"],
      ] as const) {
        const publish = { type: "publish", topic, payload: 1, delayMs: HOUR_MS };
        const { messageId } = await client.ok(publish);
        const change = { type: "reschedule", topic, messageId };
        expect((await client.request({ ...change, ...long })).code).toBe(code);
        await client.ok({ ...change, delayMs: 2 * HOUR_MS });
      }
      for (const type of ["reschedule", "unschedule"]) {
        const frame = { type, topic: "yours", messageId: "m", ...(type === "reschedule" && long) };
        expect((await client.request(frame)).code).toBe("forbidden");
      }
    });
  });
}

test("[P-5.13] over HTTP: PATCH changes, DELETE takes back, in both encodings", async () => {
  await using broker = await startTestWarren(JOBS);
  const deliverAt = Date.now() + HOUR_MS;
  const messageId = "a/b ü";
  const publish = { topic: "jobs/1", payload: 1, messageId, deliverAt };
  await broker.json("POST", "/v1/publish", publish);
  const path = `/v1/scheduled/${encodeURIComponent(messageId)}?topic=jobs%2F1`;
  const moved = await broker.json("PATCH", path, { delayMs: 2 * HOUR_MS, payload: "new" });
  expect([moved.status, moved.body]).toEqual([200, { messageId, queues: 2 }]);
  const body64 = encode({ payload: { n: 2n ** 60n } }, { useBigInt64: true });
  const packed = await broker.request("PATCH", path, body64, {
    "Content-Type": "application/msgpack",
  });
  expect(packed.status).toBe(200);
  const shown = await broker.json("GET", "/admin/v1/queues/jobs/messages");
  expect(shown.body.messages).toMatchObject([{ state: "delayed", messageId }]);
  expect((await broker.json("PATCH", path, { colour: 1 })).body.code).toBe("invalid_frame");
  expect((await broker.json("PATCH", "/v1/scheduled/x", {})).status).toBe(400);
  expect((await broker.json("DELETE", path)).body).toEqual({ messageId, queues: 2 });
  expect((await broker.json("DELETE", path)).status).toBe(404);
  const at = { "Warren-Deliver-At": `${deliverAt}` };
  await broker.json("POST", "/v1/topics/jobs/2", "text", at);
  const { body } = await broker.json("GET", "/admin/v1/queues/jobs/messages");
  expect(body.messages).toMatchObject([{ topic: "jobs/2", dueAt: deliverAt }]);
});

test("[P-5.13, P-13.7] pub --at, queue reschedule, queue unschedule", async () => {
  await using broker = await startTestWarren(JOBS);
  const env = { WARREN_URL: broker.url };
  const published = await runCli(["pub", "jobs/1", "1", "--at", "2100-01-01T00:00Z"], { env });
  const [{ messageId }] = jsonLines(published.out) as [{ messageId: string }];
  const words = ["queue", "reschedule", "jobs/1", messageId, "--payload", "2"];
  const moved = await runCli([...words, "--at", "2099-01-01T00:00Z"], { env });
  expect([moved.err, jsonLines(moved.out)]).toEqual(["", [{ messageId, queues: 2 }]]);
  const { body } = await broker.json("GET", "/admin/v1/queues/jobs/messages");
  expect(body.messages).toMatchObject([{ payload: 2, dueAt: Date.UTC(2099, 0) }]);
  const taken = await runCli(["queue", "unschedule", "jobs/1", messageId], { env });
  expect(jsonLines(taken.out)).toEqual([{ messageId, queues: 2 }]);
  const again = await runCli(["queue", "unschedule", "jobs/1", messageId], { env });
  expect([again.code, again.err.startsWith("not_found: ")]).toEqual([1, true]);
});
