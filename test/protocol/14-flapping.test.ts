/** Who is sent away does not come and go by himself [P-14.11, P-14.5]. */
import { expect, test } from "bun:test";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  test(`[P-14.11, P-14.5] whoever was kicked may come back, be they many of one name (${encoding})`, async () => {
    const rates = { flapping: { perMinute: 3, banMs: 60_000 } };
    await using broker = await startTestWarren({ ...TOKENS_ONLY, rates });
    const wsUrl = `${broker.url.replace("http", "ws")}/ws`;
    const token = await tokenFor("ada", { grants: EVERYTHING });
    const come = () => WireClient.connect(wsUrl, { encoding, token });
    const crowd = await Promise.all(Array.from({ length: 6 }, come));
    const bearer = { Authorization: `Bearer ${await tokenFor("root")}` };
    const kick = "/admin/v1/connections?principal=ada";
    expect((await broker.json("DELETE", kick, undefined, bearer)).body).toEqual({ kicked: 6 });
    for (const one of crowd) expect((await one.closed()).code).toBe(4410);
    expect(broker.warren.sessions.admission.bans.automatic).toBe(0);
    using again = await come();
    await again.ok({ type: "ping" });
  });
}
