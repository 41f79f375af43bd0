/** Several messages over HTTP that are stored together or not at all [P-5.14]. */
import { expect, test } from "bun:test";
import { decode, encode } from "@msgpack/msgpack";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";
import { WireClient } from "../harness/wire-client.ts";

async function payloads(broker: TestWarren, queue: string): Promise<unknown[]> {
  const { body } = await broker.json("GET", `/admin/v1/queues/${queue}/messages`);
  return body.messages.map((message: { payload: unknown }) => message.payload);
}

test("[P-5.14] POST /v1/batch stores all, kept or not, and answers each", async () => {
  await using broker = await startTestWarren({ queues: { all: { bindings: ["a/#"] } } });
  const messages = [
    { topic: "a/1", payload: 1, messageId: "one" },
    { topic: "live", payload: 2 },
    { topic: "a/1", payload: 3, messageId: "one" },
    { topic: "a/2", payload: 4 },
  ];
  const { status, body } = await broker.json("POST", "/v1/batch", messages);
  expect(status).toBe(200);
  expect(body.results).toMatchObject([
    { messageId: "one", queues: 1 },
    { queues: 0 },
    { messageId: "one", queues: 0, duplicate: true },
    { queues: 1 },
  ]);
  expect(await payloads(broker, "all")).toEqual([1, 4]);
});

test("[P-5.14] one message at fault: nothing is stored, and the error names it", async () => {
  await using broker = await startTestWarren({
    queues: { all: { bindings: ["a/#"] }, small: { bindings: ["a/small"], maxMessages: 1 } },
  });
  const good = { topic: "a/1", payload: 1 };
  for (const [bad, code] of [
    [{ topic: "a/#", payload: 2 }, "invalid_topic"],
    [{ topic: "$x", payload: 2 }, "forbidden"],
    [{ topic: "a", payload: 2, priority: 10 }, "invalid_frame"],
  ] as const) {
    const { body } = await broker.json("POST", "/v1/batch", [good, bad]);
    expect(body).toMatchObject({ code, index: 1 });
  }
  const small = { topic: "a/small", payload: 3 };
  const { status, body } = await broker.json("POST", "/v1/batch", [good, small, small]);
  expect([status, body.code, body.index]).toEqual([507, "queue_full", 2]);
  expect((await broker.json("POST", "/v1/batch", [])).body.code).toBe("invalid_frame");
  expect(await payloads(broker, "all")).toEqual([]);
});

test("[P-5.9] the answer says how many gave way, and who did is dead-lettered", async () => {
  await using broker = await startTestWarren({
    queues: { q: { bindings: ["a"], maxMessages: 2, overflow: "dead-letter-oldest" } },
  });
  for (const payload of [1, 2]) await broker.json("POST", "/v1/publish", { topic: "a", payload });
  const one = await broker.json("POST", "/v1/publish", { topic: "a", payload: 3 });
  expect(one.body.results).toMatchObject([{ type: "ok", queues: 1, displaced: 1 }]);
  const answer = await fetch(`${broker.url}/v1/batch`, {
    method: "POST",
    headers: { "Content-Type": "application/msgpack", Accept: "application/msgpack" },
    body: encode([4, 5].map((payload) => ({ topic: "a", payload }))),
  });
  expect(decode(await answer.bytes())).toMatchObject({
    results: [{ displaced: 1 }, { displaced: 1 }],
  });
  expect(await payloads(broker, "q")).toEqual([4, 5]);
  expect(await payloads(broker, "q.dead")).toEqual([1, 2, 3]);
});

test("[P-5.14, P-3.3] over HTTP, too, live subscribers see all of it or nothing", async () => {
  await using broker = await startTestWarren({
    queues: { q: { bindings: ["kept/#"], maxMessages: 2 } },
    channels: { tight: { filter: "tight", maxPayloadBytes: 3 } },
  });
  using client = await WireClient.connect(`${broker.url.replace("http", "ws")}/ws`);
  await client.ok({ type: "subscribe", filter: "#" });
  const of = (topic: string, payload: unknown) => ({ topic, payload });
  const tooMany = [1, 2, 3].map((payload) => of("kept/1", payload));
  const full = await broker.json("POST", "/v1/batch", [of("live", 0), ...tooMany]);
  expect(full.body).toMatchObject({ code: "queue_full", index: 3 });
  const tight = await broker.json("POST", "/v1/batch", [of("live", 0), of("tight", "long")]);
  expect(tight.body).toMatchObject({ code: "too_large", index: 1 });
  expect(await client.everythingUntilNow()).toEqual([]);
  const good = [of("kept/1", 1), of("live", 2), of("kept/2", 3)];
  expect((await broker.json("POST", "/v1/batch", good)).status).toBe(200);
  for (const { payload } of good) expect((await client.expect("event")).payload).toBe(payload);
});

test("[P-5.14, P-3.3] the right to publish is asked for each message", async () => {
  await using broker = await startTestWarren({
    ...TOKENS_ONLY,
    queues: { q: { bindings: ["#"] } },
  });
  const grants = [
    { allow: ["publish"], on: ["mine/#"] },
    { allow: ["publish"], on: ["short"], maxPayloadBytes: 3 },
  ];
  const token = await tokenFor("ada", { grants });
  const headers = { Authorization: `Bearer ${token}` };
  const mine = { topic: "mine/1" };
  for (const bad of [{ topic: "yours" }, { topic: "short", payload: "long" }]) {
    const { status, body } = await broker.json("POST", "/v1/batch", [mine, mine, bad], headers);
    expect([status, body.code, body.index]).toEqual([403, "forbidden", 2]);
  }
  const { body } = await broker.json("POST", "/v1/batch", [mine], headers);
  expect(body.results).toMatchObject([{ queues: 1 }]);
  expect(broker.warren.broker.engine.queues.describe("q").counts.ready).toBe(1);
});
