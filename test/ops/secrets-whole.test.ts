/** Every secret of a run, looked for in all that the broker and the commands said meanwhile [P-1.3]. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeKey } from "../../src/security/keys.ts";
import { signToken } from "../../src/security/tokens.ts";
import { runCli, startCli } from "../harness/cli.ts";
import { WireClient } from "../harness/wire-client.ts";

/** As people make them: with what JSON, shells and URLs write in another way. */
const secretOf = (name: string) => `${name}:"q"\\b&%20+${crypto.randomUUID()}-${name}`;
const PAGE = "https://page.example";
const ISSUER = "https://id.example";
const GRANTS = [{ allow: ["admin", "publish", "subscribe"] as const, on: ["#"] }];

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "warren-secrets-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Settings with a secret wherever there may be one, and what is signed with them. */
async function secretsOf(format: string) {
  const names = ["own", "older", "issuer", "issuers-older", "webhook", "header"];
  const [own, older, issuer, issuersOlder, webhook, header] = names.map(secretOf) as [
    ...[string, string, string, string, string, string],
  ];
  const ops = makeKey("ops");
  const hook = {
    url: "http://127.0.0.1:9/hook",
    secret: webhook,
    headers: { "X-Api-Key": header },
  };
  const settings = {
    ...{ log: format, logLevel: "debug", port: 0, dataDir: join(directory, format) },
    jwt: { secret: own, previousSecret: older },
    issuers: [{ issuer: ISSUER, secret: issuer, previousSecret: issuersOlder }],
    keys: [{ id: "ops", hash: ops.hash, principal: "ops", grants: GRANTS }],
    allowedOrigins: [PAGE],
    queues: { hooked: { bindings: ["hooked/#"], webhook: hook } },
  };
  const config = join(directory, `${format}.json`);
  await writeFile(config, JSON.stringify(settings));
  const sign = (sub: string, secret: string, iss?: string) =>
    signToken({ sub, grants: GRANTS, ...(iss !== undefined && { iss }) }, secret);
  const good = await Promise.all([
    ...["header", "protocol", "query", "cookie", "frame"].map((sub) => sign(sub, own)),
    ...[sign("older", older), sign("issued", issuer, ISSUER)],
    sign("issued-older", issuersOlder, ISSUER),
  ]);
  return {
    config,
    credentials: [...good, ops.key],
    secrets: [own, older, issuer, issuersOlder, webhook, header, ops.key.slice(-43)],
  };
}

/** All places of a credential, of a good one and of one that is wrong in its last letters. */
async function useEverywhere(url: string, credential: string): Promise<string[]> {
  const told: string[] = [];
  const ws = `${url.replace("http", "ws")}/ws`;
  for (const token of [credential, `${credential.slice(0, -4)}AAAA`]) {
    const bearer = { Authorization: `Bearer ${token}` };
    const cookie = { Cookie: `warren_token=${token}`, Origin: PAGE };
    const query = `access_token=${encodeURIComponent(token)}`;
    for (const [path, headers] of [
      ["/admin/v1/info", bearer],
      [`/admin/v1/keys/${token}`, bearer],
      [`/admin/v1/queues/${token}`, bearer],
      [`/nowhere/${token}`, bearer],
      [`/admin/v1/connections?${query}`, {}],
      [`/admin/v1/bans?x=1&%61${query.slice(1)}`, {}],
      ["/admin/v1/channels", cookie],
      ["/metrics", bearer],
      ["/ws", bearer],
    ] as [string, Record<string, string>][]) {
      const answer = await fetch(`${url}${path}`, { headers });
      // Whoever asks for a thing by name is told the name; nobody else is.
      const text = await answer.text();
      told.push(path.includes(`/${token}`) ? "" : text, JSON.stringify([...answer.headers]));
    }
    for (const options of [
      { protocols: ["warren.v1.json", `warren.token.${token}`] },
      { token },
      { headers: cookie },
    ]) {
      const client = await WireClient.connect(ws, options).catch(() => undefined);
      told.push(JSON.stringify(client?.welcome ?? {}));
      client?.socket.close();
    }
    for (const shown of [token, `${token}x`]) {
      using late = await WireClient.open(ws);
      told.push(JSON.stringify(await late.request({ type: "auth", token: shown })));
    }
  }
  return told;
}

describe("[P-1.3] all that was said in a run", () => {
  test.each(["json", "pretty"])(
    "with lines that are %s, and by the commands",
    async (format) => {
      const { config, credentials, secrets } = await secretsOf(format);
      const said: string[] = [];
      {
        await using broker = startCli(["serve", "--config", config]);
        await broker.printed(format === "json" ? '"listening"' : "listening");
        const url = /http:\/\/127\.0\.0\.1:\d+/.exec(broker.out)?.[0] as string;
        for (const credential of credentials) said.push(...(await useEverywhere(url, credential)));
        const [good] = credentials as [string];
        const key = credentials.at(-1) as string;
        for (const [words, token] of [
          [["conn", "list"], good],
          [["pub", "hooked/a", "1"], key],
          [["pub", "hooked/a", "1"], `${good.slice(0, -4)}AAAA`],
          [["queue", "show", "hooked"], key],
          [["key", "show", key], good],
          [["key", "revoke", key], good],
          [["ban", "list", "--token", `${key}x`], good],
          [["conn", "list", "--url", `${url}/?access_token=${good}`], ""],
          [["audit", "--limit", "1000"], good],
          [["check", "--json", "--config", config], ""],
          [["check", "--config", config, "--jwt-secret", good], ""],
          [["token", "check", "--config", config], `${good.slice(0, -4)}AAAA`],
          [["serve", "--config", config, "--port", new URL(url).port], ""],
        ] as [string[], string][]) {
          const env = { WARREN_URL: url, ...(token !== "" && { WARREN_TOKEN: token }) };
          const { out, err } = await runCli(words, { env });
          said.push(out, err);
        }
        broker.kill("SIGTERM");
        await broker.exited;
        said.push(broker.out, broker.err);
      }
      const everything = said.join("\n");
      expect(everything).toContain("access.authenticate");
      for (const secret of [...secrets, ...credentials]) {
        for (const spelt of spellings(secret))
          expect(everything.includes(spelt), spelt).toBe(false);
      }
    },
    120_000,
  );
});

/** The secret as it is, in JSON, in a URL, in base64, and the part of a token that nobody else can make. */
function spellings(secret: string): string[] {
  const json = JSON.stringify(secret).slice(1, -1);
  const [, , signature] = secret.startsWith("eyJ") ? secret.split(".") : [];
  return [
    ...[secret, json, encodeURIComponent(secret), Buffer.from(secret).toString("base64")],
    ...(signature === undefined ? [] : [signature]),
  ];
}
