/** Publishes that concern nobody: little is done for them, and nothing is left out [P-3]. */
import { describe, expect, test } from "bun:test";
import { systemClock, systemRandom } from "../../src/clock.ts";
import type { BatchRequest } from "../../src/engine/engine.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { eventually } from "../harness/eventually.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const nested = (depth: number): unknown => (depth === 0 ? 0 : [nested(depth - 1)]);

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test("[P-3.2, P-2.4] what is wrong with one is said, though nobody would see it", async () => {
      await using broker = await startBroker({ limits: { payloadDepth: 8 } });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const headers = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`h${i}`, ""]));
      const bad = [
        [{ payload: nested(9) }, "invalid_frame", "/payload"],
        [{ payload: "?", payloadEncoding: "base64" }, "invalid_frame", "/payload"],
        [{ delayMs: 5, deliverAt: 5 }, "invalid_frame", "/deliverAt"],
        [{ delayMs: 5, ttlMs: 5 }, "invalid_frame", "/ttlMs"],
        [{ headers }, "too_large", "/headers"],
        [{ replyTo: "a/+" }, "invalid_topic", "/replyTo"],
        [{ retain: true, payload: 1 }, "not_supported", "/retain"],
      ] as const;
      for (const [at, [wrong, code, pointer]] of bad.entries()) {
        client.send({ type: "publish", topic: `new/${at}`, ...wrong });
        expect(await client.expect("error")).toMatchObject({ code, detail: { pointer } });
      }
      for (const [topic, code] of [
        ["new/+", "invalid_topic"],
        ["$new", "forbidden"],
      ]) {
        client.send({ type: "publish", topic });
        expect((await client.expect("error")).code).toBe(code);
      }
    });

    test("[P-3.3, P-14.6] rights, their conditions and their rates hold for one too", async () => {
      const access = { ...TOKENS_ONLY, rates: { burstSeconds: 1 } };
      await using broker = await startBroker({ access });
      const grants = [
        { allow: ["publish"], on: ["small/#"], maxPayloadBytes: 5 },
        { allow: ["publish"], on: ["slow/#"], maxRatePerSecond: 0.01 },
      ];
      const token = await tokenFor("dev", { grants });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      const codes = async (...frames: object[]) => {
        client.send(frames.map((frame) => ({ type: "publish", ...frame })));
        return (await client.everythingUntilNow()).map(({ code }) => code);
      };
      expect(await codes({ topic: "small/a", payload: 1 })).toEqual([]);
      expect(await codes({ topic: "small/b", payload: "too long" })).toEqual(["forbidden"]);
      expect(await codes({ topic: "large/a", payload: 1 })).toEqual(["forbidden"]);
      const slow = [1, 2, 3].map((n) => ({ topic: `slow/${n}` }));
      expect(await codes(...slow)).toEqual(["rate_limited", "rate_limited"]);
    });

    test("[P-3.3, P-3.5] it is counted, an id is remembered, and who comes after it sees the next", async () => {
      await using broker = await startBroker();
      const { counters } = broker.warren.broker;
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const publish = (more: object = {}) => ({ type: "publish", topic: "new/a", ...more });
      client.send([publish(), publish({ messageId: "m" }), publish({ echo: false }), publish()]);
      await client.ok({ type: "subscribe", filter: "new/a" });
      expect(counters.published).toBe(4);
      client.send([publish({ messageId: "m", payload: 1 }), publish({ payload: 2 })]);
      const seen = await client.everythingUntilNow();
      expect(seen.map(({ payload }) => payload)).toEqual([2]);
      expect(seen[0]!.messageId).toMatch(/^[0-9a-f-]{36}$/);
      expect(counters).toMatchObject({ published: 6, duplicates: 1 });
      const other = await client.ok({ type: "publish", topic: "new/b" });
      expect(other.messageId).toMatch(/^[0-9a-f-]{36}$/);
    });
  });
}

class HeldBatches extends MemoryEngine {
  readonly held: BatchRequest[] = [];

  override appendBatch(request: BatchRequest): void {
    this.held.push(request);
  }

  release(): void {
    for (const request of this.held.splice(0)) super.appendBatch(request);
  }
}

test("[P-3.7, P-5.14] a batch keeps its place on a topic never met before", async () => {
  let engine: HeldBatches | undefined;
  await using broker = await startBroker({
    engine(limits) {
      engine = new HeldBatches({ clock: systemClock, random: systemRandom, limits });
      return engine;
    },
  });
  await broker.queue("q", ["stored"]);
  using client = await WireClient.connect(broker.wsUrl);
  const batch = client.request({
    type: "batch",
    publish: [{ topic: "stored" }, { topic: "new", payload: 1 }],
  });
  await eventually(
    () => engine?.held.length === 1,
    () => "the batch at the engine",
  );
  await client.ok({ type: "subscribe", filter: "new" });
  client.send({ type: "publish", topic: "new", payload: 2 });
  expect(await client.everythingUntilNow()).toEqual([]);
  engine?.release();
  expect((await batch).type).toBe("ok");
  for (const payload of [1, 2]) expect((await client.expect("event")).payload).toBe(payload);
});
