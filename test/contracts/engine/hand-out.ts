/** Who goes next, and how much may be out: [P-5.11], [P-5.17]. */
import { describe, expect, test } from "bun:test";
import { type EngineKind, type Peer, refusal, Subject } from "./subject.ts";

const SMALL_WINDOW = { queueWindowMessages: 4, queueWindowBytes: 4096 };

/** Acks whatever comes, and resolves to the ids of the next `count`. */
async function drained(peer: Peer, count: number): Promise<string[]> {
  peer.onDeliver = ({ tag }) => peer.consumer.settle([tag], { kind: "ack" });
  peer.consumer.credit(1);
  await peer.has(count);
  return peer.ids;
}

export function describeHandOut(kind: EngineKind): void {
  describe("ageing", () => {
    test("[P-5.11] a message rises by one priority for each priorityAgeingMs that it waits", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { priorityAgeingMs: 1000 });
      await subject.append("a", { id: "low", priority: 2 });
      subject.clock.advance(1999);
      await subject.append("a", { id: "fresh4", priority: 4 });
      await subject.append("a", { id: "fresh3", priority: 3 });
      const early = subject.consume("a", 1);
      expect((await early.next()).message.id).toBe("fresh4");
      early.consumer.cancel();
      await subject.quiet();
      // Two levels now: equal to the one of priority 4, and older.
      subject.clock.advance(1);
      expect(await drained(subject.consume("a"), 3)).toEqual(["low", "fresh4", "fresh3"]);
    });

    test("[P-5.11] the highest priority is the end of it, and there the oldest goes first", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { priorityAgeingMs: 1000 });
      await subject.append("a", { id: "high", priority: 9 });
      await subject.append("a", { id: "low", priority: 0 });
      subject.clock.advance(100_000);
      await subject.append("a", { id: "late", priority: 9 });
      expect(await drained(subject.consume("a"), 3)).toEqual(["high", "low", "late"]);
    });

    test("[P-5.11] a steady stream of urgent messages does not hold up the others for ever", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { priorityAgeingMs: 10 });
      await subject.append("a", { id: "low", priority: 0 });
      const peer = subject.consume("a");
      peer.onDeliver = ({ tag }) => {
        peer.consumer.credit(0);
        peer.consumer.settle([tag], { kind: "ack" });
      };
      for (let i = 0; i < 12; i++) {
        await subject.appendAll("a", [`${i}.1`, `${i}.2`], { priority: 9 });
        peer.consumer.credit(1);
        await peer.has(i + 1);
        await subject.quiet();
        subject.clock.advance(10);
      }
      expect(peer.ids).toContain("low");
    });

    test("[P-5.11] with 0 an urgent message always goes first", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { priorityAgeingMs: 0 });
      await subject.append("a", { id: "low", priority: 3 });
      subject.clock.advance(86_400_000);
      await subject.append("a", { id: "late", priority: 4 });
      expect(await drained(subject.consume("a"), 2)).toEqual(["late", "low"]);
    });

    test("[P-5.11] it holds over a backlog larger than what is kept in memory", async () => {
      await using subject = await Subject.open(kind, { limits: SMALL_WINDOW });
      await subject.define("a", { priorityAgeingMs: 1000 });
      const fill = (name: string, priority: number) =>
        subject.appendAll(
          "a",
          Array.from({ length: 12 }, (_, i) => `${name}${String(i).padStart(2, "0")}`),
          { priority },
        );
      await fill("low", 1);
      subject.clock.advance(3000);
      await fill("mid", 4);
      await fill("top", 5);
      const ids = await drained(subject.consume("a"), 36);
      expect(ids.map((id) => id.slice(0, 3)).join(" ")).toBe(
        [...Array(12).fill("top"), ...Array(12).fill("low"), ...Array(12).fill("mid")].join(" "),
      );
    });

    test("[P-5.11] a change takes effect at once", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { priorityAgeingMs: 0 });
      await subject.append("a", { id: "low", priority: 3 });
      subject.clock.advance(5000);
      await subject.appendAll("a", ["1", "2"], { priority: 5 });
      const peer = subject.consume("a", 1);
      await peer.has(1);
      await subject.define("a", { priorityAgeingMs: 1000 });
      peer.consumer.credit(3);
      await peer.has(3);
      expect(peer.ids).toEqual(["1", "low", "2"]);
    });
  });

  describe("in flight", () => {
    test("[P-5.17] maxInFlight bounds what all consumers hold together", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxInFlight: 3 });
      await subject.appendAll("a", ["1", "2", "3", "4", "5"]);
      const peers = [subject.consume("a", 2), subject.consume("a", 10)];
      const seen = () => peers.flatMap((peer) => peer.seen);
      await subject.quiet();
      expect(seen().length).toBe(3);
      expect(subject.states("a")).toEqual([2, 0, 3]);
      // What one gives up is for whoever can take it.
      peers[0]!.consumer.hold(true);
      await peers[0]!.ack(peers[0]!.seen[0]!.tag);
      await subject.quiet();
      expect(seen().length).toBe(4);
      await subject.define("a", { maxInFlight: 4 });
      await subject.quiet();
      expect(seen().length).toBe(5);
    });

    test("[P-5.17] maxInFlightPerConsumer bounds each, whatever its credit", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxInFlightPerConsumer: 2 });
      await subject.appendAll("a", ["1", "2", "3", "4", "5", "6"]);
      const [one, other] = [subject.consume("a", 1), subject.consume("a", 10)];
      await subject.quiet();
      expect([one.seen.length, other.seen.length]).toEqual([1, 2]);
      await other.ack(other.take().tag);
      await other.has(2);
      await subject.define("a", { maxInFlightPerConsumer: 3 });
      await other.has(3);
      await subject.quiet();
      expect([one.seen.length, other.seen.length]).toEqual([1, 4]);
    });

    test("[P-5.17] a lower bound takes nothing back, and waits until as much is back", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.appendAll("a", ["1", "2", "3", "4"]);
      const peer = subject.consume("a", 3);
      await peer.has(3);
      await subject.define("a", { maxInFlight: 1 });
      await peer.ack([peer.take().tag, peer.take().tag]);
      await subject.quiet();
      expect(subject.states("a")).toEqual([1, 0, 1]);
      await peer.ack(peer.take().tag);
      await peer.has(1);
    });
  });

  describe("at rest", () => {
    /** How much had come when nothing more was on its way. */
    const cameAtRest = (peer: Peer) =>
      new Promise<number>((resolve) => peer.consumer.atRest(() => resolve(peer.seen.length)));

    test("[P-12.7] whatever is ready has come by then, however far behind on disk it lay", async () => {
      await using subject = await Subject.open(kind, { limits: SMALL_WINDOW });
      await subject.define("a");
      const ids = Array.from({ length: 30 }, (_, n) => `m${n}`);
      await subject.appendAll("a", ids);
      expect(await cameAtRest(subject.consume("a", 20))).toBe(20);
      const other = subject.consume("a", 20);
      expect(await cameAtRest(other)).toBe(10);
      await subject.append("a", { id: "late" });
      await other.has(11);
    });

    test("[P-12.7] by keys too, where the rest of a key has to wait", async () => {
      await using subject = await Subject.open(kind, { limits: SMALL_WINDOW });
      await subject.define("a", { ordering: "key" });
      for (let n = 0; n < 20; n++) await subject.append("a", { key: `k${n % 7}` });
      expect(await cameAtRest(subject.consume("a", 20))).toBe(7);
    });

    test("[P-12.7] an empty queue, a paused one and one without room at work are at rest", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 5);
      expect(await cameAtRest(peer)).toBe(0);
      await subject.define("a", { paused: true });
      await subject.appendAll("a", ["1", "2"]);
      expect(await cameAtRest(peer)).toBe(0);
      await subject.define("a", { maxInFlight: 1 });
      expect(await cameAtRest(peer)).toBe(1);
      expect(await cameAtRest(subject.consume("a", 5))).toBe(0);
    });

    test("[P-12.7] a consumer that has ended is told nothing", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 5);
      let told = 0;
      peer.consumer.atRest(() => told++);
      peer.consumer.cancel();
      peer.consumer.atRest(() => told++);
      await subject.quiet();
      expect(told).toBe(0);
    });
  });

  describe("draining", () => {
    test("[P-5.17] nothing more comes in, and what is there is handed out and settled", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { backoff: { minMs: 100, jitter: 0 } });
      await subject.define("b");
      await subject.append("a", { id: "1", dedupe: true });
      await subject.append("a", { id: "2", dueAt: subject.clock.now() + 500 });
      await subject.define("a", { draining: true, backoff: { minMs: 100, jitter: 0 } });
      expect(await refusal(subject.append("a"))).toBe("queue_paused");
      expect(await refusal(subject.append(["b", "a"]))).toBe("queue_paused");
      expect(await refusal(subject.append("a", { id: "new", dedupe: true }))).toBe("queue_paused");
      // A repetition asks for nothing new, and what was refused is not remembered.
      expect(await subject.append("a", { id: "1", dedupe: true })).toMatchObject({
        duplicate: true,
      });
      const peer = subject.consume("a", 5);
      await peer.nack((await peer.next()).tag);
      subject.clock.advance(500);
      await peer.has(2);
      await peer.ack([peer.take().tag, peer.take().tag]);
      expect([subject.states("a"), subject.states("b")]).toEqual([
        [0, 0, 0],
        [0, 0, 0],
      ]);
      await subject.define("a", { draining: false });
      expect(await subject.append("a", { id: "new", dedupe: true })).toMatchObject({ queues: 1 });
    });

    test("[P-5.17] its dead letters are kept all the same", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.append("a");
      const peer = subject.consume("a", 1);
      await subject.define("a", { draining: true });
      await peer.reject((await peer.next()).tag);
      expect(subject.states("a.dead")).toEqual([1, 0, 0]);
    });
  });
}
