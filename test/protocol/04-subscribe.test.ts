/** Live subscriptions [P-4]. */
import { describe, expect, test } from "bun:test";
import { Value } from "@sinclair/typebox/value";
import { SERVER_FRAMES } from "../../schemas/frames.ts";
import { filterMatches } from "../../src/topic.ts";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { RawClient } from "../harness/raw-client.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test("[P-4.1] subscribe is answered before its first event", async () => {
      await using broker = await startBroker();
      using publisher = await WireClient.connect(broker.wsUrl, { encoding });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      // Events of the same turn as the subscribe, before and behind it.
      for (let round = 0; round < 50; round++) {
        const filter = `r/${round}`;
        client.send([
          { type: "publish", topic: filter, payload: "early" },
          { type: "subscribe", id: round, filter },
          { type: "publish", topic: filter, payload: "own" },
        ]);
        const first = await client.expect(() => true);
        expect(first).toEqual({ type: "ok", id: round, filter });
        expect(await client.expect("event")).toMatchObject({ topic: filter, payload: "own" });
        await publisher.ok({ type: "publish", topic: filter, payload: "late" });
        expect(await client.expect("event")).toMatchObject({ payload: "late" });
      }
    });

    test("[P-4.1, P-4.6] no event after unsubscribe is answered; other sockets still get it", async () => {
      await using broker = await startBroker();
      using one = await WireClient.connect(broker.wsUrl, { encoding });
      using two = await WireClient.connect(broker.wsUrl, { encoding });
      for (const client of [one, two]) await client.ok({ type: "subscribe", filter: "t" });
      one.send([
        { type: "publish", topic: "t", payload: 1 },
        { type: "unsubscribe", id: "u", filter: "t" },
        { type: "publish", topic: "t", payload: 2 },
      ]);
      expect(await one.expect("ok")).toEqual({ type: "ok", id: "u", filter: "t" });
      expect((await two.expect("event")).payload).toBe(1);
      expect((await two.expect("event")).payload).toBe(2);
      const seen = await one.everythingUntilNow();
      expect(seen.map(({ payload }) => payload)).toEqual([1]);
      // Whether or not there is such a subscription.
      await one.ok({ type: "unsubscribe", filter: "t" });
    });

    test("[P-4.1] subscribing twice to one filter is one subscription", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (let i = 0; i < 3; i++) await client.ok({ type: "subscribe", filter: "t" });
      await client.ok({ type: "publish", topic: "t" });
      expect(await client.everythingUntilNow()).toHaveLength(1);
      await client.ok({ type: "unsubscribe", filter: "t" });
      await client.ok({ type: "publish", topic: "t" });
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test("[P-4.1] what comes later is not_supported, naming the field", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const asked = {
        recover: { epoch: "e", offset: 1 },
        last: 5,
        where: { field: "/a", op: "eq", value: 1 },
      };
      for (const [field, value] of Object.entries(asked)) {
        const answer = await client.request({ type: "subscribe", filter: "t", [field]: value });
        expect(answer).toMatchObject({ code: "not_supported", detail: { pointer: `/${field}` } });
      }
      await client.ok({ type: "publish", topic: "t" });
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test("[P-3.1, P-4.2] one event per matching filter, which is named when it is not the topic", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const filters = ["a/b", "a/+", "a/#", "#", "+/+", "+/b", "a/b/#", "a", "+", "a/b/+", "b/#"];
      for (const filter of filters) await client.ok({ type: "subscribe", filter });
      await client.ok({ type: "publish", topic: "a/b", payload: 1 });
      const events = await client.everythingUntilNow();
      const expected = filters.filter((filter) => filterMatches(filter, "a/b"));
      expect(events.map(({ filter = "a/b" }) => filter).sort()).toEqual(expected.sort());
      for (const event of events) expect(Value.Check(SERVER_FRAMES.event, event)).toBe(true);
      const exact = events.find(({ filter }) => filter === undefined);
      expect(exact).toMatchObject({ topic: "a/b" });
    });

    test("[P-3.1] filters that break a rule are invalid_filter", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (const filter of ["", "a+", "#/a", "a/#b", "x".repeat(257), "a/\u0007"]) {
        for (const type of ["subscribe", "unsubscribe"]) {
          const answer = await client.request({ type, filter });
          expect([filter, answer.code]).toEqual([filter, "invalid_filter"]);
        }
      }
    });

    test("[P-4.2] from is the principal that published, absent for anonymous", async () => {
      const anonymous = { grants: [{ allow: ["publish"], on: ["#"] }] };
      await using broker = await startBroker({ access: { ...TOKENS_ONLY, anonymous } });
      using nobody = await WireClient.connect(broker.wsUrl, { encoding });
      const token = await tokenFor("ada");
      using ada = await WireClient.connect(broker.wsUrl, { encoding, token });
      await ada.ok({ type: "subscribe", filter: "t" });
      await nobody.ok({ type: "publish", topic: "t" });
      await ada.ok({ type: "publish", topic: "t" });
      expect(await ada.expect("event")).not.toHaveProperty("from");
      expect(await ada.expect("event")).toMatchObject({ from: "ada" });
    });

    test("[P-4.1] a filter wider than the grant is forbidden, not narrowed", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const grants = [{ allow: ["subscribe"], on: ["mine/#"] }];
      const token = await tokenFor("ada", { grants });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      for (const filter of ["#", "+/a", "yours"]) {
        const answer = await client.request({ type: "subscribe", filter });
        expect(answer).toMatchObject({ code: "forbidden", detail: { on: filter } });
      }
      await client.ok({ type: "subscribe", filter: "mine/+/a" });
    });

    test("[P-4.6] when rights change the broker ends what is no longer allowed and says so", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const all = [{ allow: ["subscribe", "publish"], on: ["#"] }];
      const less = [{ allow: ["subscribe", "publish"], on: ["a/#"] }];
      const token = await tokenFor("ada", { grants: all });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      for (const filter of ["a/b", "b", "+"]) await client.ok({ type: "subscribe", filter });
      await client.ok({ type: "auth", token: await tokenFor("ada", { grants: less }) });
      const notices = client.inbox.splice(0);
      expect(notices).toEqual(
        ["b", "+"].map((filter) => ({
          type: "notice",
          code: "unsubscribed",
          filter,
          reason: "forbidden",
        })),
      );
      expect((await client.request({ type: "publish", topic: "b" })).code).toBe("forbidden");
      await client.ok({ type: "publish", topic: "a/b" });
      expect(await client.everythingUntilNow()).toHaveLength(1);
    });
  });
}

for (const encoding of ENCODINGS) {
  test(`[P-2.1] events of one turn leave as few messages, in order (${encoding})`, async () => {
    // By it nothing takes long, or a message might take several turns.
    await using broker = await startBroker({ deps: { clock: new ManualClock() } });
    using publisher = await WireClient.connect(broker.wsUrl, { encoding });
    using client = await WireClient.connect(broker.wsUrl, { encoding });
    await client.ok({ type: "subscribe", filter: "t/#" });
    const before = client.messages;
    // Their answers open a turn, so all but the first are gathered.
    publisher.send(
      Array.from({ length: 200 }, (_, id) => ({ type: "publish", id, topic: "t", payload: id })),
    );
    for (let i = 0; i < 200; i++) expect((await client.expect("event")).payload).toBe(i);
    expect(client.messages - before).toBe(2);
  });
}

test("[P-4.1] a connection that ends leaves nothing behind", async () => {
  await using broker = await startBroker();
  await broker.queue("q", ["jobs"]);
  const { broker: core, sessions } = broker.warren;
  const before = core.router.filters;
  const clients = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      WireClient.connect(broker.wsUrl, { encoding: ENCODINGS[i % 2]! }),
    ),
  );
  for (const [i, client] of clients.entries()) {
    await client.ok({ type: "subscribe", filter: "shared/#" });
    await client.ok({ type: "subscribe", filter: `own/${i}` });
    await client.ok({ type: "consume", queue: "q", credit: 1 });
  }
  expect(core.counters).toMatchObject({ routes: 22, subscriptions: 40 });
  expect(core.engine.queues.describe("q").counts.consumers).toBe(20);
  for (const [i, client] of clients.entries()) {
    if (i % 3 === 0) client.socket.terminate();
    else client.close();
  }
  await eventually(
    () => sessions.size === 0,
    () => `no sessions; there are ${sessions.size}`,
  );
  expect(core.counters).toMatchObject({ routes: 0, subscriptions: 0 });
  expect(core.router.filters).toBe(before);
  expect(core.engine.queues.describe("q").counts.consumers).toBe(0);
});

describe("slow consumers", () => {
  const limits = { outboundBytes: 512 * 1024, frameBytes: 64 * 1024 };
  const payload = "x".repeat(8 * 1024);

  test("[P-4.7] events missed by a slow subscriber are counted exactly, and it is told", async () => {
    await using broker = await startBroker({ limits });
    using slow = await RawClient.connect(broker.wsUrl);
    using publisher = await WireClient.connect(broker.wsUrl);
    using fast = await WireClient.connect(broker.wsUrl);
    slow.send({ type: "subscribe", id: 1, filter: "flood" });
    slow.send({ type: "subscribe", id: 2, filter: "trickle" });
    await slow.until(({ id }) => id === 2);
    await fast.ok({ type: "subscribe", filter: "flood" });
    slow.stopReading();
    // How much the system takes before the broker sees that nobody reads is its own business.
    const isSeen = () => [...broker.warren.sessions].some((one) => one.holdings.live?.suspended);
    let total = 0;
    let unseenTotal = 0;
    // And on for a while, so that there is something to miss.
    for (let i = 0; i < 3000 || (i < unseenTotal + 1000 && i < 60_000); i += 20) {
      total += 20;
      if (!isSeen()) unseenTotal = total;
      publisher.send(
        Array.from({ length: 4 }, (_, j) => ({
          type: "publish",
          topic: "flood",
          headers: { n: String(i + j) },
          payload,
        })),
      );
      await publisher.ok({ type: "publish", topic: "trickle", payload: i });
    }
    const floods = (total / 20) * 4;
    for (let i = 0; i < floods; i++) await fast.expect("event");
    slow.readOn();
    const lagged = await slow.until(({ code, filter }) => code === "lagged" && filter === "flood");
    const trickle = await slow.until(
      ({ code, filter }) => code === "lagged" && filter === "trickle",
    );
    await publisher.ok({ type: "publish", topic: "flood", payload: "again" });
    await slow.until((frame) => frame.payload === "again");
    const seen = (topic: string) => slow.frames.filter((frame) => frame.topic === topic);
    expect(seen("flood").length - 1 + lagged.missed).toBe(floods);
    expect(seen("trickle").length + trickle.missed).toBe(total / 20);
    // What it got is what came first, in order and without a gap.
    const numbers = seen("flood")
      .slice(0, -1)
      .map((frame) => Number(frame.headers.n));
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
  });

  test("[P-4.7] one that asks on and on without reading is closed with 4508", async () => {
    await using broker = await startBroker({ limits });
    using slow = await RawClient.connect(broker.wsUrl);
    const { sessions } = broker.warren;
    slow.stopReading();
    const id = "i".repeat(60);
    const frames = Array.from({ length: 200 }, () => ({ type: "ping", id }));
    await eventually(
      () => {
        // The broker may have to be asked for as much as the kernel holds for a reader.
        if (slow.socket.writableLength === 0) slow.send(frames);
        return [...sessions].every(({ state }) => state === "leaving");
      },
      () => "the session to be closed",
    );
    slow.readOn();
    await eventually(
      () => slow.closeCode !== undefined,
      () => "a close frame",
    );
    expect(slow.closeCode).toBe(4508);
    await eventually(
      () => sessions.size === 0,
      () => "no session",
    );
  });

  test("[P-4.7] deliveries to a slow consumer are held back, not lost", async () => {
    await using broker = await startBroker({ limits });
    await broker.queue("q", ["jobs"]);
    using publisher = await WireClient.connect(broker.wsUrl);
    const total = 1000;
    for (let i = 0; i < total; i++) publisher.send({ type: "publish", topic: "jobs", payload });
    await publisher.ok({ type: "ping" });
    using slow = await RawClient.connect(broker.wsUrl);
    slow.send({ type: "consume", id: 1, queue: "q", credit: 1000 });
    await slow.until(({ id }) => id === 1);
    slow.stopReading();
    const [session] = [...broker.warren.sessions]
      .filter(({ protocol }) => protocol.encoder.name === "json")
      .slice(-1);
    await eventually(
      () => session!.socket.getBufferedAmount() > limits.outboundBytes / 2,
      () => "a backlog",
    );
    expect(session!.socket.getBufferedAmount()).toBeLessThan(limits.outboundBytes);
    const { counts } = broker.warren.broker.engine.queues.describe("q");
    expect(counts.ready).toBeGreaterThan(0);
    slow.readOn();
    await eventually(
      () => slow.frames.filter(({ type }) => type === "delivery").length === total,
      () => "all deliveries",
    );
  });
});
