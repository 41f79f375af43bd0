/** Several messages in one frame, all or none [P-5.14]; and what an `ok` says of overflow [P-5.9]. */
import { describe, expect, test } from "bun:test";
import { systemClock, systemRandom } from "../../src/clock.ts";
import type { BatchRequest } from "../../src/engine/engine.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { WarrenError } from "../../src/errors.ts";
import type { Limits } from "../../src/limits.ts";
import { eventually } from "../harness/eventually.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

/** Cannot store batches. */
class FailingEngine extends MemoryEngine {
  override appendBatch(request: BatchRequest): void {
    const error = new WarrenError("storage_unavailable");
    systemClock.endOfTurn(() => request.failed(error));
  }
}

const ready = ({ warren }: TestBroker, queue: string) =>
  warren.broker.engine.queues.describe(queue).counts.ready;

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test("[P-5.14] a batch is answered once, for all its messages, in their order", async () => {
      await using broker = await startBroker();
      await broker.queue("small", ["a/#"], { maxMessages: 2, overflow: "drop-oldest" });
      await broker.queue("all", ["#"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "publish", topic: "a/0" });
      const publish = [
        { topic: "a/1", payload: 1, messageId: "one" },
        { topic: "b", payload: 2 },
        { topic: "a/1", payload: 3, messageId: "one" },
        { topic: "a/2", payload: 4, messageId: 'two "2"' },
      ];
      const answer = await client.request({ type: "batch", publish });
      expect(answer).toEqual({
        type: "ok",
        id: answer.id,
        results: [
          { messageId: "one", queues: 2 },
          { messageId: expect.any(String), queues: 1 },
          { messageId: "one", queues: 0, duplicate: true },
          { messageId: 'two "2"', queues: 2, displaced: 1 },
        ],
      });
      expect([ready(broker, "all"), ready(broker, "small")]).toEqual([4, 2]);
    });

    test("[P-5.14] payloads of a batch come as they were, binary among them", async () => {
      await using broker = await startBroker();
      await broker.queue("q", ["q"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const payloads: unknown[] = [{ a: [1.5, { b: null }] }, "text", [], -7, false];
      if (encoding === "msgpack") payloads.push(Uint8Array.of(0, 255), { in: Uint8Array.of(1) });
      const publish = payloads.map((payload) => ({ payload, topic: "q" }));
      // In an array of frames, and beside fields that nobody knows.
      client.send([{ type: "ping" }, { type: "batch", publish, payload: 1 }]);
      await client.ok({ type: "consume", queue: "q", credit: 10 });
      for (const payload of payloads) {
        expect((await client.expect("delivery")).payload).toEqual(payload);
      }
    });

    test("[P-5.14, P-3.3] live subscribers see all of it, in order, once it is stored", async () => {
      await using broker = await startBroker();
      await broker.queue("q", ["kept/#"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      using other = await WireClient.connect(broker.wsUrl, { encoding });
      for (const one of [client, other]) await one.ok({ type: "subscribe", filter: "#" });
      const publish = [
        { topic: "kept/1", payload: 1 },
        { topic: "live", payload: 2, echo: false },
        { topic: "kept/2", payload: 3 },
        { topic: "live", payload: 4 },
      ];
      client.send({ type: "batch", publish });
      client.send({ type: "publish", topic: "live", payload: 5 });
      const seenBy = async (one: WireClient, last: number) => {
        const seen: number[] = [];
        while (seen.at(-1) !== last) seen.push((await one.expect("event")).payload);
        return seen;
      };
      expect(await seenBy(other, 5)).toEqual([1, 2, 3, 4, 5]);
      expect(await seenBy(client, 5)).toEqual([1, 3, 4, 5]);
    });

    test("[P-5.14, P-3.6] a batch that cannot be stored is seen by nobody", async () => {
      await using broker = await startBroker({
        engine: (limits: Limits) =>
          new FailingEngine({ clock: systemClock, random: systemRandom, limits }),
      });
      await broker.queue("q", ["kept"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "subscribe", filter: "#" });
      const publish = [{ topic: "live" }, { topic: "kept" }];
      const answer = await client.request({ type: "batch", publish });
      expect(answer).toMatchObject({ type: "error", code: "storage_unavailable", retry: true });
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test("[P-5.14] one message at fault: one error that names it, and nothing else happens", async () => {
      await using broker = await startBroker({
        access: { channels: { small: { filter: "tight", maxPayloadBytes: 3 } } },
      });
      await broker.queue("q", ["#"], { maxMessages: 2 });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "subscribe", filter: "#" });
      const good = { topic: "good" };
      const deep = { payload: new Array(70).fill(0).reduce((inner) => [inner], 0) };
      const faults: [Frame[], string, object][] = [
        [[good, { topic: "a/#" }], "invalid_topic", { index: 1 }],
        [[{ topic: "$x" }, good], "forbidden", { index: 0 }],
        [[good, { topic: "a", priority: 10 }], "invalid_frame", { pointer: "/publish/1/priority" }],
        [[good, { topic: "a", ...deep }], "invalid_frame", { pointer: "/publish/1/payload" }],
        [[good, { topic: "a", retain: true }], "not_supported", { pointer: "/publish/1/retain" }],
        [[good, { topic: "tight", payload: "long" }], "too_large", { channel: "small", index: 1 }],
        [[good, good, good], "queue_full", { queue: "q", index: 2 }],
        [[good, 5 as never], "invalid_frame", { pointer: "/publish/1", index: 1 }],
        [[], "invalid_frame", { pointer: "/publish" }],
        [new Array(300).fill(good), "invalid_frame", { pointer: "/publish", limit: 256 }],
      ];
      for (const [publish, code, detail] of faults) {
        const answer = await client.request({ type: "batch", publish });
        expect(answer).toMatchObject({ type: "error", code, detail });
        await client.ok({ type: "ping" });
      }
      expect(await client.everythingUntilNow()).toEqual([]);
      expect(ready(broker, "q")).toBe(0);
      // Without an id the error names the frame by its type [P-2.2].
      client.send({ type: "batch", publish: [good, { topic: "a/#" }] });
      expect(await client.expect("error")).toMatchObject({ ref: "batch", detail: { index: 1 } });
    });

    test("[P-5.14, P-3.3] without the right to publish one of them none is published", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const grants = [
        { allow: ["publish"], on: ["mine/#"] },
        { allow: ["publish"], on: ["short"], maxPayloadBytes: 3 },
        { allow: ["subscribe"], on: ["#"] },
      ];
      const token = await tokenFor("ada", { grants });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      await client.ok({ type: "subscribe", filter: "#" });
      const mine = { topic: "mine/1" };
      for (const bad of [{ topic: "yours" }, { topic: "short", payload: "long" }]) {
        const answer = await client.request({ type: "batch", publish: [mine, mine, bad, mine] });
        expect(answer).toMatchObject({ code: "forbidden", detail: { index: 2 } });
      }
      expect(await client.everythingUntilNow()).toEqual([]);
      await client.ok({ type: "batch", publish: [mine, { topic: "short", payload: 1 }] });
      expect((await client.expect("event")).from).toBe("ada");
    });

    test("[P-5.14, P-14.11] each message of a batch counts against a rate", async () => {
      await using broker = await startBroker({
        access: { rates: { connection: { messagesPerSecond: 4 } } },
      });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const publish = new Array(200).fill({ topic: "t" });
      const answer = await client.request({ type: "batch", publish });
      expect(answer).toMatchObject({ code: "rate_limited", detail: { index: expect.any(Number) } });
    });

    test("[P-5.9] the ok of a publish says how many gave way to it", async () => {
      await using broker = await startTestWarren({
        queues: {
          drop: { bindings: ["a"], maxMessages: 2, overflow: "drop-oldest" },
          bury: { bindings: ["a"], maxMessages: 1, overflow: "dead-letter-oldest" },
        },
      });
      const url = `${broker.url.replace("http", "ws")}/ws`;
      using client = await WireClient.connect(url, { encoding });
      const displaced: unknown[] = [];
      for (const payload of [1, 2, 3]) {
        displaced.push((await client.ok({ type: "publish", topic: "a", payload })).displaced);
      }
      expect(displaced).toEqual([undefined, 1, 2]);
      await client.ok({ type: "consume", queue: "bury.dead", credit: 10 });
      for (const payload of [1, 2]) {
        expect(await client.expect("delivery")).toMatchObject({
          payload,
          deaths: [{ queue: "bury", reason: "overflow" }],
        });
      }
    });

    test("[P-5.9] nothing that can give way: queue_full, and nobody goes", async () => {
      await using broker = await startTestWarren({
        queues: { q: { bindings: ["a"], maxMessages: 1, overflow: "drop-oldest" } },
      });
      const url = `${broker.url.replace("http", "ws")}/ws`;
      using client = await WireClient.connect(url, { encoding });
      await client.ok({ type: "publish", topic: "a", payload: 1 });
      await client.ok({ type: "consume", queue: "q", credit: 1 });
      const { tag } = await client.expect("delivery");
      const refused = await client.request({ type: "publish", topic: "a", payload: 2 });
      expect(refused).toMatchObject({ code: "queue_full", detail: { queue: "q" } });
      await client.ok({ type: "ack", tags: [tag] });
      expect((await client.ok({ type: "publish", topic: "a", payload: 3 })).displaced).toBe(
        undefined,
      );
    });
  });
}

test("[P-5.14, P-11.1] its messages count among the publishes not yet answered", async () => {
  const held: BatchRequest[] = [];
  class HeldBatches extends MemoryEngine {
    override appendBatch(request: BatchRequest): void {
      if (request.items.length > 1) held.push(request);
      else super.appendBatch(request);
    }
    release(): void {
      for (const request of held.splice(0)) super.appendBatch(request);
    }
  }
  let engine: HeldBatches | undefined;
  await using broker = await startBroker({
    limits: { pendingPublishes: 4 },
    engine(limits) {
      engine = new HeldBatches({ clock: systemClock, random: systemRandom, limits });
      return engine;
    },
  });
  await broker.queue("q", ["t"]);
  using client = await WireClient.connect(broker.wsUrl);
  const publish = new Array(4).fill({ topic: "t" });
  const answer = client.request({ type: "batch", publish });
  const session = broker.warren.sessions.at(0);
  await eventually(
    () => held.length > 0,
    () => "the batch at the engine",
  );
  expect(session?.intake).toMatchObject({ pending: 4, paused: true });
  engine?.release();
  expect((await answer).results).toHaveLength(4);
  expect(session?.intake).toMatchObject({ pending: 0, paused: false });
});
