/** What an engine must do with what is appended [P-3.4] to [P-3.7]. */
import { describe, expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import type { WarrenError } from "../../../src/errors.ts";
import { PAYLOAD_FORMAT, Payload } from "../../../src/payload.ts";
import { type EngineKind, refusal, Subject } from "./subject.ts";

export function describeAppend(kind: EngineKind): void {
  describe("append", () => {
    test("[P-3.6] a message goes to every queue named, and the receipt counts them", async () => {
      await using subject = await Subject.open(kind);
      for (const name of ["a", "b", "c"]) await subject.define(name);
      expect(await subject.append("a")).toEqual({ queues: 1, duplicate: false });
      expect(await subject.append(["a", "b"])).toEqual({ queues: 2, duplicate: false });
      expect(["a", "b", "c"].map((name) => subject.states(name)[0])).toEqual([2, 1, 0]);
      expect(subject.engine.counters.stored).toBe(3);
    });

    test("[P-3.6] one unknown queue among several: nothing is stored in any", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const error = await subject.append(["a", "gone"]).catch((thrown: WarrenError) => thrown);
      expect(error).toMatchObject({ code: "unknown_queue", detail: { queue: "gone" } });
      await subject.quiet();
      expect(subject.states("a")).toEqual([0, 0, 0]);
    });

    test("answers come later, each once, in the order of the appends", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const answers: string[] = [];
      for (const id of ["1", "2", "3", "4"]) {
        subject.engine.append({
          message: subject.message({ id }),
          queues: ["a"],
          dedupe: false,
          stored: () => answers.push(id),
          failed: () => answers.push(`${id} failed`),
        });
      }
      expect(answers).toEqual([]);
      await subject.quiet();
      expect(answers).toEqual(["1", "2", "3", "4"]);
    });

    test("a refusal comes later too", async () => {
      await using subject = await Subject.open(kind);
      const codes: string[] = [];
      subject.engine.append({
        message: subject.message(),
        queues: ["gone"],
        dedupe: false,
        stored: () => codes.push("stored"),
        failed: ({ code }) => codes.push(code),
      });
      expect(codes).toEqual([]);
      await subject.quiet();
      expect(codes).toEqual(["unknown_queue"]);
    });

    test("[P-3.4] nothing is handed out before its publisher was told", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const events: string[] = [];
      const peer = subject.consume("a", 100);
      peer.onDeliver = ({ message }) => events.push(`delivered ${message.id}`);
      for (const id of ["1", "2", "3"]) {
        subject.engine.append({
          message: subject.message({ id }),
          queues: ["a"],
          dedupe: false,
          stored: () => events.push(`stored ${id}`),
          failed: () => {},
        });
      }
      await peer.has(3);
      for (const id of ["1", "2", "3"]) {
        const stored = events.indexOf(`stored ${id}`);
        expect(stored).toBeGreaterThanOrEqual(0);
        expect(events.indexOf(`delivered ${id}`)).toBeGreaterThan(stored);
      }
    });

    test("[P-3.4] nor what is appended while another publisher is told", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const events: string[] = [];
      const peer = subject.consume("a", 100);
      peer.onDeliver = ({ message }) => events.push(`delivered ${message.id}`);
      const append = (n: number) =>
        subject.engine.append({
          message: subject.message({ id: `${n}` }),
          queues: ["a"],
          dedupe: false,
          stored: () => {
            events.push(`stored ${n}`);
            if (n < 9) append(n + 1);
          },
          failed: () => {},
        });
      append(1);
      await peer.has(9);
      for (let n = 1; n <= 9; n++) {
        expect(events.indexOf(`stored ${n}`)).toBeLessThan(events.indexOf(`delivered ${n}`));
      }
    });

    test("[P-3.7] first attempts come in the order of the appends", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 7);
      peer.onDeliver = ({ tag }) => peer.consumer.settle([tag], { kind: "ack" });
      const ids = Array.from({ length: 200 }, (_, i) => `m${i}`);
      for (const id of ids) void subject.append("a", { id });
      await peer.has(200);
      await subject.quiet();
      expect(peer.ids).toEqual(ids);
    });

    test("[P-5.3] a message comes out as it went in", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 10);
      const fields = {
        id: "an id, “quoted”",
        topic: "säle/1/temperatur",
        time: subject.clock.now() - 5,
        headers: { trace: "1-2", "with space": "und Umlaut ü" },
        key: "room 1",
        priority: 7,
        expiresAt: subject.clock.now() + 1000,
        from: "device-1",
        replyTo: "$inbox/1/x",
        correlationId: "c1",
        contentType: "application/json",
      };
      const payload = Payload.fromValue({ text: "ü\n", list: [1, 2.5, null, true] });
      await subject.append("a", { ...fields, payload });
      const delivery = await peer.next();
      const { payload: received, ...rest } = delivery.message;
      expect(rest).toEqual(fields);
      expect(received.value()).toEqual({ text: "ü\n", list: [1, 2.5, null, true] });
      expect(delivery).toMatchObject({
        queue: "a",
        attempt: 1,
        expiresAt: subject.clock.now() + 1000,
      });
      expect(delivery.deaths).toBeUndefined();
    });

    test("[P-2.6] payloads of every kind keep their kind", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a", 10);
      const bytes = new Uint8Array(100_000).map((_, i) => i * 7);
      await subject.append("a", { payload: Payload.fromBinary(bytes) });
      await subject.append("a", {
        payload: Payload.fromStored(PAYLOAD_FORMAT.msgpack, encode({ b: bytes.slice(0, 5) })),
      });
      await subject.append("a", { payload: Payload.fromValue(null) });
      await subject.append("a", { payload: Payload.fromBinary(new Uint8Array(0)) });
      const payloads = [];
      for (let i = 0; i < 4; i++) payloads.push((await peer.next()).message.payload);
      const { json, binary, msgpack } = PAYLOAD_FORMAT;
      expect(payloads.map(({ format }) => format)).toEqual([binary, msgpack, json, binary]);
      expect(Buffer.from(payloads[0]!.storedBytes()).equals(Buffer.from(bytes))).toBe(true);
      expect([...(payloads[1]!.value() as { b: Uint8Array }).b]).toEqual([0, 7, 14, 21, 28]);
      expect(payloads[2]!.value()).toBeNull();
      expect(payloads[3]!.storedBytes().length).toBe(0);
    });
  });

  describe("duplicates", () => {
    test("[P-3.5] an id seen on the topic within the window is stored nowhere", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.define("b");
      const twice = { id: "x", dedupe: true };
      expect(await subject.append("a", twice)).toEqual({ queues: 1, duplicate: false });
      expect(await subject.append("a", twice)).toEqual({ queues: 0, duplicate: true });
      expect(await subject.append(["a", "b"], twice)).toEqual({ queues: 0, duplicate: true });
      expect(subject.states("a")).toEqual([1, 0, 0]);
      expect(subject.states("b")).toEqual([0, 0, 0]);
      expect(subject.engine.counters).toMatchObject({ stored: 1, duplicates: 2 });
    });

    test("[P-3.5] a repetition is known while the first is still on its way", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const all = [1, 2, 3].map(() => subject.append("a", { id: "x", dedupe: true }));
      const receipts = await Promise.all(all);
      expect(receipts.map(({ duplicate }) => duplicate)).toEqual([false, true, true]);
      expect(subject.states("a")).toEqual([1, 0, 0]);
    });

    test("[P-3.5] other topics, other ids and broker-made ids do not clash", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const receipts = [
        await subject.append("a", { id: "x", topic: "t/1", dedupe: true }),
        await subject.append("a", { id: "x", topic: "t/2", dedupe: true }),
        await subject.append("a", { id: "y", topic: "t/1", dedupe: true }),
        await subject.append("a", { id: "x", topic: "t/1", dedupe: false }),
        await subject.append("a", { id: "z", topic: "t/1", dedupe: false }),
        await subject.append("a", { id: "z", topic: "t/1", dedupe: true }),
      ];
      expect(receipts.map(({ duplicate }) => duplicate)).not.toContain(true);
      expect(subject.states("a")).toEqual([6, 0, 0]);
    });

    test("[P-3.5] the window begins with the first and is not prolonged", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { dedupeWindowMs: 1000 });
      const isDuplicate = async () =>
        (await subject.append("a", { id: "x", dedupe: true })).duplicate;
      expect(await isDuplicate()).toBe(false);
      subject.clock.advance(600);
      expect(await isDuplicate()).toBe(true);
      subject.clock.advance(399);
      expect(await isDuplicate()).toBe(true);
      subject.clock.advance(1);
      expect(await isDuplicate()).toBe(false);
      expect(await isDuplicate()).toBe(true);
    });

    test("[P-3.5] the longest window of the queues counts; none of any length, no duplicates", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("none", { dedupeWindowMs: 0 });
      await subject.define("short", { dedupeWindowMs: 1000 });
      await subject.define("long", { dedupeWindowMs: 5000 });
      const isDuplicate = async (id: string, queues: string[]) =>
        (await subject.append(queues, { id, dedupe: true })).duplicate;
      expect(await isDuplicate("x", ["none"])).toBe(false);
      expect(await isDuplicate("x", ["none"])).toBe(false);
      await isDuplicate("y", ["short", "long", "none"]);
      subject.clock.advance(4999);
      expect(await isDuplicate("y", ["short"])).toBe(true);
      subject.clock.advance(1);
      expect(await isDuplicate("y", ["short"])).toBe(false);
    });

    test("[P-3.5] an acked message is still known, a refused one is not", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 1 });
      const peer = subject.consume("a", 1);
      await subject.append("a", { id: "x", dedupe: true });
      const { tag } = await peer.next();
      expect(await refusal(subject.append("a", { id: "y", dedupe: true }))).toBe("queue_full");
      expect(await peer.ack(tag)).toBeUndefined();
      expect((await subject.append("a", { id: "x", dedupe: true })).duplicate).toBe(true);
      expect((await subject.append("a", { id: "y", dedupe: true })).duplicate).toBe(false);
    });

    test("[P-3.5] a duplicate is no matter for a full queue", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 1 });
      await subject.append("a", { id: "x", dedupe: true });
      expect((await subject.append("a", { id: "x", dedupe: true })).duplicate).toBe(true);
    });
  });

  describe("bounds", () => {
    test("[P-3.6] a full queue refuses the message for all queues, and says which", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("free");
      await subject.define("full", { maxMessages: 1 });
      await subject.append(["free", "full"]);
      const error = await subject
        .append(["free", "full"])
        .catch((thrown: WarrenError) => thrown as WarrenError);
      expect(error).toMatchObject({ code: "queue_full", detail: { queue: "full" } });
      await subject.quiet();
      expect(subject.states("free")).toEqual([1, 0, 0]);
      expect(subject.states("full")).toEqual([1, 0, 0]);
    });

    test("[P-3.6] maxMessages is exact however many are on their way", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 10 });
      const codes = await Promise.all(
        Array.from({ length: 50 }, () => refusal(subject.append("a"))),
      );
      expect(codes.slice(0, 10)).toEqual(Array(10).fill(undefined));
      expect(codes.slice(10)).toEqual(Array(40).fill("queue_full"));
      expect(subject.states("a")).toEqual([10, 0, 0]);
    });

    test("[P-3.6] maxBytes is exact however many are on their way", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("measure");
      const payload = Payload.fromValue("x".repeat(1000));
      await subject.append("measure", { id: "m0000", payload });
      const { bytes } = subject.counts("measure");
      expect(bytes).toBeGreaterThanOrEqual(1000);
      await subject.define("a", { maxBytes: 3 * bytes });
      const codes = await Promise.all(
        ["m0001", "m0002", "m0003", "m0004", "m0005"].map((id) =>
          refusal(subject.append("a", { id, payload })),
        ),
      );
      expect(codes).toEqual([undefined, undefined, undefined, "queue_full", "queue_full"]);
      expect(subject.counts("a").bytes).toBe(3 * bytes);
    });

    test("[P-5.1] what is delayed or in flight takes room until it is gone", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 2 });
      const peer = subject.consume("a", 1);
      await subject.append("a", { dueAt: subject.clock.now() + 1000 });
      await subject.append("a");
      const { tag } = await peer.next();
      expect(await refusal(subject.append("a"))).toBe("queue_full");
      expect(await peer.nack(tag, 0)).toBeUndefined();
      const again = await peer.next();
      expect(await refusal(subject.append("a"))).toBe("queue_full");
      await peer.ack(again.tag);
      expect(await refusal(subject.append("a"))).toBeUndefined();
      await peer.has(1);
      await subject.engine.queues.purge("a");
      expect(await refusal(subject.append("a"))).toBeUndefined();
    });

    test("[P-5.1] bounds that shrink below what is there refuse, and drop nothing", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.appendAll("a", ["1", "2", "3"]);
      await subject.define("a", { maxMessages: 2 });
      expect(await refusal(subject.append("a"))).toBe("queue_full");
      expect(subject.states("a")).toEqual([3, 0, 0]);
      await subject.define("a", {});
      expect(await refusal(subject.append("a"))).toBeUndefined();
    });
  });
}
