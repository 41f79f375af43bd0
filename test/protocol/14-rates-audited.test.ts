/** Who is refused for a rate is in the audit trail, as any other refusal is [P-14.8, P-14.11]. */
import { expect, test } from "bun:test";
import { ManualClock } from "../harness/manual-clock.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  test(`[P-14.8, P-14.11] frames, handshakes and requests over a rate, counted together (${encoding})`, async () => {
    const clock = new ManualClock();
    const rates = { burstSeconds: 1, principal: { messagesPerSecond: 3, connections: 1 } };
    await using broker = await startTestWarren({ ...TOKENS_ONLY, rates }, { clock });
    const wsUrl = `${broker.url.replace("http", "ws")}/ws`;
    const slow = [{ allow: ["publish"], on: ["slow"], maxRatePerSecond: 1 }];
    const ada = await tokenFor("ada");
    using client = await WireClient.connect(wsUrl, { encoding, token: ada });
    client.send(Array.from({ length: 8 }, (_, id) => ({ type: "ping", id })));
    expect(await client.expect(({ id }) => id === 7)).toMatchObject({ code: "rate_limited" });
    await expect(WireClient.connect(wsUrl, { encoding, token: ada })).rejects.toThrow();
    using other = await WireClient.connect(wsUrl, {
      encoding,
      token: await tokenFor("bob", { grants: slow }),
    });
    await other.ok({ type: "publish", topic: "slow", payload: 1 });
    const refused = await other.request({ type: "publish", topic: "slow", payload: 2 });
    expect(refused).toMatchObject({ code: "rate_limited", detail: { scope: "grant" } });
    clock.advance(10_000);
    const bearer = { Authorization: `Bearer ${await tokenFor("root")}` };
    const path = "/admin/v1/audit?action=access.rate&outcome=refused";
    const { entries } = (await broker.json("GET", path, undefined, bearer)).body;
    const seen = (entries as { principal: string; on: string; count: number }[]).map(
      ({ principal, on, count }) => [principal, on, count],
    );
    // Five pings and a handshake, of one principal for one reason: at once, and with the count of the rest.
    expect(seen.toSorted()).toEqual([
      ["ada", "principal", 1],
      ["ada", "principal", 5],
      ["bob", "grant", 1],
    ]);
  });
}
