/** How many topics may keep something, and what becomes of one more [P-14.9]. */
import { describe, expect, test } from "bun:test";
import { Value } from "@sinclair/typebox/value";
import { SERVER_FRAMES } from "../../schemas/frames.ts";
import { startBroker } from "../harness/start-broker.ts";
import { startTestWarren } from "../harness/warren.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

const CHANNELS = {
  hist: { filter: "h/#", history: {}, maxTopics: 2 },
  values: { filter: "v/#", retained: true, maxTopics: 1 },
  wide: { filter: "w/#", history: {}, retained: true },
};
const FULL = { type: "error", code: "too_many_topics", retry: true };

for (const encoding of ENCODINGS) {
  describe(`[P-14.9] over ${encoding}`, () => {
    test("one topic more than may keep something is refused, and nobody sees it", async () => {
      await using broker = await startBroker({ access: { channels: CHANNELS } });
      await broker.queue("q", ["#"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "subscribe", filter: "#" });
      const publish = (topic: string, more: object = {}) =>
        client.request({ type: "publish", topic, payload: topic, ...more });
      await publish("h/1");
      await publish("h/2");
      const refused = await publish("h/3");
      expect(refused).toMatchObject({
        ...FULL,
        detail: { topic: "h/3", scope: "channel", channel: "hist", limit: 2 },
      });
      expect(Value.Check(SERVER_FRAMES.error, refused)).toBe(true);
      expect(await publish("h/1")).toMatchObject({ type: "ok", offset: 2 });
      await publish("v/1", { retain: true });
      expect(await publish("v/2", { retain: true })).toMatchObject(FULL);
      // What nothing is kept of needs no place.
      expect(await publish("v/2")).toMatchObject({ type: "ok", queues: 1 });
      expect(await publish("v/2", { retain: true, payload: null })).toMatchObject({ type: "ok" });
      const seen: unknown[] = [];
      while (seen.length < 6) seen.push((await client.expect("event")).topic);
      expect(seen).toEqual(["h/1", "h/2", "h/1", "v/1", "v/2", "v/2"]);
      expect(broker.warren.broker.engine.queues.describe("q").counts.ready).toBe(6);
    });

    test("[P-5.14] a batch is stored as a whole or not at all, and the error says which it was", async () => {
      await using broker = await startBroker({ access: { channels: CHANNELS } });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "subscribe", filter: "#" });
      const batch = (...topics: string[]): Promise<Frame> =>
        client.request({ type: "batch", publish: topics.map((topic) => ({ topic })) });
      const refused = await batch("free", "h/1", "w/1", "h/2", "h/3");
      expect(refused).toMatchObject({ ...FULL, detail: { index: 4, topic: "h/3" } });
      expect(await batch("h/1", "h/2", "free")).toMatchObject({ type: "ok" });
      const seen: unknown[] = [];
      while (seen.length < 3) seen.push((await client.expect("event")).topic);
      expect(seen).toEqual(["h/1", "h/2", "free"]);
    });

    test("all channels together have a bound of their own", async () => {
      const limits = { keptTopics: 2 };
      await using broker = await startBroker({ limits, access: { channels: CHANNELS } });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (const topic of ["w/1", "h/1"]) await client.ok({ type: "publish", topic });
      expect(await client.request({ type: "publish", topic: "w/2" })).toMatchObject({
        ...FULL,
        detail: { scope: "overall", limit: 2 },
      });
    });
  });
}

test("[P-14.9, P-12.1] over HTTP it is 507, and operators see who takes the places", async () => {
  await using warren = await startTestWarren({ channels: CHANNELS });
  const publish = (topic: string) => warren.json("POST", `/v1/topics/${topic}`, 1);
  for (const topic of ["h/1", "h/2", "w/1"]) expect((await publish(topic)).status).toBe(200);
  const { status, body } = await publish("h/3");
  expect([status, body.code, body.retry]).toEqual([507, "too_many_topics", true]);
  expect(body).toMatchObject({ scope: "channel", channel: "hist", limit: 2 });
  const batch = [{ topic: "w/2" }, { topic: "h/3" }];
  const refused = await warren.json("POST", "/v1/batch", batch);
  expect([refused.status, refused.body.code, refused.body.index]).toEqual([507, body.code, 1]);
  const { kept } = (await warren.json("GET", "/admin/v1/channels/hist")).body;
  expect(kept).toEqual({ topics: 2, historyBytes: expect.any(Number) });
  const listed = (await warren.json("GET", "/admin/v1/channels")).body.channels;
  expect(listed.map((channel: { kept: { topics: number } }) => channel.kept.topics)).toEqual([
    ...[2, 0, 1],
  ]);
  const metrics = await (await fetch(`${warren.url}/metrics`)).text();
  for (const line of [
    'warren_channel_topics_kept{channel="hist"} 2',
    'warren_channel_topics_most{channel="hist"} 2',
    'warren_channel_topics_most{channel="wide"} 100000',
    `warren_channel_history_bytes{channel="hist"} ${kept.historyBytes}`,
    "warren_topics_kept 3",
    "warren_topics_refused_total 3",
  ]) {
    expect(metrics).toContain(`${line}\n`);
  }
});

test("[P-14.9, P-13.8] the bound is changed while the broker runs, for the next message", async () => {
  await using warren = await startTestWarren();
  const put = (more: object) =>
    warren.json("PUT", "/admin/v1/channels/c", { filter: "c/#", ...more });
  const publish = async (topic: string) =>
    (await warren.json("POST", `/v1/topics/${topic}`, 1)).status;
  expect((await put({ history: {}, maxTopics: 1 })).body).toMatchObject({ maxTopics: 1 });
  expect([await publish("c/1"), await publish("c/2")]).toEqual([200, 507]);
  await put({ history: {}, maxTopics: 2 });
  expect([await publish("c/2"), await publish("c/3")]).toEqual([200, 507]);
  await put({ retained: true, history: {}, maxTopics: 1 });
  expect([await publish("c/1"), await publish("c/2"), await publish("c/3")]).toEqual([
    ...[200, 200, 507],
  ]);
  for (const [wrong, pointer] of [
    [{ history: {}, maxTopics: 0 }, "/maxTopics"],
    [{ maxTopics: 1 }, "/maxTopics"],
    [{ retained: false, maxTopics: 1 }, "/maxTopics"],
  ] as const) {
    const { status, body } = await put(wrong);
    expect([status, body.pointer]).toEqual([400, pointer]);
  }
});

test("[P-14.9] a flood of topics stops at the bound; those that keep go on", async () => {
  const channels = { flooded: { filter: "f/#", history: {}, retained: true, maxTopics: 5000 } };
  await using warren = await startTestWarren({ channels });
  const wsUrl = `${warren.url.replace("http", "ws")}/ws`;
  using honest = await WireClient.connect(wsUrl);
  using flood = await WireClient.connect(wsUrl, { encoding: "msgpack" });
  await honest.ok({ type: "publish", topic: "f/honest", payload: 1 });
  const codes = new Map<string, number>();
  let last = 1;
  for (let from = 0; from < 12_000; from += 1000) {
    const answers = Array.from({ length: 1000 }, (_, at) =>
      flood.request({ type: "publish", topic: `f/${from + at}`, payload: 1, retain: at % 2 === 0 }),
    );
    const { offset } = await honest.ok({ type: "publish", topic: "f/honest", payload: 1 });
    expect(offset).toBe(++last);
    for (const { type, code } of await Promise.all(answers)) {
      codes.set(code ?? type, (codes.get(code ?? type) ?? 0) + 1);
    }
  }
  expect(Object.fromEntries(codes)).toEqual({ ok: 4999, too_many_topics: 7001 });
  const { totals } = warren.warren.broker.engine.topics;
  expect(totals.topics).toBe(5000);
  const list = await warren.warren.broker.engine.topics.list(undefined, 10_000);
  expect(list.topics.length).toBe(5000);
}, 60_000);
