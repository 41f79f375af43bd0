/** What an engine must do with retained values, and with topics as what an operator trims [P-4.4]. */
import { describe, expect, test } from "bun:test";
import { Keeping, payloadOf, WIDE } from "./keeping.ts";
import type { EngineKind } from "./subject.ts";

export function describeKept(kind: EngineKind): void {
  describe("retained values", () => {
    describeRetained(kind);
    describeFilters(kind);
  });
  describe("kept topics", () => {
    describeListing(kind);
    describeTrimming(kind);
    describeEpochs(kind);
  });
}

function describeRetained(kind: EngineKind): void {
  test("[P-4.4] the last value set is retained until it is cleared", async () => {
    await using keeping = await Keeping.open(kind);
    await keeping.retain("t", "1", { headers: { h: "v" }, payload: payloadOf(5) });
    await keeping.retain("t", "2");
    await keeping.retain("u", "3");
    expect(await keeping.values()).toBe("t=2 u=3");
    await keeping.publish("4", { retain: "set" });
    await keeping.publish("5");
    expect(await keeping.values()).toBe("t=4 u=3");
    expect(await keeping.publish("6", { retain: "clear" })).toMatchObject({
      position: { offset: 3 },
    });
    expect([await keeping.values(), await keeping.offsets()]).toEqual(["u=3", "1:4 2:5 3:6"]);
    await keeping.subject.append([], { topic: "nobody", retain: "clear" });
    expect(await keeping.known("nobody")).toBeUndefined();
    expect(keeping.subject.engine.topics.totals).toMatchObject({ topics: 2, retainedMessages: 1 });
  });

  test("[P-4.4] a retained value comes back with all that it had", async () => {
    await using keeping = await Keeping.open(kind);
    const expiresAt = keeping.subject.clock.now() + 5;
    await keeping.retain("t", "1", { headers: { h: "v" }, payload: payloadOf(5), expiresAt });
    const [message] = (await keeping.retained()).messages;
    expect(message).toMatchObject({ id: "1", topic: "t", headers: { h: "v" }, expiresAt });
    expect(message!.payload.value()).toBe("xxxxx");
  });

  test("[P-4.4] one that has expired is not shown, from its millisecond on", async () => {
    await using keeping = await Keeping.open(kind);
    const { clock } = keeping.subject;
    await keeping.retain("a", "1", { expiresAt: clock.now() + 10 });
    await keeping.retain("b", "2", { expiresAt: clock.now() + 20 });
    await keeping.retain("b", "3");
    await keeping.retain("c", "4", { expiresAt: clock.now() });
    clock.advance(9);
    expect(await keeping.values()).toBe("a=1 b=3");
    clock.advance(1);
    expect(await keeping.values()).toBe("b=3");
    clock.advance(100);
    expect(await keeping.values()).toBe("b=3");
  });
}

function describeFilters(kind: EngineKind): void {
  test("[P-4.4] those of the topics that a filter matches come, in the order of their bytes", async () => {
    await using keeping = await Keeping.open(kind);
    // The first two are in the other order as UTF-16.
    const topics = ["z/\u{1F600}", "z/\uFF5E", "a", "a/b", "a/b/c", "a-b/c", "a/", "b/b", "$sys/b"];
    for (const topic of topics) await keeping.retain(topic, topic);
    const matching = async (filter: string) =>
      (await keeping.retained({ filter })).messages.map(({ topic }) => topic);
    expect(await matching("#")).toEqual([
      "a",
      "a-b/c",
      "a/",
      "a/b",
      "a/b/c",
      "b/b",
      "z/\uFF5E",
      "z/\u{1F600}",
    ]);
    expect(await matching("a/#")).toEqual(["a", "a/", "a/b", "a/b/c"]);
    expect(await matching("a/+")).toEqual(["a/", "a/b"]);
    expect(await matching("+/b")).toEqual(["a/b", "b/b"]);
    expect(await matching("+/b/#")).toEqual(["a/b", "a/b/c", "b/b"]);
    expect(await matching("$sys/#")).toEqual(["$sys/b"]);
    expect(await matching("$sys/+")).toEqual(["$sys/b"]);
    expect(await matching("a/b")).toEqual(["a/b"]);
    expect(await matching("a/b/")).toEqual([]);
    expect(await matching("z/+")).toEqual(["z/\uFF5E", "z/\u{1F600}"]);
  });

  test("[P-4.4] pages follow one another, each within its limit and its bytes", async () => {
    await using keeping = await Keeping.open(kind);
    const topics = Array.from({ length: 9 }, (_, i) => `t/${i}`);
    for (const topic of topics) await keeping.retain(topic, topic, { payload: payloadOf(10_000) });
    await keeping.retain("t/8/no", "0");
    const walk = async (filter: string, limit: number, bytes: number) => {
      const pages: string[] = [];
      let after: string | undefined;
      do {
        const from = after === undefined ? {} : { after };
        const page = await keeping.retained({ filter, limit, bytes, ...from });
        pages.push(page.messages.map(({ topic }) => topic.slice(2)).join(""));
        after = page.next;
      } while (after !== undefined);
      // A page may be short, and so the last one empty.
      return pages.filter((page) => page !== "");
    };
    expect(await walk("t/+", 4, 1e6)).toEqual(["0123", "4567", "8"]);
    expect(await walk("t/+", 9, 1e6)).toEqual(["012345678"]);
    expect(await walk("t/+", 9, 35_000)).toEqual(["012", "345", "678"]);
    expect(await walk("t/+", 9, 1)).toEqual([..."012345678"]);
    expect(await walk("nobody/#", 9, 1)).toEqual([]);
  });
}

function describeListing(kind: EngineKind): void {
  test("[P-13.1] what is kept is listed by topic, page by page, and in totals", async () => {
    await using keeping = await Keeping.open(kind);
    const { topics } = keeping.subject.engine;
    const { clock } = keeping.subject;
    const start = clock.now();
    expect(topics.totals).toEqual({
      topics: 0,
      historyMessages: 0,
      historyBytes: 0,
      retainedMessages: 0,
    });
    await keeping.publishAll(["1", "2"], { payload: payloadOf(10_000) });
    clock.advance(10);
    await keeping.publish("3", { topic: "u", retain: "set", payload: payloadOf(10_000) });
    await keeping.retain("s", "4");
    const { epoch } = await keeping.history();
    const page = await topics.list(undefined, 2);
    expect(page).toMatchObject({
      topics: [
        { topic: "s", epoch, offset: 0, messages: 0, bytes: 0, isRetained: true },
        { topic: "t", epoch, offset: 2, messages: 2, isRetained: false, changedAt: start },
      ],
      next: "t",
    });
    const rest = await topics.list("t", 2);
    expect(rest).toMatchObject({ topics: [{ topic: "u", offset: 1, changedAt: start + 10 }] });
    expect(rest.next).toBeUndefined();
    const bytes = [...page.topics, ...rest.topics].reduce((sum, kept) => sum + kept.bytes, 0);
    const { historyBytes, ...counts } = topics.totals;
    expect(counts).toEqual({ topics: 3, historyMessages: 3, retainedMessages: 2 });
    expect(historyBytes).toBe(bytes);
    expect([historyBytes > 30_000, historyBytes < 31_000]).toEqual([true, true]);
  });
}

function describeTrimming(kind: EngineKind): void {
  test("[P-8.1] a trim leaves what lies within the bounds, and offsets go on", async () => {
    await using keeping = await Keeping.open(kind);
    const { clock, engine } = keeping.subject;
    const { topics } = engine;
    await keeping.publishAll(["1", "2", "3"]);
    clock.advance(1000);
    await keeping.publishAll(["4", "5", "6"], { payload: payloadOf(10_000) });
    const trim = async (bounds: object) => {
      const history = { maxMessages: 100, ...bounds };
      await topics.trim([{ topic: "t", history, retained: true, forgetBefore: 0 }]);
      return keeping.offsets();
    };
    expect(await trim({})).toBe("1:1 2:2 3:3 4:4 5:5 6:6");
    expect(await trim({ maxMessages: 5 })).toBe("2:2 3:3 4:4 5:5 6:6");
    expect(await trim({ maxAgeMs: 1000 })).toBe("4:4 5:5 6:6");
    expect(await trim({ maxBytes: 25_000 })).toBe("5:5 6:6");
    expect(topics.totals).toMatchObject({ topics: 1, historyMessages: 2 });
    expect((await keeping.known())!.bytes).toBe(topics.totals.historyBytes);
    expect(await trim({ maxBytes: 1 })).toBe("");
    expect(topics.totals).toMatchObject({ topics: 1, historyMessages: 0, historyBytes: 0 });
    expect(await keeping.publish("7")).toMatchObject({ position: { offset: 7 } });
    expect(await keeping.history()).toMatchObject({ first: 7, offset: 7 });
  });

  test("[P-4.4] a trim takes away retained values: all, or those that have expired", async () => {
    await using keeping = await Keeping.open(kind);
    const { clock, engine } = keeping.subject;
    const { topics } = engine;
    await keeping.retain("a", "1", { expiresAt: clock.now() + 10 });
    await keeping.retain("b", "2", { expiresAt: clock.now() + 11 });
    await keeping.retain("c", "3");
    clock.advance(10);
    expect(topics.totals.retainedMessages).toBe(3);
    const all = ["a", "b", "nobody"].map((topic) => ({ topic, retained: true, forgetBefore: 0 }));
    await topics.trim([...all, { topic: "c", retained: false, forgetBefore: 0 }]);
    expect(topics.totals).toMatchObject({ topics: 3, retainedMessages: 1 });
    expect(await keeping.values()).toBe("b=2");
    await keeping.retain("a", "4");
    expect(await keeping.values()).toBe("a=4 b=2");
  });

  test("[P-8.1] many messages go in one trim", async () => {
    await using keeping = await Keeping.open(kind);
    const { topics } = keeping.subject.engine;
    const many = Array.from({ length: 3000 }, (_, i) => `${i}`);
    const history = { maxMessages: 10_000 };
    await Promise.all(many.map((id) => keeping.publish(id, { history })));
    const trimming = topics.trim([
      { topic: "t", history: { maxMessages: 2 }, retained: true, forgetBefore: 0 },
      { topic: "u", retained: true, forgetBefore: 0 },
    ]);
    const after = keeping.publish("last", { history });
    await trimming;
    expect(await after).toMatchObject({ position: { offset: 3001 } });
    const { offset, messages } = await keeping.history({ bounds: history });
    expect([offset, messages.map((kept) => kept.offset)]).toEqual([3001, [2999, 3000, 3001]]);
    await keeping.forget();
    expect(topics.totals).toMatchObject({ topics: 0, historyMessages: 0, historyBytes: 0 });
  });
}

function describeEpochs(kind: EngineKind): void {
  test("[P-8.1] a topic is forgotten when nothing of it is left and nothing came since", async () => {
    await using keeping = await Keeping.open(kind);
    const { clock, engine } = keeping.subject;
    const now = clock.now();
    const trim = (forgetBefore: number, keeps: object = {}) =>
      engine.topics.trim([{ topic: "t", retained: true, forgetBefore, ...keeps }]);
    await keeping.publish("1", { retain: "set" });
    await trim(now + 1, { history: WIDE });
    await trim(now + 1);
    expect(await keeping.known()).toMatchObject({ messages: 0, isRetained: true, offset: 1 });
    await trim(now, { retained: false });
    expect(await keeping.known()).toMatchObject({ messages: 0, isRetained: false, offset: 1 });
    await trim(now + 1);
    expect(await keeping.known()).toBeUndefined();
    expect(await keeping.history()).toMatchObject({ offset: 0, first: 1 });
  });

  test("[P-8.1] a topic that was forgotten begins anew in another epoch; the others stay", async () => {
    await using keeping = await Keeping.open(kind);
    const first = await keeping.publish("1");
    await keeping.publish("2", { topic: "u" });
    await keeping.forget();
    const { epoch } = await keeping.history();
    expect(epoch).not.toBe(first.position!.epoch);
    expect(await keeping.publish("3")).toMatchObject({ position: { epoch, offset: 1 } });
    expect(await keeping.publish("4", { topic: "u" })).toMatchObject({
      position: { epoch: first.position!.epoch, offset: 2 },
    });
    await keeping.forget();
    expect((await keeping.publish("5")).position!.epoch).not.toBe(epoch);
    expect((await keeping.publish("6", { topic: "new" })).position).toEqual({
      epoch: (await keeping.history()).epoch,
      offset: 1,
    });
  });

  test("[P-8.1] forgetting a topic without offsets leaves the epoch of what is not known", async () => {
    await using keeping = await Keeping.open(kind);
    const { epoch } = await keeping.history();
    await keeping.retain("t", "1");
    await keeping.forget();
    expect((await keeping.history()).epoch).toBe(epoch);
    expect(await keeping.publish("2")).toMatchObject({ position: { epoch, offset: 1 } });
  });

  test.if(kind.durable)(
    "[P-4.3] all of it, and every epoch, is there after a new start",
    async () => {
      await using keeping = await Keeping.open(kind);
      const { subject } = keeping;
      await keeping.publish("0", { topic: "gone" });
      await keeping.forget("gone");
      await keeping.publishAll(["1", "2", "3"], { history: { maxMessages: 2 }, retain: "set" });
      await keeping.retain("u", "4");
      const look = async () => [
        await keeping.history(),
        await keeping.history({ topic: "nobody" }),
        await keeping.values(),
        (await subject.engine.topics.list(undefined, 9)).topics,
        { ...subject.engine.topics.totals },
      ];
      const before = await look();
      await subject.reopen();
      expect(await look()).toEqual(before);
      const { epoch } = await keeping.history();
      expect(await keeping.publish("5")).toMatchObject({ position: { epoch, offset: 4 } });
      await keeping.forget();
      await subject.reopen();
      expect((await keeping.publish("6")).position).toMatchObject({ offset: 1 });
      expect((await keeping.history()).epoch).not.toBe(epoch);
    },
  );

  test("[P-8.1] another store has other epochs", async () => {
    const epochs: string[] = [];
    for (const chance of [0.25, 0.75]) {
      await using keeping = await Keeping.open(kind, { random: () => chance });
      epochs.push((await keeping.history()).epoch);
    }
    expect(new Set(epochs).size).toBe(2);
  });
}
