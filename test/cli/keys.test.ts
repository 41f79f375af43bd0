/** `warren key` and `warren token revoke` against a broker [P-13.7, P-14.2, P-14.4]. */
import { expect, test } from "bun:test";
import { jsonLines, runCli } from "../harness/cli.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";

test("[P-14.2, P-13.7] a key is made, listed, shown, rotated and revoked", async () => {
  await using broker = await startTestWarren(TOKENS_ONLY);
  const env = { WARREN_URL: broker.url, WARREN_TOKEN: await tokenFor("root") };
  const grant = ["--allow", "publish=devices/{principal}/#"];
  const made = await runCli(["key", "create", "sensor-7", ...grant, "--ttl-ms", "60000"], { env });
  expect([made.code, made.out.trim().startsWith("wk_")]).toEqual([0, true]);
  const [listed] = jsonLines(
    (await runCli(["key", "list", "--principal", "sensor-7"], { env })).out,
  );
  expect(listed).toMatchObject({ principal: "sensor-7", createdBy: "root" });
  const shown = await runCli(["key", "show", listed.id, "--json"], { env });
  expect(jsonLines(shown.out)).toEqual([listed]);
  const turned = await runCli(["key", "rotate", listed.id, "--grace-ms", "0", "--json"], { env });
  const [{ key }] = jsonLines(turned.out);
  expect(key).not.toBe(made.out.trim());
  const payload = ["pub", "devices/sensor-7/t", "1"];
  const url = { WARREN_URL: broker.url };
  expect((await runCli(payload, { env: { ...url, WARREN_TOKEN: key } })).code).toBe(0);
  expect((await runCli(payload, { env: { ...url, WARREN_TOKEN: made.out.trim() } })).code).toBe(1);
  // Whoever has the key at hand need not take its id out of it, and the rest of it stays here.
  const revoked = await runCli(["key", "revoke", key], { env });
  expect([revoked.code, jsonLines(revoked.out)]).toEqual([0, [{ revoked: listed.id }]]);
  expect((await runCli(["key", "show", listed.id], { env })).err).toContain("not_found");
}, 60_000);

test("[P-14.4, P-13.7] the time before which is a date or milliseconds", async () => {
  await using broker = await startTestWarren(TOKENS_ONLY);
  const env = { WARREN_URL: broker.url, WARREN_TOKEN: await tokenFor("root") };
  const words = ["token", "revoke", "--principal", "ada", "--issued-before"];
  for (const time of ["2026-11-01T03:00Z", String(Date.UTC(2026, 10, 1, 3))]) {
    const [{ issuedBefore }] = jsonLines((await runCli([...words, time], { env })).out);
    expect(issuedBefore).toBe(Date.UTC(2026, 10, 1, 3));
  }
  // A token says `iat` in seconds: taken for milliseconds it would spare every token.
  for (const time of ["yesterday", "1795303638", "7"]) {
    const wrong = await runCli([...words, time], { env });
    expect([wrong.code, wrong.err.includes("must be a date")]).toEqual([2, true]);
  }
}, 60_000);

test("[P-14.4, P-13.7] tokens are revoked, listed and restored", async () => {
  await using broker = await startTestWarren(TOKENS_ONLY);
  const env = { WARREN_URL: broker.url, WARREN_TOKEN: await tokenFor("root") };
  const none = await runCli(["token", "revoke", "--reason", "x"], { env });
  expect([none.code, none.err.includes("--principal")]).toEqual([2, true]);
  const words = ["token", "revoke", "--principal", "ada", "--reason", "lost", "--for-ms", "60000"];
  const made = await runCli(words, { env });
  const [{ id, issuedBefore, createdAt }] = jsonLines(made.out);
  expect(issuedBefore).toBe(createdAt);
  const listed = jsonLines((await runCli(["token", "revocations"], { env })).out);
  expect(listed).toMatchObject([{ id, principal: "ada", reason: "lost" }]);
  expect((await runCli(["token", "restore", id], { env })).code).toBe(0);
  expect((await runCli(["token", "revocations"], { env })).out).toBe("");
}, 60_000);
