/** Forged tokens that come all at once, each of which costs a check of its signature [P-14.11, P-14.1]. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exportJWK, generateKeyPair } from "jose";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker } from "../harness/start-broker.ts";

const MANY = 200;
const MAY_FAIL = 5;
/** What is looked at together before the first of it has failed. */
const A_TURN = 8;
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

test("[P-14.11] of guesses that wait for their turn hardly more than may fail are looked at", async () => {
  const directory = await mkdtemp(join(tmpdir(), "warren-test-"));
  const jwksFile = join(directory, "keys.json");
  const { publicKey } = await generateKeyPair("ES256");
  await Bun.write(jwksFile, JSON.stringify({ keys: [await exportJWK(publicKey)] }));
  const issuer = "https://issuer.example";
  const access = {
    issuers: [{ issuer, jwksFile, audience: "warren" }],
    rates: { address: { failedLoginsPerMinute: MAY_FAIL } },
  };
  await using broker = await startBroker({ access, deps: { clock: new ManualClock() } });
  const statuses = await Promise.all(
    Array.from({ length: MANY }, async (_, n) => {
      const signed = `${part({ alg: "ES256" })}.${part({ iss: issuer, sub: `root-${n}` })}`;
      const signature = Buffer.alloc(64, n).toString("base64url");
      const bearer = { Authorization: `Bearer ${signed}.${signature}` };
      return (await fetch(`${broker.httpUrl}/admin/v1/info`, { headers: bearer })).status;
    }),
  );
  const lookedAt = statuses.filter((status) => status === 401).length;
  expect(statuses.filter((status) => status === 429).length).toBe(MANY - lookedAt);
  expect(lookedAt).toBeLessThanOrEqual(MAY_FAIL + A_TURN);
  await rm(directory, { recursive: true, force: true });
});
