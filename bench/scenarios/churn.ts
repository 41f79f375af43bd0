/** Connections that come and go: what a connect costs, by the kind of credential. */
import { generateKeyPairSync } from "node:crypto";
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

interface Credentials {
  readonly settings: Settings;
  readonly credential?: string;
}

const claims = () =>
  new SignJWT({ grants: GRANTS }).setIssuer(ISSUER).setSubject("device").setExpirationTime("1h");

async function hs256(): Promise<Credentials> {
  const token = claims().setProtectedHeader({ alg: "HS256" });
  return {
    settings: { WARREN_JWT_SECRET: SECRET },
    credential: await token.sign(Buffer.from(SECRET)),
  };
}

async function es256(): Promise<Credentials> {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const publicKeyFile = join(tmpdir(), `warren-bench-${process.pid}.pem`);
  writeFileSync(publicKeyFile, publicKey.export({ type: "spki", format: "pem" }));
  const issuers = [{ issuer: ISSUER, publicKeyFile, algorithms: ["ES256"] }];
  return {
    settings: { WARREN_ISSUERS: JSON.stringify(issuers) },
    credential: await claims().setProtectedHeader({ alg: "ES256" }).sign(privateKey),
  };
}

async function apiKey(): Promise<Credentials> {
  const { key, id, hash } = makeKey("device");
  const keys = [{ id, hash, principal: "device", grants: GRANTS }];
  return { settings: { WARREN_KEYS: JSON.stringify(keys) }, credential: key };
}

function churnCase(name: string, title: string, make: () => Promise<Credentials>): Case {
  return {
    name,
    title,
    metrics: [CONNECTS, CPU, P50, P99],
    goals: [{ metric: "cpuUs", of: "ratio", bound: "at most", value: 2 }],
    measure: async (bench) => {
      const { settings, credential } = await make();
      const server = await bench.start(settings);
      const base = jobBase(bench, server);
      const job: ChurnJob = { kind: "churn", ...base, atOnce: AT_ONCE, credential };
      return figures(await runJob(job));
    },
  };
}

export const churn: Scenario = {
  name: "churn",
  title: `Churn: ${AT_ONCE} connections at a time come, are welcomed and go (messages = connects)`,
  cases: [
    churnCase("anonymous", "no credential", async () => ({ settings: {} })),
    churnCase("key", "an API key", apiKey),
    churnCase("hs256", "a token, HS256", hs256),
    churnCase("es256", "a token, ES256", es256),
  ],
};
