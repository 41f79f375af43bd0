/** What an operator does with queues [P-13.3]: define, change, look into, purge, remove. */
import { describe, expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import type { PeekOptions } from "../../../src/engine/engine.ts";
import { completeSettings } from "../../../src/engine/rules.ts";
import { PAYLOAD_FORMAT, Payload } from "../../../src/payload.ts";
import { type EngineKind, refusal, Subject } from "./subject.ts";

/** Ids of all pages, one after the other. */
async function peekAll(subject: Subject, name: string, options: PeekOptions): Promise<string[]> {
  const ids: string[] = [];
  let after = options.after;
  for (let pages = 0; pages < 1000; pages++) {
    const page = await subject.engine.queues.peek(name, {
      ...options,
      ...(after !== undefined && { after }),
    });
    expect(page.messages.length).toBeLessThanOrEqual(options.limit);
    ids.push(...page.messages.map(({ message }) => message.id));
    if (page.next === undefined) return ids;
    after = page.next;
  }
  throw new Error("There is always a next page.");
}

const NO_RATES = { published: 0, delivered: 0, acked: 0 };

export function describeQueues(kind: EngineKind): void {
  describe("define", () => {
    test("[P-5.1] a queue comes with its dead-letter queue", async () => {
      await using subject = await Subject.open(kind);
      const settings = { maxMessages: 7, deadLetter: { ttlMs: 5000 } };
      const report = await subject.define("a", { ...settings, bindings: ["x/#", "y/+"] });
      expect(report).toEqual({
        name: "a",
        settings: completeSettings(settings),
        bindings: ["x/#", "y/+"],
        createdAt: subject.clock.now(),
        counts: { ready: 0, delayed: 0, inFlight: 0, dead: 0, bytes: 0, consumers: 0, retained: 0 },
        counters: expect.objectContaining({ published: 0, redriven: 0 }),
        rates: { over10s: NO_RATES, over60s: NO_RATES },
      });
      expect(subject.engine.queues.describe("a")).toEqual(report);
      const dead = subject.engine.queues.describe("a.dead");
      expect(dead).toMatchObject({ name: "a.dead", deadLetterOf: "a", bindings: [] });
      expect(dead.settings.ttlMs).toBe(5000);
      expect(dead.settings.maxMessages).toBeUndefined();
    });

    test("[P-13.3] the list has every queue, by name", async () => {
      await using subject = await Subject.open(kind);
      expect(subject.engine.queues.list()).toEqual([]);
      for (const name of ["b", "a", "B:1"]) await subject.define(name);
      const names = subject.engine.queues.list().map(({ name }) => name);
      expect(names).toEqual(["B:1", "B:1.dead", "a", "a.dead", "b", "b.dead"]);
      expect(subject.engine.queues.size).toBe(6);
      expect(() => subject.engine.queues.describe("c")).toThrow(
        expect.objectContaining({ code: "unknown_queue" }),
      );
    });

    test("[P-13.3] a page of the list begins behind a name, be there such a queue or not", async () => {
      await using subject = await Subject.open(kind);
      const page = (after: string | undefined, atMost: number) =>
        subject.engine.queues.list({ after, atMost }).map(({ name }) => name);
      expect(page(undefined, 5)).toEqual([]);
      for (const name of ["b", "a", "c"]) await subject.define(name);
      expect(page(undefined, 3)).toEqual(["a", "a.dead", "b"]);
      expect(page("b", 2)).toEqual(["b.dead", "c"]);
      expect(page("aa", 1)).toEqual(["b"]);
      expect(page("c.dead", 10)).toEqual([]);
      await subject.engine.queues.remove("b");
      expect(page("a.dead", 10)).toEqual(["c", "c.dead"]);
      expect(subject.engine.queues.size).toBe(4);
    });

    test("[P-13.3] names that may not be are refused", async () => {
      await using subject = await Subject.open(kind);
      for (const name of ["", "a b", ".a", "a/b", "ü", "x".repeat(129), "a.dead"]) {
        expect(await refusal(subject.define(name))).toBe("invalid_frame");
      }
      expect(subject.engine.queues.list()).toEqual([]);
      expect(await refusal(subject.define("x".repeat(128)))).toBeUndefined();
      expect(subject.engine.queues.describe(`${"x".repeat(128)}.dead`).bindings).toEqual([]);
    });

    test("there are at most limits.queues queues, their dead-letter queues aside", async () => {
      await using subject = await Subject.open(kind, { limits: { queues: 2 } });
      await subject.define("a");
      await subject.define("b");
      expect(await refusal(subject.define("c"))).toBe("conflict");
      expect(await refusal(subject.define("b"))).toBeUndefined();
      await subject.engine.queues.remove("a");
      expect(await refusal(subject.define("c"))).toBeUndefined();
    });

    test("[P-13.3] again it changes settings and bindings, keeps messages, and tells", async () => {
      await using subject = await Subject.open(kind);
      const { createdAt } = await subject.define("a", { bindings: ["x/#"] });
      await subject.append("a");
      subject.clock.advance(1000);
      const changed = { ackTimeoutMs: 77, maxMessages: 3, deadLetter: { ttlMs: 99 } };
      const report = await subject.define("a", { ...changed, bindings: ["y", "z"] });
      expect(report).toMatchObject({ createdAt, bindings: ["y", "z"], settings: changed });
      expect(report.counts.ready).toBe(1);
      expect(subject.engine.queues.describe("a.dead").settings.ttlMs).toBe(99);
      expect(subject.changes.map(([name, change]) => [name, change?.bindings])).toEqual([
        ["a", ["x/#"]],
        ["a", ["y", "z"]],
      ]);
      expect(subject.changes[1]?.[1]?.settings.ackTimeoutMs).toBe(77);
    });
  });

  describe("remove", () => {
    test("[P-13.3] the queue, its dead letters and its messages are gone, its consumers told", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.define("b");
      await subject.append(["a", "b"]);
      await subject.append("a", { id: "x" });
      const [peer, dead] = [subject.consume("a", 1), subject.consume("a.dead", 1)];
      const [left, other] = [subject.consume("a"), subject.consume("b", 1)];
      left.consumer.cancel();
      const { tag } = await peer.next();
      await subject.engine.queues.remove("a");
      await subject.quiet();
      expect(peer.ended).toMatchObject({ code: "unknown_queue" });
      expect(dead.ended).toMatchObject({ code: "unknown_queue" });
      expect([left.ended, other.ended]).toEqual([undefined, undefined]);
      expect((await peer.ack(tag))?.code).toBe("stale_delivery");
      peer.consumer.credit(5);
      peer.consumer.cancel();
      const names = subject.engine.queues.list().map(({ name }) => name);
      expect(names.filter((name) => name.startsWith("a"))).toEqual([]);
      expect(await refusal(subject.append("a"))).toBe("unknown_queue");
      expect(() => subject.consume("a.dead")).toThrow();
      expect(subject.states("b")).toEqual([0, 0, 1]);
      expect(subject.changes.filter(([name, to]) => name === "a" && to === undefined).length).toBe(
        1,
      );
    });

    test("a consumer that leaves while its queue goes is not told", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peers = ["a", "a", "a.dead"].map((queue) => subject.consume(queue, 1));
      const removed = subject.engine.queues.remove("a");
      peers[0]!.consumer.cancel();
      peers[1]!.consumer.disconnect();
      peers[2]!.consumer.cancel();
      await removed;
      await subject.quiet();
      expect(peers.map(({ ended }) => ended)).toEqual([undefined, undefined, undefined]);
    });

    test("[P-13.3] one of the same name begins anew", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 2 });
      const old = subject.consume("a", 1);
      await subject.appendAll("a", ["1", "2"]);
      await old.has(1);
      await subject.engine.queues.remove("a");
      await subject.define("a");
      const peer = subject.consume("a", 10);
      await subject.append("a", { id: "3" });
      await peer.has(1);
      await subject.quiet();
      expect(peer.ids).toEqual(["3"]);
      expect(old.ids).toEqual(["1"]);
      subject.clock.advance(20 * 24 * 3_600_000);
      await subject.quiet();
      expect(subject.states("a.dead")).toEqual([1, 0, 0]);
    });

    test("[P-13.3] only if it is empty: what is on its way in counts, and what was confirmed stays", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const { queues } = subject.engine;
      const append = subject.append("a", { id: "1" });
      expect(await refusal(queues.remove("a", { ifEmpty: true }))).toBe("conflict");
      expect(await append).toMatchObject({ queues: 1 });
      const peer = subject.consume("a", 1);
      await peer.reject((await peer.next()).tag);
      expect(await refusal(queues.remove("a", { ifEmpty: true }))).toBe("conflict");
      expect(subject.states("a.dead")).toEqual([1, 0, 0]);
      await queues.purge("a.dead");
      await queues.remove("a", { ifEmpty: true });
      expect(queues.list()).toEqual([]);
    });

    test("[P-13.3] an unknown queue, and a dead-letter queue by itself, cannot be removed", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      expect(await refusal(subject.engine.queues.remove("gone"))).toBe("unknown_queue");
      expect(await refusal(subject.engine.queues.remove("a.dead"))).toBe("conflict");
      expect(subject.engine.queues.list().length).toBe(2);
    });
  });

  describe("purge", () => {
    test("[P-13.3] everything goes but what is in flight", async () => {
      await using subject = await Subject.open(kind, { limits: { queueWindowMessages: 4 } });
      await subject.define("a");
      const peer = subject.consume("a", 2);
      await subject.appendAll("a", ["1", "2"]);
      await peer.has(2);
      await subject.append("a", { dueAt: subject.clock.now() + 1000 });
      for (let i = 0; i < 20; i++) await subject.append("a");
      expect(await subject.engine.queues.purge("a")).toBe(21);
      expect(subject.states("a")).toEqual([0, 0, 2]);
      expect(subject.states("a.dead")).toEqual([0, 0, 0]);
      expect(await subject.engine.queues.purge("a")).toBe(0);
      await peer.nack(peer.take().tag, 0);
      await peer.ack(peer.take().tag);
      expect((await peer.next()).attempt).toBe(2);
      subject.clock.advance(2000);
      await subject.append("a", { id: "new" });
      peer.consumer.credit(10);
      await peer.has(1);
      await subject.quiet();
      expect(peer.ids).toEqual(["1", "2", "1", "new"]);
    });

    test("[P-13.3] a dead-letter queue can be purged, an unknown one not", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ttlMs: 1000 });
      await subject.append("a");
      subject.clock.advance(1000);
      await subject.quiet();
      expect(await subject.engine.queues.purge("a.dead")).toBe(1);
      expect(subject.counts("a.dead")).toMatchObject({ ready: 0, bytes: 0 });
      expect(await refusal(subject.engine.queues.purge("gone"))).toBe("unknown_queue");
    });
  });

  describe("peek", () => {
    test("[P-13.3] every message as it is, in the order of handing out, without a side effect", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const now = subject.clock.now();
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "inflight" });
      await peer.nack((await peer.next()).tag, 0);
      await peer.has(1);
      await subject.append("a", { id: "ready", payload: Payload.fromValue({ deep: ["x"] }) });
      await subject.append("a", { id: "delayed", dueAt: now + 500 });
      await subject.append("a", { id: "urgent", priority: 8, expiresAt: now + 900 });
      const look = () => subject.engine.queues.peek("a", { limit: 10 });
      const { messages, next } = await look();
      expect(next).toBeUndefined();
      const ttl = completeSettings({}).ttlMs;
      const shown = messages.map(({ message, ...rest }) => ({ id: message.id, ...rest }));
      expect(shown).toEqual([
        { id: "urgent", state: "ready", attempts: 0, expiresAt: now + 900 },
        { id: "inflight", state: "inflight", attempts: 1, expiresAt: now + ttl },
        { id: "ready", state: "ready", attempts: 0, expiresAt: now + ttl },
        { id: "delayed", state: "delayed", attempts: 0, dueAt: now + 500, expiresAt: now + ttl },
      ]);
      expect(messages[2]!.message.payload.value()).toEqual({ deep: ["x"] });
      const counts = subject.counts("a");
      await look();
      await subject.quiet();
      expect(subject.counts("a")).toEqual(counts);
      expect(peer.seen.length).toBe(2);
      expect(await peer.ack(peer.take().tag)).toBeUndefined();
    });

    test("[P-13.3] by state", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 2);
      await subject.appendAll("a", ["1", "2", "3", "4"]);
      await subject.append("a", { id: "5", dueAt: subject.clock.now() + 1000 });
      await peer.has(2);
      await peer.nack(peer.take().tag, 1000);
      await peer.has(2);
      const of = (state: "ready" | "delayed" | "inflight") =>
        peekAll(subject, "a", { state, limit: 10 });
      expect(await of("inflight")).toEqual(["2", "3"]);
      expect(await of("delayed")).toEqual(["1", "5"]);
      expect(await of("ready")).toEqual(["4"]);
      subject.clock.advance(1000);
      await subject.quiet();
      expect(await of("delayed")).toEqual([]);
      expect(await of("ready")).toEqual(["1", "4", "5"]);
    });

    test("[P-13.3] by topic, and by what occurs in topic, headers or payload", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.append("a", { id: "1", topic: "t/1", payload: Payload.fromValue("needle") });
      await subject.append("a", { id: "2", topic: "t/2", headers: { h: "a needle here" } });
      await subject.append("a", { id: "3", topic: "needle/1" });
      const packed = Payload.fromStored(PAYLOAD_FORMAT.msgpack, encode({ in: ["needle"] }));
      await subject.append("a", { id: "4", topic: "t/1", payload: packed });
      const bytes = new TextEncoder().encode("…needle…");
      await subject.append("a", { id: "5", topic: "t/1", payload: Payload.fromBinary(bytes) });
      await subject.append("a", { id: "6", topic: "t/1", payload: Payload.fromValue("Needle") });
      const find = (options: Partial<PeekOptions>) =>
        peekAll(subject, "a", { limit: 2, ...options });
      expect(await find({ topic: "t/+" })).toEqual(["1", "2", "4", "5", "6"]);
      expect(await find({ topic: "needle/#" })).toEqual(["3"]);
      expect(await find({ search: "needle" })).toEqual(["1", "2", "3", "4", "5", "6"]);
      expect(await find({ search: "needle", topic: "t/1" })).toEqual(["1", "4", "5", "6"]);
      expect(await find({ search: "NEEDLE here" })).toEqual(["2"]);
      expect(await find({ headers: [{ name: "h", value: "a needle here" }] })).toEqual(["2"]);
      expect(await find({ from: subject.clock.now() + 1 })).toEqual([]);
      expect(await find({ search: "100%_" })).toEqual([]);
    });

    test("[P-13.3] pages follow one another, though messages come and go", async () => {
      await using subject = await Subject.open(kind, { limits: { queueWindowMessages: 4 } });
      await subject.define("a");
      const ids = Array.from({ length: 25 }, (_, i) => `m${String(i).padStart(2, "0")}`);
      for (const [i, id] of ids.entries()) await subject.append("a", { id, priority: i % 3 });
      const expected = [2, 1, 0].flatMap((of) => ids.filter((_, i) => i % 3 === of));
      expect(await peekAll(subject, "a", { limit: 7 })).toEqual(expected);
      const first = await subject.engine.queues.peek("a", { limit: 7 });
      const peer = subject.consume("a", 7);
      await peer.has(7);
      await peer.ack(peer.seen.map(({ tag }) => tag));
      await subject.append("a", { id: "urgent", priority: 9 });
      await subject.append("a", { id: "last", priority: 0 });
      const rest = await peekAll(subject, "a", { limit: 7, after: first.next! });
      expect(rest).toEqual([...expected.slice(7), "last"]);
    });

    test("[P-13.3] what is not the next of a page, or no queue, is refused", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const { queues } = subject.engine;
      expect(await refusal(queues.peek("a", { limit: 1, after: "x y" }))).toBe("invalid_frame");
      expect(await refusal(queues.peek("gone", { limit: 1 }))).toBe("unknown_queue");
      expect(await refusal(queues.find("gone", "x"))).toBe("unknown_queue");
    });
  });

  describe("find", () => {
    test("[P-13.3] one message by its id, whatever its state", async () => {
      await using subject = await Subject.open(kind, { limits: { queueWindowMessages: 2 } });
      await subject.define("a");
      const now = subject.clock.now();
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "inflight" });
      await peer.has(1);
      for (let i = 0; i < 10; i++) await subject.append("a");
      await subject.append("a", { id: "ready" });
      await subject.append("a", { id: "delayed", dueAt: now + 5 });
      const find = (id: string) => subject.engine.queues.find("a", id);
      expect(await find("inflight")).toMatchObject({ state: "inflight", attempts: 0 });
      expect(await find("ready")).toMatchObject({ state: "ready", message: { id: "ready" } });
      expect(await find("delayed")).toMatchObject({ state: "delayed", dueAt: now + 5 });
      expect(await find("gone")).toBeUndefined();
      await peer.ack(peer.take().tag);
      expect(await find("inflight")).toBeUndefined();
    });
  });

  describe("counts", () => {
    test("[P-13.3] they are exact at every step", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxDeliveries: 2 });
      const now = subject.clock.now();
      const payload = Payload.fromValue("same");
      const steps: number[][] = [];
      const note = (name = "a") => {
        const { ready, delayed, inFlight, bytes, consumers } = subject.counts(name);
        steps.push([ready, delayed, inFlight, bytes / size, consumers]);
      };
      await subject.append("a", { id: "m1", payload });
      const size = subject.counts("a").bytes;
      note();
      await subject.append("a", { id: "m2", payload, dueAt: now + 1000 });
      note();
      const peer = subject.consume("a", 1);
      await peer.has(1);
      note();
      await peer.nack(peer.take().tag, 500);
      note();
      subject.clock.advance(500);
      await peer.has(1);
      note();
      await peer.nack(peer.take().tag, 500);
      note();
      note("a.dead");
      subject.clock.advance(500);
      await peer.has(1);
      note();
      peer.consumer.cancel();
      note();
      expect(steps.map((step) => step.map((n, i) => (i === 3 ? Math.round(n) : n)))).toEqual([
        [1, 0, 0, 1, 0],
        [1, 1, 0, 2, 0],
        [0, 1, 1, 2, 1],
        [0, 2, 0, 2, 1],
        [0, 1, 1, 2, 1],
        [0, 1, 0, 1, 1],
        [1, 0, 0, expect.any(Number), 0],
        [0, 0, 1, 1, 1],
        [1, 0, 0, 1, 0],
      ]);
    });

    test("[P-13.3] the oldest message is the one published first", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const now = subject.clock.now();
      await subject.append("a", { time: now - 7 });
      await subject.append("a", { time: now - 3, priority: 9 });
      expect(subject.engine.queues.describe("a").oldestTime).toBe(now - 7);
      await subject.engine.queues.purge("a");
      expect(subject.engine.queues.describe("a").oldestTime).toBeUndefined();
    });

    test("counters say what was done", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { ackTimeoutMs: 1000, ttlMs: 10_000 });
      await subject.define("b");
      await subject.append(["a", "b"], { id: "x", dedupe: true });
      await subject.append("a", { id: "x", dedupe: true });
      await subject.append("a", { id: "y" });
      const peer = subject.consume("a", 1);
      await peer.nack((await peer.next()).tag, 0);
      await peer.next();
      subject.clock.advance(1000);
      await peer.ack((await peer.next()).tag);
      await peer.reject((await peer.next()).tag);
      await subject.append("a");
      peer.consumer.cancel();
      subject.clock.advance(10_000);
      await subject.quiet();
      expect(subject.engine.counters).toMatchObject({
        nacked: 1,
        deadLettered: 2,
        expired: 1,
        timedOut: 1,
        duplicates: 1,
      });
      const { stored, acked, redelivered } = subject.engine.counters;
      // The suite's own messages of `quiet`, four a call, are stored and acked as well.
      expect([stored - 4, acked - 4, redelivered]).toEqual([4, 1, 2]);
    });
  });
}
