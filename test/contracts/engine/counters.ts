/** What a queue says of itself: counters, rates, age [P-5.18]. */
import { describe, expect, test } from "bun:test";
import type { QueueCounters } from "../../../schemas/queue.ts";
import { eventually } from "../../harness/eventually.ts";
import { type EngineKind, Subject } from "./subject.ts";

/** What was counted of a queue, without the zeros. */
function counted(subject: Subject, name: string): Partial<QueueCounters> {
  const { counters } = subject.engine.queues.describe(name);
  return Object.fromEntries(Object.entries(counters).filter(([, count]) => count > 0));
}

function ratesOf(subject: Subject, name: string) {
  return subject.engine.queues.describe(name).rates;
}

export function describeCounters(kind: EngineKind): void {
  describe("counters", () => {
    test("[P-5.18] each queue counts its own, and the engine counts all", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ackTimeoutMs: 1000, ttlMs: 20_000, maxDeliveries: 3 });
      await subject.define("b");
      await subject.append(["a", "b"], { id: "1" });
      await subject.append("a", { id: "2" });
      const peer = subject.consume("a", 1);
      await peer.nack((await peer.next()).tag, 0);
      await peer.next();
      subject.clock.advance(1000);
      await peer.ack((await peer.next()).tag);
      await peer.reject((await peer.next()).tag);
      peer.consumer.cancel();
      await subject.append("a", { id: "3" });
      subject.clock.advance(20_000);
      await subject.quiet();
      expect(counted(subject, "a")).toEqual({
        published: 3,
        delivered: 4,
        redelivered: 2,
        acked: 1,
        nacked: 1,
        rejected: 1,
        timedOut: 1,
        expired: 1,
        deadLettered: 2,
      });
      expect(counted(subject, "b")).toEqual({ published: 1 });
      expect(counted(subject, "a.dead")).toEqual({});
      expect(subject.counts("a").dead).toBe(2);
      expect(subject.counts("a.dead").dead).toBe(0);
      expect(subject.engine.counters).toMatchObject({ rejected: 1, nacked: 1, timedOut: 1 });
      expect(subject.engine.counters.stored).toBe(4 + 4);
    });

    test("[P-5.18] what gives way, what dies for good and what is redriven", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("drop", { maxMessages: 1, overflow: "drop-oldest" });
      await subject.define("keep", { maxMessages: 1, overflow: "dead-letter-oldest" });
      await subject.appendAll("drop", ["1", "2"]);
      await subject.appendAll("keep", ["1", "2", "3"]);
      await subject.quiet();
      expect(counted(subject, "drop")).toEqual({ published: 2, displaced: 1 });
      expect(counted(subject, "keep")).toEqual({ published: 3, displaced: 2, deadLettered: 2 });
      const undertaker = subject.consume("keep.dead", 1);
      await undertaker.reject((await undertaker.next()).tag);
      undertaker.consumer.cancel();
      await subject.define("keep", { maxMessages: 9 });
      await subject.engine.queues.transfer("keep.dead", {
        state: "waiting",
        select: {},
        limit: 10,
      });
      await subject.quiet();
      expect(counted(subject, "keep.dead")).toEqual({ delivered: 2, rejected: 1 });
      expect(counted(subject, "keep")).toMatchObject({ redriven: 1 });
      expect(subject.engine.counters).toMatchObject({ displaced: 3, redriven: 1, rejected: 1 });
    });

    test("[P-5.18] a duplicate and a refusal are not published", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 1 });
      await subject.append("a", { id: "1", dedupe: true });
      await subject.append("a", { id: "1", dedupe: true });
      await subject.append("a", { id: "2" }).catch(() => {});
      expect(counted(subject, "a")).toEqual({ published: 1 });
    });

    test("[P-5.18] a queue that is removed counts on in the sums, and begins anew", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.append("a");
      await subject.engine.queues.remove("a");
      expect(subject.engine.counters.stored).toBe(1);
      await subject.define("a");
      await subject.append("a");
      expect(counted(subject, "a")).toEqual({ published: 1 });
      expect(subject.engine.counters.stored).toBe(2);
    });
  });

  describe("rates", () => {
    test("[P-5.18] per second over 10 and 60 seconds, and nothing once that is over", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 100);
      for (let second = 0; second < 120; second++) {
        await subject.append("a");
        await peer.ack((await peer.next()).tag);
        subject.clock.advance(1000);
      }
      const steady = { published: 1, delivered: 1, acked: 1 };
      expect(ratesOf(subject, "a")).toEqual({ over10s: steady, over60s: steady });
      subject.clock.advance(30_000);
      const { over10s, over60s } = ratesOf(subject, "a");
      expect(over10s).toEqual({ published: 0, delivered: 0, acked: 0 });
      expect(over60s.published).toBeCloseTo(0.5, 1);
      subject.clock.advance(600_000);
      const none = { published: 0, delivered: 0, acked: 0 };
      expect(ratesOf(subject, "a")).toEqual({ over10s: none, over60s: none });
      await subject.append("a");
      expect(ratesOf(subject, "a").over10s.published).toBeCloseTo(0.1, 1);
    });

    test("[P-5.18] before there is a minute to look back on they rise slowly", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.appendAll("a", ["1", "2", "3", "4", "5", "6"]);
      expect(ratesOf(subject, "a")).toMatchObject({
        over10s: { published: 0.6 },
        over60s: { published: 0.1 },
      });
    });
  });

  describe("age", () => {
    test("[P-5.18] of the message that has been there for longest, in flight or not", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const age = (name = "a") => subject.engine.queues.describe(name).oldestAgeMs;
      await subject.append("a", { dueAt: subject.clock.now() + 60_000 });
      expect(age()).toBeUndefined();
      await subject.append("a", { id: "old" });
      subject.clock.advance(500);
      await subject.append("a", { id: "young" });
      subject.clock.advance(20);
      expect(age()).toBe(520);
      const peer = subject.consume("a", 1);
      const { tag } = await peer.next();
      await subject.quiet();
      expect(age()).toBe(520);
      await peer.reject(tag);
      await subject.quiet();
      expect(age()).toBe(20);
      subject.clock.advance(7);
      expect(age("a.dead")).toBe(7);
      peer.consumer.cancel();
      await eventually(
        () => age() === 27,
        () => `the age ${age()} is 27`,
      );
    });
  });
}
