/**
 * Very many who lose their lines at once and are back at once: what they held is let go in parts, they are let in in
 * parts, and nobody gets less than if they had come one by one [P-14.11, P-7.2, P-5.5].
 */
import { describe, expect, test } from "bun:test";
import { type Clock, systemClock } from "../../src/clock.ts";
import { eventually } from "../harness/eventually.ts";
import { membersOf, openHouse, ROOMER, toldUntilNow } from "../harness/rooms.ts";
import { startBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";
import { HostilePeer, upgradeRequest } from "./hostile-peer.ts";

const CROWD = 80;

/** By it everything takes long: later turns have time for one of them. */
function slowClock(): Clock {
  let aheadMs = 0;
  return {
    ...systemClock,
    now() {
      aheadMs += 2;
      return systemClock.now() + aheadMs;
    },
    elapsedMs() {
      aheadMs += 2;
      return systemClock.elapsedMs() + aheadMs;
    },
  };
}

const names = Array.from({ length: CROWD }, (_, n) => `member-${n}`);

for (const encoding of ENCODINGS) {
  describe(`over ${encoding}`, () => {
    test("[P-7.2, P-14.11] a crowd that is back in time was never away, however long its leaving takes", async () => {
      const limits = { presenceGraceMs: 600_000 };
      await using house = await openHouse(encoding, { limits, deps: { clock: slowClock() } });
      const { broker } = house.broker.warren;
      const watcher = await house.come("watcher");
      await watcher.ok({ type: "subscribe", filter: "room/+", presence: true });
      const claims = { grants: ROOMER };
      const tokens = await Promise.all(names.map((name) => tokenFor(name, claims)));
      const come = (token: string) => WireClient.connect(house.broker.wsUrl, { encoding, token });
      let crowd = await Promise.all(tokens.map(come));
      for (const one of crowd) await one.ok({ type: "subscribe", filter: "room/1" });
      expect(await toldUntilNow(watcher)).toHaveLength(CROWD);
      const listed = (await membersOf(watcher, "room/1")).map(({ principal }) => principal);
      for (let round = 0; round < 3; round++) {
        for (const one of crowd) one.socket.terminate();
        const coming = tokens.map(async (token) => {
          const one = await come(token);
          await one.ok({ type: "subscribe", filter: "room/1" });
          return one;
        });
        crowd = await Promise.all(coming);
        expect(await toldUntilNow(watcher)).toEqual([]);
        const now = (await membersOf(watcher, "room/1")).map(({ principal }) => principal);
        expect(now).toEqual(listed);
      }
      expect(broker.counters.subscriptions).toBe(CROWD + 1);
      for (const one of crowd) one.socket.terminate();
    });

    test("[P-5.5, P-14.11] what a crowd held goes to others, and nothing more to those who are gone", async () => {
      await using broker = await startBroker({
        ...{ access: TOKENS_ONLY, deps: { clock: slowClock() } },
      });
      const { sessions } = broker.warren;
      await broker.queue("jobs", ["jobs/#"]);
      const token = await tokenFor("worker", { grants: EVERYTHING });
      const come = () => WireClient.connect(broker.wsUrl, { encoding, token });
      const publisher = await come();
      const crowd = await Promise.all(names.map(come));
      for (const one of crowd) await one.ok({ type: "consume", queue: "jobs", credit: 2 });
      const publish = (n: number) => publisher.ok({ type: "publish", topic: "jobs/a", payload: n });
      for (let n = 0; n < CROWD; n++) await publish(n);
      await Promise.all(crowd.map((one) => one.expect("delivery")));
      for (const one of crowd) one.socket.terminate();
      await eventually(
        () => sessions.size === 1,
        () => `${sessions.size} sessions`,
      );
      // They still had credit when their lines broke.
      for (let n = CROWD; n < 2 * CROWD; n++) await publish(n);
      const other = await come();
      await other.ok({ type: "consume", queue: "jobs", credit: 3 * CROWD });
      const got: Frame[] = [];
      while (got.length < 2 * CROWD) got.push(await other.expect("delivery"));
      got.sort((a, b) => a.payload - b.payload);
      expect(got.map(({ payload }) => payload)).toEqual(
        Array.from({ length: 2 * CROWD }, (_, n) => n),
      );
      // None of these was handed to anybody before.
      for (const { attempt } of got.slice(CROWD)) expect(attempt).toBe(1);
      expect(sessions.departures.size).toBe(0);
      other.close();
      publisher.close();
    });
  });
}

test("[P-14.11] who gives up while he waits to be let in costs nothing more", async () => {
  await using broker = await startBroker({ access: TOKENS_ONLY, deps: { clock: slowClock() } });
  const { refusals } = broker.warren.broker;
  const peers = await Promise.all(
    Array.from({ length: 300 }, () => HostilePeer.dial(broker.wsUrl)),
  );
  for (const peer of peers) peer.write(upgradeRequest(peer.host, "Authorization: Bearer a.b.c"));
  await eventually(
    () => refusals.count > 0,
    () => "the first refusal",
  );
  for (const peer of peers) peer.socket.destroy();
  // Whoever comes now waits behind them all.
  using client = await WireClient.connect(broker.wsUrl, { token: await tokenFor("ada") });
  await client.ok({ type: "ping" });
  expect(refusals.count).toBeLessThan(200);
});

test("[P-9.3] a broker that stops while a crowd is leaving lets go of everything first", async () => {
  const broker = await startBroker({ deps: { clock: slowClock() } });
  const { sessions, broker: inner } = broker.warren;
  const crowd = await Promise.all(names.map(() => WireClient.connect(broker.wsUrl)));
  for (const one of crowd) await one.ok({ type: "subscribe", filter: "a/b" });
  for (const one of crowd) one.socket.terminate();
  await eventually(
    () => sessions.size < CROWD,
    () => `${sessions.size} sessions`,
  );
  await broker.stop();
  expect([sessions.size, sessions.departures.size, inner.counters.subscriptions]).toEqual([
    0, 0, 0,
  ]);
});

test("[P-1.4, P-14.11] handshakes past those that may wait are 503, to come again; the others get in", async () => {
  await using broker = await startBroker({ limits: { pendingHandshakes: 20 } });
  const peers = await Promise.all(
    Array.from({ length: 200 }, () => HostilePeer.dial(broker.wsUrl)),
  );
  for (const peer of peers) peer.write(upgradeRequest(peer.host));
  const isRefused = ({ text }: HostilePeer) => text.startsWith("HTTP/1.1 503 ");
  await eventually(
    () => peers.every((peer) => peer.head !== "" || isRefused(peer)),
    () => "an answer to each",
  );
  const refused = peers.filter(isRefused);
  expect(refused.length).toBeGreaterThan(0);
  for (const { text } of refused) {
    expect(text).toMatch(/\r\nRetry-After: 1\r\n/i);
    expect(text).toContain('"code":"busy"');
  }
  expect(peers.length - refused.length).toBeGreaterThanOrEqual(20);
  for (const peer of peers) peer.socket.destroy();
  using client = await WireClient.connect(broker.wsUrl);
  await client.ok({ type: "ping" });
});

test("[P-14.5, P-14.11] who is banned takes nobody's place among those who wait to be let in", async () => {
  const access = { trustedProxies: ["127.0.0.1"] };
  await using broker = await startBroker({ access, limits: { pendingHandshakes: 20 } });
  const { bans } = broker.warren.sessions.admission;
  bans.banForAWhile({ address: "203.0.113.7" }, "a flood", 600_000);
  const peers = await Promise.all(
    Array.from({ length: 301 }, () => HostilePeer.dial(broker.wsUrl)),
  );
  const [guest, ...banned] = peers;
  for (const peer of banned) {
    peer.write(upgradeRequest(peer.host, "X-Forwarded-For: 203.0.113.7"));
  }
  guest!.write(upgradeRequest(guest!.host, "X-Forwarded-For: 203.0.113.8"));
  await eventually(
    () => peers.every(({ head, text }) => head !== "" || text.includes("\r\n\r\n")),
    () => "an answer to each",
  );
  const statuses = new Set(banned.map(({ text }) => text.slice(9, 12)));
  expect([...statuses]).toEqual(["403"]);
  expect(guest!.head).toStartWith("HTTP/1.1 101");
  for (const peer of peers) peer.socket.destroy();
});
