/** Starts that are not safe, by the real command: each is refused or said loudly, with what to do about it [P-13.6]. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jsonLines, runCli } from "../harness/cli.ts";
import { serve } from "../harness/served.ts";

let dataDir = "";
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-unsafe-"));
});
afterAll(() => rm(dataDir, { recursive: true, force: true }));

const SECRET = "0f8b2c7e-correct-horse-battery-staple";
const PUBLIC = { WARREN_HOST: "0.0.0.0" };
const OWN = { WARREN_JWT_SECRET: SECRET };
const json = JSON.stringify;
const anonymous = (...allow: string[]) => ({
  WARREN_ANONYMOUS: json({ grants: [{ allow, on: ["#"] }] }),
});
const issuers = (settings: object) => ({
  WARREN_ISSUERS: json([{ issuer: "https://id.example", ...settings }]),
});

/** Settings, the path that is named, and what the sentence says to do. */
const REFUSED: [string, Record<string, string>, string, RegExp][] = [
  ["no credentials, for everyone", PUBLIC, "host", /Set WARREN_JWT_SECRET .* or pass --insecure/],
  [
    "operators without credentials, for everyone",
    { ...PUBLIC, ...OWN, ...anonymous("publish", "admin") },
    "host",
    /Take admin out of anonymous\.grants, .* or pass --insecure/,
  ],
  [
    "every client is believed to be a proxy",
    { ...OWN, WARREN_TRUSTED_PROXIES: "10.0.0.1,0.0.0.0/0" },
    "trustedProxies",
    /could say any address; name the proxies' own/,
  ],
  ["the same in IPv6", { ...OWN, WARREN_TRUSTED_PROXIES: "::/0" }, "trustedProxies", /name the/],
  ["a short secret", { WARREN_JWT_SECRET: "hunter2" }, "jwt.secret", /openssl rand -base64 32/],
  ["one that repeats", { WARREN_JWT_SECRET: "ab".repeat(20) }, "jwt.secret", /openssl rand/],
  [
    "the secret before is short",
    { ...OWN, WARREN_JWT_PREVIOUS_SECRET: "hunter2" },
    "jwt.previousSecret",
    /openssl rand/,
  ],
  ["a short secret of an issuer", issuers({ secret: "x" }), "issuers.0.secret", /openssl rand/],
  [
    "keys in the clear",
    issuers({ jwksUrl: "http://id.example/keys", audience: "w" }),
    "issuers.0.jwksUrl",
    /must begin with https/,
  ],
  [
    "keys from this machine",
    issuers({ jwksUrl: "https://127.0.0.1/", audience: "w" }),
    "issuers.0.jwksUrl",
    /set allowPrivate if that is meant/,
  ],
  [
    "keys from where clouds hand out the machine's own",
    issuers({ jwksUrl: "http://169.254.169.254/", audience: "w", allowPrivate: true }),
    "issuers.0.jwksUrl",
    /leads to a link-local address/,
  ],
  [
    "tokens for anybody else",
    issuers({ jwksUrl: "https://id.example/keys" }),
    "issuers.0.audience",
    /set it to the name of this broker there/,
  ],
  [
    "a key itself in the place of its hash",
    { WARREN_KEYS: json([{ id: "a", hash: `wk_a_${"x".repeat(40)}`, principal: "p" }]) },
    "keys.0.hash",
    /`warren token --key <principal>` prints/,
  ],
  [
    "an origin with a path",
    { WARREN_ALLOWED_ORIGINS: "https://page.example/" },
    "allowedOrigins.0",
    /such as https:\/\/app\.example/,
  ],
  [
    "certificates of clients from anybody",
    { WARREN_TLS_CLIENT_CERTIFICATE: "require" },
    "tls.caFile",
    /is missing/,
  ],
  [
    "certificates that nobody looks at",
    { WARREN_TLS_CLIENT_PRINCIPAL: json({ from: "cn" }) },
    "tls.clientPrincipal",
    /set it to request or require/,
  ],
];

describe("[P-13.6] unsafe starts are refused", () => {
  test.each(REFUSED)("%s", async (_, env, path, advice) => {
    const { code, out } = await runCli(["check", "--json"], { env });
    expect(code).toBe(1);
    const [{ faults }] = jsonLines(out);
    const found = faults.find((fault: { path: string }) => fault.path === path);
    expect(found?.problem, out).toMatch(advice);
    for (const secret of ["hunter2", "abab", "xxxx"]) expect(out).not.toContain(secret);
    const started = await runCli(["serve", "--port", "0", "--data-dir", dataDir], { env });
    expect([started.code, started.err.includes(`${path}: `)]).toEqual([1, true]);
  });
});

describe("[P-13.6] what is dangerous and may be meant is said, and `warren check` says it before", () => {
  test.each([
    ["anyone, anywhere", { ...PUBLIC, WARREN_INSECURE: "1" }, /^ANYONE WHO REACHES 0\.0\.0\.0 MAY/],
    [
      "the rights of anonymous, anywhere",
      { ...PUBLIC, WARREN_INSECURE: "1", ...anonymous("publish", "consume") },
      /^ANYONE WHO REACHES 0\.0\.0\.0 HAS THE RIGHTS OF anonymous/,
    ],
    ["tokens in the clear", { ...PUBLIC, ...OWN }, /in the clear/],
    [
      "operators without credentials",
      { ...OWN, ...anonymous("admin") },
      /operator's plane is open/,
    ],
    ["any page", { WARREN_ALLOWED_ORIGINS: "*" }, /any web page/],
  ] as [string, Record<string, string>, RegExp][])("%s", async (_, env, message) => {
    const said = await runCli(["check", "--json"], { env });
    const [{ ok, warnings }] = jsonLines(said.out);
    expect([said.code, ok]).toEqual([0, true]);
    const found = warnings.filter((one: { message: string }) => message.test(one.message));
    expect(found).toHaveLength(1);
    expect(found[0].advice).toMatch(/\.$/);
    const text = await runCli(["check"], { env });
    expect([text.code, text.err.match(/^warning: /gm)?.length]).toEqual([0, warnings.length]);
    // On this machine only, whatever the settings say: nobody else is to reach a test.
    if (env.WARREN_HOST !== undefined) return;
    await using broker = await serve(join(dataDir, "loud"), [], env);
    await broker.logged(found[0].message);
  });
});

test("[P-13.6] a directory that the broker makes is its user's alone", async () => {
  const made = join(dataDir, "deep", "data");
  await using _broker = await serve(made);
  expect((await stat(made)).mode & 0o077).toBe(0);
});
