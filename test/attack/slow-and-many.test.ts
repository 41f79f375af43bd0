/**
 * Peers that are slow on purpose, come again and again, or guess: what they cost is bounded, and others are
 * served meanwhile [P-14.11, P-14.5].
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../harness/eventually.ts";
import { type Served, serve } from "../harness/served.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { type Frame, WireClient } from "../harness/wire-client.ts";
import { HostilePeer, textFrame, upgradeRequest } from "./hostile-peer.ts";
import { residentMiB } from "./resident-memory.ts";

let dataDir: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-slow-"));
});

afterAll(() => rm(dataDir, { recursive: true, force: true }));

const wsUrlOf = ({ url }: Served) => `${url.replace("http", "ws")}/ws`;

/** A subscriber and a publisher that must not notice anything. */
async function witness(wsUrl: string): Promise<Disposable & { serves(): Promise<void> }> {
  const live = await WireClient.connect(wsUrl);
  await live.ok({ type: "subscribe", filter: "witness" });
  let n = 0;
  return {
    async serves() {
      await live.ok({ type: "publish", topic: "witness", payload: ++n });
      expect((await live.expect("event")).payload).toBe(n);
    },
    [Symbol.dispose]: () => live[Symbol.dispose](),
  };
}

test("[P-14.11, P-12.1] 500 heads and bodies, drop by drop: small, and no hindrance", async () => {
  await using broker = await serve(join(dataDir, "drops"));
  using others = await witness(wsUrlOf(broker));
  const before = await residentMiB(broker.child.pid);
  const peers = await Promise.all(Array.from({ length: 500 }, () => HostilePeer.dial(broker.url)));
  for (const [n, peer] of peers.entries()) {
    const head = `POST /v1/topics/slow HTTP/1.1\r\nHost: ${peer.host}\r\nContent-Length: 200000\r\n`;
    peer.write(n % 2 === 0 ? `${head}X-Slow: ` : `${head}\r\n`);
  }
  for (let round = 0; round < 40; round++) {
    for (const peer of peers) peer.write("x".repeat(100));
    await others.serves();
  }
  expect((await residentMiB(broker.child.pid)) - before).toBeLessThan(150);
  const answer = await fetch(`${broker.url}/admin/v1/stats`);
  expect(((await answer.json()) as Frame).counters.published).toBe(40);
  for (const peer of peers) peer.socket.destroy();
  await others.serves();
});

test("[P-14.11] half-open peers, gone without a word, hold no more than their places", async () => {
  await using broker = await startBroker({ limits: { heartbeatMs: 400 } });
  using others = await witness(broker.wsUrl);
  const mute = await Promise.all(
    Array.from({ length: 100 }, () => HostilePeer.upgrade(broker.wsUrl)),
  );
  // No pong comes from a socket that nobody reads: to the broker that is a cable that was cut.
  for (const peer of mute) peer.socket.pause();
  await eventually(
    () => broker.warren.sessions.size === 1,
    () => `one session, not ${broker.warren.sessions.size}`,
  );
  await others.serves();
  for (const peer of mute) peer.socket.destroy();
});

describe("storms", () => {
  const RATES = { address: { connectionsPerMinute: 20, failedLoginsPerMinute: 20 } };
  const behind = { trustedProxies: ["127.0.0.1"], rates: RATES };
  const storm = "X-Forwarded-For: 203.0.113.66";

  test("[P-14.11, P-1.4] a reconnect storm of one address is 429, others connect", async () => {
    await using broker = await startBroker({ access: behind });
    using others = await witness(broker.wsUrl);
    let letIn = 0;
    for (let round = 0; round < 20; round++) {
      const peers = await Promise.all(
        Array.from({ length: 20 }, () => HostilePeer.dial(broker.wsUrl)),
      );
      for (const peer of peers) peer.write(upgradeRequest(peer.host, storm));
      await eventually(
        () => peers.every((peer) => peer.head !== "" || peer.text.includes("\r\n\r\n")),
        () => "an answer to each",
      );
      letIn += peers.filter((peer) => peer.head !== "").length;
      for (const peer of peers) peer.socket.destroy();
      await others.serves();
      using _other = await WireClient.connect(broker.wsUrl, {
        headers: { "X-Forwarded-For": `198.51.100.${round}` },
      });
    }
    // 20 and what a slow machine lets come back meanwhile.
    expect(letIn).toBeGreaterThanOrEqual(20);
    expect(letIn).toBeLessThan(100);
    expect(broker.warren.sessions.admission.rates.limited).toBeGreaterThan(300);
  });

  test("[P-14.11] 2,000 guesses at a token: few are looked at, and who has one gets in", async () => {
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, ...behind } });
    const statuses = new Map<number, number>();
    for (let round = 0; round < 40; round++) {
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, n) =>
          fetch(`${broker.httpUrl}/v1/topics/t`, {
            method: "POST",
            headers: {
              Authorization: `Bearer wk_k_${String(round * 50 + n).padStart(43, "x")}`,
              "X-Forwarded-For": "203.0.113.66",
            },
          }),
        ),
      );
      for (const { status } of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    expect([...statuses.keys()].sort()).toEqual([401, 429]);
    expect(statuses.get(401)).toBeLessThan(200);
    using client = await WireClient.connect(broker.wsUrl, { token: await tokenFor("ada") });
    await client.ok({ type: "ping" });
  });

  test("[P-14.11] 100,000 addresses: what is remembered of them is bounded", async () => {
    const limits = { rateAccounts: 1000 };
    await using broker = await startBroker({ limits, access: { ...TOKENS_ONLY, ...behind } });
    const { rates } = broker.warren.sessions.admission;
    for (let n = 0; n < 100_000; n++)
      rates.loginFailed(`2001:db8:${(n >> 16).toString(16)}:${(n & 0xffff).toString(16)}::1`);
    expect(rates.addresses.size).toBe(1000);
    using client = await WireClient.connect(broker.wsUrl, { token: await tokenFor("ada") });
    await client.ok({ type: "ping" });
  });
});

test("[P-14.11, P-4.7] a flood over its rate is held back by the socket, and costs little", async () => {
  const rates = ["--rates-connection-messages-per-second", "1000"];
  await using broker = await serve(join(dataDir, "flood"), rates);
  using others = await witness(wsUrlOf(broker));
  using peer = await HostilePeer.upgrade(wsUrlOf(broker));
  const before = await residentMiB(broker.child.pid);
  const publish = { type: "publish", topic: "flood", payload: "x".repeat(400) };
  const bytes = textFrame(new Array<Frame>(250).fill(publish));
  for (let round = 0; round < 60; round++) {
    for (let n = 0; n < 10 && peer.socket.writableLength < 4 * 1024 * 1024; n++) peer.write(bytes);
    await others.serves();
  }
  // What was not read waits on the flooder's side.
  expect(peer.socket.writableLength).toBeGreaterThan(1024 * 1024);
  expect((await residentMiB(broker.child.pid)) - before).toBeLessThan(150);
  expect(peer.frames.some(({ code }) => code === "rate_limited")).toBe(true);
});
