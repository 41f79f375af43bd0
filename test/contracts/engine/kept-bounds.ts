/** What an engine must do with bounds on how many topics keep something [P-14.9]. */
import { describe, expect, test } from "bun:test";
import type { AppendReceipt } from "../../../src/engine/engine.ts";
import type { KeepingChannel } from "../../../src/engine/topics.ts";
import type { WarrenError } from "../../../src/errors.ts";
import { Keeping, type PublishOptions, payloadOf, WIDE } from "./keeping.ts";
import { type EngineKind, refusal } from "./subject.ts";

const FULL = "too_many_topics";
const FAR = Number.MAX_SAFE_INTEGER;
const c = (maxTopics: number, name = "c"): KeepingChannel => ({ name, maxTopics });

/** Publishes into the histories of these topics, each at once; the code of each refusal. */
function publishTo(keeping: Keeping, topics: readonly string[], options: PublishOptions = {}) {
  return Promise.all(topics.map((topic) => refusal(keeping.publish(topic, { topic, ...options }))));
}

/** What became of a batch: how many offsets were given, or the error and the index of its failure. */
function batch(
  { subject }: Keeping,
  items: readonly PublishOptions[],
): Promise<readonly AppendReceipt[] | [error: WarrenError, index: number | undefined]> {
  return new Promise((resolve) =>
    subject.engine.appendBatch({
      items: items.map(({ queues = [], dedupe = false, history, retain, channel, ...fields }) => ({
        message: subject.message(fields),
        queues,
        dedupe,
        ...(retain === undefined && { history: history ?? WIDE }),
        ...(retain !== undefined && { retain }),
        ...(channel !== undefined && { channel }),
      })),
      stored: resolve,
      failed: (error, index) => resolve([error, index]),
    }),
  );
}

/** The code with which a batch failed. */
async function codeOf(failing: ReturnType<typeof batch>): Promise<unknown> {
  const [error] = await failing;
  return (error as WarrenError).code;
}

export function describeKeptBounds(kind: EngineKind): void {
  describe("bounds of topics", () => {
    describeRefusals(kind);
    describeBatches(kind);
    describePlaces(kind);
    describeQueues(kind);
    describeLooks(kind);
  });
}

function describeRefusals(kind: EngineKind): void {
  test("[P-14.9] one more than its channel has room for is refused; those that keep go on", async () => {
    await using keeping = await Keeping.open(kind);
    const { topics } = keeping.subject.engine;
    const channel = c(2);
    expect(await publishTo(keeping, ["a", "b", "x"], { channel })).toEqual([
      ...[undefined, undefined, FULL],
    ]);
    const refused = await keeping.publish("1", { topic: "x", channel }).catch((error) => error);
    expect(refused.detail).toEqual({ topic: "x", scope: "channel", channel: "c", limit: 2 });
    expect(await refusal(keeping.retain("x", "2", { channel }))).toBe(FULL);
    // What takes a value away makes nothing known.
    await keeping.subject.append([], { topic: "x", retain: "clear", channel });
    expect(await keeping.publish("3", { topic: "b", channel })).toMatchObject({
      position: { offset: 2 },
    });
    await keeping.retain("a", "4", { channel });
    expect(await keeping.known("x")).toBeUndefined();
    expect(await keeping.history({ topic: "x" })).toMatchObject({ offset: 0, messages: [] });
    expect(topics.totals).toMatchObject({ topics: 2, historyMessages: 3, retainedMessages: 1 });
    // Others have room of their own.
    expect(await publishTo(keeping, ["y"], { channel: c(1, "d") })).toEqual([undefined]);
    expect(await publishTo(keeping, ["z"])).toEqual([undefined]);
    // The bound is that of the call: it was raised.
    expect(await publishTo(keeping, ["x", "w"], { channel: c(3) })).toEqual([undefined, FULL]);
    expect(await publishTo(keeping, ["w", "a"], { channel: c(1) })).toEqual([FULL, undefined]);
  });

  test("[P-14.9] so is one more than all channels together have", async () => {
    await using keeping = await Keeping.open(kind, { limits: { keptTopics: 3 } });
    expect(await publishTo(keeping, ["a", "b"], { channel: c(5) })).toEqual([undefined, undefined]);
    await keeping.retain("v", "1", { channel: c(5, "d") });
    const refused = await keeping.publish("2", { topic: "x", channel: c(5) }).catch((e) => e);
    expect([refused.code, refused.detail]).toEqual([
      FULL,
      { topic: "x", scope: "overall", limit: 3 },
    ]);
    expect(await publishTo(keeping, ["x"])).toEqual([FULL]);
    expect(await publishTo(keeping, ["v", "a"])).toEqual([undefined, undefined]);
  });

  test("[P-14.9] of many at once exactly as many are stored, the first ones", async () => {
    await using keeping = await Keeping.open(kind, { limits: { keptTopics: 60 } });
    const names = Array.from({ length: 100 }, (_, i) => `n/${i}`);
    const channel = c(40);
    const first = await publishTo(keeping, [...names, ...names.slice(0, 40)], { channel });
    expect(first.slice(0, 40)).toEqual(Array(40).fill(undefined));
    expect(first.slice(40, 100)).toEqual(Array(60).fill(FULL));
    expect(first.slice(100)).toEqual(Array(40).fill(undefined));
    const others = await publishTo(keeping, names.slice(40), { channel: c(40, "d") });
    expect(others.indexOf(FULL)).toBe(20);
    expect(keeping.subject.engine.topics.totals).toMatchObject({
      topics: 60,
      historyMessages: 100,
    });
  });

  test("[P-3.5, P-14.9] what was refused is not remembered; a duplicate is told as one", async () => {
    await using keeping = await Keeping.open(kind);
    const channel = c(1);
    await keeping.publish("1", { topic: "a", channel, dedupe: true });
    await keeping.forget("a");
    await keeping.publish("2", { topic: "b", channel });
    expect(await keeping.publish("1", { topic: "a", channel, dedupe: true })).toEqual({
      queues: 0,
      duplicate: true,
    });
    const late = { topic: "x", channel, dedupe: true };
    expect(await refusal(keeping.publish("3", late))).toBe(FULL);
    await keeping.forget("b");
    expect(await keeping.publish("3", late)).toMatchObject({ duplicate: false });
  });
}

function describeBatches(kind: EngineKind): void {
  test("[P-5.14, P-14.9] a batch is stored as a whole or not at all", async () => {
    await using keeping = await Keeping.open(kind);
    await keeping.subject.define("q");
    const { topics } = keeping.subject.engine;
    const channel = c(3);
    const queues = ["q"];
    const items = ["a", "b", "a", "c", "d", "e"].map((topic) => ({ topic, channel, queues }));
    const [error, index] = (await batch(keeping, items)) as [WarrenError, number];
    expect([error.code, index, error.detail?.topic]).toEqual([FULL, 4, "d"]);
    expect(topics.totals).toMatchObject({ topics: 0, historyMessages: 0 });
    expect(keeping.subject.states("q")).toEqual([0, 0, 0]);
    expect(await batch(keeping, items.slice(0, 4))).toMatchObject([
      { position: { offset: 1 } },
      { position: { offset: 1 } },
      { position: { offset: 2 } },
      { position: { offset: 1 } },
    ]);
    expect(await batch(keeping, items.slice(0, 3))).toMatchObject({ length: 3 });
    expect(keeping.subject.states("q")).toEqual([7, 0, 0]);
  });

  test("[P-5.14, P-3.5, P-14.9] duplicates in a batch need no place", async () => {
    await using keeping = await Keeping.open(kind);
    const channel = c(1);
    const once = { channel, dedupe: true };
    await keeping.publish("1", { topic: "gone", ...once });
    await keeping.forget("gone");
    const twice = await batch(keeping, [
      { topic: "gone", id: "1", ...once },
      { topic: "a", id: "2", ...once },
      { topic: "a", id: "2", ...once },
    ]);
    expect(twice).toMatchObject([{ duplicate: true }, { duplicate: false }, { duplicate: true }]);
    // An id that a message without history brought in the same batch.
    await keeping.subject.define("q");
    const values = await batch(keeping, [
      { topic: "b", id: "3", queues: ["q"], dedupe: true, retain: "clear" },
      { topic: "b", id: "3", ...once, retain: "set" },
    ]);
    expect(values).toMatchObject([{ queues: 1 }, { duplicate: true }]);
    const more = await batch(keeping, [{ topic: "b", id: "4", ...once }]);
    expect((more as [WarrenError, number])[0].code).toBe(FULL);
  });

  test("[P-5.14, P-14.9] a value and the taking away of it", async () => {
    await using keeping = await Keeping.open(kind);
    const channel = c(1);
    const set = (topic: string) => ({ topic, channel, retain: "set" as const });
    const cleared = { ...set("b"), retain: "clear" as const };
    expect(await batch(keeping, [cleared, set("a"), { ...set("a"), id: "1" }])).toHaveLength(3);
    expect(await keeping.values()).toBe("a=1");
    const [error, index] = (await batch(keeping, [cleared, set("b")])) as [WarrenError, number];
    expect([error.code, index]).toEqual([FULL, 1]);
  });
}

function describePlaces(kind: EngineKind): void {
  test("[P-14.9] a place is free again when nothing is known of the topic", async () => {
    await using keeping = await Keeping.open(kind);
    const { topics } = keeping.subject.engine;
    const channel = c(2);
    await publishTo(keeping, ["a", "b"], { channel, retain: "set" });
    const trim = (keeps: object) =>
      topics.trim([{ topic: "a", retained: false, forgetBefore: 0, ...keeps }]);
    await trim({ history: WIDE });
    await trim({});
    expect(await publishTo(keeping, ["x"], { channel })).toEqual([FULL]);
    // Where its offsets were is known, and so it goes on.
    expect(await keeping.publish("1", { topic: "a", channel })).toMatchObject({
      position: { offset: 2 },
    });
    await keeping.forget("a");
    expect(await publishTo(keeping, ["x", "a"], { channel })).toEqual([undefined, FULL]);
    expect(topics.channels.get("c")?.topics).toBe(2);
  });

  test("[P-14.9] a topic counts for the channel that was named last", async () => {
    await using keeping = await Keeping.open(kind);
    const { topics } = keeping.subject.engine;
    const counts = () =>
      [...topics.channels].map(([name, { topics: count }]) => `${name}=${count}`).sort();
    await publishTo(keeping, ["a", "b"], { channel: c(9) });
    await publishTo(keeping, ["n"]);
    expect(counts()).toEqual(["=1", "c=2"]);
    // Those that keep go on, though there is no room for others.
    expect(await publishTo(keeping, ["a", "n", "x"], { channel: c(1, "d") })).toEqual([
      ...[undefined, undefined, FULL],
    ]);
    expect(counts()).toEqual(["c=1", "d=2"]);
    await topics.trim([
      { topic: "a", channel: "c", history: WIDE, retained: true, forgetBefore: 0 },
      { topic: "n", history: WIDE, retained: true, forgetBefore: 0 },
      { topic: "b", channel: "", retained: true, forgetBefore: FAR },
    ]);
    expect(counts()).toEqual(["c=1", "d=1"]);
    const sum = [...topics.channels.values()].reduce((all, one) => all + one.historyBytes, 0);
    expect(sum).toBe(topics.totals.historyBytes);
    expect(await keeping.known("a")).toMatchObject({ channel: "c" });
  });

  test.if(kind.durable)("[P-14.9] a new start knows how many there are", async () => {
    await using keeping = await Keeping.open(kind);
    const { subject } = keeping;
    await publishTo(keeping, ["a", "b"], { channel: c(2) });
    await keeping.retain("v", "1", { channel: c(1, "d") });
    const look = () => [...subject.engine.topics.channels].sort();
    const before = look();
    expect(before.map(([name, { topics }]) => [name, topics])).toEqual([
      ["c", 2],
      ["d", 1],
    ]);
    await subject.reopen();
    expect(look()).toEqual(before);
    expect(await publishTo(keeping, ["x", "a"], { channel: c(2) })).toEqual([FULL, undefined]);
    expect(await publishTo(keeping, ["x"], { channel: c(1, "d") })).toEqual([FULL]);
    await keeping.forget("v");
    expect(await publishTo(keeping, ["x"], { channel: c(1, "d") })).toEqual([undefined]);
  });
}

function describeQueues(kind: EngineKind): void {
  test("[P-3.6, P-14.9] no queue has a copy of what is refused", async () => {
    await using keeping = await Keeping.open(kind);
    const { subject } = keeping;
    await subject.define("q");
    const channel = c(1);
    const consumer = subject.consume("q", 10);
    await keeping.publish("1", { topic: "a", channel, queues: ["q"] });
    const refused = { topic: "x", channel, queues: ["q"] };
    expect(await refusal(keeping.publish("2", refused))).toBe(FULL);
    await keeping.publish("3", { topic: "a", channel, queues: ["q"] });
    await subject.quiet();
    expect(consumer.ids).toEqual(["1", "3"]);
    expect(subject.states("q")).toEqual([0, 0, 2]);
    expect(subject.engine.queues.describe("q").counters.published).toBe(2);
  });

  for (const overflow of ["drop-oldest", "dead-letter-oldest"] as const) {
    test(`[P-5.9, P-14.9] nobody gives way to what is refused: ${overflow}`, async () => {
      await using keeping = await Keeping.open(kind);
      const { subject } = keeping;
      await subject.define("q", { overflow, maxBytes: 25_000 });
      const channel = c(1);
      const queues = ["q"];
      const large = { payload: payloadOf(10_000), channel, queues };
      await keeping.publish("1", { topic: "a", ...large });
      await keeping.publish("2", { topic: "a", ...large });
      const small = { topic: "x", channel, queues, payload: payloadOf(6000) };
      const both = [
        { topic: "a", id: "4", ...large },
        { topic: "y", ...large },
      ];
      expect([
        await refusal(keeping.publish("3", small)),
        await codeOf(batch(keeping, both)),
      ]).toEqual([FULL, FULL]);
      const { engine } = subject;
      expect([subject.counts("q").ready, engine.counters.displaced]).toEqual([2, 0]);
      // What comes with it must not take the room of what has not gone after all.
      const together = [
        keeping.publish("5", small),
        keeping.publish("6", { topic: "a", ...large, payload: payloadOf(8000) }),
      ];
      expect(await Promise.all(together.map(refusal))).toEqual([FULL, undefined]);
      await subject.quiet();
      expect(subject.counts("q").bytes).toBeLessThanOrEqual(25_000);
      const consumer = subject.consume("q", 10);
      await consumer.has(2);
      expect(consumer.ids).toEqual(["2", "6"]);
      expect(engine.counters.displaced).toBe(1);
    });
  }
}

function describeLooks(kind: EngineKind): void {
  test("[P-14.9] what may have gone beyond its age is found by when that is", async () => {
    await using keeping = await Keeping.open(kind);
    const { clock, engine } = keeping.subject;
    const start = clock.now();
    const due = async (by: number, limit = 9) =>
      (await engine.topics.due(start + by, limit)).map(({ topic }) => topic);
    await keeping.publish("1", { topic: "old", history: { ...WIDE, maxAgeMs: 300 } });
    await keeping.publish("2", { topic: "young", history: { ...WIDE, maxAgeMs: 200 } });
    await keeping.publish("3", { topic: "ever" });
    await keeping.retain("value", "4", { expiresAt: start + 100 });
    await keeping.retain("last", "5");
    expect(await due(FAR - start)).toEqual(["value", "young", "old"]);
    expect(await due(200)).toEqual(["value", "young"]);
    expect(await due(FAR - start, 1)).toEqual(["value"]);
    clock.advance(250);
    const history = { ...WIDE, maxAgeMs: 200 };
    await keeping.publish("6", { topic: "young", history });
    const trimmed = ["young", "value", "ever"].map((topic) => ({
      ...{ topic, history, retained: true, forgetBefore: 0 },
    }));
    await engine.topics.trim(trimmed);
    // What is left of it is due later, and of the last nothing was.
    expect(await keeping.offsets({ topic: "young" })).toBe("2:6");
    expect(await due(FAR - start)).toEqual(["old", "young"]);
    expect(await due(449)).toEqual(["old"]);
    expect(await due(450)).toEqual(["old", "young"]);
  });

  test("[P-14.9] those with nothing left are found by channel, the longest so first", async () => {
    await using keeping = await Keeping.open(kind);
    const { clock, engine } = keeping.subject;
    const start = clock.now();
    const idle = async (channel: string, before: number, limit = 9) =>
      (await engine.topics.idle(channel, before, limit)).map(({ topic }) => topic);
    for (const topic of ["z", "y", "x", "w"]) {
      await keeping.publish("1", { topic, channel: c(9) });
      clock.advance(10);
    }
    await keeping.retain("v", "2", { channel: c(9, "d") });
    await keeping.retain("v", "3", { channel: c(9, "d"), retain: "clear" });
    expect(await idle("c", FAR)).toEqual([]);
    const emptied = ["x", "y", "z"].map((topic) => ({ topic, retained: false, forgetBefore: 0 }));
    await engine.topics.trim(emptied);
    expect(await idle("c", FAR)).toEqual(["z", "y", "x"]);
    expect(await idle("c", FAR, 2)).toEqual(["z", "y"]);
    expect(await idle("c", start + 20)).toEqual(["z", "y"]);
    expect(await idle("d", FAR)).toEqual(["v"]);
    await keeping.publish("4", { topic: "y", channel: c(9) });
    expect(await idle("c", FAR)).toEqual(["z", "x"]);
  });

  test("[P-14.9] after close they are refused", async () => {
    await using keeping = await Keeping.open(kind);
    const { topics } = keeping.subject.engine;
    await keeping.subject.engine.close();
    expect(await refusal(topics.due(1, 1))).toBe("draining");
    expect(await refusal(topics.idle("c", 1, 1))).toBe("draining");
  });
}
