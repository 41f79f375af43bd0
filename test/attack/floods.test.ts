/** Floods of topics, filters and connections: bounded, others are served meanwhile, nothing stays behind. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../harness/eventually.ts";
import { type Served, serve } from "../harness/served.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";
import { HostilePeer, upgradeRequest } from "./hostile-peer.ts";
import { residentMiB } from "./resident-memory.ts";

let dataDir: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-floods-"));
});

afterAll(() => rm(dataDir, { recursive: true, force: true }));

const wsUrlOf = ({ url }: Served) => `${url.replace("http", "ws")}/ws`;

async function gauges({ url }: Served): Promise<Frame> {
  const answer = await fetch(`${url}/admin/v1/stats`);
  return ((await answer.json()) as Frame).gauges;
}

/** So many things in messages of 250. */
async function inBatches(
  client: WireClient,
  total: number,
  make: (n: number) => Frame,
): Promise<void> {
  for (let n = 0; n < total; n += 250) {
    client.send(Array.from({ length: Math.min(250, total - n) }, (_, i) => make(n + i)));
    // Not too far ahead of the broker, or this process would hold it all.
    if (n % 5000 === 0) await client.ok({ type: "ping" });
  }
  await client.ok({ type: "ping" });
}

describe("topics", () => {
  test("[P-3.3, P-11.1] 200,000 distinct topics: what is remembered of them is bounded", async () => {
    await using broker = await startBroker();
    const { router } = broker.warren.broker;
    const { topicCache } = broker.warren.sessions.limits;
    using flooder = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
    using live = await WireClient.connect(broker.wsUrl);
    await live.ok({ type: "subscribe", filter: "mine" });
    const tail = "x".repeat(200);
    const publish = (n: number) => ({ type: "publish", topic: `flood/${n}/${tail}` });
    for (let round = 0; round < 10; round++) {
      await inBatches(flooder, 20_000, (n) => publish(round * 20_000 + n));
      expect(router.cachedTopics).toBeLessThanOrEqual(topicCache);
      await live.ok({ type: "publish", topic: "mine", payload: round });
      expect(await live.expect("event")).toMatchObject({ payload: round });
    }
    expect(broker.warren.broker.counters.published).toBe(200_010);
  });

  test("[P-3.3] and the process does not grow with them", async () => {
    await using broker = await serve(join(dataDir, "topics"));
    using flooder = await WireClient.connect(wsUrlOf(broker));
    const tail = "x".repeat(200);
    const flood = (from: number, total: number) =>
      inBatches(flooder, total, (n) => ({ type: "publish", topic: `f/${from + n}/${tail}` }));
    // The caches are full after this, and the heap is as large as it gets.
    await flood(0, 200_000);
    const before = await residentMiB(broker.child.pid);
    await flood(200_000, 300_000);
    // What is kept only grows; what comes and goes is not always collected when it is looked at.
    let least = await residentMiB(broker.child.pid);
    for (let from = 500_000; from < 700_000; from += 50_000) {
      await flood(from, 50_000);
      least = Math.min(least, await residentMiB(broker.child.pid));
    }
    const grown = least - before;
    // Kept, they would be 65 MiB of text alone, and each has an entry of some hundred bytes besides.
    expect(grown).toBeLessThan(80);
  });
});

describe("subscriptions", () => {
  for (const encoding of ENCODINGS) {
    test(`[P-4.1, P-4.6, P-11.1] thousands come and go, and none is left (${encoding})`, async () => {
      await using broker = await startBroker();
      const { broker: core } = broker.warren;
      using flooder = await WireClient.connect(broker.wsUrl, { encoding });
      using live = await WireClient.connect(broker.wsUrl, { encoding });
      await live.ok({ type: "subscribe", filter: "mine/#" });
      const filter = (n: number) => (n % 3 === 0 ? `f/${n}/#` : `f/${n}`);
      for (let round = 0; round < 10; round++) {
        await inBatches(flooder, 500, (n) => ({
          type: "subscribe",
          filter: filter(round * 500 + n),
        }));
        expect(core.counters.routes).toBe(501);
        await live.ok({ type: "publish", topic: "mine/x", payload: round });
        expect(await live.expect("event")).toMatchObject({ payload: round });
        await inBatches(flooder, 500, (n) => ({
          type: "unsubscribe",
          filter: filter(round * 500 + n),
        }));
      }
      expect(core.counters).toMatchObject({ routes: 1, subscriptions: 1 });
      expect(core.router.filters).toBe(1);
      expect(flooder.inbox).toEqual([]);
    });

    test(`[P-11.1, P-2.2] each one past the limit is refused; what was there stays (${encoding})`, async () => {
      await using broker = await startBroker();
      using flooder = await WireClient.connect(broker.wsUrl, { encoding });
      await inBatches(flooder, 5000, (n) => ({ type: "subscribe", filter: `f/${n}` }));
      const refused = flooder.inbox.splice(0);
      expect(refused.length).toBe(5000 - 512);
      expect(new Set(refused.map(({ code, ref }) => `${code} ${ref}`))).toEqual(
        new Set(["too_many_subscriptions subscribe"]),
      );
      expect(broker.warren.broker.counters.subscriptions).toBe(512);
      await flooder.ok({ type: "publish", topic: "f/511", payload: "there" });
      expect(await flooder.expect("event")).toMatchObject({ payload: "there" });
      await flooder.ok({ type: "publish", topic: "f/512", payload: "not there" });
      expect(await flooder.everythingUntilNow()).toEqual([]);
    });
  }

  test("[P-3.1, P-4.2] 512 overlapping filters of one connection: an event each, and no more", async () => {
    await using broker = await startBroker();
    using flooder = await WireClient.connect(broker.wsUrl);
    using other = await WireClient.connect(broker.wsUrl);
    await other.ok({ type: "subscribe", filter: "#" });
    const levels = "a/b/c/d/e/f/g/h/i".split("/");
    // Every choice of + for a level matches the same topic.
    const filter = (n: number) => levels.map((level, i) => ((n >> i) & 1 ? "+" : level)).join("/");
    await inBatches(flooder, 512, (n) => ({ type: "subscribe", id: n, filter: filter(n) }));
    expect(flooder.inbox.splice(0).every(({ type }) => type === "ok")).toBe(true);
    await other.ok({ type: "publish", topic: levels.join("/"), payload: 1 });
    const events = await flooder.everythingUntilNow();
    expect(new Set(events.map((event) => event.filter ?? event.topic)).size).toBe(512);
    expect(events.length).toBe(512);
    expect(await other.everythingUntilNow()).toHaveLength(1);
  });
});

test("[P-4.1, P-5.5] 2,000 connections that come, take and vanish leave nothing behind", async () => {
  await using broker = await serve(join(dataDir, "churn"));
  const wsUrl = wsUrlOf(broker);
  await fetch(`${broker.url}/admin/v1/queues/q`, { method: "PUT", body: '{"bindings":["jobs"]}' });
  using live = await WireClient.connect(wsUrl);
  await live.ok({ type: "subscribe", filter: "shared/#" });
  for (let n = 0; n < 10; n++) await live.ok({ type: "publish", topic: "jobs", payload: n });
  const start = await gauges(broker);
  const comeAndGo = async (n: number): Promise<void> => {
    using peer = await HostilePeer.upgrade(wsUrl);
    peer.send(
      { type: "subscribe", id: 1, filter: "shared/#" },
      { type: "subscribe", id: 2, filter: `own/${n}` },
      { type: "consume", id: 3, queue: "q", credit: 5 },
      { type: "publish", id: 4, topic: "shared/x", payload: n },
    );
    // Some are gone before they are answered, some say goodbye, the rest is cut.
    if (n % 3 !== 0) await peer.until(({ id }) => id === 4);
    if (n % 3 === 1) peer.write(Uint8Array.of(0x88, 0x80, 0, 0, 0, 0));
  };
  for (let n = 0; n < 2000; n += 50) {
    await Promise.all(Array.from({ length: 50 }, (_, i) => comeAndGo(n + i)));
  }
  let now: Frame = {};
  let jobs: Frame = {};
  // Asked again and again: what a vanished connection held comes back when its end is noticed, a while after it.
  for (let tries = 0; tries < 1000; tries++) {
    now = await gauges(broker);
    const answer = await fetch(`${broker.url}/admin/v1/queues/q`);
    jobs = ((await answer.json()) as Frame).counts;
    if (now.sessions === 1 && jobs.consumers === 0 && jobs.ready === 10) break;
  }
  expect(now).toMatchObject({ sessions: 1, routes: 1, subscriptions: 1, queues: start.queues });
  expect(jobs).toMatchObject({ consumers: 0, inFlight: 0, ready: 10 });
  const opened = (await (await fetch(`${broker.url}/admin/v1/stats`)).json()) as Frame;
  expect(opened.counters.sessions_opened).toBe(2001);
  await live.ok({ type: "publish", topic: "shared/last", payload: "last" });
  expect(await live.expect(({ payload }) => payload === "last")).toBeDefined();
  expect(broker.log().filter(({ level }) => level === "error")).toEqual([]);
});

test("[P-1.4] handshakes in a flood, all of them broken: each is answered, none is left", async () => {
  await using broker = await startBroker({ access: TOKENS_ONLY });
  const broken = [
    ["Sec-WebSocket-Protocol: mqtt", 400],
    ["Origin: https://evil.example", 403],
    [`Sec-WebSocket-Protocol: ${Array.from({ length: 500 }, (_, i) => `p${i}`).join(",")}`, 400],
    ["Authorization: Bearer x", 401],
  ] as const;
  const one = async (n: number) => {
    using peer = await HostilePeer.dial(broker.wsUrl);
    const [line, status] = broken[n % broken.length] ?? ["", 0];
    peer.write(upgradeRequest(peer.host, line));
    await eventually(
      () => peer.text.includes("\r\n\r\n") || peer.frames.length > 0,
      () => "an answer",
    );
    return peer.text.startsWith(`HTTP/1.1 ${status}`) ? undefined : [line, peer.text];
  };
  for (let round = 0; round < 10; round++) {
    const faults = await Promise.all(Array.from({ length: 40 }, (_, n) => one(n)));
    expect(faults.filter((fault) => fault !== undefined)).toEqual([]);
  }
  expect(broker.warren.sessions.opened).toBe(0);
  using client = await WireClient.connect(broker.wsUrl, { token: await tokenFor("ada") });
  await client.ok({ type: "ping" });
});
