/** What all together have too much of is nobody's own fault [P-14.11]. */
import { expect, test } from "bun:test";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";

const SOME = 12;

/** A broker behind a proxy that bans whoever goes past his rates more than twice a minute. */
function strict(overall: object, address: object = {}): Promise<TestBroker> {
  const rates = { burstSeconds: 1, overall, address, abuse: { perMinute: 2, banMs: 60_000 } };
  const access = { rates, trustedProxies: ["127.0.0.1"] };
  return startBroker({ access, deps: { clock: new ManualClock() } });
}

async function statuses(
  { httpUrl }: TestBroker,
  path: string,
  address: string,
  headers: Record<string, string> = {},
): Promise<number[]> {
  const found: number[] = [];
  for (let n = 0; n < SOME; n++) {
    const asked = { headers: { "X-Forwarded-For": address, ...headers } };
    found.push((await fetch(`${httpUrl}${path}`, asked)).status);
  }
  return found;
}

const HANDSHAKE = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13" };

test("[P-14.11, P-14.5] whom the rate of all keeps from connecting is not banned for it", async () => {
  await using broker = await strict({ connectionsPerMinute: 1 });
  const { bans } = broker.warren.sessions.admission;
  await statuses(broker, "/ws", "203.0.113.1", HANDSHAKE);
  const refused = await statuses(broker, "/ws", "203.0.113.2", HANDSHAKE);
  expect(refused).toEqual(refused.map(() => 429));
  expect(bans.automatic).toBe(0);
});

test("[P-14.11, P-14.5] whose requests the rate of all refuses is not banned for it", async () => {
  await using broker = await strict({ messagesPerSecond: 5 });
  const { bans } = broker.warren.sessions.admission;
  await statuses(broker, "/admin/v1/info", "203.0.113.1");
  const refused = await statuses(broker, "/admin/v1/info", "203.0.113.2");
  expect(refused).toEqual(refused.map(() => 429));
  expect(bans.automatic).toBe(0);
});

test("[P-14.11, P-14.5] who goes past a rate of his own is banned all the same", async () => {
  await using broker = await strict({ messagesPerSecond: 100 }, { messagesPerSecond: 5 });
  const { bans } = broker.warren.sessions.admission;
  expect((await statuses(broker, "/admin/v1/info", "203.0.113.1")).at(-1)).toBe(403);
  expect(bans.automatic).toBe(1);
});
