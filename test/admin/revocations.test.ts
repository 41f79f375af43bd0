/** Credentials that operators take back, at the operator's plane [P-14.4]. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Principal } from "../../src/broker/access.ts";
import { ALLOW_ALL } from "../../src/broker/access.ts";
import { makeKey } from "../../src/security/keys.ts";
import { Revocations, revocationOf } from "../../src/security/revocations.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";

async function adminOf(broker: TestWarren, claims?: Record<string, unknown>) {
  const bearer = { Authorization: `Bearer ${await tokenFor("root", claims)}` };
  return (method: string, path: string, body?: unknown) =>
    broker.json(method, `/admin/v1/revocations${path}`, body, bearer);
}

test("[P-14.4] what is revoked stays revoked after a restart", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "warren-revoked-"));
  const token = await tokenFor("ada");
  const asAda = async (broker: TestWarren) => {
    const bearer = { Authorization: `Bearer ${token}` };
    return (await broker.json("POST", "/v1/publish", { topic: "t" }, bearer)).body.code;
  };
  {
    await using broker = await startTestWarren({ ...TOKENS_ONLY, dataDir });
    const ask = await adminOf(broker);
    expect((await ask("POST", "", { principal: "ada" })).status).toBe(200);
    expect(await asAda(broker)).toBe("token_revoked");
  }
  await using again = await startTestWarren({ ...TOKENS_ONLY, dataDir });
  expect(await asAda(again)).toBe("token_revoked");
  await rm(dataDir, { recursive: true, force: true });
});

test("[P-14.4, P-13.5] they are listed in pages, and the same again replaces the one before", async () => {
  await using broker = await startTestWarren(TOKENS_ONLY);
  const ask = await adminOf(broker);
  for (const jti of ["a", "b", "c"]) await ask("POST", "", { jti, principal: "ada" });
  const first = (await ask("POST", "", { principal: "bob" })).body;
  const again = (await ask("POST", "", { principal: "bob", reason: "once more" })).body;
  expect(again.id).toBe(first.id);
  expect((await ask("GET", `/${first.id}`)).body).toEqual(again);
  const ids: string[] = [];
  let after = "";
  do {
    const { body } = await ask("GET", `?limit=3${after}`);
    ids.push(...body.revocations.map(({ id }: { id: string }) => id));
    after = body.next === undefined ? "" : `&after=${body.next}`;
  } while (after !== "");
  expect(ids).toEqual([...new Set(ids)].sort());
  expect(ids.length).toBe(4);
  expect((await ask("GET", "?principal=ada")).body.revocations.length).toBe(3);
});

test("[P-14.4] one that names nothing or is over already is refused, and one that ends goes", async () => {
  await using broker = await startTestWarren(TOKENS_ONLY);
  const ask = await adminOf(broker);
  expect((await ask("POST", "", { reason: "why not" })).body.code).toBe("invalid_frame");
  expect((await ask("POST", "", { jti: "a", expiresAt: 1 })).body.pointer).toBe("/expiresAt");
  expect((await ask("GET", "/none")).status).toBe(404);
  expect((await ask("DELETE", "/none")).status).toBe(404);
  const clerk = await adminOf(broker, { grants: [{ allow: ["admin"], on: ["keys"] }] });
  expect((await clerk("GET", "")).status).toBe(403);
});

test("[P-14.4] nobody takes back what he himself comes with, so that somebody can undo it", async () => {
  const made = makeKey("ops");
  await using broker = await startTestWarren({
    ...TOKENS_ONLY,
    keys: [{ id: "ops", hash: made.hash, principal: "ops", client: "desk", grants: EVERYTHING }],
  });
  const bearers = {
    key: made.key,
    old: await tokenFor("ops", { grants: EVERYTHING, jti: "one", iat: 1000, client: "desk" }),
  };
  const ask = (bearer: string, body: object) =>
    broker.json("POST", "/admin/v1/revocations", body, { Authorization: `Bearer ${bearer}` });
  const { key, old } = bearers;
  for (const [bearer, body] of [
    [key, { principal: "ops" }],
    [key, { client: "desk", issuedBefore: 1 }],
    [key, { principal: "ops", reauthMs: 60_000 }],
    [old, { jti: "one" }],
    [old, { principal: "ops", client: "desk" }],
    [old, { principal: "ops", issuedBefore: 1_000_001 }],
  ] as const) {
    const { status, body: answer } = await ask(bearer, body);
    expect([status, answer.code], JSON.stringify(body)).toEqual([409, "conflict"]);
  }
  // What is older than the credential, or not it, is taken back as ever.
  for (const body of [
    { principal: "ops", issuedBefore: 1_000_000 },
    { jti: "two" },
    { principal: "ops", client: "other" },
  ]) {
    expect((await ask(old, body)).status).toBe(200);
  }
  // The key does not say when it was issued, so the first of these took it back too.
  expect((await ask(key, { jti: "three" })).body.code).toBe("token_revoked");
  expect((await ask(old, { jti: "three" })).status).toBe(200);
});

describe("[P-14.4] who is meant", () => {
  const clock = new ManualClock();
  const principal = (name: string, more: Partial<Principal> = {}): Principal => ({
    name,
    rights: ALLOW_ALL,
    credential: { issuedAt: clock.now() - 1000 },
    ...more,
  });
  const made = (body: Parameters<typeof revocationOf>[0]) => {
    const revocations = new Revocations(clock);
    const one = revocationOf(body, clock.now(), "root");
    revocations.recordChanged(one.id, one);
    return revocations;
  };

  test("everything that is named must fit", () => {
    const revocations = made({ principal: "ada", client: "a" });
    expect(revocations.find(principal("ada", { client: "a" }))).toBeDefined();
    expect(revocations.find(principal("ada", { client: "b" }))).toBeUndefined();
    expect(revocations.find(principal("ada"))).toBeUndefined();
    expect(revocations.find(principal("bob", { client: "a" }))).toBeUndefined();
  });

  test("nobody without a credential, and whoever does not say when it was issued", () => {
    const revocations = made({ principal: "anonymous" });
    const { credential: _none, ...nobody } = principal("anonymous");
    expect(revocations.find(nobody)).toBeUndefined();
    expect(revocations.find(principal("anonymous", { credential: {} }))).toBeDefined();
    const newer = { issuedAt: clock.now() };
    expect(revocations.find(principal("anonymous", { credential: newer }))).toBeUndefined();
  });

  test("until it is over, and then it makes room", () => {
    const revocations = made({ jti: "t", expiresAt: clock.now() + 1000 });
    const holder = principal("ada", { credential: { jti: "t" } });
    expect(revocations.find(holder)).toBeDefined();
    clock.advance(1000);
    expect(revocations.find(holder)).toBeUndefined();
    expect(revocations.get(revocations.expired(1)[0] as string)).toBeUndefined();
    const [over] = revocations.expired(10);
    revocations.recordChanged(over as string, undefined);
    expect(revocations.size).toBe(0);
  });

  test("as fast among 100,000 as among few: by name, not one by one", () => {
    const revocations = new Revocations(clock);
    for (let i = 0; i < 100_000; i++) {
      const one = revocationOf({ jti: `t-${i}` }, clock.now(), "root");
      revocations.recordChanged(one.id, one);
    }
    for (let i = 0; i < 200_000; i++) {
      const found = revocations.find(principal("ada", { credential: { jti: `t-${i}` } }));
      expect(found === undefined).toBe(i >= 100_000);
    }
  });
});
