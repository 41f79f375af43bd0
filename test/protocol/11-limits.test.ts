/** Limits [P-11.1]: what welcome states is what is enforced. */
import { describe, expect, test } from "bun:test";
import { systemClock, systemRandom } from "../../src/clock.ts";
import { eventually } from "../harness/eventually.ts";
import { HeldEngine } from "../harness/held-engine.ts";
import { RawClient } from "../harness/raw-client.ts";
import { startBroker } from "../harness/start-broker.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test("[P-11.1] a message over frameBytes closes with 1009", async () => {
      await using broker = await startBroker({ limits: { frameBytes: 4096 } });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const { frameBytes } = client.welcome.limits;
      const payload = "x".repeat(frameBytes - 200);
      await client.ok({ type: "publish", topic: "t", payload });
      client.send({ type: "publish", topic: "t", payload: "x".repeat(frameBytes) });
      expect((await client.closed()).code).toBe(1009);
    });

    test("[P-11.1] subscriptions and consumers past the limit: too_many_subscriptions", async () => {
      await using broker = await startBroker({ limits: { subscriptions: 3, consumers: 2 } });
      for (const name of ["a", "b", "c"]) await broker.queue(name, []);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (const filter of ["a", "b", "c", "a"]) await client.ok({ type: "subscribe", filter });
      const fourth = await client.request({ type: "subscribe", filter: "d" });
      expect(fourth).toMatchObject({ code: "too_many_subscriptions", detail: { limit: 3 } });
      await client.ok({ type: "unsubscribe", filter: "a" });
      await client.ok({ type: "subscribe", filter: "d" });
      for (const queue of ["a", "b"]) await client.ok({ type: "consume", queue, credit: 1 });
      const third = await client.request({ type: "consume", queue: "c", credit: 1 });
      expect(third).toMatchObject({ code: "too_many_subscriptions", detail: { limit: 2 } });
    });

    test("[P-11.1] credit past the limit: invalid_frame", async () => {
      await using broker = await startBroker({ limits: { credit: 10 } });
      await broker.queue("q", []);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const over = { queue: "q", credit: 11 };
      const refused = { code: "invalid_frame", detail: { pointer: "/credit", limit: 10 } };
      expect(await client.request({ type: "consume", ...over })).toMatchObject(refused);
      await client.ok({ type: "consume", queue: "q", credit: 10 });
      expect(await client.request({ type: "credit", ...over })).toMatchObject(refused);
    });

    test("[P-11.1] topicBytes and topicLevels as the operator set them", async () => {
      await using broker = await startBroker({ limits: { topicBytes: 10, topicLevels: 2 } });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (const name of ["a/b/c", "x".repeat(11)]) {
        const topic = await client.request({ type: "publish", topic: name });
        const filter = await client.request({ type: "subscribe", filter: name });
        expect([topic.code, filter.code]).toEqual(["invalid_topic", "invalid_filter"]);
      }
      await client.ok({ type: "publish", topic: `a/${"x".repeat(8)}` });
    });
  });
}

test("[P-11.1] past pendingPublishes the broker stops reading until it has caught up", async () => {
  let engine: HeldEngine | undefined;
  const pendingPublishes = 16;
  await using broker = await startBroker({
    limits: { pendingPublishes },
    engine(limits) {
      engine = new HeldEngine({ clock: systemClock, random: systemRandom, limits });
      return engine;
    },
  });
  await broker.queue("q", ["t"]);
  using client = await RawClient.connect(broker.wsUrl);
  const payload = "x".repeat(16 * 1024);
  // Far more than the kernel's buffers hold: some of it has to wait on our side of the wire.
  const total = 2000;
  for (let id = 0; id < total; id++) client.send({ type: "publish", id, topic: "t", payload });
  await eventually(
    () => engine!.held.length >= pendingPublishes,
    () => "the limit to be reached",
  );
  using other = await WireClient.connect(broker.wsUrl);
  for (let i = 0; i < 200; i++) await other.ok({ type: "ping" });
  expect(engine!.held.length).toBeLessThan(total / 4);
  expect(client.socket.writableLength).toBeGreaterThan(0);
  engine!.holding = false;
  engine!.release();
  await client.until(({ id }) => id === total - 1);
  const answered = client.frames.filter(({ type }) => type === "ok").map(({ id }) => id);
  expect(answered).toEqual(Array.from({ length: total }, (_, i) => i));
});
