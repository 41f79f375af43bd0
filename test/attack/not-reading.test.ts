/**
 * Peers that send and do not read, or ask for much and do not take it: the broker's memory is bounded,
 * others get everything, nothing that was kept is lost.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../harness/eventually.ts";
import { type Served, serve } from "../harness/served.ts";
import { type Frame, WireClient } from "../harness/wire-client.ts";
import { HostilePeer, textFrame } from "./hostile-peer.ts";
import { residentMiB } from "./resident-memory.ts";

let dataDir: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-not-reading-"));
});

afterAll(() => rm(dataDir, { recursive: true, force: true }));

const wsUrlOf = ({ url }: Served) => `${url.replace("http", "ws")}/ws`;

async function queue({ url }: Served, name: string): Promise<void> {
  const body = JSON.stringify({ bindings: [name] });
  const answer = await fetch(`${url}/admin/v1/queues/${name}`, { method: "PUT", body });
  expect(answer.status).toBe(200);
}

async function countsOf({ url }: Served, name: string): Promise<Frame> {
  const answer = await fetch(`${url}/admin/v1/queues/${name}`);
  return ((await answer.json()) as Frame).counts;
}

async function sessionsOf({ url }: Served): Promise<number> {
  const answer = await fetch(`${url}/admin/v1/stats`);
  return ((await answer.json()) as Frame).gauges.sessions;
}

/** Until the broker wants no more of somebody who does not read. */
async function givenUp({ url }: Served): Promise<void> {
  for (;;) {
    const answer = await fetch(`${url}/admin/v1/connections`);
    const { connections } = (await answer.json()) as Frame;
    if (connections.some(({ state }: Frame) => state === "leaving")) return;
  }
}

/** Writes these bytes so many times, as fast as they are taken, until all are or the peer is cut. */
async function flood(peer: HostilePeer, bytes: Uint8Array, times: number): Promise<void> {
  let written = 0;
  await eventually(
    () => {
      while (written < times && !peer.ended && peer.socket.writableLength < 1024 * 1024) {
        peer.write(bytes);
        written++;
      }
      return peer.ended || (written === times && peer.socket.writableLength === 0);
    },
    () => `the flood to be taken; ${written} of ${times} were`,
  );
}

test("[P-4.7, P-9.2] publishes and pings whose answers are not read: 4508, and others are served", async () => {
  await using broker = await serve(join(dataDir, "answers"));
  const wsUrl = wsUrlOf(broker);
  using other = await WireClient.connect(wsUrl);
  await other.ok({ type: "subscribe", filter: "t" });
  const before = await residentMiB(broker.child.pid);
  const publish = { type: "publish", id: "x".repeat(60), topic: "nobody" };
  const ping = { type: "ping", id: "y".repeat(60) };
  const bytes = textFrame(Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? publish : ping)));
  for (let round = 0; round < 3; round++) {
    using peer = await HostilePeer.upgrade(wsUrl);
    peer.socket.pause();
    const flooding = flood(peer, bytes, 600);
    for (let n = 0; n < 20; n++) {
      await other.ok({ type: "publish", topic: "t", payload: n });
      expect(await other.expect("event")).toMatchObject({ payload: n });
    }
    // Read at the end, the answers stop where the broker had enough. What it has not read yet says nothing.
    await flooding;
    await givenUp(broker);
    peer.socket.resume();
    expect(await peer.over()).toBe(4508);
    expect(peer.frames.length).toBeLessThan(120_000);
  }
  // Answered without a bound it would be some 60 MiB of text for each of them.
  expect((await residentMiB(broker.child.pid)) - before).toBeLessThan(150);
  expect(await sessionsOf(broker)).toBe(1);
});

test("[P-11.1, P-3.4] a flood of publishes to be stored is held back by the socket, and all are stored", async () => {
  await using broker = await serve(join(dataDir, "stored"));
  const wsUrl = wsUrlOf(broker);
  await queue(broker, "jobs");
  await queue(broker, "others");
  using other = await WireClient.connect(wsUrl, { encoding: "msgpack" });
  const before = await residentMiB(broker.child.pid);
  using peer = await HostilePeer.upgrade(wsUrl);
  peer.socket.pause();
  const publish = { type: "publish", topic: "jobs", payload: "x".repeat(16_000) };
  const bytes = textFrame(new Array<Frame>(5).fill(publish));
  const messages = 5000;
  let over = false;
  const flooding = flood(peer, bytes, messages / 5).then(() => {
    over = true;
  });
  for (let n = 0; !over || n < 20; n++) {
    const receipt = await other.ok({ type: "publish", topic: "others", payload: n });
    expect(receipt).toMatchObject({ queues: 1 });
    const taken = Math.floor((peer.socket.bytesWritten - peer.socket.writableLength) / 16_000);
    const { ready } = await countsOf(broker, "jobs");
    // `pendingPublishes`, what one read brings beyond it, and what the two ends of a socket hold.
    expect(taken - ready).toBeLessThan(1024 + 1500);
  }
  await flooding;
  const grown = (await residentMiB(broker.child.pid)) - before;
  peer.send({ type: "publish", id: "last", topic: "jobs", payload: "last" });
  peer.socket.resume();
  expect(await peer.until(({ id }) => id === "last")).toMatchObject({ type: "ok", queues: 1 });
  expect(await countsOf(broker, "jobs")).toMatchObject({ ready: messages + 1 });
  // The heap of a process that has this much to do settles at some 300 MiB, however long it lasts.
  expect(grown).toBeLessThan(450);
});

test("[P-4.7] subscribers that never read cost no more than their bound; others miss nothing", async () => {
  await using broker = await serve(join(dataDir, "events"));
  const wsUrl = wsUrlOf(broker);
  using publisher = await WireClient.connect(wsUrl);
  using reader = await WireClient.connect(wsUrl);
  await reader.ok({ type: "subscribe", filter: "flood" });
  const mute = await Promise.all(Array.from({ length: 20 }, () => HostilePeer.upgrade(wsUrl)));
  for (const peer of mute) {
    peer.send({ type: "subscribe", id: 1, filter: "flood" });
    await peer.until(({ id }) => id === 1);
    peer.socket.pause();
  }
  const before = await residentMiB(broker.child.pid);
  const payload = "x".repeat(100_000);
  const total = 1000;
  for (let n = 0; n < total; n++) {
    await publisher.ok({ type: "publish", topic: "flood", headers: { n: String(n) }, payload });
    const event = await reader.expect("event");
    expect(event.headers).toEqual({ n: String(n) });
  }
  // 20 peers times 100 MB would be two gigabytes; each may have two times `outboundBytes`.
  expect((await residentMiB(broker.child.pid)) - before).toBeLessThan(250);
  // One that reads again after all is told how much it has missed.
  const late = mute[0]!;
  late.socket.resume();
  const { missed } = await late.until(({ code }) => code === "lagged");
  const seen = late.frames.filter(({ type }) => type === "event").map(({ headers }) => headers.n);
  expect(seen).toEqual(Array.from({ length: total - missed }, (_, n) => String(n)));
  await publisher.ok({ type: "publish", topic: "flood", headers: { n: "again" } });
  await late.until(({ headers }) => headers?.n === "again");
  for (const peer of mute) peer.socket.destroy();
});

test("[P-4.7, P-5.2] a consumer that never reads, credit 1000 and 100 KB each, is handed little", async () => {
  await using broker = await serve(join(dataDir, "deliveries"));
  const wsUrl = wsUrlOf(broker);
  await queue(broker, "large");
  using publisher = await WireClient.connect(wsUrl, { encoding: "msgpack" });
  const payload = new Uint8Array(100_000).fill(7);
  const total = 600;
  for (let n = 0; n < total; n += 20) {
    const some = Array.from({ length: 20 }, (_, i) =>
      publisher.ok({ type: "publish", topic: "large", headers: { n: String(n + i) }, payload }),
    );
    await Promise.all(some);
  }
  const before = await residentMiB(broker.child.pid);
  const mute = await Promise.all(Array.from({ length: 3 }, () => HostilePeer.upgrade(wsUrl)));
  for (const peer of mute) {
    peer.send({ type: "consume", id: 1, queue: "large", credit: 1000 });
    await peer.until(({ id }) => id === 1);
    peer.socket.pause();
  }
  // Each is handed what the two ends of its socket hold and half of `outboundBytes`, and no more.
  let counts = await countsOf(broker, "large");
  for (let same = 0; same < 20; ) {
    const now = await countsOf(broker, "large");
    same = now.inFlight > 0 && now.inFlight === counts.inFlight ? same + 1 : 0;
    counts = now;
  }
  expect(counts.ready).toBeGreaterThan(total / 2);
  expect(counts.ready + counts.inFlight).toBe(total);
  expect((await residentMiB(broker.child.pid)) - before).toBeLessThan(400);
  for (const peer of mute) peer.socket.destroy();
  // And what they held comes to one that reads.
  using consumer = await WireClient.connect(wsUrl, { encoding: "msgpack" });
  await consumer.ok({ type: "consume", queue: "large", credit: 50 });
  const got = new Set<string>();
  while (got.size < total) {
    const delivery = await consumer.expect("delivery");
    got.add(delivery.headers.n);
    consumer.send({ type: "ack", tags: [delivery.tag] });
  }
  await consumer.ok({ type: "ping" });
  expect(got.size).toBe(total);
});

test("[P-5.4] settling what was never held, again and again, settles nothing", async () => {
  await using broker = await serve(join(dataDir, "settling"));
  const wsUrl = wsUrlOf(broker);
  await queue(broker, "jobs");
  using victim = await WireClient.connect(wsUrl);
  for (let n = 0; n < 10; n++) await victim.ok({ type: "publish", topic: "jobs", payload: n });
  await victim.ok({ type: "consume", queue: "jobs", credit: 10 });
  const tags: number[] = [];
  for (let n = 0; n < 10; n++) tags.push((await victim.expect("delivery")).tag);
  using thief = await WireClient.connect(wsUrl);
  await thief.ok({ type: "consume", queue: "jobs", credit: 10 });
  for (const type of ["ack", "nack", "reject", "extend"]) {
    for (const stolen of [
      tags,
      [tags[0]],
      [0],
      [2 ** 53 - 1],
      Array.from({ length: 1000 }, (_, n) => n),
    ]) {
      const answer = await thief.request({ type, tags: stolen });
      expect([type, answer.code]).toEqual([type, "stale_delivery"]);
    }
    const twice = await thief.request({ type, tags: [tags[0], tags[0]] });
    expect(twice.code).toBe("stale_delivery");
  }
  expect(await countsOf(broker, "jobs")).toMatchObject({ inFlight: 10, ready: 0 });
  // A tag that stands twice in one frame settles once, or not at all.
  const double = await victim.request({ type: "ack", tags: [tags[0], tags[0]] });
  expect(["ok", "error"]).toContain(double.type);
  const left = double.type === "ok" ? tags.slice(1) : tags;
  await victim.ok({ type: "ack", tags: left });
  expect(await countsOf(broker, "jobs")).toMatchObject({ inFlight: 0, ready: 0 });
  const stats = (await (await fetch(`${broker.url}/admin/v1/stats`)).json()) as Frame;
  expect(stats.counters.acked).toBe(10);
});
