/** Nobody is taken from more than its share at a time [P-11.2], and nothing is lost by having to wait. */
import { describe, expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import { OPCODE, webSocketFrame } from "../attack/hostile-peer.ts";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { RawClient } from "../harness/raw-client.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

/** Some ten small publishes. */
const SMALL_SHARE = { turnBytes: 1024 } as const;
const MANY = 3000;

const publish = (payload: number, topic = "from/flood") => ({ type: "publish", topic, payload });
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);

async function watcherOf(broker: TestBroker, token?: string): Promise<WireClient> {
  const options = token === undefined ? {} : { token };
  const watcher = await WireClient.connect(broker.wsUrl, options);
  await watcher.ok({ type: "subscribe", filter: "from/#" });
  return watcher;
}

/** So many events, in their order. */
async function eventsOf(watcher: WireClient, count: number): Promise<Frame[]> {
  const events: Frame[] = [];
  while (events.length < count) events.push(await watcher.expect("event"));
  return events;
}

const sessionsAre = (broker: TestBroker, count: number) =>
  eventually(
    () => broker.warren.sessions.size === count,
    () => `${count} sessions; there are ${broker.warren.sessions.size}`,
  );

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    const packed = (value: object) =>
      encoding === "json" ? JSON.stringify(value) : Buffer.from(encode(value));

    /** 200 publishes of one and a single one of another, in one turn, as one read of each socket brings them. */
    async function singleGoesBetween(
      broker: TestBroker,
      groups: readonly object[],
      begin: () => void,
    ) {
      using watcher = await watcherOf(broker);
      using flooder = await WireClient.connect(broker.wsUrl, { encoding });
      using other = await WireClient.connect(broker.wsUrl, { encoding });
      const [flood, single] = [flooder, other].map(({ welcome }) =>
        [...broker.warren.sessions].find(({ id }) => id === welcome.session),
      );
      begin();
      for (const group of groups) flood!.receive(packed(group));
      single!.receive(packed(publish(0, "from/other")));
      const events = await eventsOf(watcher, 201);
      const at = events.findIndex(({ topic }) => topic === "from/other");
      expect(at).toBeGreaterThan(0);
      expect(at).toBeLessThan(30);
      events.splice(at, 1);
      expect(events.map(({ payload }) => payload)).toEqual(upTo(200));
    }
    const frames = upTo(200).map((n) => publish(n));

    test("[P-11.2] who sends without end waits for his turn, and others go before the rest of it", async () => {
      await using broker = await startBroker({ limits: SMALL_SHARE });
      await singleGoesBetween(broker, frames, () => undefined);
    });

    for (const [how, groups] of [
      ["messages of their own", frames],
      ["frames of one message", [frames]],
    ] as const) {
      test(`[P-11.2] who sends little that costs much waits for his turn (${how})`, async () => {
        const clock = new ManualClock();
        await using broker = await startBroker({ deps: { clock } });
        await singleGoesBetween(broker, groups, () => {
          clock.lookMs = 1;
        });
      });
    }

    test("[P-11.2, P-2.3] frames take effect in their order, an auth among them too", async () => {
      await using broker = await startBroker({ limits: SMALL_SHARE, access: TOKENS_ONLY });
      const token = await tokenFor("ada");
      const less = await tokenFor("ada", { grants: [{ allow: ["publish"], on: ["elsewhere"] }] });
      using watcher = await watcherOf(broker, token);
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      for (const n of upTo(300)) client.send(publish(n));
      client.send({ type: "auth", token: less });
      for (const n of upTo(300)) client.send({ ...publish(300 + n), id: n });
      for (const n of upTo(300)) {
        const answer = await client.expect("error");
        expect(answer).toMatchObject({ id: n, code: "forbidden" });
      }
      const events = (await watcher.everythingUntilNow()).filter(({ type }) => type === "event");
      expect(events.map(({ payload }) => payload)).toEqual(upTo(300));
    });

    test("[P-11.2] past heldInputBytes turns are not kept, and nothing is lost", async () => {
      const limits = { turnBytes: 1, heldInputBytes: 1 };
      await using broker = await startBroker({ limits });
      using watcher = await watcherOf(broker);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (const n of upTo(MANY)) client.send(publish(n));
      const events = await eventsOf(watcher, MANY);
      expect(events.map(({ payload }) => payload)).toEqual(upTo(MANY));
      expect(broker.warren.sessions.turns.heldBytes).toBe(0);
    });
  });
}

const text = (payload: string) => webSocketFrame({ opcode: OPCODE.text, payload });
const GOODBYE = webSocketFrame({ opcode: OPCODE.close, payload: Buffer.from([0x03, 0xe8]) });

for (const [how, last] of [
  ["with a close frame", GOODBYE],
  ["without a word", Buffer.alloc(0)],
] as const) {
  test(`[P-11.2] what waits is taken though its connection has ended ${how}`, async () => {
    await using broker = await startBroker({ limits: SMALL_SHARE });
    using watcher = await watcherOf(broker);
    using client = await RawClient.connect(broker.wsUrl);
    const frames = upTo(MANY).map((n) => text(JSON.stringify(publish(n))));
    client.socket.end(Buffer.concat([...frames, last]));
    const events = await eventsOf(watcher, MANY);
    expect(events.map(({ payload }) => payload)).toEqual(upTo(MANY));
    await sessionsAre(broker, 1);
    expect(broker.warren.sessions.turns.heldBytes).toBe(0);
  });
}

test("[P-11.2, P-2.4] who is closed for what waited, when it had ended before, is gone", async () => {
  await using broker = await startBroker({ limits: SMALL_SHARE });
  using watcher = await watcherOf(broker);
  using client = await RawClient.connect(broker.wsUrl);
  const frames = upTo(100).map((n) => text(JSON.stringify(publish(n))));
  const nonsense = upTo(100).map(() => text("{}"));
  const after = text(JSON.stringify(publish(100)));
  client.socket.end(Buffer.concat([...frames, ...nonsense, after, GOODBYE]));
  await sessionsAre(broker, 1);
  const events = (await watcher.everythingUntilNow()).filter(({ type }) => type === "event");
  expect(events.map(({ payload }) => payload)).toEqual(upTo(100));
  expect(broker.warren.sessions.turns.heldBytes).toBe(0);
});

test("[P-11.2, P-4.1] subscriptions and work of one who has ended meanwhile leave nothing behind", async () => {
  await using broker = await startBroker({ limits: SMALL_SHARE });
  await broker.queue("jobs", ["jobs"]);
  using watcher = await watcherOf(broker);
  await watcher.ok({ type: "publish", topic: "jobs", payload: 1 });
  using client = await RawClient.connect(broker.wsUrl);
  const frames = upTo(100).map((n) => text(JSON.stringify(publish(n))));
  const asked = [
    { type: "subscribe", filter: "from/#" },
    { type: "consume", queue: "jobs", credit: 1 },
    publish(100),
  ].map((frame) => text(JSON.stringify(frame)));
  client.socket.end(Buffer.concat([...frames, ...asked, GOODBYE]));
  await eventsOf(watcher, 101);
  await sessionsAre(broker, 1);
  expect(broker.warren.broker.counters.subscriptions).toBe(1);
  await watcher.ok({ type: "consume", queue: "jobs", credit: 1 });
  expect(await watcher.expect("delivery")).toMatchObject({ queue: "jobs", attempt: 1 });
});
