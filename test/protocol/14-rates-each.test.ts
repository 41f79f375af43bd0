/** Each rate by itself, and what becomes of who goes on past one: out for a while, and in again [P-14.11]. */
import { describe, expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

interface Limited {
  readonly broker: TestBroker;
  readonly clock: ManualClock;
}

async function limited(rates: object): Promise<Limited> {
  const clock = new ManualClock();
  const access = { ...TOKENS_ONLY, rates, trustedProxies: ["127.0.0.1"] };
  return { clock, broker: await startBroker({ access, deps: { clock } }) };
}

interface Peer {
  readonly name: string;
  readonly address: string;
}

const ADA: Peer = { name: "ada", address: "2001:db8::1" };
const HER_OTHER_PLACE: Peer = { name: "ada", address: "203.0.113.2" };
const HER_NEIGHBOUR: Peer = { name: "bob", address: "2001:db8::2:1" };
const STRANGER: Peer = { name: "cid", address: "203.0.113.4" };

const headersOf = ({ address }: Peer, token: string) => ({
  Authorization: `Bearer ${token}`,
  "X-Forwarded-For": address,
});

interface Answer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly body: Frame;
}

async function ask(broker: TestBroker, peer: Peer, path: string, init: RequestInit = {}) {
  const token = await tokenFor(peer.name, { grants: EVERYTHING });
  const headers = { ...headersOf(peer, token), ...init.headers };
  const answer = await fetch(`${broker.httpUrl}${path}`, { ...init, headers });
  const retryAfter = answer.headers.get("Retry-After");
  return { status: answer.status, retryAfter, body: (await answer.json()) as Frame };
}

/** A request that takes 300 bytes. */
const bytes = (broker: TestBroker, peer: Peer): Promise<Answer> =>
  ask(broker, peer, "/v1/topics/t", { method: "POST", body: "x".repeat(300) });

/** A connection that is opened and closed, or the answer that refuses it. */
async function connection(broker: TestBroker, peer: Peer): Promise<Answer> {
  const headers = headersOf(peer, await tokenFor(peer.name));
  const client = await WireClient.connect(broker.wsUrl, { headers }).catch(() => undefined);
  if (client !== undefined) {
    await client.close();
    return { status: 200, retryAfter: null, body: {} };
  }
  const upgrade = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13" };
  return ask(broker, peer, "/ws", {
    headers: { ...upgrade, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" },
  });
}

/** A guess at somebody's key. */
const guess = (broker: TestBroker, peer: Peer): Promise<Answer> =>
  ask(broker, peer, "/admin/v1/info", {
    headers: { Authorization: `Bearer wk_ops_${"x".repeat(43)}` },
  });

/** What is limited to one at a time; who shares it with Ada, and who does not. */
const EACH: [object, string, typeof bytes, readonly Peer[], readonly Peer[]][] = [
  [
    { principal: { bytesPerSecond: 100 } },
    "principal",
    bytes,
    [ADA, HER_OTHER_PLACE],
    [HER_NEIGHBOUR, STRANGER],
  ],
  [
    { address: { bytesPerSecond: 100 } },
    "address",
    bytes,
    [ADA, HER_NEIGHBOUR],
    [HER_OTHER_PLACE, STRANGER],
  ],
  [{ overall: { bytesPerSecond: 100 } }, "overall", bytes, [HER_OTHER_PLACE, STRANGER], []],
  [
    { principal: { connectionsPerMinute: 1 } },
    "principal",
    connection,
    [ADA, HER_OTHER_PLACE],
    [HER_NEIGHBOUR, STRANGER],
  ],
  [
    { address: { connectionsPerMinute: 1 } },
    "address",
    connection,
    [ADA, HER_NEIGHBOUR],
    [HER_OTHER_PLACE, STRANGER],
  ],
  [{ overall: { connectionsPerMinute: 1 } }, "overall", connection, [ADA, STRANGER], []],
  [
    { address: { failedLoginsPerMinute: 1 } },
    "address",
    guess,
    [ADA, HER_NEIGHBOUR],
    [HER_OTHER_PLACE, STRANGER],
  ],
  [{ overall: { failedLoginsPerMinute: 1 } }, "overall", guess, [ADA, STRANGER], []],
];

describe("[P-14.11] what is limited, by whom it is shared, and when to come back", () => {
  test.each(EACH)("%j", async (rates, scope, attempt, sharing, apart) => {
    const { broker, clock } = await limited({ burstSeconds: 1, ...rates });
    await using _ = broker;
    const free = (await attempt(broker, ADA)).status;
    expect([200, 401]).toContain(free);
    for (const peer of sharing) {
      const { status, retryAfter, body } = await attempt(broker, peer);
      expect([status, body.code, body.scope], peer.name).toEqual([429, "rate_limited", scope]);
      expect(Number(retryAfter)).toBeGreaterThanOrEqual(1);
    }
    for (const peer of apart) expect((await attempt(broker, peer)).status, peer.name).toBe(free);
    clock.advance(60_000);
    for (const peer of sharing.slice(0, 1)) {
      expect((await attempt(broker, peer)).status).toBe(free);
    }
  });
});

describe("[P-14.11] who floods past a rate and does not stop", () => {
  test.each(ENCODINGS)(
    "is out for as long as the ban lasts, and in again after it (%s)",
    async (encoding) => {
      const { broker, clock } = await limited({
        ...{ burstSeconds: 1, connection: { messagesPerSecond: 1 } },
        abuse: { perMinute: 3, banMs: 60_000 },
      });
      await using _ = broker;
      const token = await tokenFor(ADA.name, { grants: EVERYTHING });
      const options = { encoding, headers: headersOf(ADA, token) };
      using flooding = await WireClient.connect(broker.wsUrl, options);
      using other = await WireClient.connect(broker.wsUrl, {
        headers: headersOf(HER_NEIGHBOUR, await tokenFor(HER_NEIGHBOUR.name)),
      });
      const { bans } = broker.warren.sessions.admission;
      const [session] = broker.warren.sessions;
      for (let round = 0; bans.automatic === 0; round++) {
        expect(round).toBeLessThan(8);
        for (let n = 0; n < 17; n++) flooding.send({ type: "ping", id: round * 17 + n });
        await eventually(
          () => session?.intake.throttled === true || bans.automatic > 0,
          () => "a pause or a ban",
        );
        clock.advance(1000);
      }
      expect(await flooding.closed()).toMatchObject({ code: 4429 });
      await other.ok({ type: "ping" });
      const refused = await bytes(broker, ADA);
      expect([refused.status, refused.body.code]).toEqual([403, "banned"]);
      expect(refused.body).toMatchObject({ reason: expect.stringContaining("over its rates") });
      expect((await bytes(broker, HER_OTHER_PLACE)).status).toBe(200);
      clock.advance(refused.body.expiresAt - clock.now());
      expect((await bytes(broker, ADA)).status).toBe(200);
      using again = await WireClient.connect(broker.wsUrl, options);
      await again.ok({ type: "ping" });
      expect(bans.count()).toBe(0);
    },
  );
});
