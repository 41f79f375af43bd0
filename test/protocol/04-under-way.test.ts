/** Subscribes that are being read for, and what else happens meanwhile [P-2.3], [P-4.8]. */
import { describe, expect, test } from "bun:test";
import { WarrenError } from "../../src/errors.ts";
import { eventually } from "../harness/eventually.ts";
import { startWithHeldReads } from "../harness/held-reads.ts";
import { RawClient } from "../harness/raw-client.ts";
import { type BrokerOptions, startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

const KEPT = {
  channels: {
    values: { filter: "v/#", retained: true },
    kept: { filter: "h/#", history: { maxMessages: 100_000 } },
  },
};

const started = (options: Omit<BrokerOptions, "engine"> = {}) =>
  startWithHeldReads({ access: KEPT, ...options });

const subscriptions = ({ warren }: TestBroker) =>
  [...warren.sessions].reduce((sum, { holdings }) => sum + (holdings.live?.size ?? 0), 0);

for (const encoding of ENCODINGS) {
  describe(`[P-4.8] over ${encoding}`, () => {
    const connect = (broker: TestBroker, token?: string) =>
      WireClient.connect(broker.wsUrl, { encoding, ...(token !== undefined && { token }) });

    test("[P-2.3] what the connection publishes behind it, it sees", async () => {
      const { broker, engine } = await started();
      await using _ = broker;
      using client = await connect(broker);
      client.send([
        { type: "subscribe", id: 1, filter: "#" },
        { type: "publish", id: 2, topic: "x", payload: "own" },
        { type: "batch", id: 3, publish: [{ topic: "y" }] },
        { type: "ping", id: 4 },
      ]);
      client.send({ type: "publish", topic: "z" });
      await engine.holds(1);
      expect(client.inbox).toEqual([]);
      engine.release();
      expect(await client.expect(() => true)).toMatchObject({ type: "ok", id: 1, retained: 0 });
      const topics = [];
      for (let i = 0; i < 3; i++) topics.push((await client.expect("event")).topic);
      expect(topics).toEqual(["x", "y", "z"]);
      for (const id of [2, 3, 4]) expect((await client.expect("ok")).id).toBe(id);
      // Nothing waits any more.
      await client.ok({ type: "publish", topic: "x" });
    });

    test("[P-2.3, P-7.1] who asks who is there behind it, finds himself", async () => {
      const room = { filter: "room/#", presence: true, history: {}, retained: true };
      const { broker, engine } = await started({ access: { channels: { room } } });
      await using _ = broker;
      using client = await connect(broker);
      client.send({ type: "subscribe", id: 1, filter: "room/a", presence: true, info: 7 });
      client.send({ type: "presence", id: 2, topic: "room/a" });
      await engine.holds(2);
      engine.release();
      expect(await client.expect("ok")).toMatchObject({ id: 1, offset: 0, retained: 0 });
      expect(await client.expect("presence")).toMatchObject({ action: "join" });
      const list = await client.expect("ok");
      expect(list).toMatchObject({ id: 2, count: 1, members: [{ info: 7 }] });
      // Replayed anew, and a member all along.
      engine.holding = false;
      await client.ok({ type: "subscribe", filter: "room/a", last: 3, info: 8 });
      expect(await client.everythingUntilNow()).toMatchObject([{ action: "update" }]);
      await client.close();
      await eventually(
        () => broker.warren.broker.presence.members === 0,
        () => "nobody",
      );
    });

    test("[P-2.3] on a topic with history nothing has to wait", async () => {
      const { broker, engine } = await started();
      await using _ = broker;
      using client = await connect(broker);
      client.send({ type: "subscribe", id: 1, filter: "h/a", last: 10 });
      await engine.holds(1);
      await client.ok({ type: "publish", topic: "h/a", payload: 1 });
      engine.release();
      expect(await client.expect("ok")).toMatchObject({ id: 1, offset: 1 });
      expect(await client.expect("event")).toMatchObject({ payload: 1, offset: 1 });
      await client.ok({ type: "publish", topic: "h/a", payload: 2 });
      expect(await client.expect("event")).toMatchObject({ payload: 2, offset: 2 });
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test("[P-4.6] unsubscribe ends it before it has begun", async () => {
      const { broker, engine } = await started();
      await using _ = broker;
      using client = await connect(broker);
      for (const [filter, more] of [
        ["h/a", { last: 1 }],
        ["h/a", {}],
        ["v/#", {}],
      ] as const) {
        const subscribed = client.request({ type: "subscribe", filter, ...more });
        await engine.holds(1);
        await client.ok({ type: "unsubscribe", filter });
        expect(await subscribed).toMatchObject({ type: "error", code: "conflict" });
        engine.release();
        await client.ok({ type: "publish", topic: "h/a" });
        await client.ok({ type: "publish", topic: "v/a" });
        expect(await client.everythingUntilNow()).toEqual([]);
        expect(subscriptions(broker)).toBe(0);
      }
    });

    test("another to the same filter is refused meanwhile", async () => {
      const { broker, engine } = await started();
      await using _ = broker;
      using client = await connect(broker);
      const first = client.request({ type: "subscribe", filter: "h/a", last: 1 });
      await engine.holds(1);
      for (const more of [{}, { last: 1 }, { recover: { epoch: "e", offset: 0 } }]) {
        const answer = await client.request({ type: "subscribe", filter: "h/a", ...more });
        expect(answer.code).toBe("conflict");
      }
      engine.release();
      expect((await first).type).toBe("ok");
      await client.ok({ type: "publish", topic: "h/a" });
      expect(await client.everythingUntilNow()).toHaveLength(1);
    });

    test("[P-11.1] any number may be asked for; one page is read at a time", async () => {
      const { broker, engine } = await started({ limits: { pendingReads: 4 } });
      await using _ = broker;
      using client = await connect(broker);
      const asked = Array.from({ length: 20 }, (_, n) =>
        client.request({ type: "subscribe", filter: `h/${n}`, last: 5 }),
      );
      for (let n = 0; n < asked.length; n++) {
        await engine.holds(1);
        engine.release();
        expect((await asked[n])?.type).toBe("ok");
      }
      expect(subscriptions(broker)).toBe(20);
      // Where history stands is no page.
      const places = Array.from({ length: 10 }, (_, n) =>
        client.request({ type: "subscribe", filter: `h/place/${n}` }),
      );
      while (subscriptions(broker) < 30) {
        await eventually(
          () => engine.held > 0 || subscriptions(broker) === 30,
          () => "reads",
        );
        expect(engine.held).toBeLessThanOrEqual(4);
        engine.release();
      }
      for (const place of places) expect((await place).offset).toBe(0);
    });

    test("[P-11.1] those under way count as subscriptions", async () => {
      const { broker, engine } = await started({ limits: { subscriptions: 2 } });
      await using _ = broker;
      using client = await connect(broker);
      const one = client.request({ type: "subscribe", filter: "h/a" });
      const two = client.request({ type: "subscribe", filter: "h/b" });
      await engine.holds(2);
      const three = await client.request({ type: "subscribe", filter: "h/c" });
      expect(three.code).toBe("too_many_subscriptions");
      engine.release();
      expect([(await one).type, (await two).type]).toEqual(["ok", "ok"]);
    });

    test("[P-9.1, P-4.6] rights that go meanwhile end it", async () => {
      const { broker, engine } = await started({ access: { ...TOKENS_ONLY, ...KEPT } });
      await using _ = broker;
      const on = ["#"];
      const all = await tokenFor("p", {
        grants: [{ allow: ["subscribe", "history", "publish"], on }],
      });
      const live = await tokenFor("p", { grants: [{ allow: ["subscribe"], on }] });
      const none = await tokenFor("p", { grants: [] });
      using client = await connect(broker, all);
      for (let n = 0; n < 3; n++) await client.ok({ type: "publish", topic: "h/a", payload: n });
      const begin = async (token: string, asked: object) => {
        await client.ok({ type: "auth", token: all });
        const answer = client.request({ type: "subscribe", ...asked });
        await engine.holds(1);
        await client.ok({ type: "auth", token });
        engine.release();
        return (await answer).code;
      };
      expect(await begin(live, { filter: "h/a", last: 2 })).toBe("forbidden");
      expect(await begin(none, { filter: "h/a", last: 2 })).toBe("forbidden");
      expect(await begin(none, { filter: "h/b" })).toBe("forbidden");
      expect(await begin(none, { filter: "v/#" })).toBe("forbidden");
      expect(await client.everythingUntilNow()).toEqual([]);
      expect(subscriptions(broker)).toBe(0);
    });

    test("[P-9.1, P-4.6] rights that go between two pages end it too", async () => {
      const access = { ...TOKENS_ONLY, ...KEPT };
      const { broker, engine } = await started({ access, limits: { replayBytes: 1 } });
      await using _ = broker;
      const on = ["#"];
      const all = await tokenFor("p", {
        grants: [{ allow: ["subscribe", "history", "publish"], on }],
      });
      using client = await connect(broker, all);
      const { epoch } = await client.ok({ type: "publish", topic: "h/a" });
      for (let n = 0; n < 4; n++) await client.ok({ type: "publish", topic: "h/a", payload: n });
      for (const topic of ["v/a", "v/b", "v/c"]) {
        await client.ok({ type: "publish", topic, payload: 1, retain: true });
      }
      const none = await tokenFor("p", { grants: [] });
      const recover = { epoch, offset: 2 };
      for (const asked of [{ filter: "h/a", recover }, { filter: "v/#" }]) {
        await client.ok({ type: "auth", token: all });
        const answer = client.ok({ type: "subscribe", ...asked });
        await engine.holds(1);
        engine.release();
        await answer;
        await engine.holds(1);
        await client.ok({ type: "auth", token: none });
        engine.release();
        const { filter } = asked;
        expect(await client.expect("notice")).toMatchObject({
          code: "unsubscribed",
          filter,
          reason: "forbidden",
        });
        expect((await client.everythingUntilNow()).length).toBeLessThanOrEqual(1);
        expect(subscriptions(broker)).toBe(0);
      }
    });

    test("a connection that ends meanwhile leaves nothing behind", async () => {
      const { broker, engine } = await started();
      await using _ = broker;
      const frames = [
        { type: "subscribe", filter: "h/a", last: 1 },
        { type: "subscribe", filter: "h/b" },
        { type: "subscribe", filter: "v/#" },
      ];
      const nobody = () =>
        eventually(
          () => broker.warren.sessions.size === 0,
          () => "no session",
        );
      const one = await connect(broker);
      one.send(frames);
      await engine.holds(2);
      await one.close();
      await nobody();
      engine.release();
      // This one is not read from, so that its end is seen when it is again.
      const two = await connect(broker);
      two.send([...frames, { type: "publish", topic: "x" }]);
      await engine.holds(2);
      two.socket.close();
      engine.holding = false;
      engine.release();
      await nobody();
      using other = await connect(broker);
      await other.ok({ type: "publish", topic: "h/a" });
      await other.ok({ type: "publish", topic: "h/b" });
      expect(engine.held).toBe(0);
      const { counters } = broker.warren.broker;
      expect([counters.subscriptions, counters.routes, counters.events]).toEqual([0, 0, 0]);
    });

    test("[P-9.3] a broker that stops does not wait for it", async () => {
      const { broker, engine } = await started();
      using client = await connect(broker);
      client.send([
        { type: "subscribe", filter: "v/#" },
        { type: "publish", topic: "x" },
      ]);
      await engine.holds(1);
      await broker.stop();
      expect((await client.closed()).code).toBe(1012);
      await broker[Symbol.asyncDispose]();
    });

    test("storage that fails is said, and a subscription that was there stays", async () => {
      const { broker, engine } = await started();
      await using _ = broker;
      using client = await connect(broker);
      engine.holding = false;
      await client.ok({ type: "subscribe", filter: "h/a" });
      const { topics } = engine;
      const failing: typeof topics.history = (_request, answered) =>
        setImmediate(() => answered(new WarrenError("storage_unavailable")));
      const { history, retained } = topics;
      topics.history = failing;
      topics.retained = failing as never;
      for (const asked of [{ filter: "h/a", last: 1 }, { filter: "h/b" }, { filter: "v/#" }]) {
        const answer = await client.request({ type: "subscribe", ...asked });
        expect(answer).toMatchObject({ code: "storage_unavailable", retry: true });
      }
      expect(await client.request({ type: "history", topic: "h/a" })).toMatchObject({
        code: "storage_unavailable",
      });
      Object.assign(topics, { history, retained });
      await client.ok({ type: "publish", topic: "h/a", payload: 1 });
      await client.ok({ type: "publish", topic: "h/b", payload: 2 });
      const seen = await client.everythingUntilNow();
      expect(seen.map(({ payload }: Frame) => payload)).toEqual([1]);
    });
  });
}

describe("[P-4.7, P-4.8] a slow reader and much to replay", () => {
  const payload = "x".repeat(10_000);
  const total = 800;

  async function filled(): Promise<{ broker: TestBroker; epoch: string }> {
    const broker = await startBroker({ access: KEPT });
    using publisher = await WireClient.connect(broker.wsUrl);
    let epoch = "";
    for (let from = 0; from < total; from += 20) {
      const publish = Array.from({ length: 20 }, () => ({ topic: "h/a", payload }));
      const { results } = await publisher.ok({ type: "batch", publish });
      epoch = results[0].epoch;
    }
    return { broker, epoch };
  }

  test("is paced by its socket, is not closed, and misses nothing", async () => {
    const { broker, epoch } = await filled();
    await using _ = broker;
    using slow = await RawClient.connect(broker.wsUrl);
    using publisher = await WireClient.connect(broker.wsUrl);
    const { outboundBytes, replayBytes } = broker.warren.sessions.limits;
    slow.send({ type: "subscribe", id: 1, filter: "h/a", recover: { epoch, offset: 0 } });
    const ok = await slow.until(({ id }) => id === 1);
    expect(ok).toMatchObject({ recovered: true, offset: total });
    slow.stopReading();
    const [session] = broker.warren.sessions;
    const waiting = () => session!.socket.getBufferedAmount();
    await eventually(
      () => waiting() * 4 > outboundBytes,
      () => `a backlog; there are ${waiting()}`,
    );
    for (let n = 0; n < 100; n++) await publisher.ok({ type: "publish", topic: "h/a" });
    expect(waiting()).toBeLessThanOrEqual(outboundBytes / 4 + replayBytes + 64 * 1024);
    expect(session!.state).toBe("open");
    slow.readOn();
    await slow.until(({ offset, type }) => type === "event" && offset === total + 100);
    await publisher.ok({ type: "publish", topic: "h/a" });
    await slow.until(({ offset, type }) => type === "event" && offset === total + 101);
    const offsets = slow.frames.filter(({ type }) => type === "event").map(({ offset }) => offset);
    expect(offsets).toEqual(Array.from({ length: total + 101 }, (_, i) => i + 1));
    expect(slow.frames.filter(({ type }) => type === "notice")).toEqual([]);
  });

  test("who has lagged recovers with the last offset seen", async () => {
    const { broker, epoch } = await filled();
    await using _ = broker;
    using slow = await RawClient.connect(broker.wsUrl);
    using publisher = await WireClient.connect(broker.wsUrl);
    slow.send({ type: "subscribe", id: 1, filter: "h/a" });
    await slow.until(({ id }) => id === 1);
    slow.stopReading();
    const [session] = broker.warren.sessions;
    while (session!.holdings.live?.suspended !== true) {
      const publish = Array.from({ length: 20 }, () => ({ topic: "h/a", payload }));
      await publisher.ok({ type: "batch", publish });
    }
    // It asks while it is behind, and is served when it is not.
    slow.send({ type: "subscribe", id: 2, filter: "h/a", recover: { epoch, offset: total } });
    const { offset: newest } = await publisher.ok({ type: "publish", topic: "h/a" });
    slow.readOn();
    const at = slow.frames.indexOf(await slow.until(({ id }) => id === 2));
    expect(slow.frames[at]).toMatchObject({ recovered: true });
    await slow.until(
      (one) => one.type === "event" && slow.frames.indexOf(one) > at && one.offset === newest,
    );
    const replayed = slow.frames.slice(at + 1).filter(({ type }) => type === "event");
    const offsets = replayed.map(({ offset }) => offset);
    expect(offsets).toEqual(Array.from({ length: newest - total }, (_, i) => total + 1 + i));
  });
});
