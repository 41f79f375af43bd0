/** Messages published for later, and changing or taking them back while they wait [P-5.13]. */
import { describe, expect, test } from "bun:test";
import { Payload } from "../../../src/payload.ts";
import { type EngineKind, refusal, Subject } from "./subject.ts";

const SECOND_MS = 1000;
const text = (length: number) => Payload.fromValue("x".repeat(length));

export function describeSchedule(kind: EngineKind): void {
  describe("scheduled messages", () => {
    test("[P-5.13] a change of time moves it, earlier or later, in all its queues", async () => {
      await using subject = await Subject.open(kind);
      for (const name of ["a", "b", "c"]) await subject.define(name);
      const now = subject.clock.now();
      await subject.append(["a", "b"], { id: "later", dueAt: now + 5000 });
      await subject.append("c", { id: "sooner", dueAt: now + 9000 });
      expect(await subject.reschedule("later", { dueAt: now + 8000 })).toBe(2);
      expect(await subject.reschedule("sooner", { dueAt: now + 1000 })).toBe(1);
      const peers = ["a", "b", "c"].map((name) => subject.consume(name, 5));
      subject.clock.advance(SECOND_MS);
      expect((await peers[2]!.next()).message.id).toBe("sooner");
      subject.clock.advance(6 * SECOND_MS);
      await subject.quiet();
      expect([subject.states("a"), subject.states("b")]).toEqual([
        [0, 1, 0],
        [0, 1, 0],
      ]);
      subject.clock.advance(SECOND_MS);
      for (const peer of peers.slice(0, 2)) {
        expect(await peer.next()).toMatchObject({ message: { id: "later" }, attempt: 1 });
      }
    });

    test("[P-5.13, P-2.3] what was published just before is meant, also while it waits for room", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("q", { maxMessages: 2, overflow: "drop-oldest" });
      await subject.appendAll("q", ["1", "2"]);
      const dueAt = subject.clock.now() + 60_000;
      const append = subject.append("q", { id: "later", dueAt, dedupe: true });
      const change = subject.reschedule("later", { dueAt: dueAt + 1000 });
      const removal = subject.reschedule("later", null);
      expect(await append).toEqual({ queues: 1, duplicate: false, displaced: 1 });
      expect([await change, await removal]).toEqual([1, 1]);
      expect(await subject.append("q", { id: "other", dueAt })).toEqual({
        queues: 1,
        duplicate: false,
      });
      expect(await refusal(subject.reschedule("later", null))).toBe("not_found");
      const { messages } = await subject.engine.queues.peek("q", { limit: 10 });
      expect(messages.map(({ message }) => message.id)).toEqual(["2", "other"]);
    });

    test("[P-5.13] a time that has come already is now", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("q");
      const now = subject.clock.now();
      await subject.append("q", { id: "m", dueAt: now + 60_000 });
      const peer = subject.consume("q", 1);
      expect(await subject.reschedule("m", { dueAt: now - 5 })).toBe(1);
      subject.clock.advance(0);
      expect((await peer.next()).message.id).toBe("m");
    });

    test("[P-5.13] what it says can be changed, and the rest of it stays", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("q");
      const now = subject.clock.now();
      const before = { headers: { a: "1" }, key: "k", priority: 7, contentType: "text/x" };
      await subject.append("q", { id: "m", dueAt: now + 1000, ...before });
      const bytes = subject.counts("q").bytes;
      const payload = Payload.fromBinary(new Uint8Array(500));
      expect(await subject.reschedule("m", { payload, headers: { b: "2" } })).toBe(1);
      expect(subject.counts("q").bytes).toBeGreaterThan(bytes + 400);
      const found = await subject.engine.queues.find("q", "m");
      expect(found).toMatchObject({ state: "delayed", dueAt: now + 1000 });
      const peer = subject.consume("q", 1);
      subject.clock.advance(SECOND_MS);
      const { message, tag } = await peer.next();
      expect(message.payload.value()).toEqual(new Uint8Array(500));
      const { headers, key, priority, contentType, time } = message;
      expect({ headers, key, priority, contentType, time }).toEqual({
        ...before,
        headers: { b: "2" },
        time: now,
      });
      await peer.ack(tag);
      expect(subject.counts("q").bytes).toBe(0);
    });

    test("[P-5.13] what is taken back is never handed out, and leaves its room", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 1 });
      await subject.define("b");
      const dueAt = subject.clock.now() + 1000;
      await subject.append(["a", "b"], { id: "m", dueAt });
      expect(await refusal(subject.append("a"))).toBe("queue_full");
      expect(await subject.reschedule("m", null)).toBe(2);
      expect([subject.states("a"), subject.states("b")]).toEqual([
        [0, 0, 0],
        [0, 0, 0],
      ]);
      expect(subject.counts("b").bytes).toBe(0);
      await subject.append("a", { id: "next" });
      const peer = subject.consume("a", 5);
      subject.clock.advance(5 * SECOND_MS);
      expect((await peer.next()).message.id).toBe("next");
      await subject.quiet();
      expect(peer.ids).toEqual(["next"]);
    });

    test("[P-5.13] not_found: never there, due already, or waiting for a retry", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("q", { maxDeliveries: 5 });
      const now = subject.clock.now();
      const later = { dueAt: now + 60_000 };
      await subject.append("q", { id: "due", dueAt: now + 1000 });
      await subject.append("q", { id: "plain" });
      await subject.append("q", { id: "past", dueAt: now });
      expect(await refusal(subject.reschedule("other", later))).toBe("not_found");
      expect(await refusal(subject.reschedule("due", later, "elsewhere"))).toBe("not_found");
      subject.clock.advance(SECOND_MS);
      const peer = subject.consume("q", 5);
      await peer.has(3);
      for (const { tag } of peer.seen) await peer.nack(tag, 5000);
      for (const id of ["due", "plain", "past"]) {
        expect(await refusal(subject.reschedule(id, later))).toBe("not_found");
        expect(await refusal(subject.reschedule(id, null))).toBe("not_found");
      }
      expect(subject.states("q")).toEqual([0, 3, 0]);
    });

    test("[P-5.13] a change and its becoming due: one of the two happens", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("q");
      const start = subject.clock.now();
      const peer = subject.consume("q", 100);
      const ids = Array.from({ length: 40 }, (_, i) => `m${String(i).padStart(2, "0")}`);
      await subject.appendAll("q", ids, { dueAt: start + 1000 });
      const change = (id: string, i: number) =>
        subject.reschedule(id, i % 2 === 0 ? { dueAt: start + 9000 } : null);
      const early = ids.slice(0, 20).map((id, i) => refusal(change(id, i)));
      subject.clock.advance(SECOND_MS);
      const late = ids.slice(20).map((id, i) => refusal(change(id, i)));
      const won = (await Promise.all([...early, ...late])).map((code) => code === undefined);
      await subject.quiet();
      const lost = ids.filter((_, i) => !won[i]);
      expect(peer.ids.toSorted()).toEqual(lost);
      subject.clock.advance(9 * SECOND_MS);
      const moved = ids.filter((_, i) => won[i] && i % 2 === 0);
      await peer.has(lost.length + moved.length);
      await subject.quiet();
      expect(peer.ids.toSorted()).toEqual([...lost, ...moved].toSorted());
    });

    test("[P-5.13] changes of one message take effect in the order of the calls", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("q");
      const now = subject.clock.now();
      await subject.append("q", { id: "m", dueAt: now + 9000 });
      const changes = await Promise.all([
        subject.reschedule("m", { payload: text(10) }),
        subject.reschedule("m", { dueAt: now + 1000 }),
        subject.reschedule("m", { payload: text(300), dueAt: now + 2000 }),
        subject.reschedule("m", { payload: text(20) }),
      ]);
      expect(changes).toEqual([1, 1, 1, 1]);
      const gone = [subject.reschedule("m", null), subject.reschedule("m", null)];
      expect(await Promise.all(gone.map(refusal))).toEqual([undefined, "not_found"]);
      expect(subject.counts("q")).toMatchObject({ delayed: 0, bytes: 0 });
    });

    test("[P-5.13, P-5.1] it grows only as far as every queue has room, or nowhere", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("small", { maxBytes: 1000 });
      await subject.define("large");
      const now = subject.clock.now();
      await subject.append(["large", "small"], { id: "m", dueAt: now + 1000, payload: text(10) });
      const grown = subject.reschedule("m", { payload: text(2000) });
      expect(await refusal(grown)).toBe("queue_full");
      expect(subject.counts("large").bytes).toBeLessThan(500);
      expect(await subject.reschedule("m", { payload: text(600) })).toBe(2);
      expect(await refusal(subject.append("small", { payload: text(400) }))).toBe("queue_full");
      expect(await subject.reschedule("m", { payload: text(1) })).toBe(2);
      await subject.append("small", { payload: text(400) });
    });

    test("[P-5.13] it may not expire before it is due, and its time to live can be moved", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("q", { ttlMs: 20_000 });
      const now = subject.clock.now();
      await subject.append("q", { id: "m", dueAt: now + 1000, expiresAt: now + 5000 });
      const later = { dueAt: now + 5000 };
      expect(await refusal(subject.reschedule("m", later))).toBe("conflict");
      expect(await subject.reschedule("m", { ...later, expiresAt: now + 8000 })).toBe(1);
      subject.clock.advance(5 * SECOND_MS);
      await subject.quiet();
      expect(subject.states("q")).toEqual([1, 0, 0]);
      subject.clock.advance(3 * SECOND_MS);
      await subject.quiet();
      expect([subject.states("q"), subject.states("q.dead")]).toEqual([
        [0, 0, 0],
        [1, 0, 0],
      ]);
    });

    test("[P-5.13] one that is moved beyond its queue's time to live expires by that", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("q", { ttlMs: 5000 });
      const now = subject.clock.now();
      await subject.append("q", { id: "m", dueAt: now + 1000 });
      expect(await subject.reschedule("m", { dueAt: now + 60_000 })).toBe(1);
      subject.clock.advance(5 * SECOND_MS);
      await subject.quiet();
      expect([subject.states("q"), subject.states("q.dead")]).toEqual([
        [0, 0, 0],
        [1, 0, 0],
      ]);
    });

    test("[P-5.13] many of them, few in memory: moved ones come at their time", async () => {
      await using subject = await Subject.open(kind, { limits: { delayedWindow: 8 } });
      await subject.define("q");
      const now = subject.clock.now();
      const ids = Array.from({ length: 100 }, (_, i) => `m${String(i).padStart(3, "0")}`);
      await Promise.all(
        ids.map((id, i) => subject.append("q", { id, dueAt: now + 10_000 + i * 10 })),
      );
      await subject.reschedule("m000", { dueAt: now + 25_000 });
      await subject.reschedule("m099", { dueAt: now + 1000 });
      await subject.reschedule("m050", { dueAt: now + 20_000 });
      await subject.reschedule("m050", { dueAt: now + 2000 });
      await subject.reschedule("m051", null);
      const peer = subject.consume("q", 1000);
      subject.clock.advance(2 * SECOND_MS);
      await peer.has(2);
      subject.clock.advance(10 * SECOND_MS);
      await peer.has(98);
      subject.clock.advance(13 * SECOND_MS);
      await peer.has(99);
      await subject.quiet();
      const rest = ids.filter((id) => !["m000", "m050", "m051", "m099"].includes(id));
      expect(peer.ids.slice(0, 2).toSorted()).toEqual(["m050", "m099"]);
      expect(peer.ids.slice(2, -1).toSorted()).toEqual(rest);
      expect(peer.ids.at(-1)).toBe("m000");
    });

    if (kind.durable) {
      test("[P-5.13, P-5.8] what was changed and taken back stays so over a restart", async () => {
        await using subject = await Subject.open(kind);
        await subject.define("q");
        const now = subject.clock.now();
        await subject.appendAll("q", ["moved", "gone", "same"], { dueAt: now + 1000 });
        await subject.reschedule("moved", { dueAt: now + 5000, payload: text(7) });
        await subject.reschedule("gone", null);
        await subject.reopen();
        expect(subject.states("q")).toEqual([0, 2, 0]);
        const peer = subject.consume("q", 5);
        subject.clock.advance(SECOND_MS);
        expect((await peer.next()).message.id).toBe("same");
        expect(await subject.reschedule("moved", { dueAt: now + 4000 })).toBe(1);
        subject.clock.advance(3 * SECOND_MS);
        const { message } = await peer.next();
        expect([message.id, message.payload.value()]).toEqual(["moved", "x".repeat(7)]);
      });
    }

    test("[P-5.13] after the end of the engine: draining", async () => {
      await using subject = await Subject.open(kind);
      await subject.engine.close();
      expect(await refusal(subject.reschedule("m", null))).toBe("draining");
    });
  });
}
