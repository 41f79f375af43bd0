/** How an engine hands out messages [P-5.2], [P-5.7]. */
import { describe, expect, test } from "bun:test";
import { Payload } from "../../../src/payload.ts";
import { type EngineKind, type Peer, Subject } from "./subject.ts";

const SMALL_WINDOW = { queueWindowMessages: 4, queueWindowBytes: 4096 };

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `n${String(i).padStart(4, "0")}`);
}

export function describeConsume(kind: EngineKind): void {
  describe("credit", () => {
    test("a queue that does not exist cannot be consumed", async () => {
      await using subject = await Subject.open(kind);
      expect(() => subject.consume("gone")).toThrow(
        expect.objectContaining({ code: "unknown_queue", detail: { queue: "gone" } }),
      );
    });

    test("[P-5.2] there are never more unsettled deliveries than credit", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a");
      await subject.appendAll("a", numbered(20));
      await subject.quiet();
      expect(peer.seen.length).toBe(0);
      peer.consumer.credit(3);
      await peer.has(3);
      await subject.quiet();
      expect(peer.seen.length).toBe(3);
      peer.consumer.credit(5);
      await peer.has(5);
      await subject.quiet();
      expect(peer.ids).toEqual(numbered(5));
      expect(subject.states("a")).toEqual([15, 0, 5]);
    });

    test("[P-5.2] whatever is settled makes room for as much", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 2);
      await subject.appendAll("a", numbered(6));
      const [first, second] = [await peer.next(), await peer.next()];
      await peer.ack([first.tag, second.tag]);
      const [third, fourth] = [await peer.next(), await peer.next()];
      await peer.nack(third.tag, 60_000);
      await peer.reject(fourth.tag);
      await peer.has(2);
      await subject.quiet();
      expect(peer.ids).toEqual(numbered(6));
    });

    test("[P-5.2] less credit takes nothing back, and waits until there is room", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 3);
      await subject.appendAll("a", numbered(6));
      await peer.has(3);
      peer.consumer.credit(1);
      await peer.ack([peer.take().tag, peer.take().tag]);
      await subject.quiet();
      expect(peer.seen.length).toBe(3);
      await peer.ack(peer.take().tag);
      await peer.has(1);
      await subject.quiet();
      expect(peer.ids).toEqual(numbered(4));
    });

    test("[P-5.2] while held a consumer gets nothing, and then what it has credit for", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 2);
      peer.consumer.hold(true);
      await subject.appendAll("a", numbered(4));
      await subject.quiet();
      expect(peer.seen.length).toBe(0);
      peer.consumer.hold(false);
      await peer.has(2);
      await subject.quiet();
      expect(peer.ids).toEqual(numbered(2));
    });

    test("a sink may hold, settle, cancel and take credit from within", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.appendAll("a", numbered(6));
      const holder = subject.consume("a");
      holder.onDeliver = () => holder.consumer.hold(true);
      holder.consumer.credit(10);
      await holder.has(1);
      await subject.quiet();
      expect(holder.ids).toEqual(["n0000"]);
      const leaver = subject.consume("a");
      leaver.onDeliver = () => leaver.consumer.cancel();
      leaver.consumer.credit(10);
      await leaver.has(1);
      await subject.quiet();
      expect(leaver.ids).toEqual(["n0001"]);
      const eager = subject.consume("a");
      eager.onDeliver = ({ tag }) => eager.consumer.settle([tag], { kind: "ack" });
      eager.consumer.credit(1);
      await eager.has(5);
      await subject.quiet();
      expect(eager.ids).toEqual(numbered(6).slice(1));
    });

    test("a delivery never comes from inside a call", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.appendAll("a", numbered(3));
      const peer = subject.consume("a");
      peer.consumer.credit(1);
      expect(peer.seen.length).toBe(0);
      const { tag } = await peer.next();
      peer.consumer.settle([tag], { kind: "ack" });
      peer.consumer.hold(true);
      peer.consumer.hold(false);
      expect(peer.seen.length).toBe(1);
      await peer.has(1);
    });

    test("tags are never used twice", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.define("b");
      const peers = ["a", "a", "b"].map((queue) => subject.consume(queue, 1));
      for (const peer of peers) {
        peer.onDeliver = ({ tag, attempt }) =>
          peer.consumer.settle([tag], attempt < 3 ? { kind: "nack", delayMs: 0 } : { kind: "ack" });
      }
      await Promise.all(numbered(10).map((id) => subject.append(["a", "b"], { id })));
      await peers[2]!.has(30);
      await subject.quiet();
      const tags = peers.flatMap(({ seen }) => seen.map(({ tag }) => tag));
      expect(tags.length).toBe(60);
      expect(new Set(tags).size).toBe(60);
      expect(tags.every(Number.isSafeInteger)).toBe(true);
    });
  });

  describe("order", () => {
    test("[P-5.7] each message goes to one of the competing consumers", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peers = [1, 2, 5].map((credit) => subject.consume("a", credit));
      for (const peer of peers) {
        peer.onDeliver = ({ tag }) => peer.consumer.settle([tag], { kind: "ack" });
      }
      await subject.appendAll("a", numbered(100));
      await subject.quiet();
      expect(peers.flatMap(({ ids }) => ids).sort()).toEqual(numbered(100));
      expect(subject.states("a")).toEqual([0, 0, 0]);
    });

    test("[P-5.7] consumers take turns; who has no credit or is held misses its turn", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { paused: true });
      await subject.appendAll("a", numbered(12));
      const peers = [10, 10, 1, 10].map((credit) => subject.consume("a", credit));
      peers[3]!.consumer.hold(true);
      await subject.define("a", { paused: false });
      await subject.quiet();
      const [first, second, third, held] = peers.map(({ seen }) => seen.length);
      expect([third, held]).toEqual([1, 0]);
      expect(first! + second!).toBe(11);
      expect(Math.abs(first! - second!)).toBeLessThanOrEqual(1);
    });

    test("[P-5.7] turns are fair over time, not only within one", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peers = [1, 1, 1].map((credit) => subject.consume("a", credit));
      for (const id of numbered(12)) {
        await subject.append("a", { id });
        await subject.quiet();
        const busy = peers.find((peer) => peer.seen.at(-1)?.message.id === id) as Peer;
        await busy.ack(busy.seen.at(-1)!.tag);
      }
      expect(peers.map(({ seen }) => seen.length)).toEqual([4, 4, 4]);
    });

    test("[P-5.7] higher priority first, then oldest", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { defaultPriority: 5 });
      const priorities = [0, 9, undefined, 4, 9, 6, undefined, 0];
      for (const [i, priority] of priorities.entries()) {
        await subject.append("a", { id: `${i}`, ...(priority !== undefined && { priority }) });
      }
      const peer = subject.consume("a", 8);
      await peer.has(8);
      expect(peer.ids).toEqual(["1", "4", "5", "2", "6", "3", "0", "7"]);
    });

    test("[P-5.1] priority is fixed when a message enters", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { defaultPriority: 2 });
      await subject.append("a", { id: "before" });
      await subject.define("a", { defaultPriority: 8 });
      await subject.append("a", { id: "five", priority: 5 });
      await subject.append("a", { id: "after" });
      const peer = subject.consume("a", 3);
      await peer.has(3);
      expect(peer.ids).toEqual(["after", "five", "before"]);
    });

    test("[P-5.7] order holds over a backlog larger than what is kept in memory", async () => {
      await using subject = await Subject.open(kind, { limits: SMALL_WINDOW });
      await subject.define("a");
      const messages = numbered(60).map((id, i) => ({ id, priority: (i * 7) % 10 }));
      for (const message of messages) void subject.append("a", message);
      const expected = messages
        .toSorted((x, y) => y.priority - x.priority || (x.id < y.id ? -1 : 1))
        .map(({ id }) => id);
      await subject.quiet();
      const peer = subject.consume("a");
      peer.onDeliver = ({ tag }) => peer.consumer.settle([tag], { kind: "ack" });
      peer.consumer.credit(3);
      await peer.has(60);
      await subject.quiet();
      expect(peer.ids).toEqual(expected);
      expect(subject.states("a")).toEqual([0, 0, 0]);
    });

    test("[P-5.7] an urgent message overtakes a long backlog, and a returned one keeps its place", async () => {
      await using subject = await Subject.open(kind, { limits: SMALL_WINDOW });
      await subject.define("a");
      await subject.appendAll("a", numbered(40));
      const peer = subject.consume("a", 3);
      await peer.has(3);
      await subject.append("a", { id: "urgent", priority: 9 });
      await peer.nack(
        [peer.take(), peer.take(), peer.take()].map(({ tag }) => tag),
        0,
      );
      await peer.has(3);
      await subject.quiet();
      expect(peer.ids.slice(3)).toEqual(["urgent", "n0000", "n0001"]);
    });

    test("more in flight than is kept in memory", async () => {
      await using subject = await Subject.open(kind, { limits: SMALL_WINDOW });
      await subject.define("a");
      await subject.appendAll("a", numbered(40));
      const peer = subject.consume("a", 30);
      await peer.has(30);
      expect(subject.states("a")).toEqual([10, 0, 30]);
      peer.consumer.cancel();
      const next = subject.consume("a", 40);
      await next.has(40);
      expect(next.ids).toEqual(numbered(40));
      expect(next.seen.every(({ attempt }) => attempt === 1)).toBe(true);
    });
  });

  describe("delay", () => {
    test("[P-3.2] a delayed message is not handed out early", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 10);
      await subject.append("a", { id: "late", dueAt: subject.clock.now() + 1000 });
      await subject.append("a", { id: "now" });
      await subject.append("a", { id: "past", dueAt: subject.clock.now() - 1000 });
      await peer.has(2);
      await subject.quiet();
      expect(peer.ids).toEqual(["now", "past"]);
      expect(subject.states("a")).toEqual([0, 1, 2]);
      subject.clock.advance(999);
      await subject.quiet();
      expect(peer.seen.length).toBe(2);
      subject.clock.advance(1);
      await peer.has(3);
      expect(peer.ids).toEqual(["now", "past", "late"]);
      expect(peer.seen[2]!.attempt).toBe(1);
    });

    test("[P-5.7] a message that has become due takes the place of its age", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const dueAt = subject.clock.now() + 1000;
      await subject.append("a", { id: "1" });
      await subject.append("a", { id: "2", dueAt });
      await subject.append("a", { id: "3" });
      subject.clock.advance(1000);
      await subject.quiet();
      expect(subject.states("a")).toEqual([3, 0, 0]);
      const peer = subject.consume("a", 3);
      await peer.has(3);
      expect(peer.ids).toEqual(["1", "2", "3"]);
    });

    test("[P-5.7] so it does in a backlog larger than what is kept in memory", async () => {
      await using subject = await Subject.open(kind, { limits: SMALL_WINDOW });
      await subject.define("a");
      const dueAt = subject.clock.now() + 1000;
      const isLate = (i: number) => i % 5 === 1;
      for (const [i, id] of numbered(40).entries()) {
        await subject.append("a", { id, ...(isLate(i) && { dueAt }) });
      }
      const peer = subject.consume("a", 6);
      await peer.has(6);
      expect(peer.ids).toEqual(numbered(8).filter((_, i) => !isLate(i)));
      subject.clock.advance(1000);
      await subject.quiet();
      expect(subject.states("a")).toEqual([34, 0, 6]);
      peer.consumer.credit(40);
      await peer.has(40);
      const late = numbered(8).filter((_, i) => isLate(i));
      expect(peer.ids.slice(6)).toEqual([...late, ...numbered(40).slice(8)]);
    });

    test("[P-3.2] more delayed messages than are kept in memory, each at its time", async () => {
      await using subject = await Subject.open(kind, { limits: SMALL_WINDOW });
      await subject.define("a");
      const start = subject.clock.now();
      // 7 and 30 have no common divisor: every time once, far from in order.
      for (const [i, id] of numbered(30).entries()) {
        await subject.append("a", { id, dueAt: start + 1000 * (1 + ((i * 7) % 30)) });
      }
      const peer = subject.consume("a", 100);
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 30, 0]);
      for (let due = 1; due <= 30; due++) {
        subject.clock.advance(999);
        await subject.quiet();
        expect(peer.seen.length).toBe(due - 1);
        subject.clock.advance(1);
        await peer.has(due);
        expect(subject.states("a")).toEqual([0, 30 - due, due]);
      }
      expect(peer.ids).toEqual(numbered(30).toSorted((x, y) => dueOf(x) - dueOf(y)));
    });

    test("[P-3.2] many large messages that come due at once are all handed out", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 100);
      const dueAt = subject.clock.now() + 1000;
      const payload = Payload.fromValue("x".repeat(100_000));
      for (const id of numbered(30)) await subject.append("a", { id, dueAt, payload });
      subject.clock.advance(1000);
      await peer.has(30);
      expect(peer.ids.toSorted()).toEqual(numbered(30));
    });
  });

  describe("leaving", () => {
    test("[P-5.2] cancel returns what is unsettled, in its place, and burns no attempt", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxDeliveries: 1 });
      await subject.appendAll("a", numbered(4));
      const first = subject.consume("a", 3);
      await first.has(3);
      subject.clock.advance(10_000);
      first.consumer.cancel();
      const second = subject.consume("a", 4);
      await second.has(4);
      expect(second.ids).toEqual(numbered(4));
      expect(second.seen.map(({ attempt }) => attempt)).toEqual([1, 1, 1, 1]);
      expect(subject.counts("a").consumers).toBe(1);
    });

    test("[P-5.2] a consumer that has left gets nothing and changes nothing", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.appendAll("a", numbered(4));
      const peer = subject.consume("a", 1);
      const { tag } = await peer.next();
      peer.consumer.cancel();
      peer.consumer.cancel();
      peer.consumer.disconnect();
      peer.consumer.credit(10);
      peer.consumer.hold(false);
      expect(peer.consumer.holds(tag)).toBe(false);
      expect((await peer.ack(tag))?.code).toBe("stale_delivery");
      await subject.quiet();
      expect(peer.seen.length).toBe(1);
      expect(peer.ended).toBeUndefined();
      expect(subject.counts("a")).toMatchObject({ ready: 4, inFlight: 0, consumers: 0 });
    });

    test("[P-5.2] nothing is handed to a consumer that cancels just after its credit", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.appendAll("a", numbered(4));
      const peer = subject.consume("a", 10);
      peer.consumer.cancel();
      await subject.quiet();
      expect(peer.seen.length).toBe(0);
    });

    test("[P-5.5] a lost connection counts as an attempt only beyond the grace time", async () => {
      await using subject = await Subject.open(kind, { limits: { deliveryGraceMs: 1000 } });
      await subject.define("a");
      await subject.append("a", { id: "x" });
      const attempts: number[] = [];
      for (const heldMs of [0, 1000, 1001, 1, 5000, 0]) {
        const peer = subject.consume("a", 1);
        attempts.push((await peer.next()).attempt);
        subject.clock.advance(heldMs);
        peer.consumer.disconnect();
        await subject.quiet();
        expect(subject.states("a")).toEqual([1, 0, 0]);
      }
      expect(attempts).toEqual([1, 1, 1, 2, 2, 3]);
    });
  });

  describe("pause", () => {
    test("[P-5.1] a paused queue takes messages and settlements and hands out nothing", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 2);
      await subject.appendAll("a", numbered(2));
      await peer.has(2);
      await subject.define("a", { paused: true });
      await subject.appendAll("a", ["x", "y"]);
      expect(await peer.ack(peer.take().tag)).toBeUndefined();
      expect(await peer.nack(peer.take().tag, 0)).toBeUndefined();
      await subject.quiet();
      expect(peer.seen.length).toBe(2);
      expect(subject.states("a")).toEqual([3, 0, 0]);
      await subject.define("a", { paused: false });
      await peer.has(2);
      await subject.quiet();
      expect(peer.ids.slice(2)).toEqual(["n0001", "x"]);
    });
  });
}

function dueOf(id: string): number {
  return (Number(id.slice(1)) * 7) % 30;
}
