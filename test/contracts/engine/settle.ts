/** How deliveries end: by their consumers [P-5.4] and by time [P-5.5]. */
import { describe, expect, test } from "bun:test";
import { type EngineKind, Subject } from "./subject.ts";

export function describeSettle(kind: EngineKind): void {
  describe("ack", () => {
    test("[P-5.4] an acked message is gone", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 10);
      await subject.appendAll("a", ["1", "2", "3"]);
      await peer.has(3);
      const tags = [peer.take().tag, peer.take().tag];
      expect(peer.consumer.holds(tags[0]!)).toBe(true);
      expect(await peer.ack(tags)).toBeUndefined();
      expect(tags.map((tag) => peer.consumer.holds(tag))).toEqual([false, false]);
      expect(await peer.ack(peer.take().tag)).toBeUndefined();
      expect(subject.counts("a")).toMatchObject({ ready: 0, delayed: 0, inFlight: 0, bytes: 0 });
      subject.clock.advance(60_000);
      await subject.quiet();
      expect(peer.seen.length).toBe(3);
      expect(subject.engine.counters).toMatchObject({ delivered: expect.any(Number), timedOut: 0 });
    });

    test("[P-5.4] an answer comes later, and only if it was asked for", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 10);
      await subject.appendAll("a", ["1", "2"]);
      await peer.has(2);
      const answers: unknown[] = [];
      peer.consumer.settle([peer.take().tag], { kind: "ack" });
      peer.consumer.settle([peer.take().tag], { kind: "ack" }, (error) => answers.push(error));
      peer.consumer.settle([1], { kind: "ack" });
      expect(answers).toEqual([]);
      await subject.quiet();
      expect(answers).toEqual([undefined]);
      expect(subject.states("a")).toEqual([0, 0, 0]);
    });

    test("[P-5.4] no tags at all: nothing changes, and it is answered", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 1);
      await subject.append("a");
      await peer.has(1);
      for (const kind of ["ack", "nack", "reject", "extend"] as const) {
        expect(await peer.settle([], { kind })).toBeUndefined();
      }
      expect(subject.states("a")).toEqual([0, 0, 1]);
    });
  });

  describe("stale tags", () => {
    test("[P-5.4] one stale tag among several: nothing changes for any of them", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const [mine, other] = [subject.consume("a", 3), subject.consume("a")];
      await subject.appendAll("a", ["1", "2", "3", "4"]);
      await mine.has(3);
      const tags = mine.seen.map(({ tag }) => tag);
      mine.consumer.hold(true);
      await mine.ack(tags[0]!);
      const kinds = ["ack", "nack", "reject", "extend"] as const;
      other.consumer.credit(1);
      const foreign = (await other.next()).tag;
      for (const kind of kinds) {
        for (const stale of [tags[0]!, foreign, 12_345]) {
          const error = await mine.settle([tags[1]!, stale, tags[2]!], { kind });
          expect(error?.code).toBe("stale_delivery");
        }
      }
      expect(mine.consumer.holds(tags[1]!)).toBe(true);
      expect(mine.consumer.holds(foreign)).toBe(false);
      expect(other.consumer.holds(foreign)).toBe(true);
      expect(subject.states("a")).toEqual([0, 0, 3]);
      expect(subject.states("a.dead")).toEqual([0, 0, 0]);
      expect(await mine.ack([tags[1]!, tags[2]!])).toBeUndefined();
    });

    test("[P-5.4] a settled tag is stale at once, before the first answer", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 1);
      await subject.append("a");
      const { tag } = await peer.next();
      const answers = await Promise.all([peer.ack(tag), peer.ack(tag), peer.reject(tag)]);
      expect(answers.map((error) => error?.code)).toEqual([
        undefined,
        "stale_delivery",
        "stale_delivery",
      ]);
      expect(subject.states("a.dead")).toEqual([0, 0, 0]);
    });

    test("[P-5.4] a tag named twice counts once", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxDeliveries: 3 });
      const peer = subject.consume("a", 1);
      await subject.append("a");
      const { tag } = await peer.next();
      expect(await peer.nack([tag, tag], 0)).toBeUndefined();
      const again = await peer.next();
      expect(again.attempt).toBe(2);
      expect(await peer.ack([again.tag, again.tag])).toBeUndefined();
      expect(subject.engine.counters.nacked).toBe(1);
    });
  });

  describe("nack", () => {
    test("[P-5.4] with a delay: again after it, not before, as the next attempt", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "x" });
      const first = await peer.next();
      expect(await peer.nack(first.tag, 2500)).toBeUndefined();
      expect(subject.states("a")).toEqual([0, 1, 0]);
      subject.clock.advance(2499);
      await subject.quiet();
      expect(peer.seen.length).toBe(1);
      subject.clock.advance(1);
      const second = await peer.next();
      expect(second).toMatchObject({ attempt: 2, message: { id: "x" } });
      expect(second.tag).not.toBe(first.tag);
    });

    test("[P-5.4] without a delay: the queue's backoff, growing and bounded", async () => {
      await using subject = await Subject.open(kind);
      const backoff = { minMs: 100, maxMs: 1000, factor: 3, jitter: 0 };
      await subject.define("a", { backoff, maxDeliveries: 10 });
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "x" });
      const waits: number[] = [];
      for (let attempt = 1; attempt <= 5; attempt++) {
        await peer.nack((await peer.next()).tag);
        const stored = await subject.engine.queues.find("a", "x");
        const waitMs = stored!.dueAt! - subject.clock.now();
        waits.push(waitMs);
        subject.clock.advance(waitMs - 1);
        await subject.quiet();
        expect(peer.seen.length).toBe(attempt);
        subject.clock.advance(1);
      }
      expect(waits).toEqual([100, 300, 900, 1000, 1000]);
      expect((await peer.next()).attempt).toBe(6);
    });

    test("[P-5.1] the share jitter of a backoff is drawn at random", async () => {
      let draw = 0;
      const random = () => draw;
      await using subject = await Subject.open(kind, { random });
      const backoff = { minMs: 1000, maxMs: 1000, jitter: 0.4 };
      await subject.define("a", { backoff, maxDeliveries: 10 });
      const peer = subject.consume("a", 3);
      await subject.appendAll("a", ["1", "2", "3"]);
      const now = subject.clock.now();
      const waits: number[] = [];
      for (const [i, chance] of [0, 0.5, 0.999].entries()) {
        draw = chance;
        await peer.nack((await peer.next()).tag);
        waits.push((await subject.engine.queues.find("a", `${i + 1}`))!.dueAt! - now);
      }
      expect(waits).toEqual([600, 800, 1000]);
    });

    test("[P-5.7] what returns keeps its place before what came after it", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 2);
      await subject.appendAll("a", ["1", "2", "3", "4"]);
      await peer.has(2);
      await peer.nack([peer.take().tag, peer.take().tag], 1000);
      await peer.has(2);
      subject.clock.advance(1000);
      await peer.ack([peer.take().tag, peer.take().tag]);
      await peer.has(2);
      expect(peer.ids).toEqual(["1", "2", "3", "4", "1", "2"]);
    });

    test("[P-5.4] a burst of nacks and later messages over a small window loses nothing", async () => {
      const limits = { queueWindowMessages: 3, queueWindowBytes: 4096 };
      await using subject = await Subject.open(kind, { limits });
      await subject.define("a", { maxDeliveries: 4 });
      const ids = Array.from({ length: 30 }, (_, i) => `m${String(i).padStart(2, "0")}`);
      const peer = subject.consume("a", 5);
      peer.onDeliver = ({ tag, attempt }) =>
        peer.consumer.settle([tag], attempt < 4 ? { kind: "nack", delayMs: 0 } : { kind: "ack" });
      await subject.appendAll("a", ids);
      await peer.has(120);
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 0]);
      expect(subject.states("a.dead")).toEqual([0, 0, 0]);
      for (const id of ids) {
        const attempts = peer.seen.filter(({ message }) => message.id === id);
        expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]);
      }
    });
  });

  describe("ack timeout", () => {
    test("[P-5.5] it counts as an attempt, and the message is ready again at once", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ackTimeoutMs: 1000 });
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "x" });
      const first = await peer.next();
      subject.clock.advance(999);
      await subject.quiet();
      expect(peer.seen.length).toBe(1);
      subject.clock.advance(1);
      const second = await peer.next();
      expect(second).toMatchObject({ attempt: 2, message: { id: "x" } });
      expect(peer.consumer.holds(first.tag)).toBe(false);
      expect((await peer.ack(first.tag))?.code).toBe("stale_delivery");
      expect(await peer.ack(second.tag)).toBeUndefined();
      expect(subject.engine.counters.timedOut).toBe(1);
    });

    test("[P-5.5] each delivery has its own, from when it was handed out", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ackTimeoutMs: 1000 });
      const peer = subject.consume("a", 1);
      await subject.appendAll("a", ["1", "2", "3"]);
      for (const credit of [1, 2, 3]) {
        peer.consumer.credit(credit);
        await peer.has(credit);
        subject.clock.advance(300);
      }
      peer.consumer.hold(true);
      const waiting: number[] = [];
      for (let i = 0; i < 3; i++) {
        subject.clock.advance(i === 0 ? 100 : 300);
        await subject.quiet();
        waiting.push(subject.states("a")[0]);
      }
      expect(waiting).toEqual([1, 2, 3]);
    });

    test("[P-5.4] extend moves the deadline to now and so long, or the queue's own time", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ackTimeoutMs: 1000 });
      const peer = subject.consume("a", 2);
      await subject.appendAll("a", ["own", "given"]);
      await peer.has(2);
      const [own, given] = [peer.take().tag, peer.take().tag];
      subject.clock.advance(900);
      expect(await peer.extend(own)).toBeUndefined();
      expect(await peer.extend(given, 5000)).toBeUndefined();
      subject.clock.advance(999);
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 2]);
      subject.clock.advance(1);
      expect(await peer.next()).toMatchObject({ message: { id: "own" }, attempt: 2 });
      expect(peer.consumer.holds(given)).toBe(true);
      await peer.extend(given, 50);
      subject.clock.advance(49);
      expect(peer.consumer.holds(given)).toBe(true);
      subject.clock.advance(1);
      expect(await peer.next()).toMatchObject({ message: { id: "given" }, attempt: 2 });
    });

    test("[P-5.5] it frees the credit of whoever let it pass", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ackTimeoutMs: 1000, maxDeliveries: 2 });
      const peer = subject.consume("a", 2);
      await subject.appendAll("a", ["1", "2", "3"]);
      await peer.has(2);
      subject.clock.advance(1000);
      await peer.has(4);
      subject.clock.advance(1000);
      await peer.has(5);
      await subject.quiet();
      expect(peer.ids).toEqual(["1", "2", "1", "2", "3"]);
      expect(subject.states("a")).toEqual([0, 0, 1]);
      expect(subject.states("a.dead")).toEqual([2, 0, 0]);
    });

    test("[P-5.5] a new ackTimeoutMs is for what is handed out or extended from then on", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ackTimeoutMs: 1000 });
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "1" });
      await subject.append("a", { id: "2" });
      await peer.has(1);
      await subject.define("a", { ackTimeoutMs: 5000 });
      subject.clock.advance(1000);
      await peer.has(2);
      expect(peer.seen.map(({ attempt }) => attempt)).toEqual([1, 2]);
      subject.clock.advance(4999);
      await subject.quiet();
      expect(peer.seen.length).toBe(2);
      subject.clock.advance(1);
      await peer.has(3);
    });
  });
}
