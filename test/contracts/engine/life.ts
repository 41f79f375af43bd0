/** How an engine begins and ends, and what it knows when it begins again [P-5.8]. */
import { describe, expect, test } from "bun:test";
import { type EngineKind, refusal, Subject } from "./subject.ts";

const SMALL_WINDOW = { queueWindowMessages: 4, queueWindowBytes: 4096 };

export function describeLife(kind: EngineKind): void {
  describe("close", () => {
    test("it answers everything that was accepted, and ends the consumers", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 1);
      const left = subject.consume("a", 1);
      left.consumer.cancel();
      await subject.append("a");
      const { tag } = await peer.next();
      const answers: unknown[] = [];
      for (let i = 0; i < 20; i++) {
        void subject.append("a").then(({ queues }) => answers.push(queues));
      }
      peer.consumer.settle([tag], { kind: "ack" }, (error) => answers.push(error));
      await subject.engine.close();
      await Promise.resolve();
      expect(answers.filter((answer) => answer === 1).length).toBe(20);
      expect(answers.filter((answer) => answer === undefined).length).toBe(1);
      expect(peer.ended).toMatchObject({ code: "draining" });
      expect(left.ended).toBeUndefined();
      expect((await peer.ack(tag))?.code).toBe("stale_delivery");
    });

    test("it may be called again, at once or later, and before open", async () => {
      await using subject = await Subject.open(kind);
      await Promise.all([subject.engine.close(), subject.engine.close()]);
      await subject.engine.close();
      await using fresh = await Subject.create(kind);
      await fresh.engine.close();
    });

    test("afterwards everything is refused as draining", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const closing = subject.engine.close();
      expect(await refusal(subject.append("a"))).toBe("draining");
      await closing;
      expect(await refusal(subject.append("a"))).toBe("draining");
      expect(await refusal(subject.define("b"))).toBe("draining");
      expect(() => subject.consume("a")).toThrow(expect.objectContaining({ code: "draining" }));
    });

    test("nothing is handed out any more", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 10);
      const appended = subject.append("a");
      const closing = subject.engine.close();
      const before = peer.seen.length;
      await Promise.all([appended, closing]);
      expect(peer.seen.length).toBe(before);
    });
  });

  test("the engine says what it can", async () => {
    await using subject = await Subject.open(kind);
    expect(subject.engine.capabilities.durable).toBe(kind.durable);
    expect(subject.engine.health).toEqual({ state: "ready" });
    expect(subject.engine.name).toMatch(/^[a-z]+$/);
  });

  if (kind.durable) describe("after the end", () => describeMemory(kind));
}

/** For engines on whose store the next one goes on. */
function describeMemory(kind: EngineKind): void {
  test("[P-5.8] queues are there with settings and bindings", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { maxMessages: 5, ackTimeoutMs: 1234, bindings: ["x/#"] });
    await subject.define("b", { paused: true });
    await subject.define("c");
    await subject.engine.queues.remove("c");
    const before = subject.engine.queues.list();
    subject.clock.advance(5000);
    await subject.reopen();
    expect(subject.engine.queues.list()).toEqual(before);
  });

  test("[P-5.8] messages are there as they were, and in their order", async () => {
    await using subject = await Subject.open(kind, { limits: SMALL_WINDOW });
    await subject.define("a");
    const now = subject.clock.now();
    const ids = Array.from({ length: 30 }, (_, i) => `m${String(i).padStart(2, "0")}`);
    for (const [i, id] of ids.entries()) {
      await subject.append("a", {
        id,
        priority: i % 4,
        headers: { i: `${i}` },
        ...(i % 5 === 0 && { dueAt: now + 1000 }),
      });
    }
    const look = () => subject.engine.queues.peek("a", { limit: 100 });
    const shown = (page: Awaited<ReturnType<typeof look>>) =>
      page.messages.map(({ message: { payload, ...message }, ...rest }) => ({
        ...rest,
        message,
        payload: payload.value(),
      }));
    const [before, counts] = [shown(await look()), subject.counts("a")];
    await subject.reopen();
    expect(shown(await look())).toEqual(before);
    expect(subject.counts("a")).toEqual(counts);
    const peer = subject.consume("a", 100);
    await peer.has(24);
    await subject.quiet();
    expect(peer.seen.length).toBe(24);
    subject.clock.advance(1000);
    await peer.has(30);
    expect(peer.ids.toSorted()).toEqual(ids);
  });

  test("[P-5.8] what was acked does not come back; what was in flight does, no attempt burnt", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a");
    await subject.appendAll("a", ["acked", "inflight", "nacked", "ready"]);
    const peer = subject.consume("a", 3);
    await peer.has(3);
    await peer.ack(peer.take().tag);
    peer.take();
    await peer.nack(peer.take().tag, 5000);
    // Tags may begin with the time: no process ends and begins again within a millisecond.
    subject.clock.advance(1);
    await subject.reopen();
    expect(subject.states("a")).toEqual([2, 1, 0]);
    subject.clock.advance(5000);
    await subject.quiet();
    const next = subject.consume("a", 10);
    await next.has(3);
    expect(next.seen.map(({ message, attempt }) => [message.id, attempt])).toEqual([
      ["inflight", 1],
      ["nacked", 2],
      ["ready", 1],
    ]);
    const tags = new Set([...peer.seen, ...next.seen].map(({ tag }) => tag));
    expect(tags.size).toBe(peer.seen.length + next.seen.length);
  });

  test("[P-5.8] attempts go on where they were, to the last", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { maxDeliveries: 3, ackTimeoutMs: 1000 });
    await subject.append("a", { id: "x" });
    const first = subject.consume("a", 1);
    await first.nack((await first.next()).tag, 0);
    await subject.reopen();
    const second = subject.consume("a", 1);
    expect((await second.next()).attempt).toBe(2);
    subject.clock.advance(1000);
    expect((await second.next()).attempt).toBe(3);
    await subject.reopen();
    const third = subject.consume("a", 1);
    const last = await third.next();
    expect(last.attempt).toBe(3);
    await third.nack(last.tag);
    await subject.quiet();
    const dead = await subject.engine.queues.find("a.dead", "x");
    expect(dead?.deaths).toMatchObject([{ reason: "max_deliveries", attempts: 3 }]);
  });

  test("[P-5.8] dead letters are there with their deaths", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { deadLetter: { ttlMs: 60_000 } });
    const peer = subject.consume("a", 1);
    await subject.append("a", { id: "x" });
    await peer.reject((await peer.next()).tag, "because");
    const before = await subject.engine.queues.find("a.dead", "x");
    await subject.reopen();
    const after = await subject.engine.queues.find("a.dead", "x");
    expect(after?.deaths).toEqual(before!.deaths!);
    expect(after?.expiresAt).toBe(before!.expiresAt!);
    subject.clock.advance(60_000);
    await subject.quiet();
    expect(subject.states("a.dead")).toEqual([0, 0, 0]);
  });

  test("[P-3.5] message ids are known until their window ends, acked or not", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { dedupeWindowMs: 10_000 });
    const peer = subject.consume("a", 1);
    await subject.append("a", { id: "acked", dedupe: true });
    await peer.ack((await peer.next()).tag);
    await subject.append("a", { id: "there", dedupe: true });
    await subject.reopen();
    const isDuplicate = async (id: string) =>
      (await subject.append("a", { id, dedupe: true })).duplicate;
    subject.clock.advance(9999);
    expect([await isDuplicate("acked"), await isDuplicate("there")]).toEqual([true, true]);
    subject.clock.advance(1);
    expect([await isDuplicate("acked"), await isDuplicate("there")]).toEqual([false, false]);
  });

  test("[P-5.6] what became due or expired in between is so at the beginning", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a");
    const now = subject.clock.now();
    await subject.append("a", { id: "due", dueAt: now + 1000 });
    await subject.append("a", { id: "expired", expiresAt: now + 1000 });
    await subject.engine.close();
    subject.clock.advance(2000);
    await subject.reopen();
    subject.clock.advance(0);
    await subject.quiet();
    expect(subject.states("a")).toEqual([1, 0, 0]);
    expect(subject.states("a.dead")).toEqual([1, 0, 0]);
    const peer = subject.consume("a", 10);
    expect((await peer.next()).message.id).toBe("due");
  });

  test("[P-5.1] purged and removed messages stay away", async () => {
    await using subject = await Subject.open(kind);
    for (const name of ["a", "b"]) {
      await subject.define(name);
      await subject.append(name);
    }
    await subject.engine.queues.purge("a");
    await subject.engine.queues.remove("b");
    await subject.reopen();
    expect(subject.counts("a")).toMatchObject({ ready: 0, bytes: 0 });
    await subject.define("b");
    expect(subject.counts("b")).toMatchObject({ ready: 0, bytes: 0 });
  });

  test("[P-3.6] bounds hold over what was there before", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { maxMessages: 3 });
    await subject.append("a");
    await subject.append("a");
    await subject.reopen();
    expect(await refusal(subject.append("a"))).toBeUndefined();
    expect(await refusal(subject.append("a"))).toBe("queue_full");
  });

  test("[P-5.8] what close answered is kept", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a");
    const appended = Array.from({ length: 50 }, () => subject.append("a"));
    await subject.reopen();
    await Promise.all(appended);
    expect(subject.states("a")).toEqual([50, 0, 0]);
  });
}
