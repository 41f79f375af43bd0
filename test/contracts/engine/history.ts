/** What an engine must do with the history of topics [P-8]. */
import { describe, expect, test } from "bun:test";
import type { HistoryPage, RetainedPage } from "../../../src/engine/topics.ts";
import { Keeping, PLENTY, PLENTY_BYTES, payloadOf, WIDE } from "./keeping.ts";
import { type EngineKind, refusal } from "./subject.ts";

const TEN = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];

export function describeHistory(kind: EngineKind): void {
  describe("history", () => {
    describeEntering(kind);
    describeNotEntering(kind);
    describeReading(kind);
    describeBounds(kind);
    describeOrderOfAnswers(kind);
  });
}

function describeEntering(kind: EngineKind): void {
  test("[P-4.3] offsets are dense from 1 on, by topic, and the receipt tells the position", async () => {
    await using keeping = await Keeping.open(kind);
    const { epoch } = await keeping.history();
    expect(epoch).not.toBe("");
    const receipts = await Promise.all([
      keeping.publish("a"),
      keeping.publish("x", { topic: "other" }),
      keeping.publish("b"),
    ]);
    expect(receipts).toEqual([
      { queues: 0, duplicate: false, position: { epoch, offset: 1 } },
      { queues: 0, duplicate: false, position: { epoch, offset: 1 } },
      { queues: 0, duplicate: false, position: { epoch, offset: 2 } },
    ]);
    expect(await keeping.publish("c")).toMatchObject({ position: { epoch, offset: 3 } });
    const { messages, ...page } = await keeping.history();
    expect(page).toEqual({ epoch, offset: 3, first: 1, complete: true });
    expect(messages.map(({ offset, message }) => [offset, message.id])).toEqual([
      [1, "a"],
      [2, "b"],
      [3, "c"],
    ]);
  });

  test("[P-4.3] a message comes back from the history with all that it had", async () => {
    await using keeping = await Keeping.open(kind);
    const payload = payloadOf(3);
    const fields = { payload, headers: { h: "ü" }, key: "k", priority: 7, from: "alice" };
    const message = { ...fields, correlationId: "c", contentType: "text/plain", expiresAt: 5 };
    await keeping.publish("a", message);
    const { payload: read, ...rest } = (await keeping.history()).messages[0]!.message;
    const { payload: _, ...given } = message;
    const time = keeping.subject.clock.now();
    expect(rest).toEqual({ ...given, id: "a", topic: "t", time });
    expect(read.value()).toBe("xxx");
  });

  test("[P-3.6] it enters with its copies for queues, in a batch too", async () => {
    await using keeping = await Keeping.open(kind);
    const { subject } = keeping;
    for (const name of ["a", "b"]) await subject.define(name);
    const { epoch } = await keeping.history();
    expect(await keeping.publish("1", { queues: ["a", "b"] })).toEqual({
      queues: 2,
      duplicate: false,
      position: { epoch, offset: 1 },
    });
    const plain = { queues: ["a"], dedupe: false };
    const batch = new Promise((stored, failed) =>
      subject.engine.appendBatch({
        items: [
          { ...plain, message: subject.message({ topic: "t", id: "2" }), history: WIDE },
          { ...plain, message: subject.message({ topic: "t", id: "3" }) },
          { ...plain, message: subject.message({ topic: "t", id: "4" }), history: WIDE },
        ],
        stored,
        failed,
      }),
    );
    expect(await batch).toEqual([
      { queues: 1, duplicate: false, position: { epoch, offset: 2 } },
      { queues: 1, duplicate: false },
      { queues: 1, duplicate: false, position: { epoch, offset: 3 } },
    ]);
    expect(await keeping.offsets()).toBe("1:1 2:2 3:4");
    expect([subject.counts("a").ready, subject.counts("b").ready]).toEqual([4, 1]);
  });
}

function describeNotEntering(kind: EngineKind): void {
  test("[P-3.6] what no queue takes enters no history, by itself or in a batch", async () => {
    await using keeping = await Keeping.open(kind);
    const { subject } = keeping;
    await subject.define("small", { maxMessages: 1 });
    await keeping.publish("1", { queues: ["small"], retain: "set" });
    const full = keeping.publish("2", { queues: ["small"], retain: "set" });
    const unknown = keeping.publish("3", { queues: ["gone"] });
    expect([await refusal(full), await refusal(unknown)]).toEqual(["queue_full", "unknown_queue"]);
    const message = subject.message({ topic: "t" });
    const batch = new Promise((stored, failed) =>
      subject.engine.appendBatch({
        items: [
          { message, queues: [], dedupe: false, history: WIDE, retain: "clear" },
          { message, queues: ["small"], dedupe: false },
        ],
        stored,
        failed,
      }),
    );
    expect(await refusal(batch)).toBe("queue_full");
    expect([await keeping.offsets(), await keeping.values()]).toEqual(["1:1", "t=1"]);
    expect(await keeping.publish("4")).toMatchObject({ position: { offset: 2 } });
  });

  test("[P-3.5] a duplicate enters nothing and has no position, for the window of the limits", async () => {
    await using keeping = await Keeping.open(kind);
    const { subject } = keeping;
    const again = { dedupe: true, retain: "set" } as const;
    await keeping.publish("1", again);
    await keeping.publish("2", again);
    expect(await keeping.publish("1", again)).toEqual({ queues: 0, duplicate: true });
    const [first, second] = await Promise.all([
      keeping.publish("3", again),
      keeping.publish("3", again),
    ]);
    expect([first.position?.offset, second.position]).toEqual([3, undefined]);
    expect(subject.engine.counters.duplicates).toBe(2);
    subject.clock.advance(300_000 - 1);
    expect(await keeping.publish("1", again)).toMatchObject({ duplicate: true });
    expect([await keeping.offsets(), await keeping.values()]).toEqual(["1:1 2:2 3:3", "t=3"]);
    subject.clock.advance(1);
    expect(await keeping.publish("1", again)).toMatchObject({ position: { offset: 4 } });
  });

  test("[P-3.5] with queues it is the longest window of theirs and that of the limits", async () => {
    await using keeping = await Keeping.open(kind);
    const { subject } = keeping;
    await subject.define("long", { dedupeWindowMs: 3_600_000 });
    await subject.define("short", { dedupeWindowMs: 0 });
    const long = { dedupe: true, queues: ["long"] };
    const short = { dedupe: true, queues: ["short"] };
    await keeping.publish("1", long);
    await keeping.publish("2", short);
    subject.clock.advance(300_000 - 1);
    expect(await keeping.publish("2", short)).toEqual({ queues: 0, duplicate: true });
    subject.clock.advance(1);
    expect(await keeping.publish("1", long)).toEqual({ queues: 0, duplicate: true });
    expect(await keeping.publish("2", short)).toMatchObject({ queues: 1, position: { offset: 3 } });
    expect([subject.counts("long").ready, subject.counts("short").ready]).toEqual([1, 2]);
  });

  test("[P-14.10] a message that is invalid enters nothing", async () => {
    await using keeping = await Keeping.open(kind);
    await keeping.subject.define("a");
    const invalid = { queues: ["a"], invalid: "no number", retain: "set" } as const;
    expect(await keeping.publish("1", invalid)).toEqual({ queues: 1, duplicate: false });
    expect(keeping.subject.counts("a.dead").ready).toBe(1);
    expect([await keeping.offsets(), await keeping.values()]).toEqual(["", ""]);
    expect(await keeping.known()).toBeUndefined();
  });
}

function describeReading(kind: EngineKind): void {
  test("[P-8.1] a topic without messages has an epoch, offset 0 and nothing to show", async () => {
    await using keeping = await Keeping.open(kind);
    const page = await keeping.history();
    expect(page).toMatchObject({ offset: 0, first: 1, messages: [], complete: true });
    expect(await keeping.history({ reverse: true, after: 3 })).toEqual(page);
    await keeping.retain("t", "r");
    expect(await keeping.history()).toEqual(page);
    expect(await keeping.publish("1")).toMatchObject({ position: { epoch: page.epoch } });
  });

  test("[P-8.1] after, before, limit and reverse choose a stretch of it", async () => {
    await using keeping = await Keeping.open(kind);
    await keeping.publishAll(TEN);
    expect(await keeping.offsets({ after: 7 })).toBe("8:8 9:9 10:10");
    expect(await keeping.offsets({ before: 3 })).toBe("1:1 2:2");
    expect(await keeping.offsets({ after: 2, before: 6, limit: 2 })).toBe("3:3 4:4");
    expect(await keeping.offsets({ limit: 2, reverse: true })).toBe("10:10 9:9");
    expect(await keeping.offsets({ after: 2, before: 6, limit: 2, reverse: true })).toBe("5:5 4:4");
    expect(await keeping.offsets({ after: 10 })).toBe("");
    expect(await keeping.offsets({ after: 99 })).toBe("");
    expect(await keeping.offsets({ before: 1, reverse: true })).toBe("");
    expect(await keeping.offsets({ after: 5, before: 6 })).toBe("");
  });

  test("[P-8.1] complete says that nothing that was asked for is behind the page", async () => {
    await using keeping = await Keeping.open(kind);
    await keeping.publishAll(TEN);
    const complete = async (request: Parameters<typeof keeping.history>[0]) =>
      (await keeping.history(request)).complete;
    expect(await complete({ limit: 9 })).toBe(false);
    expect(await complete({ limit: 10 })).toBe(true);
    expect(await complete({ limit: 9, reverse: true })).toBe(false);
    expect(await complete({ limit: 10, reverse: true })).toBe(true);
    expect(await complete({ after: 5, limit: 5 })).toBe(true);
    expect(await complete({ before: 5, limit: 3, reverse: true })).toBe(false);
    expect(await complete({ after: 10, limit: 1 })).toBe(true);
  });

  test("[P-8.1] a page holds so many bytes, and one message however large", async () => {
    await using keeping = await Keeping.open(kind);
    const payload = payloadOf(10_000);
    await keeping.publishAll(["1", "2", "3", "4"], { payload });
    expect(await keeping.offsets({ bytes: 25_000 })).toBe("1:1 2:2");
    expect(await keeping.offsets({ bytes: 25_000, reverse: true })).toBe("4:4 3:3");
    expect(await keeping.offsets({ bytes: 100, after: 2 })).toBe("3:3");
    expect(await keeping.history({ bytes: 100, after: 3 })).toMatchObject({ complete: true });
    expect(await keeping.history({ bytes: 25_000 })).toMatchObject({ complete: false, first: 1 });
  });
}

function describeBounds(kind: EngineKind): void {
  test("[P-8.1] of so many messages the newest are shown, and then kept", async () => {
    await using keeping = await Keeping.open(kind);
    const bounds = { maxMessages: 3 };
    await keeping.publishAll(TEN, { history: bounds });
    const { first, offset } = await keeping.history({ bounds });
    expect([first, offset]).toEqual([8, 10]);
    expect(await keeping.offsets({ bounds })).toBe("8:8 9:9 10:10");
    expect(await keeping.offsets({ bounds: { maxMessages: 2 } })).toBe("9:9 10:10");
    expect(await keeping.offsets({ bounds: { maxMessages: 1 }, after: 1, limit: 1 })).toBe("10:10");
    expect(keeping.subject.engine.topics.totals.historyMessages).toBe(3);
    expect(await keeping.offsets()).toBe("8:8 9:9 10:10");
  });

  test("[P-8.1] what is too old is not shown, to the millisecond, however the clock is set", async () => {
    await using keeping = await Keeping.open(kind);
    const { clock } = keeping.subject;
    const bounds = { maxMessages: PLENTY, maxAgeMs: 1000 };
    await keeping.publish("1", { history: bounds });
    clock.advance(400);
    await keeping.publish("2", { history: bounds });
    // The broker's clock was set back: it is no older than the one before it.
    await keeping.publish("3", { history: bounds, time: clock.now() - 300 });
    clock.advance(599);
    expect(await keeping.offsets({ bounds })).toBe("1:1 2:2 3:3");
    clock.advance(1);
    expect(await keeping.offsets({ bounds })).toBe("2:2 3:3");
    expect(await keeping.history({ bounds })).toMatchObject({ first: 2 });
    clock.advance(399);
    expect(await keeping.offsets({ bounds })).toBe("2:2 3:3");
    clock.advance(1);
    expect(await keeping.history({ bounds })).toMatchObject({ first: 4, offset: 3, messages: [] });
  });

  test("[P-8.1] of so many bytes the newest that fit are shown, and then kept", async () => {
    await using keeping = await Keeping.open(kind);
    const bounds = { maxMessages: PLENTY, maxBytes: 35_000 };
    const payload = payloadOf(10_000);
    await keeping.publishAll(["1", "2", "3", "4", "5"], { payload, history: bounds });
    expect(await keeping.offsets({ bounds })).toBe("3:3 4:4 5:5");
    const less = { maxMessages: PLENTY, maxBytes: 25_000 };
    expect(await keeping.offsets({ bounds: less })).toBe("4:4 5:5");
    const none = { maxMessages: PLENTY, maxBytes: 10_000 };
    expect(await keeping.history({ bounds: none })).toMatchObject({ first: 6, messages: [] });
    expect(keeping.subject.engine.topics.totals.historyMessages).toBe(3);
    await keeping.publish("6", { payload: payloadOf(40_000), history: bounds });
    expect(await keeping.history({ bounds })).toMatchObject({ first: 7, offset: 6 });
    await keeping.publish("7", { history: bounds });
    expect(await keeping.offsets({ bounds })).toBe("7:7");
  });
}

function describeOrderOfAnswers(kind: EngineKind): void {
  test("[P-4.2] a read shows exactly what was stored before its answer", async () => {
    await using keeping = await Keeping.open(kind);
    const { engine } = keeping.subject;
    await keeping.subject.define("q");
    const stored: string[] = [];
    const shown: [before: readonly string[], shown: readonly string[]][] = [];
    const store = (id: string) => {
      const message = keeping.subject.message({ topic: "t", id });
      engine.append({
        message,
        queues: Number(id) % 2 === 0 ? ["q"] : [],
        dedupe: false,
        history: WIDE,
        retain: "set",
        stored: () => stored.push(id),
        failed: (error) => expect(error).toBeUndefined(),
      });
    };
    const ask = () => {
      const all = { limit: PLENTY, bytes: PLENTY_BYTES };
      engine.topics.history({ topic: "t", bounds: WIDE, ...all }, (answer) => {
        const { messages } = answer as HistoryPage;
        shown.push([[...stored], messages.map(({ message }) => message.id)]);
      });
      engine.topics.retained({ filter: "t", ...all }, (answer) => {
        const { messages } = answer as RetainedPage;
        shown.push([stored.slice(-1), messages.map(({ id }) => id)]);
      });
    };
    for (let id = 0; id < 100; id++) {
      store(`${id}`);
      if (id % 7 === 0 || id % 11 < 2) ask();
      if (id % 13 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await keeping.subject.quiet();
    expect(stored.length).toBe(100);
    for (const [before, page] of shown) expect(page).toEqual(before);
    expect(shown.length).toBeGreaterThan(50);
  });

  test("[P-4.2] an answer never comes from inside the call, nor does a refusal", async () => {
    await using keeping = await Keeping.open(kind);
    const { topics } = keeping.subject.engine;
    const all = { limit: 1, bytes: 1 };
    let answers = 0;
    const ask = () => {
      const before = answers;
      topics.history({ topic: "t", bounds: WIDE, ...all }, () => answers++);
      topics.retained({ filter: "#", ...all }, () => answers++);
      expect(answers).toBe(before);
    };
    ask();
    await keeping.subject.engine.close();
    expect(answers).toBe(2);
    ask();
    expect(await refusal(keeping.history())).toBe("draining");
    expect(await refusal(keeping.retained())).toBe("draining");
    expect(await refusal(topics.list(undefined, 1))).toBe("draining");
    expect(await refusal(topics.trim([]))).toBe("draining");
    expect(await refusal(keeping.publish("1"))).toBe("draining");
    expect(answers).toBe(4);
  });
}
