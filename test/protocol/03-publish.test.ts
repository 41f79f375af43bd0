/** Topics, filters, publishing [P-3]. */
import { describe, expect, test } from "bun:test";
import { systemClock, systemRandom } from "../../src/clock.ts";
import type { Limits } from "../../src/limits.ts";
import { HeldEngine } from "../harness/held-engine.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

async function startHeld(): Promise<{ broker: TestBroker; engine: HeldEngine }> {
  let engine: HeldEngine | undefined;
  const broker = await startBroker({
    engine(limits: Limits) {
      engine = new HeldEngine({ clock: systemClock, random: systemRandom, limits });
      return engine;
    },
  });
  return { broker, engine: engine! };
}

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test("[P-3.1, P-11.1] topics that break a rule are invalid_topic", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const bad = [
        "",
        "a/+",
        "a/#",
        "a+b",
        "a\u0000b",
        "a\nb",
        "x".repeat(257),
        "ü".repeat(129),
        new Array(17).fill("a").join("/"),
      ];
      for (const topic of bad) {
        const answer = await client.request({ type: "publish", topic });
        expect([topic, answer.code]).toEqual([topic, "invalid_topic"]);
      }
      const good = ["a", "/", "a//b", "ü".repeat(128), new Array(16).fill("a").join("/"), " "];
      for (const topic of good) await client.ok({ type: "publish", topic });
    });

    test("[P-3.1] topics that begin with $ are the broker's: nobody publishes to them", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (const topic of ["$sys/uptime", "$", "$inbox/x"]) {
        const answer = await client.request({ type: "publish", topic });
        expect(answer.code).toBe("forbidden");
      }
    });

    test("[P-3.2] what a publish says reaches the subscriber", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "subscribe", filter: "orders/#" });
      const said = {
        topic: "orders/1",
        payload: { total: 12.5 },
        messageId: 'mine "1"',
        headers: { a: "b", ü: '"\\' },
        replyTo: "answers/1",
        correlationId: "c",
        contentType: "application/json",
      };
      const options = { key: "k", ttlMs: 1000, priority: 9 };
      await client.ok({ type: "publish", ...said, ...options });
      const { time, ...event } = await client.expect("event");
      expect(event).toEqual({ type: "event", filter: "orders/#", ...said });
      expect(time).toBeNumber();
    });

    test("[P-3.2] echo:false keeps the message from the publisher's own subscriptions only", async () => {
      await using broker = await startBroker();
      using one = await WireClient.connect(broker.wsUrl, { encoding });
      using two = await WireClient.connect(broker.wsUrl, { encoding });
      for (const client of [one, two]) {
        await client.ok({ type: "subscribe", filter: "room" });
        await client.ok({ type: "subscribe", filter: "#" });
      }
      const publish = (payload: number, echo: boolean) => ({
        type: "publish",
        topic: "room",
        payload,
        echo,
      });
      one.send([publish(1, true), publish(2, false), publish(3, false), publish(4, true)]);
      const of = async (client: WireClient, count: number) => {
        const payloads: number[] = [];
        for (let i = 0; i < count; i++) payloads.push((await client.expect("event")).payload);
        expect(await client.everythingUntilNow()).toEqual([]);
        return payloads.sort();
      };
      expect(await of(two, 8)).toEqual([1, 1, 2, 2, 3, 3, 4, 4]);
      expect(await of(one, 4)).toEqual([1, 1, 4, 4]);
    });

    test("[P-3.2] echo:false keeps the message from a publisher who then unsubscribes too", async () => {
      await using broker = await startBroker();
      using one = await WireClient.connect(broker.wsUrl, { encoding });
      using two = await WireClient.connect(broker.wsUrl, { encoding });
      for (const client of [one, two]) await client.ok({ type: "subscribe", filter: "room" });
      one.send([
        // Its answer makes what follows wait for the end of the turn.
        { type: "ping", id: 1 },
        { type: "publish", topic: "room", payload: 1, echo: false },
        { type: "unsubscribe", id: 2, filter: "room" },
      ]);
      for (const id of [1, 2])
        expect(await one.expect(() => true)).toMatchObject({ type: "ok", id });
      expect((await two.expect("event")).payload).toBe(1);
      expect(await one.everythingUntilNow()).toEqual([]);
    });

    test("[P-3.2] a retained value that no channel keeps is not_supported", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const answer = await client.request({ type: "publish", topic: "t", retain: true });
      expect(answer).toMatchObject({ code: "not_supported", detail: { pointer: "/retain" } });
      await client.ok({ type: "publish", topic: "t", retain: false });
    });

    test("[P-3.3] without the right to publish: forbidden, and nobody sees it", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const grants = [
        { allow: ["publish"], on: ["mine/#"] },
        { allow: ["subscribe"], on: ["#"] },
      ];
      const token = await tokenFor("ada", { grants });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      await client.ok({ type: "subscribe", filter: "#" });
      const answer = await client.request({ type: "publish", topic: "yours" });
      expect(answer).toMatchObject({ code: "forbidden", retry: false });
      await client.ok({ type: "publish", topic: "mine/1" });
      expect((await client.request({ type: "publish", topic: "yours" })).code).toBe("forbidden");
      await client.ok({ type: "publish", topic: "mine/1" });
      const seen = await client.everythingUntilNow();
      expect(seen.map(({ topic }) => topic)).toEqual(["mine/1", "mine/1"]);
    });

    test("[P-3.3, P-3.4] stored first, then seen live, then answered", async () => {
      const { broker, engine } = await startHeld();
      await using _ = broker;
      await broker.queue("q", ["jobs/#"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "subscribe", filter: "jobs/1" });
      const answer = client.request({ type: "publish", topic: "jobs/1", payload: 1 });
      await engine.holds(1);
      expect(await client.everythingUntilNow()).toEqual([]);
      engine.release();
      expect(await answer).toMatchObject({ type: "ok", queues: 1 });
      expect(await client.expect("event")).toMatchObject({ payload: 1 });
    });

    test("[P-3.3, P-3.6] what could not be stored is refused and seen by nobody", async () => {
      const { broker, engine } = await startHeld();
      await using _ = broker;
      await broker.queue("q", ["jobs/#"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "subscribe", filter: "jobs/1" });
      const answer = client.request({ type: "publish", topic: "jobs/1" });
      await engine.holds(1);
      engine.fail();
      expect(await answer).toMatchObject({ code: "storage_unavailable", retry: true });
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test("[P-3.4] queues is how many took a copy", async () => {
      await using broker = await startBroker();
      await broker.queue("one", ["a/#", "a/b"]);
      await broker.queue("two", ["+/b"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const counts = [];
      for (const topic of ["a/b", "a", "x/b", "x"]) {
        counts.push((await client.ok({ type: "publish", topic })).queues);
      }
      expect(counts).toEqual([2, 1, 1, 0]);
    });

    test("[P-3.5] a second publish of an id to a topic is a duplicate, stored or not", async () => {
      await using broker = await startBroker();
      await broker.queue("q", ["kept"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "subscribe", filter: "#" });
      for (const [topic, queues] of [
        ["kept", 1],
        ["live", 0],
      ] as const) {
        const publish = { type: "publish", topic, messageId: "m" };
        const first = await client.ok(publish);
        expect(first).toMatchObject({ messageId: "m", queues });
        expect(first).not.toHaveProperty("duplicate");
        expect(await client.ok(publish)).toMatchObject({ queues: 0, duplicate: true });
      }
      const seen = await client.everythingUntilNow();
      expect(seen.map(({ topic }) => topic)).toEqual(["kept", "live"]);
    });

    test("[P-3.6] a queue that is full refuses the message for all queues", async () => {
      await using broker = await startBroker();
      await broker.queue("small", ["t"], { maxMessages: 1 });
      await broker.queue("large", ["t"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "publish", topic: "t" });
      const answer = await client.request({ type: "publish", topic: "t" });
      expect(answer).toMatchObject({ code: "queue_full", retry: true });
      const { engine } = broker.warren.broker;
      expect(engine.queues.describe("large").counts.ready).toBe(1);
    });

    test("[P-11.1] headers over their bounds are too_large", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const many = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`h${i}`, ""]));
      for (const headers of [many, { h: "ü".repeat(2048) }]) {
        const answer = await client.request({ type: "publish", topic: "t", headers });
        expect(answer).toMatchObject({ code: "too_large", detail: { pointer: "/headers" } });
      }
    });
  });
}

describe("order", () => {
  test("[P-3.7] live order is kept when a topic's queues go while stores are pending", async () => {
    const { broker, engine } = await startHeld();
    await using _ = broker;
    await broker.queue("q", ["t"]);
    using client = await WireClient.connect(broker.wsUrl);
    await client.ok({ type: "subscribe", filter: "t" });
    client.send([1, 2].map((payload) => ({ type: "publish", topic: "t", payload })));
    await engine.holds(2);
    await broker.queue("q", ["elsewhere"]);
    // Nothing has to be stored for these, yet they must not overtake the two.
    const third = client.request({ type: "publish", topic: "t", payload: 3 });
    expect(await client.everythingUntilNow()).toEqual([]);
    await broker.queue("q", ["t"]);
    client.send({ type: "publish", topic: "t", payload: 4 });
    expect(await client.everythingUntilNow()).toEqual([]);
    expect(engine.held).toHaveLength(4);
    engine.release(1);
    expect((await client.expect("event")).payload).toBe(1);
    expect(await client.everythingUntilNow()).toEqual([]);
    engine.release();
    for (const payload of [2, 3, 4]) expect((await client.expect("event")).payload).toBe(payload);
    // The queue has what came while it was bound.
    expect(await third).toMatchObject({ queues: 0 });
    expect(engine.queues.describe("q").counts.ready).toBe(3);
  });

  test("[P-3.7] live order is kept when a topic loses its queues for good", async () => {
    const { broker, engine } = await startHeld();
    await using _ = broker;
    await broker.queue("q", ["t"]);
    using client = await WireClient.connect(broker.wsUrl);
    await client.ok({ type: "subscribe", filter: "t" });
    client.send({ type: "publish", topic: "t", payload: 1 });
    await engine.holds(1);
    await broker.queue("q", []);
    client.send([2, 3].map((payload) => ({ type: "publish", topic: "t", payload })));
    expect(await client.everythingUntilNow()).toEqual([]);
    engine.release();
    for (const payload of [1, 2, 3]) expect((await client.expect("event")).payload).toBe(payload);
  });

  for (const encoding of ENCODINGS) {
    test(`[P-3.7] thousands of publishes come in order, across batches (${encoding})`, async () => {
      await using broker = await startBroker({ limits: { coalescedFrames: 7 } });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "subscribe", filter: "+/order" });
      const count = 3000;
      for (let at = 0; at < count; at += 10) {
        client.send(
          Array.from({ length: 10 }, (_, i) => ({
            type: "publish",
            topic: "an/order",
            payload: at + i,
          })),
        );
      }
      for (let i = 0; i < count; i++) expect((await client.expect("event")).payload).toBe(i);
    });
  }
});
