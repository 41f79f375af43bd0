/** Errors and close codes [P-10]: one table, the same over every transport. */
import { describe, expect, test } from "bun:test";
import { Value } from "@sinclair/typebox/value";
import { ERRORS, type ErrorCode } from "../../schemas/errors.ts";
import { SERVER_FRAMES } from "../../schemas/frames.ts";
import { systemClock, systemRandom } from "../../src/clock.ts";
import type { AppendRequest } from "../../src/engine/engine.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { startBroker } from "../harness/start-broker.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

class FaultyEngine extends MemoryEngine {
  override append(_: AppendRequest): void {
    throw new TypeError("a secret of the engine room");
  }
}

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test("[P-10.1] every error frame has a code of the table and that code's retry", async () => {
      await using broker = await startBroker({ limits: { subscriptions: 1, consumers: 1 } });
      await broker.queue("q", ["full"], { maxMessages: 1 });
      await broker.queue("other", []);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "subscribe", filter: "one" });
      await client.ok({ type: "consume", queue: "other", credit: 0 });
      await client.ok({ type: "publish", topic: "full" });
      const faults: [Frame, ErrorCode][] = [
        [{ type: "publish" }, "invalid_frame"],
        [{ type: "what" }, "unknown_type"],
        [{ type: "publish", topic: "#" }, "invalid_topic"],
        [{ type: "publish", topic: "$x" }, "forbidden"],
        [{ type: "publish", topic: "full" }, "queue_full"],
        [{ type: "publish", topic: "t", headers: { h: "x".repeat(5000) } }, "too_large"],
        [{ type: "subscribe", filter: "a#" }, "invalid_filter"],
        [{ type: "subscribe", filter: "two" }, "too_many_subscriptions"],
        [{ type: "subscribe", filter: "two", last: 1 }, "not_supported"],
        [{ type: "consume", queue: "nope", credit: 1 }, "too_many_subscriptions"],
        [{ type: "consume", queue: "other", credit: 1 }, "conflict"],
        [{ type: "credit", queue: "nope", credit: 1 }, "unknown_queue"],
        [{ type: "cancel", queue: "nope" }, "unknown_queue"],
        [{ type: "ack", tags: [1] }, "stale_delivery"],
      ];
      for (const [frame, code] of faults) {
        const answer = await client.request(frame);
        expect([frame, answer.code]).toEqual([frame, code]);
        expect(answer.retry).toBe(ERRORS[code].retry);
        expect(answer.message.length).toBeGreaterThan(0);
        expect(Value.Check(SERVER_FRAMES.error, answer)).toBe(true);
      }
    });

    test("[P-10.1, P-10.2] a fault of our own is internal, says nothing more, is logged, and closes 1011", async () => {
      await using broker = await startBroker({
        engine: (limits) => new FaultyEngine({ clock: systemClock, random: systemRandom, limits }),
      });
      await broker.queue("q", ["t"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const answer = await client.request({ type: "publish", topic: "t" });
      expect(answer).toMatchObject({ code: "internal", message: ERRORS.internal.meaning });
      expect(JSON.stringify(answer)).not.toContain("secret");
      expect((await client.closed()).code).toBe(1011);
      expect(broker.log.join("\n")).toContain("a secret of the engine room");
    });

    test("[P-10.2] a normal close is answered as such", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      expect((await client.close()).code).toBe(1000);
    });
  });
}
