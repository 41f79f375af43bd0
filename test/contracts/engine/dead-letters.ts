/** How an engine gives up on messages, and what becomes of dead letters [P-5.6]. */
import { describe, expect, test } from "bun:test";
import { type EngineKind, Subject } from "./subject.ts";

const HOUR_MS = 3_600_000;

export function describeDeadLetters(kind: EngineKind): void {
  describe("giving up", () => {
    test("[P-5.6] past maxDeliveries a message is in the dead-letter queue with its record", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxDeliveries: 2 });
      const peer = subject.consume("a", 1);
      const firstAt = subject.clock.now();
      await subject.append("a", { id: "x", headers: { h: "1" }, priority: 7 });
      await peer.nack((await peer.next()).tag, 1000);
      subject.clock.advance(1000);
      await peer.nack((await peer.next()).tag, 1000, "no disk");
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 0]);
      expect(subject.states("a.dead")).toEqual([1, 0, 0]);
      const dead = await subject.consume("a.dead", 1).next();
      expect(dead).toMatchObject({
        queue: "a.dead",
        attempt: 1,
        message: { id: "x", headers: { h: "1" }, priority: 7, time: firstAt },
      });
      expect(dead.deaths).toEqual([
        {
          queue: "a",
          reason: "max_deliveries",
          attempts: 2,
          firstAt,
          lastAt: subject.clock.now(),
          detail: "no disk",
        },
      ]);
      expect(subject.engine.counters).toMatchObject({ nacked: 2, deadLettered: 1 });
    });

    test("[P-5.5] timeouts and lost connections can be the last attempt too", async () => {
      await using subject = await Subject.open(kind, { limits: { deliveryGraceMs: 100 } });
      await subject.define("a", { maxDeliveries: 2, ackTimeoutMs: 1000 });
      await subject.append("a", { id: "x" });
      const first = subject.consume("a", 1);
      await first.has(1);
      subject.clock.advance(1000);
      await first.has(2);
      subject.clock.advance(101);
      first.consumer.disconnect();
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 0]);
      const dead = await subject.engine.queues.find("a.dead", "x");
      expect(dead?.deaths).toMatchObject([{ reason: "max_deliveries", attempts: 2 }]);
    });

    test("[P-5.6] a rejected message is dead at once, with the reason as detail", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 2);
      await subject.appendAll("a", ["1", "2"]);
      await peer.has(2);
      expect(await peer.reject(peer.take().tag, "not JSON")).toBeUndefined();
      expect(await peer.reject(peer.take().tag)).toBeUndefined();
      const page = await subject.engine.queues.peek("a.dead", { limit: 10 });
      expect(page.messages.map(({ message }) => message.id)).toEqual(["1", "2"]);
      const [first, second] = page.messages.map(({ deaths }) => deaths?.[0]);
      expect(first).toMatchObject({ reason: "rejected", attempts: 1, detail: "not JSON" });
      expect(second).toMatchObject({ reason: "rejected", attempts: 1 });
      expect(second?.detail).toBeUndefined();
      expect(subject.engine.counters).toMatchObject({ deadLettered: 2, nacked: 0, acked: 0 });
    });

    test("[P-5.1] a lower maxDeliveries counts from the next attempt on", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxDeliveries: 5 });
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "x" });
      for (let i = 0; i < 2; i++) await peer.nack((await peer.next()).tag, 0);
      await subject.define("a", { maxDeliveries: 1 });
      expect((await peer.next()).attempt).toBe(3);
      peer.consumer.cancel();
      await subject.quiet();
      expect(subject.states("a")).toEqual([1, 0, 0]);
      const last = subject.consume("a", 1);
      await last.nack((await last.next()).tag, 0);
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 0]);
      const dead = await subject.engine.queues.find("a.dead", "x");
      expect(dead?.deaths).toMatchObject([{ attempts: 3 }]);
    });

    test("[P-5.6] a full queue gives up as any other", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 1 });
      const peer = subject.consume("a", 1);
      for (const id of ["1", "2", "3"]) {
        await subject.append("a", { id });
        await peer.reject((await peer.next()).tag);
      }
      expect(subject.states("a.dead")).toEqual([3, 0, 0]);
    });
  });

  describe("expiry", () => {
    test("[P-5.6] what waits too long is a dead letter, consumer or not, paused or not", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ttlMs: 5000 });
      await subject.define("paused", { ttlMs: 5000, paused: true });
      const now = subject.clock.now();
      await subject.append(["a", "paused"], { id: "queue" });
      await subject.append(["a", "paused"], { id: "own", expiresAt: now + 2000 });
      await subject.append(["a", "paused"], { id: "longer", expiresAt: now + 9000 });
      await subject.append(["a", "paused"], { id: "delayed", dueAt: now + 60_000 });
      for (const name of ["a", "paused"]) expect(subject.states(name)).toEqual([3, 1, 0]);
      subject.clock.advance(1999);
      await subject.quiet();
      expect(subject.states("a.dead")).toEqual([0, 0, 0]);
      subject.clock.advance(1);
      await subject.quiet();
      for (const name of ["a", "paused"]) {
        expect(subject.states(name)).toEqual([2, 1, 0]);
        const dead = await subject.engine.queues.find(`${name}.dead`, "own");
        expect(dead?.deaths).toEqual([
          { queue: name, reason: "expired", attempts: 0, firstAt: now, lastAt: now + 2000 },
        ]);
      }
      subject.clock.advance(3000);
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 0]);
      expect(subject.states("a.dead")).toEqual([4, 0, 0]);
      expect(subject.engine.counters).toMatchObject({ expired: 8, deadLettered: 8 });
    });

    test("[P-5.6] what was expired when it came is a dead letter, never a delivery", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 10);
      await subject.append("a", { id: "x", expiresAt: subject.clock.now() });
      subject.clock.advance(0);
      await subject.quiet();
      expect(peer.seen.length).toBe(0);
      expect(subject.states("a")).toEqual([0, 0, 0]);
      expect(subject.states("a.dead")).toEqual([1, 0, 0]);
    });

    test("[P-5.6] in flight it may be acked after its time; if it returns, it expires", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ttlMs: 1000, ackTimeoutMs: 60_000 });
      const peer = subject.consume("a", 4);
      await subject.appendAll("a", ["acked", "nacked", "cancelled"]);
      await peer.has(3);
      subject.clock.advance(1500);
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 3]);
      expect(await peer.ack(peer.take().tag)).toBeUndefined();
      expect(await peer.nack(peer.take().tag, 0)).toBeUndefined();
      peer.consumer.cancel();
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 0]);
      const { messages } = await subject.engine.queues.peek("a.dead", { limit: 10 });
      expect(messages.map(({ message }) => message.id)).toEqual(["nacked", "cancelled"]);
      expect(messages.map(({ deaths }) => deaths?.[0])).toMatchObject([
        { reason: "expired", attempts: 1 },
        { reason: "expired", attempts: 0 },
      ]);
    });

    test("[P-5.6] a message that waits for its next attempt expires at its time", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ttlMs: 1000 });
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "x" });
      await peer.nack((await peer.next()).tag, 5000);
      subject.clock.advance(1000);
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 0]);
      const dead = await subject.engine.queues.find("a.dead", "x");
      expect(dead?.deaths).toMatchObject([{ reason: "expired", attempts: 1 }]);
    });

    test("[P-5.1] a new ttlMs holds at once for what is waiting", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ttlMs: 1000 });
      await subject.append("a", { id: "x" });
      await subject.append("a", { id: "y", expiresAt: subject.clock.now() + 3000 });
      await subject.define("a", { ttlMs: 9000 });
      subject.clock.advance(2000);
      await subject.quiet();
      expect(subject.states("a")).toEqual([2, 0, 0]);
      const { expiresAt } = (await subject.engine.queues.find("a", "x"))!;
      expect(expiresAt).toBe(subject.clock.now() + 7000);
      await subject.define("a", { ttlMs: 2500 });
      subject.clock.advance(500);
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 0]);
      expect(subject.states("a.dead")).toEqual([2, 0, 0]);
    });

    test("[P-5.6] all of a backlog larger than what is kept in memory expires", async () => {
      const limits = { queueWindowMessages: 4, queueWindowBytes: 4096 };
      await using subject = await Subject.open(kind, { limits });
      await subject.define("a");
      const now = subject.clock.now();
      for (let i = 0; i < 40; i++) {
        await subject.append("a", { expiresAt: now + 1000 + 100 * ((i * 7) % 40) });
      }
      for (let gone = 1; gone <= 40; gone++) {
        subject.clock.advance(gone === 1 ? 1000 : 100);
        await subject.quiet();
        expect(subject.states("a")).toEqual([40 - gone, 0, 0]);
      }
      expect(subject.states("a.dead")).toEqual([40, 0, 0]);
    });
  });

  describe("dead letters", () => {
    test("[P-5.6] they wait in the order of their deaths, the urgent ones first", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 3);
      await subject.appendAll("a", ["1", "2", "3"]);
      await peer.has(3);
      const [one, two, three] = peer.seen.map(({ tag }) => tag);
      for (const tag of [three!, one!, two!]) await peer.reject(tag);
      await subject.append("a", { id: "9", priority: 9 });
      await peer.has(4);
      await peer.reject(peer.seen[3]!.tag);
      const dead = subject.consume("a.dead", 4);
      await dead.has(4);
      expect(dead.ids).toEqual(["9", "3", "1", "2"]);
    });

    test("[P-5.6] they have a time to live of their own and are then gone for good", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ttlMs: 1000, deadLetter: { ttlMs: HOUR_MS } });
      await subject.append("a", { id: "x" });
      subject.clock.advance(1000);
      await subject.quiet();
      const { expiresAt } = (await subject.engine.queues.find("a.dead", "x"))!;
      expect(expiresAt).toBe(subject.clock.now() + HOUR_MS);
      subject.clock.advance(HOUR_MS - 1);
      await subject.quiet();
      expect(subject.states("a.dead")).toEqual([1, 0, 0]);
      subject.clock.advance(1);
      await subject.quiet();
      expect(subject.counts("a.dead")).toMatchObject({ ready: 0, bytes: 0 });
      expect(subject.engine.counters).toMatchObject({ expired: 2, deadLettered: 1 });
    });

    test("[P-5.6] acked they are gone; nacked and timed out they stay, however often", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxDeliveries: 1, ackTimeoutMs: 1000 });
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "x" });
      await peer.nack((await peer.next()).tag);
      const dead = subject.consume("a.dead", 1);
      for (let attempt = 1; attempt <= 10; attempt++) {
        const delivery = await dead.next();
        expect(delivery.attempt).toBe(attempt);
        expect(delivery.deaths?.length).toBe(1);
        if (attempt % 2 === 0) await dead.nack(delivery.tag, 0);
        else subject.clock.advance(1000);
      }
      expect(await dead.ack((await dead.next()).tag)).toBeUndefined();
      expect(subject.states("a.dead")).toEqual([0, 0, 0]);
      expect(subject.engine.counters.deadLettered).toBe(1);
    });

    test("[P-5.6] a reject there removes the message for good", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "x" });
      await peer.reject((await peer.next()).tag);
      const dead = subject.consume("a.dead", 1);
      expect(await dead.reject((await dead.next()).tag)).toBeUndefined();
      await subject.quiet();
      expect(subject.counts("a.dead")).toMatchObject({
        ready: 0,
        delayed: 0,
        inFlight: 0,
        bytes: 0,
      });
      expect(() => subject.counts("a.dead.dead")).toThrow();
    });

    test("[P-5.6] they are handed out although their own queue is paused", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "x" });
      await peer.reject((await peer.next()).tag);
      await subject.define("a", { paused: true });
      expect((await subject.consume("a.dead", 1).next()).message.id).toBe("x");
    });

    test("[P-5.6] waiting consumers get them as they die", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const [peer, dead] = [subject.consume("a", 1), subject.consume("a.dead", 1)];
      await subject.append("a", { id: "x" });
      await peer.reject((await peer.next()).tag);
      expect((await dead.next()).message.id).toBe("x");
    });
  });
}
