/** A hundred thousand API keys [P-14.2]: found like one, a page at a time, and there again after a restart. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeKey } from "../../src/security/keys.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";
import { WireClient } from "../harness/wire-client.ts";

const KEYS = 100_000;
const A_WRITE = 10_000;

test("[P-14.2] 100,000 keys are there after a restart, each found by its id", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "warren-keys-"));
  const some: string[] = [];
  const grants = [{ allow: ["publish"] as const, on: ["devices/{principal}/#"] }];
  {
    await using broker = await startTestWarren({ ...TOKENS_ONLY, dataDir });
    for (let from = 0; from < KEYS; from += A_WRITE) {
      const changes = Array.from({ length: A_WRITE }, (_, at) => {
        const { key, id, hash } = makeKey();
        if (at === 0) some.push(key);
        const principal = `device-${from + at}`;
        const value = { id, hash, principal, grants, createdAt: 1, createdBy: "root" };
        return { collection: "keys" as const, key: id, value };
      });
      await broker.warren.broker.engine.records.write(changes);
    }
  }
  const before = process.memoryUsage.rss();
  const start = performance.now();
  await using again = await startTestWarren({ ...TOKENS_ONLY, dataDir });
  const started = performance.now();
  const authenticator = again.warren.sessions.authenticator;
  const peer = { address: "127.0.0.1" };
  for (const [at, key] of some.entries()) {
    expect((await authenticator.authenticate(key, peer)).name).toBe(`device-${at * A_WRITE}`);
  }
  // Over the socket too, for the last one; what only looks like one of them is none.
  const last = some.at(-1) as string;
  const wsUrl = `${again.url.replace("http", "ws")}/ws`;
  using client = await WireClient.connect(wsUrl, { token: last });
  expect(client.welcome.principal).toBe(`device-${KEYS - A_WRITE}`);
  await client.ok({ type: "publish", topic: `devices/device-${KEYS - A_WRITE}/t` });
  for (const wrong of [`${last.slice(0, -4)}AAAA`, last.replace(/^wk_[^_]*/, "wk_nobody")]) {
    const headers = { Authorization: `Bearer ${wrong}` };
    expect((await again.json("GET", "/admin/v1/info", undefined, headers)).status).toBe(401);
  }
  const lookups = performance.now();
  for (let i = 0; i < 10_000; i++) await authenticator.authenticate(some[i % some.length], peer);
  const looked = performance.now();
  const bearer = { Authorization: `Bearer ${await tokenFor("root")}` };
  const page = await again.json("GET", "/admin/v1/keys?limit=1000", undefined, bearer);
  expect(page.body.keys.length).toBe(1000);
  const one = await again.json("GET", "/admin/v1/keys?principal=device-7", undefined, bearer);
  expect(one.body.keys.length).toBe(1);
  const listed = performance.now();
  if (process.env.KEYS_FIGURES !== undefined) {
    const mebibytes = (process.memoryUsage.rss() - before) / 2 ** 20;
    process.stderr.write(
      `start ${(started - start).toFixed(0)} ms, look-up ${((looked - lookups) / 10).toFixed(1)} us, ` +
        `two pages ${(listed - looked).toFixed(0)} ms, memory ${mebibytes.toFixed(0)} MiB\n`,
    );
  }
  await rm(dataDir, { recursive: true, force: true });
}, 120_000);
