/** Acked messages that a queue keeps [P-5.15]. */
import { describe, expect, test } from "bun:test";
import type { PeekOptions } from "../../../src/engine/engine.ts";
import { Payload } from "../../../src/payload.ts";
import { type EngineKind, Subject } from "./subject.ts";

async function acked(subject: Subject, options: Partial<PeekOptions> = {}): Promise<string[]> {
  const { queues } = subject.engine;
  const { messages } = await queues.peek("a", { state: "acked", limit: 1000, ...options });
  return messages.map(({ message }) => message.id);
}

/** Appends and acks, one after the other. */
async function work(subject: Subject, ids: readonly string[]): Promise<void> {
  const peer = subject.consume("a", 1);
  for (const id of ids) {
    await subject.append("a", { id });
    await peer.ack((await peer.next()).tag);
  }
  peer.consumer.cancel();
}

export function describeRetention(kind: EngineKind): void {
  describe("retention", () => {
    describeKeeping(kind);
    describeLettingGo(kind);
  });
}

function describeKeeping(kind: EngineKind): void {
  test("[P-5.15] an acked message is kept as it was, in no other count, oldest ack first", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 60_000 });
    const now = subject.clock.now();
    const payload = Payload.fromValue({ deep: [1] });
    await subject.append("a", { id: "1", payload, headers: { h: "v" }, key: "k", priority: 2 });
    await subject.append("a", { id: "2", priority: 8 });
    const peer = subject.consume("a", 2);
    await peer.has(2);
    await peer.nack(peer.seen[1]!.tag, 0);
    await peer.has(3);
    subject.clock.advance(5);
    await peer.ack(peer.seen[2]!.tag);
    subject.clock.advance(5);
    await peer.ack(peer.seen[0]!.tag);
    const { messages, next } = await subject.engine.queues.peek("a", { state: "acked", limit: 5 });
    expect(next).toBeUndefined();
    const [first, second] = messages;
    expect(first).toMatchObject({ state: "acked", attempts: 1, ackedAt: now + 5 });
    expect(first!.message).toMatchObject({ id: "1", headers: { h: "v" }, key: "k", priority: 2 });
    expect(first!.message.payload.value()).toEqual({ deep: [1] });
    expect(first!.expiresAt).toBe(now + 5 + 60_000);
    expect(second).toMatchObject({ state: "acked", attempts: 0, ackedAt: now + 10 });
    expect(subject.counts("a")).toMatchObject({ ready: 0, inFlight: 0, bytes: 0, retained: 2 });
    expect((await subject.engine.queues.peek("a", { limit: 5 })).messages).toEqual([]);
    expect(await subject.engine.queues.find("a", "2")).toMatchObject({ state: "acked" });
    expect(await acked(subject, { search: "deep" })).toEqual(["1"]);
  });

  test("[P-5.15] it takes no room, and a dead-letter queue and a queue without retention keep none", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 60_000, maxMessages: 1 });
    await subject.define("b");
    await work(subject, ["1", "2", "3"]);
    await subject.append("b");
    const peer = subject.consume("b", 1);
    await peer.ack((await peer.next()).tag);
    await subject.append("a", { id: "dead" });
    const rejecting = subject.consume("a", 1);
    await rejecting.reject((await rejecting.next()).tag);
    const dead = subject.consume("a.dead", 1);
    await dead.ack((await dead.next()).tag);
    expect(await acked(subject)).toEqual(["1", "2", "3"]);
    expect(["b", "a.dead"].map((name) => subject.counts(name).retained)).toEqual([0, 0]);
  });

  test("[P-5.15] pages join, and a purge leaves what is kept", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 60_000 });
    const ids = Array.from({ length: 10 }, (_, n) => `m${n}`);
    await work(subject, ids);
    await subject.append("a");
    expect(await subject.engine.queues.purge("a")).toBe(1);
    const seen: string[] = [];
    let after: string | undefined;
    do {
      const more = after === undefined ? {} : { after };
      const page = await subject.engine.queues.peek("a", { state: "acked", limit: 4, ...more });
      seen.push(...page.messages.map(({ message }) => message.id));
      after = page.next;
    } while (after !== undefined);
    expect(seen).toEqual(ids);
  });
}

function describeLettingGo(kind: EngineKind): void {
  test("[P-5.15] it goes when its time is over, and at once when the setting says so", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 1000 });
    await work(subject, ["1"]);
    subject.clock.advance(600);
    await work(subject, ["2"]);
    subject.clock.advance(399);
    await subject.quiet();
    expect(await acked(subject)).toEqual(["1", "2"]);
    subject.clock.advance(1);
    await subject.quiet();
    expect(await acked(subject)).toEqual(["2"]);
    await subject.define("a", { retainAckedMs: 0 });
    subject.clock.advance(1);
    await subject.quiet();
    expect(await acked(subject)).toEqual([]);
    expect(subject.counts("a").retained).toBe(0);
  });

  test("[P-5.15] of more bytes than the bound the oldest go, and no more than needed", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 60_000 });
    await subject.append("a", { id: "m0" });
    const { bytes } = subject.counts("a");
    await subject.engine.queues.purge("a");
    await subject.define("a", { retainAckedMs: 60_000, retainAckedBytes: 3 * bytes + 10 });
    await work(subject, ["m1", "m2", "m3", "m4", "m5"]);
    await subject.quiet();
    expect(await acked(subject)).toEqual(["m3", "m4", "m5"]);
    await subject.define("a", { retainAckedMs: 60_000, retainAckedBytes: bytes + 10 });
    subject.clock.advance(1);
    await work(subject, ["m6"]);
    await subject.quiet();
    expect(await acked(subject)).toEqual(["m6"]);
  });

  test("[P-5.15] a smaller bound acts at once; what is larger than all of it is not kept", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 60_000 });
    await subject.append("a", { id: "m0" });
    const { bytes } = subject.counts("a");
    await subject.engine.queues.purge("a");
    await work(subject, ["m1", "m2", "m3"]);
    await subject.define("a", { retainAckedMs: 60_000, retainAckedBytes: 2 * bytes });
    subject.clock.advance(1);
    await subject.quiet();
    expect([await acked(subject), subject.counts("a").retained]).toEqual([["m2", "m3"], 2]);
    const peer = subject.consume("a", 1);
    await subject.append("a", { id: "big", payload: Payload.fromValue("x".repeat(3 * bytes)) });
    await peer.ack((await peer.next()).tag);
    await subject.quiet();
    expect([await acked(subject), subject.counts("a").retained]).toEqual([[], 0]);
  });

  test("[P-5.15] what is in flight during a purge is kept when it is acked", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 60_000 });
    await work(subject, ["m1"]);
    await subject.appendAll("a", ["m2", "m3"]);
    const peer = subject.consume("a", 1);
    const { tag } = await peer.next();
    expect(await subject.engine.queues.purge("a")).toBe(1);
    await peer.ack(tag);
    expect(await acked(subject)).toEqual(["m1", "m2"]);
    expect(subject.counts("a")).toMatchObject({ ready: 0, inFlight: 0, bytes: 0, retained: 2 });
  });

  test("[P-5.15] it goes with its queue, and a new one of the name begins anew", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 60_000 });
    await work(subject, ["1", "2"]);
    await subject.engine.queues.remove("a");
    await subject.define("a", { retainAckedMs: 60_000 });
    expect([await acked(subject), subject.counts("a").retained]).toEqual([[], 0]);
  });

  if (!kind.durable) return;
  test("[P-5.15, P-5.8] the bound on bytes holds across a restart, exactly", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 60_000 });
    await subject.append("a", { id: "m0" });
    const { bytes } = subject.counts("a");
    await subject.engine.queues.purge("a");
    await subject.define("a", { retainAckedMs: 60_000, retainAckedBytes: 3 * bytes });
    await work(subject, ["m1", "m2", "m3"]);
    await subject.reopen();
    expect(await acked(subject)).toEqual(["m1", "m2", "m3"]);
    await work(subject, ["m4", "m5"]);
    await subject.quiet();
    expect([await acked(subject), subject.counts("a").retained]).toEqual([["m3", "m4", "m5"], 3]);
    await subject.engine.queues.purge("a");
    await subject.reopen();
    expect([await acked(subject), subject.counts("a").retained]).toEqual([["m3", "m4", "m5"], 3]);
    const replay = { state: "acked", select: { ids: ["m4"] }, limit: 10 } as const;
    expect(await subject.engine.queues.transfer("a", replay)).toMatchObject({ moved: 1 });
  });

  test("[P-5.15, P-5.8] it is there after a restart, and goes at its time", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 1000 });
    await work(subject, ["1", "2"]);
    await subject.reopen();
    expect(await acked(subject)).toEqual(["1", "2"]);
    expect(subject.counts("a")).toMatchObject({ ready: 0, bytes: 0, retained: 2 });
    subject.clock.advance(1000);
    await subject.quiet();
    expect([await acked(subject), subject.counts("a").retained]).toEqual([[], 0]);
  });
}
