/** What an engine must do when a queue is full and others may give way [P-5.9]. */
import { describe, expect, test } from "bun:test";
import type { QueueDefinition } from "../../../schemas/queue.ts";
import type { AppendReceipt } from "../../../src/engine/engine.ts";
import { type EngineKind, refusal, Subject } from "./subject.ts";

const DROP: QueueDefinition = { overflow: "drop-oldest", defaultPriority: 4 };
const BURY: QueueDefinition = { overflow: "dead-letter-oldest", defaultPriority: 4 };

export function describeOverflow(kind: EngineKind): void {
  const open = (limits = {}) => Subject.open(kind, { limits });
  const idsOf = async (subject: Subject, name: string) => {
    const { messages } = await subject.engine.queues.peek(name, { limit: 10_000 });
    return messages.map(({ message }) => message.id);
  };

  describe("overflow", () => {
    test("[P-5.9] drop-oldest: the oldest makes room, and the receipt counts it", async () => {
      await using subject = await open();
      await subject.define("a", { ...DROP, maxMessages: 3 });
      await subject.appendAll("a", ["1", "2", "3"]);
      expect(await subject.append("a", { id: "4" })).toEqual({
        queues: 1,
        duplicate: false,
        displaced: 1,
      });
      expect(await idsOf(subject, "a")).toEqual(["2", "3", "4"]);
      expect(subject.states("a.dead")).toEqual([0, 0, 0]);
    });

    test("[P-5.9] dead-letter-oldest: what gave way is dead-lettered as `overflow`", async () => {
      await using subject = await open();
      await subject.define("a", { ...BURY, maxMessages: 2 });
      await subject.appendAll("a", ["1", "2"], { headers: { h: "x" } });
      expect((await subject.append("a", { id: "3" })).displaced).toBe(1);
      expect(await idsOf(subject, "a")).toEqual(["2", "3"]);
      const dead = await subject.engine.queues.find("a.dead", "1");
      expect(dead).toMatchObject({
        message: { headers: { h: "x" } },
        deaths: [{ queue: "a", reason: "overflow", attempts: 0 }],
      });
      expect(subject.engine.counters.deadLettered).toBe(1);
    });

    test("[P-5.9] the least urgent goes first, of these the oldest", async () => {
      await using subject = await open();
      await subject.define("a", { ...DROP, maxMessages: 4 });
      for (const [id, priority] of [
        ["1", 9],
        ["2", 1],
        ["3", 5],
        ["4", 1],
      ] as const) {
        await subject.append("a", { id, priority });
      }
      for (const id of ["5", "6", "7"]) await subject.append("a", { id, priority: 7 });
      expect(await idsOf(subject, "a")).toEqual(["1", "5", "6", "7"]);
      // Even when the new one is the least urgent of all.
      await subject.append("a", { id: "8", priority: 0 });
      expect(await idsOf(subject, "a")).toEqual(["1", "6", "7", "8"]);
    });

    test("[P-5.9] what is delayed or in flight does not give way", async () => {
      await using subject = await open();
      await subject.define("a", { ...DROP, maxMessages: 3 });
      await subject.append("a", { id: "late", dueAt: subject.clock.now() + 1000 });
      const peer = subject.consume("a", 1);
      await subject.appendAll("a", ["out", "1"]);
      await peer.has(1);
      expect((await subject.append("a", { id: "2" })).displaced).toBe(1);
      expect(await idsOf(subject, "a")).toEqual(["late", "out", "2"]);
      peer.consumer.credit(2);
      await peer.has(2);
      expect(await refusal(subject.append("a", { id: "3" }))).toBe("queue_full");
      expect(subject.states("a")).toEqual([0, 1, 2]);
      expect(await peer.ack([peer.take().tag, peer.take().tag])).toBeUndefined();
      expect(peer.ids).toEqual(["out", "2"]);
    });

    test("[P-5.9] as many as the bytes need, and no more", async () => {
      await using subject = await open();
      await subject.define("a", DROP);
      await subject.append("a", { id: "1" });
      const one = subject.counts("a").bytes;
      await subject.define("a", { ...DROP, maxBytes: one * 10 + 5 });
      for (let n = 2; n <= 10; n++) await subject.append("a", { id: `${n % 10}` });
      const headers = { h: "x".repeat(Math.round(one * 1.5)) };
      const { displaced } = await subject.append("a", { id: "b", headers });
      expect(displaced).toBeGreaterThanOrEqual(2);
      expect(displaced).toBeLessThanOrEqual(4);
      expect(subject.counts("a").bytes).toBeLessThanOrEqual(one * 10 + 5);
      // What does not fit into the empty queue displaces nobody.
      const huge = { h: "x".repeat(one * 20) };
      expect(await refusal(subject.append("a", { id: "c", headers: huge }))).toBe("queue_full");
      expect(subject.states("a")[0]).toBe(11 - (displaced ?? 0));
    });

    test("[P-5.9] calls at once count one after the other, in memory and on disk", async () => {
      await using subject = await open({ queueWindowMessages: 8, queueWindowBytes: 4096 });
      await subject.define("a", { ...BURY, maxMessages: 10 });
      const ids = Array.from({ length: 300 }, (_, n) => `${n}`);
      const all = ids.map((id) => subject.append("a", { id }));
      const receipts: AppendReceipt[] = await Promise.all(all);
      expect(receipts.filter(({ displaced }) => displaced === 1)).toHaveLength(290);
      expect(await idsOf(subject, "a")).toEqual(ids.slice(-10));
      expect(await idsOf(subject, "a.dead")).toEqual(ids.slice(0, -10));
      expect(subject.states("a")).toEqual([10, 0, 0]);
      expect(subject.states("a.dead")).toEqual([290, 0, 0]);
    });

    test("[P-5.9] beside consumers each message is delivered or displaced, never both", async () => {
      await using subject = await open({ queueWindowMessages: 8, queueWindowBytes: 4096 });
      await subject.define("a", { ...BURY, maxMessages: 5 });
      const peer = subject.consume("a", 3);
      peer.onDeliver = ({ tag }) => peer.consumer.settle([tag], { kind: "ack" });
      const ids = Array.from({ length: 400 }, (_, n) => `${n}`);
      let refused = 0;
      for (let at = 0; at < ids.length; at += 20) {
        const some = ids.slice(at, at + 20).map((id) =>
          subject.append("a", { id, priority: Number(id) % 3 }).catch(() => {
            refused++;
          }),
        );
        if (at % 100 === 0) peer.consumer.hold(true);
        await Promise.all(some);
        expect(Object.values(subject.states("a")).reduce((x, y) => x + y)).toBeLessThanOrEqual(5);
        peer.consumer.hold(false);
      }
      await subject.quiet();
      const dead = await idsOf(subject, "a.dead");
      const left = await idsOf(subject, "a");
      expect(peer.ids.length + dead.length + left.length + refused).toBe(400);
      expect(new Set([...peer.ids, ...dead, ...left]).size).toBe(400 - refused);
    });

    test("[P-5.9] a duplicate needs no room and displaces nobody", async () => {
      await using subject = await open();
      await subject.define("a", { ...DROP, maxMessages: 2 });
      await subject.append("a", { id: "1", dedupe: true });
      await subject.append("a", { id: "2", dedupe: true });
      const again = ["2", "3", "3", "2"].map((id) => subject.append("a", { id, dedupe: true }));
      expect(await Promise.all(again)).toEqual([
        { queues: 0, duplicate: true },
        { queues: 1, duplicate: false, displaced: 1 },
        { queues: 0, duplicate: true },
        { queues: 0, duplicate: true },
      ]);
      expect(await idsOf(subject, "a")).toEqual(["2", "3"]);
      expect(subject.engine.counters.duplicates).toBe(3);
    });

    test("[P-3.6] one queue without room: in no other does anything give way", async () => {
      await using subject = await open();
      await subject.define("a", { ...DROP, maxMessages: 2 });
      await subject.define("b", { maxMessages: 1 });
      await subject.appendAll("a", ["1", "2"]);
      await subject.append("b", { id: "3" });
      expect(await refusal(subject.append(["a", "b"], { id: "4" }))).toBe("queue_full");
      expect(await idsOf(subject, "a")).toEqual(["1", "2"]);
      await subject.define("c", { ...BURY, maxMessages: 1 });
      await subject.append("c", { id: "5" });
      expect((await subject.append(["a", "c"], { id: "6" })).displaced).toBe(2);
      expect(await idsOf(subject, "a")).toEqual(["2", "6"]);
      expect(await idsOf(subject, "c")).toEqual(["6"]);
    });

    test("[P-3.7] what comes behind a message that waits for room stays behind it", async () => {
      await using subject = await open();
      await subject.define("a", { ...DROP, maxMessages: 3 });
      await subject.define("b");
      const stored: string[] = [];
      const ids = Array.from({ length: 60 }, (_, n) => `${n}`);
      await Promise.all(
        ids.map((id, n) =>
          subject.append(n % 3 === 0 ? ["b"] : ["a", "b"], { id }).then(() => stored.push(id)),
        ),
      );
      expect(stored).toEqual(ids);
      expect(await idsOf(subject, "b")).toEqual(ids);
    });

    test("[P-5.9] the room of one whose time is over is enough", async () => {
      await using subject = await open();
      await subject.define("a", { ...DROP, maxMessages: 1 });
      const expiresAt = subject.clock.now();
      await subject.append("a", { id: "1", expiresAt });
      expect(await refusal(subject.append("a", { id: "2" }))).toBeUndefined();
      expect(await idsOf(subject, "a")).toEqual(["2"]);
    });

    test("[P-5.9] what waits for room is refused when its queue goes", async () => {
      await using subject = await open();
      await subject.define("a", { ...DROP, maxMessages: 1 });
      const appended = ["1", "2", "3"].map((id) => refusal(subject.append("a", { id })));
      const removed = subject.engine.queues.remove("a");
      const codes = await Promise.all(appended);
      await removed;
      for (const code of codes) expect([undefined, "unknown_queue"]).toContain(code);
    });

    if (kind.durable) {
      test("[P-5.9] after a start it is the oldest on disk that gives way", async () => {
        await using subject = await open();
        await subject.define("a", { ...DROP, maxMessages: 4 });
        for (const [id, priority] of [
          ["1", 9],
          ["2", 2],
          ["3", 9],
          ["4", 2],
        ] as const) {
          await subject.append("a", { id, priority });
        }
        await subject.reopen();
        await subject.appendAll("a", ["5", "6", "7"], { priority: 5 });
        expect(await idsOf(subject, "a")).toEqual(["1", "3", "6", "7"]);
      });
    }
  });
}
