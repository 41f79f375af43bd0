/** Frames that are refused for what all together have too much of [P-14.11]. */
import { expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker } from "../harness/start-broker.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  test(`[P-14.11, P-14.5] whose frames the rate of all refuses is not banned for it (${encoding})`, async () => {
    const clock = new ManualClock();
    const overall = { messagesPerSecond: 5 };
    const rates = { burstSeconds: 1, overall, abuse: { perMinute: 1, banMs: 60_000 } };
    const access = { rates, trustedProxies: ["127.0.0.1"] };
    await using broker = await startBroker({ access, deps: { clock } });
    const { admission } = broker.warren.sessions;
    const come = (address: string) =>
      WireClient.connect(broker.wsUrl, { encoding, headers: { "X-Forwarded-For": address } });
    using greedy = await come("203.0.113.1");
    using other = await come("203.0.113.2");
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 5; n++) await greedy.ok({ type: "ping" });
      other.send(Array.from({ length: 16 }, (_, id) => ({ type: "ping", id: `${round}-${id}` })));
      await eventually(
        () => admission.rates.limited === 16 * (round + 1),
        () => `refusals; there are ${admission.rates.limited}`,
      );
      expect(admission.bans.automatic).toBe(0);
      clock.advance(1000);
    }
  });
}
