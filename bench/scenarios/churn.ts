/** Connections that come and go: what a connect costs, by the kind of credential. */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SignJWT } from "jose";
import { makeKey } from "../../src/security/keys.ts";
import { runJob } from "../generator.ts";
import type { ChurnJob } from "../load/jobs.ts";
import { type Case, figures, jobBase, type Metric, P50, P99, type Scenario } from "../scenario.ts";
import type { Settings } from "../servers.ts";

const AT_ONCE = 16;
const CONNECTS: Metric = { name: "rate", title: "connects", unit: "/s" };
const CPU: Metric = { name: "cpuUs", title: "server CPU per connect", unit: "µs" };
const GRANTS = [{ allow: ["publish", "subscribe"], on: ["devices/{principal}/#"] }];
const SECRET = "a secret for nothing but this benchmark";
const ISSUER = "https://issuer.test";

/** Each of so many devices has its own. */
const DEVICES = 1000;
/** With hardly any token remembered, each is new. */
const NEW: Settings = { WARREN_LIMITS_VERIFIED_TOKENS: "1" };

interface Credentials {
  readonly settings: Settings;
  readonly credentials: readonly string[];
}

function tokens(alg: string, key: KeyObject | Uint8Array): Promise<string[]> {
  return Promise.all(
    Array.from({ length: DEVICES }, (_, n) =>
      new SignJWT({ grants: GRANTS })
        .setIssuer(ISSUER)
        .setSubject(`device-${n}`)
        .setExpirationTime("1h")
        .setProtectedHeader({ alg })
        .sign(key),
    ),
  );
}

async function hs256(): Promise<Credentials> {
  return {
    settings: { WARREN_JWT_SECRET: SECRET },
    credentials: await tokens("HS256", Buffer.from(SECRET)),
  };
}

async function signedBy(
  alg: string,
  { publicKey, privateKey }: Record<"publicKey" | "privateKey", KeyObject>,
): Promise<Credentials> {
  const publicKeyFile = join(tmpdir(), `warren-bench-${process.pid}.pem`);
  writeFileSync(publicKeyFile, publicKey.export({ type: "spki", format: "pem" }));
  const issuers = [{ issuer: ISSUER, publicKeyFile, algorithms: [alg] }];
  return {
    settings: { WARREN_ISSUERS: JSON.stringify(issuers) },
    credentials: await tokens(alg, privateKey),
  };
}

const es256 = () => signedBy("ES256", generateKeyPairSync("ec", { namedCurve: "P-256" }));
const rs256 = () => signedBy("RS256", generateKeyPairSync("rsa", { modulusLength: 2048 }));
const edDsa = () => signedBy("EdDSA", generateKeyPairSync("ed25519"));

async function apiKey(): Promise<Credentials> {
  const { key, id, hash } = makeKey("device");
  const keys = [{ id, hash, principal: "device", grants: GRANTS }];
  return { settings: { WARREN_KEYS: JSON.stringify(keys) }, credentials: [key] };
}

function churnCase(
  name: string,
  title: string,
  make: () => Promise<Credentials>,
  more: Settings = {},
): Case {
  return {
    name,
    title,
    metrics: [CONNECTS, CPU, P50, P99],
    goals: [{ metric: "cpuUs", of: "ratio", bound: "at most", value: 2 }],
    measure: async (bench) => {
      const { settings, credentials } = await make();
      const server = await bench.start({ ...settings, ...more });
      const base = jobBase(bench, server);
      const job: ChurnJob = { kind: "churn", ...base, atOnce: AT_ONCE, credentials };
      return figures(await runJob(job));
    },
  };
}

export const churn: Scenario = {
  name: "churn",
  title: `Churn: ${AT_ONCE} connections at a time come, are welcomed and go (messages = connects)`,
  cases: [
    churnCase("anonymous", "no credential", async () => ({ settings: {}, credentials: [] })),
    churnCase("key", "an API key", apiKey),
    churnCase("hs256", "tokens that come again, HS256", hs256),
    churnCase("es256", "tokens that come again, ES256", es256),
    churnCase("new-hs256", "new tokens, HS256", hs256, NEW),
    churnCase("new-es256", "new tokens, ES256", es256, NEW),
    churnCase("new-rs256", "new tokens, RS256 (2048 bits)", rs256, NEW),
    churnCase("new-eddsa", "new tokens, EdDSA", edDsa, NEW),
  ],
};
