/** What a message that comes again means for the others of its key, and changes of ordering: [P-5.10]. */
import { describe, expect, test } from "bun:test";
import { BY_KEY, fill, opened, sameKey, tagOf } from "./keyed.ts";
import type { EngineKind } from "./subject.ts";

export function describeOrderedRetries(kind: EngineKind): void {
  describe("retries of a key", () => {
    test("[P-5.10] block: one that waits for its retry holds its key, and only that", async () => {
      await using subject = await opened(kind);
      await fill(subject, "x1 x2 y1 y2");
      const peer = subject.consume("a", 10);
      await peer.has(2);
      await peer.nack(tagOf(peer, "x1"));
      await peer.ack(tagOf(peer, "y1"));
      await fill(subject, "x3");
      subject.clock.advance(999);
      await subject.quiet();
      expect(peer.ids.join(" ")).toBe("x1 y1 y2");
      subject.clock.advance(1);
      await peer.has(4);
      expect(peer.seen.at(-1)).toMatchObject({ attempt: 2, message: { id: "x1" } });
      await peer.ack(tagOf(peer, "x1"));
      await peer.has(5);
      await subject.quiet();
      expect(peer.ids.slice(4)).toEqual(["x2"]);
    });

    test("[P-5.10] block: a dead letter sets its key free, an expired one too", async () => {
      await using subject = await opened(kind, { maxDeliveries: 1, ttlMs: 5000 });
      await fill(subject, "x1 x2 x3");
      subject.clock.advance(4000);
      await fill(subject, "x4");
      const peer = subject.consume("a", 10);
      await peer.nack((await peer.next()).tag);
      await peer.reject((await peer.next()).tag);
      expect((await peer.next()).message.id).toBe("x3");
      subject.clock.advance(1500);
      peer.consumer.cancel();
      const next = subject.consume("a", 10);
      await next.has(1);
      expect(next.ids).toEqual(["x4"]);
      expect(subject.states("a.dead")).toEqual([3, 0, 0]);
    });

    test("[P-5.10] block: what timed out or was returned at once goes before the others of its key", async () => {
      await using subject = await opened(kind, { ackTimeoutMs: 1000 });
      await fill(subject, "x1 x2");
      const peer = subject.consume("a", 10);
      await peer.has(1);
      subject.clock.advance(1000);
      await peer.has(2);
      await peer.nack(tagOf(peer, "x1"), 0);
      await peer.has(3);
      peer.consumer.cancel();
      const next = subject.consume("a", 10);
      await next.has(1);
      await subject.quiet();
      expect([...peer.ids, ...next.ids].join(" ")).toBe("x1 x1 x1 x1");
    });

    test("[P-5.10] step-aside: others of the key go on, and the retry comes before the rest", async () => {
      await using subject = await opened(kind, { keyRetry: "step-aside" }, true);
      await fill(subject, sameKey(12, "x"));
      const peer = subject.consume("a", 1);
      await peer.nack((await peer.next()).tag);
      await peer.ack((await peer.next()).tag);
      expect((await peer.next()).message.id).toBe("x002");
      subject.clock.advance(1000);
      await subject.quiet();
      expect(peer.seen.length).toBe(3);
      await peer.ack(tagOf(peer, "x002"));
      expect(await peer.next()).toMatchObject({ attempt: 2, message: { id: "x000" } });
      await peer.ack(tagOf(peer, "x000"));
      expect((await peer.next()).message.id).toBe("x003");
    });

    test("[P-5.10] step-aside: a retry due while another was out goes first then", async () => {
      await using subject = await opened(kind, { keyRetry: "step-aside" });
      await fill(subject, "x1 x2");
      const peer = subject.consume("a", 1);
      await peer.nack((await peer.next()).tag);
      expect((await peer.next()).message.id).toBe("x2");
      subject.clock.advance(1000);
      await subject.quiet();
      peer.consumer.cancel();
      await subject.quiet();
      const next = subject.consume("a", 1);
      expect((await next.next()).message.id).toBe("x1");
    });

    test("[P-5.10] a scheduled message does not hold its key before its time", async () => {
      await using subject = await opened(kind);
      const dueAt = subject.clock.now() + 1000;
      await subject.append("a", { id: "x1", key: "x", dueAt });
      await fill(subject, "x2 x3");
      const peer = subject.consume("a", 1);
      expect((await peer.next()).message.id).toBe("x2");
      subject.clock.advance(1000);
      await subject.quiet();
      await peer.ack(tagOf(peer, "x2"));
      expect((await peer.next()).message.id).toBe("x1");
    });

    test("[P-5.10] purge and expiry of what waits behind its key", async () => {
      await using subject = await opened(kind, { ttlMs: 10_000 }, true);
      await fill(subject, sameKey(20, "x"));
      const peer = subject.consume("a", 5);
      await peer.has(1);
      subject.clock.advance(5000);
      await fill(subject, "x100");
      subject.clock.advance(5000);
      await subject.quiet();
      expect(subject.states("a")).toEqual([1, 0, 1]);
      expect(subject.states("a.dead")).toEqual([19, 0, 0]);
      expect(await subject.engine.queues.purge("a")).toBe(1);
      await fill(subject, "x101");
      await peer.ack(tagOf(peer, "x000"));
      await peer.has(2);
      expect(peer.ids).toEqual(["x000", "x101"]);
    });
  });

  describe("changes of ordering", () => {
    test("[P-5.10] refused while the queue holds anything, waiting or out; taken when it is empty", async () => {
      await using subject = await opened(kind);
      await fill(subject, "x1 x2");
      const peer = subject.consume("a", 1);
      await peer.has(1);
      const refusal = { code: "conflict", detail: { queue: "a" } };
      await expect(subject.define("a", { ordering: "none" })).rejects.toMatchObject(refusal);
      expect(await subject.engine.queues.purge("a")).toBe(1);
      await expect(subject.define("a", { ordering: "none" })).rejects.toMatchObject(refusal);
      expect(subject.engine.queues.describe("a").settings.ordering).toBe("key");
      await peer.ack(tagOf(peer, "x1"));
      await subject.define("a", { ordering: "none" });
      peer.consumer.credit(10);
      await fill(subject, "x3 x4");
      await peer.has(3);
      await expect(subject.define("a", BY_KEY)).rejects.toMatchObject(refusal);
      await peer.ack([tagOf(peer, "x3"), tagOf(peer, "x4")]);
      await subject.define("a", BY_KEY);
      await fill(subject, "x5 x6 y1");
      await peer.has(5);
      await subject.quiet();
      expect(peer.ids.slice(3)).toEqual(["x5", "y1"]);
    });

    test("[P-5.10] keyRetry may change while a key is held", async () => {
      await using subject = await opened(kind);
      await fill(subject, "x1 x2 x3");
      const peer = subject.consume("a", 1);
      await peer.nack((await peer.next()).tag);
      await subject.quiet();
      expect(peer.seen.length).toBe(1);
      await subject.define("a", { ...BY_KEY, keyRetry: "step-aside" });
      expect((await peer.next()).message.id).toBe("x2");
      await subject.define("a", BY_KEY);
      await peer.ack(tagOf(peer, "x2"));
      await subject.quiet();
      expect(peer.seen.length).toBe(2);
      subject.clock.advance(1000);
      expect((await peer.next()).message.id).toBe("x1");
    });
  });

  test("[P-5.10] what was out when keyRetry changed is in its place again when it is back", async () => {
    await using subject = await opened(kind, { priorityAgeingMs: 0 }, true);
    await fill(subject, "y1", 0);
    const peer = subject.consume("a", 1);
    const { tag } = await peer.next();
    peer.consumer.credit(0);
    await fill(subject, "-1 -2 -3 -4 -5 -6", 5);
    await fill(subject, "-7 -8", 0);
    await subject.define("a", { ...BY_KEY, priorityAgeingMs: 0, keyRetry: "step-aside" });
    await subject.quiet();
    await peer.nack(tag, 0);
    await subject.quiet();
    peer.consumer.credit(20);
    await peer.has(9);
    expect(peer.ids.slice(1).join(" ")).toBe("-1 -2 -3 -4 -5 -6 y1 -7 -8");
  });

  if (kind.durable) {
    test("[P-5.10] after a restart a retry that stepped aside comes back in its place", async () => {
      await using subject = await opened(kind, { keyRetry: "step-aside" }, true);
      await fill(subject, sameKey(10, "x"));
      const peer = subject.consume("a", 1);
      await peer.nack((await peer.next()).tag);
      await peer.ack((await peer.next()).tag);
      expect((await peer.next()).message.id).toBe("x002");
      await subject.reopen();
      // Not due yet: the others go on, in their order.
      const early = subject.consume("a", 1);
      expect((await early.next()).message.id).toBe("x002");
      await early.ack(tagOf(early, "x002"));
      expect((await early.next()).message.id).toBe("x003");
      await subject.reopen();
      subject.clock.advance(1000);
      await subject.quiet();
      const next = subject.consume("a", 1);
      expect(await next.next()).toMatchObject({ attempt: 2, message: { id: "x000" } });
      await next.ack(tagOf(next, "x000"));
      expect((await next.next()).message.id).toBe("x003");
    });

    test("[P-5.10] after a restart a retry holds its key still, and order goes on", async () => {
      await using subject = await opened(kind, {}, true);
      await fill(subject, `${sameKey(10, "x")} y1`);
      const peer = subject.consume("a", 2);
      await peer.has(2);
      await peer.nack(tagOf(peer, "x000"));
      await subject.reopen();
      const next = subject.consume("a", 5);
      await next.has(1);
      await fill(subject, "x100 z1");
      await next.has(2);
      await subject.quiet();
      expect(next.ids).toEqual(["y1", "z1"]);
      subject.clock.advance(1000);
      await next.has(3);
      expect(next.seen.at(-1)).toMatchObject({ attempt: 2, message: { id: "x000" } });
      await next.ack(tagOf(next, "x000"));
      await next.has(4);
      expect(next.ids.at(-1)).toBe("x001");
    });
  }
}
