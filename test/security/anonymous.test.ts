/** The name `anonymous` belongs to those who show no credential, and nobody else has it [P-1.3]. */
import { describe, expect, test } from "bun:test";
import type { StoredKey } from "../../src/security/api-keys.ts";
import { makeKey } from "../../src/security/keys.ts";
import { startBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const anonymous = { grants: EVERYTHING };

for (const encoding of ENCODINGS) {
  test(`[P-1.3] a token in that name is refused, where others need none (${encoding})`, async () => {
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, anonymous } });
    const token = await tokenFor("anonymous");
    await expect(WireClient.open(broker.wsUrl, { encoding, token })).rejects.toThrow("refused");
    using other = await WireClient.connect(broker.wsUrl, { encoding });
    expect(other.welcome.principal).toBe("anonymous");
    // Nor does it renew a connection of somebody without one.
    other.send({ type: "auth", id: 1, token });
    expect((await other.expect("error")).code).toBe("unauthenticated");
    using ada = await WireClient.connect(broker.wsUrl, { encoding, token: await tokenFor("ada") });
    expect(ada.welcome.principal).toBe("ada");
  });
}

describe("[P-1.3] over HTTP", () => {
  const ask = async (url: string, token: string) => {
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(`${url}/v1/topics/a`, { method: "POST", body: "1", headers });
    return answer.status;
  };

  test("[P-1.3] a token in that name is refused, also by way of its issuer's prefix", async () => {
    const secret = "another secret for tests, which is long enough too";
    const issuers = [{ issuer: "https://id.example", secret, principalPrefix: "anony" }];
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, issuers, anonymous } });
    expect(await ask(broker.httpUrl, await tokenFor("anonymous"))).toBe(401);
    const { SignJWT } = await import("jose");
    const signed = (sub: string) =>
      new SignJWT({ grants: EVERYTHING })
        .setSubject(sub)
        .setIssuer("https://id.example")
        .setProtectedHeader({ alg: "HS256" })
        .sign(new TextEncoder().encode(secret));
    expect(await ask(broker.httpUrl, await signed("mous"))).toBe(401);
    expect(await ask(broker.httpUrl, await signed("anonymous"))).toBe(200);
  });

  test("[P-1.3] a key in that name, which an older version stored, opens nothing", async () => {
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, anonymous } });
    const { key, id, hash } = makeKey();
    const value: StoredKey = {
      ...{ id, hash, principal: "anonymous", grants: [...EVERYTHING] },
      ...{ createdAt: 1, createdBy: "ada" },
    };
    const { records } = broker.warren.broker.engine;
    await records.write([{ collection: "keys", key: id, value }]);
    expect(await ask(broker.httpUrl, key)).toBe(401);
    await records.write([{ collection: "keys", key: id, value: { ...value, principal: "eve" } }]);
    expect(await ask(broker.httpUrl, key)).toBe(200);
  });
});
