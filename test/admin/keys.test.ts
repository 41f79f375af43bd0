/** API keys that operators make, rotate and revoke while the broker runs [P-13.2], [P-14.2]. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeKey } from "../../src/security/keys.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";
import { WireClient } from "../harness/wire-client.ts";

const PUBLISH = [{ allow: ["publish"], on: ["from/{principal}/{client}/#"] }];

async function adminOf(broker: TestWarren, claims?: Record<string, unknown>) {
  const token = await tokenFor("root", claims);
  const bearer = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
  return (method: string, path: string, body?: unknown) =>
    broker.json(method, `/admin/v1/keys${path}`, body, bearer);
}

async function published(broker: TestWarren, key: string, topic: string) {
  const bearer = { Authorization: `Bearer ${key}` };
  const { status, body } = await broker.json("POST", "/v1/publish", { topic }, bearer);
  return body.code ?? body.results?.[0]?.code ?? status;
}

describe("[P-14.2] the life of a key", () => {
  test("it is made, shown once, used and revoked, and only its hash is kept", async () => {
    await using broker = await startTestWarren(TOKENS_ONLY);
    const ask = await adminOf(broker);
    const body = { principal: "svc", client: "d1", grants: PUBLISH };
    const made = await ask("POST", "", body);
    expect(made.status).toBe(200);
    expect(made.headers.get("Cache-Control")).toBe("no-store");
    const { key, ...shown } = made.body;
    expect(shown).toMatchObject({ ...body, origin: "stored", createdBy: "root" });
    expect(key).toStartWith(`wk_${shown.id}_`);
    expect((await ask("GET", `/${shown.id}`)).body).toEqual(shown);
    expect(await published(broker, key, "from/svc/d1/x")).toBe(200);
    expect(await published(broker, key, "from/svc/d2/x")).toBe("forbidden");
    const used = (await ask("GET", `/${shown.id}`)).body.lastUsedAt;
    expect(used).toBeGreaterThanOrEqual(shown.createdAt);
    const kept = JSON.stringify([...broker.warren.broker.engine.records.all("keys")]);
    expect(kept).not.toContain(key.slice(-43));
    expect(broker.log.join()).not.toContain(key.slice(-43));
    expect((await ask("DELETE", `/${shown.id}`)).status).toBe(204);
    expect(await published(broker, key, "from/svc/d1/x")).toBe("unauthenticated");
    expect((await ask("GET", `/${shown.id}`)).status).toBe(404);
    expect((await ask("DELETE", `/${shown.id}`)).status).toBe(404);
  });

  test("[P-14.8] making, rotating and revoking are in the audit trail, without secrets", async () => {
    await using broker = await startTestWarren(TOKENS_ONLY);
    const ask = await adminOf(broker);
    const { body } = await ask("POST", "", { principal: "svc" });
    const turned = await ask("POST", `/${body.id}/rotate`, { graceMs: 5000 });
    await ask("DELETE", `/${body.id}`);
    const bearer = { Authorization: `Bearer ${await tokenFor("root")}` };
    const audit = await broker.json("GET", `/admin/v1/audit?on=${body.id}`, undefined, bearer);
    expect(audit.body.entries.map(({ action }: { action: string }) => action)).toEqual([
      "key.revoke",
      "key.rotate",
      "key.create",
    ]);
    const text = JSON.stringify(audit.body);
    for (const key of [body.key, turned.body.key]) expect(text).not.toContain(key);
  });

  test("[P-14.8, P-1.3] a whole key where its id belongs is refused, and kept nowhere", async () => {
    await using broker = await startTestWarren(TOKENS_ONLY);
    const ask = await adminOf(broker);
    const { key, id } = (await ask("POST", "", { principal: "svc", grants: PUBLISH })).body;
    for (const [method, path] of [
      ["GET", `/${key}`],
      ["DELETE", `/${key}`],
      ["POST", `/${key}/rotate`],
    ] as const) {
      const { status, body } = await ask(method, path, method === "POST" ? {} : undefined);
      expect([status, body.code, body.pointer]).toEqual([400, "invalid_frame", "/id"]);
      expect(body.detail).toContain(`${id}: the rest`);
      expect(JSON.stringify(body)).not.toContain(key.slice(-43));
    }
    const token = await tokenFor("clerk", { grants: [] });
    const topic = { topic: `a/${key}/${token}` };
    const bearer = { Authorization: `Bearer ${token}` };
    expect((await broker.json("POST", "/v1/publish", topic, bearer)).body.code).toBe("forbidden");
    const { entries } = await broker.warren.broker.engine.audit.query({ limit: 100 });
    expect(entries.map(({ action, on }) => [action, on])).toEqual([
      ["access.publish", `a/wk_${id}_[redacted]/[redacted]`],
      ["key.rotate", `wk_${id}_[redacted]`],
      ["key.revoke", `wk_${id}_[redacted]`],
      ["key.create", id],
    ]);
    expect(await published(broker, key, "elsewhere")).toBe("forbidden");
  });

  test("it outlives the broker, and so does when it was last used", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "warren-keys-"));
    let key = "";
    let id = "";
    let usedAt = 0;
    {
      await using broker = await startTestWarren({ ...TOKENS_ONLY, dataDir });
      const ask = await adminOf(broker);
      ({ key, id } = (await ask("POST", "", { principal: "svc", grants: PUBLISH })).body);
      await published(broker, key, "t");
      usedAt = (await ask("GET", `/${id}`)).body.lastUsedAt;
    }
    await using again = await startTestWarren({ ...TOKENS_ONLY, dataDir });
    expect(await published(again, key, "t")).toBe("forbidden");
    const ask = await adminOf(again);
    expect((await ask("GET", `/${id}`)).body.lastUsedAt).toBeGreaterThanOrEqual(usedAt);
    await rm(dataDir, { recursive: true, force: true });
  });

  test("[P-13.5] keys are listed in pages, of one principal or of all", async () => {
    const mine = makeKey("mine");
    const keys = [{ id: mine.id, hash: mine.hash, principal: "ada" }];
    await using broker = await startTestWarren({ ...TOKENS_ONLY, keys });
    const ask = await adminOf(broker);
    for (let i = 0; i < 5; i++) await ask("POST", "", { principal: i % 2 ? "ada" : "bob" });
    const ids: string[] = [];
    let after = "";
    do {
      const { body } = await ask("GET", `?limit=2${after}`);
      expect(body.keys.length).toBeLessThanOrEqual(2);
      for (const one of body.keys) {
        expect(one).not.toHaveProperty("hash");
        ids.push(one.id);
      }
      after = body.next === undefined ? "" : `&after=${body.next}`;
    } while (after !== "");
    expect(ids).toEqual([...new Set(ids)].sort());
    expect(ids.length).toBe(6);
    const ofAda = (await ask("GET", "?principal=ada")).body.keys;
    expect(ofAda.map(({ origin }: { origin: string }) => origin).sort()).toEqual([
      "settings",
      "stored",
      "stored",
    ]);
  });

  test("those of the settings are changed there, and only there", async () => {
    const mine = makeKey("mine");
    const keys = [{ id: mine.id, hash: mine.hash, principal: "ada" }];
    await using broker = await startTestWarren({ ...TOKENS_ONLY, keys });
    const ask = await adminOf(broker);
    expect((await ask("GET", "/mine")).body).toEqual({
      id: "mine",
      origin: "settings",
      principal: "ada",
    });
    expect((await ask("DELETE", "/mine")).body.code).toBe("conflict");
    expect((await ask("POST", "/mine/rotate")).body.code).toBe("conflict");
    expect(await published(broker, mine.key, "t")).toBe("forbidden");
    expect((await ask("GET", "/mine")).body.lastUsedAt).toBeGreaterThan(0);
  });

  test("what makes no sense is refused, naming the place", async () => {
    await using broker = await startTestWarren({ ...TOKENS_ONLY, roles: { r: { grants: [] } } });
    const ask = await adminOf(broker);
    const table: [object, string][] = [
      [{}, "/principal"],
      [{ principal: "" }, "/principal"],
      [{ principal: "anonymous" }, "/principal"],
      [{ principal: "a", roles: ["r", "none"] }, "/roles/1"],
      [{ principal: "a", expiresAt: 1 }, "/expiresAt"],
      [{ principal: "a", grants: [{ allow: ["publish"], on: ["a/#/b"] }] }, "/grants/0/on/0"],
      [{ principal: "a", hash: "0" }, "/hash"],
    ];
    for (const [body, pointer] of table) {
      const answer = await ask("POST", "", body);
      expect([answer.status, answer.body.pointer]).toEqual([400, pointer]);
    }
    expect((await ask("GET", "")).body.keys).toEqual([]);
  });

  test("a broker that lets everyone in makes no keys, which would keep nobody out", async () => {
    await using broker = await startTestWarren();
    const answer = await broker.json("POST", "/admin/v1/keys", { principal: "a" });
    expect([answer.status, answer.body.code]).toEqual([409, "conflict"]);
  });
});

describe("[P-14.2] rotation", () => {
  test("the old secret stays good for the overlap, the new one at once", async () => {
    await using broker = await startTestWarren(TOKENS_ONLY);
    const ask = await adminOf(broker);
    const first = (await ask("POST", "", { principal: "svc", grants: PUBLISH })).body;
    const second = (await ask("POST", `/${first.id}/rotate`, { graceMs: 3_600_000 })).body;
    expect(second.key).not.toBe(first.key);
    expect(second.olderSecretsUntil).toEqual([second.rotatedAt + 3_600_000]);
    for (const { key } of [first, second]) {
      expect(await published(broker, key, "t")).toBe("forbidden");
    }
    const wsUrl = `${broker.url.replace("http", "ws")}/ws`;
    using old = await WireClient.connect(wsUrl, { token: first.key });
    expect(old.welcome.expiresAt).toBe(second.olderSecretsUntil[0]);
    using fresh = await WireClient.connect(wsUrl, { token: second.key });
    expect(fresh.welcome.expiresAt).toBeUndefined();
  });

  test("rotated twice, both overlaps are kept; without an overlap all older secrets end", async () => {
    await using broker = await startTestWarren(TOKENS_ONLY);
    const ask = await adminOf(broker);
    const one = (await ask("POST", "", { principal: "svc", grants: PUBLISH })).body;
    const two = (await ask("POST", `/${one.id}/rotate`)).body;
    const three = (await ask("POST", `/${one.id}/rotate`)).body;
    expect(three.olderSecretsUntil.length).toBe(2);
    for (const { key } of [one, two, three]) {
      expect(await published(broker, key, "t")).toBe("forbidden");
    }
    const four = (await ask("POST", `/${one.id}/rotate`, { graceMs: 0 })).body;
    expect(four.olderSecretsUntil).toBeUndefined();
    for (const { key } of [one, two, three]) {
      expect(await published(broker, key, "t")).toBe("unauthenticated");
    }
    expect(await published(broker, four.key, "t")).toBe("forbidden");
  });

  test("rotated twice at once, every secret that was shown is good, or its rotation was refused", async () => {
    await using broker = await startTestWarren(TOKENS_ONLY);
    const ask = await adminOf(broker);
    const { id } = (await ask("POST", "", { principal: "svc", grants: PUBLISH })).body;
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => ask("POST", `/${id}/rotate`)),
    );
    expect(answers.some(({ status }) => status === 200)).toBe(true);
    for (const { status, body } of answers) {
      if (status === 200) expect(await published(broker, body.key, "t")).toBe("forbidden");
      else expect(body.code).toBe("conflict");
    }
  });
});

describe("[P-14.2] nobody hands out more than he has", () => {
  const clerk = [
    { allow: ["admin"], on: ["keys"] },
    { allow: ["publish", "subscribe"], on: ["shop/#"] },
    { deny: ["subscribe"], on: ["shop/secret/#"] },
    { allow: ["publish"], on: ["small/#"], maxPayloadBytes: 100, queues: false },
  ];
  const roles = {
    all: { grants: [{ allow: ["publish", "subscribe", "consume", "admin"], on: ["#"] }] },
    shop: { grants: [{ allow: ["publish"], on: ["shop/+"] }] },
  };
  const small = { allow: ["publish"], on: ["small/a"] };
  const table: [string, object, number][] = [
    ["no rights at all", {}, 200],
    ["less than his own", { grants: [{ allow: ["publish"], on: ["shop/a/#"] }] }, 200],
    ["a role inside his own", { roles: ["shop"] }, 200],
    ["a denial, whatever it is on", { grants: [{ deny: ["publish"], on: ["#"] }] }, 200],
    ["his own area", { grants: [{ allow: ["admin"], on: ["keys"] }] }, 200],
    ["stricter conditions", { grants: [{ ...small, maxPayloadBytes: 9, queues: false }] }, 200],
    ["everything", { grants: [{ allow: ["publish"], on: ["#"] }] }, 403],
    ["all areas", { grants: [{ allow: ["admin"], on: ["#"] }] }, 403],
    ["another area", { grants: [{ allow: ["admin"], on: ["roles"] }] }, 403],
    ["a role beyond his own", { roles: ["shop", "all"] }, 403],
    ["what he is denied in part", { grants: [{ allow: ["subscribe"], on: ["shop/#"] }] }, 403],
    ["a queue", { grants: [{ allow: ["consume"], on: ["q"] }] }, 403],
    ["fewer conditions", { grants: [{ ...small, maxPayloadBytes: 9 }] }, 403],
    ["looser conditions", { grants: [{ ...small, maxPayloadBytes: 101, queues: false }] }, 403],
    [
      "his own by way of a variable",
      { client: "secret", grants: [{ allow: ["subscribe"], on: ["shop/{client}/#"] }] },
      403,
    ],
  ];
  for (const [what, rights, status] of table) {
    test(`${status === 200 ? "he may give" : "he may not give"} ${what}`, async () => {
      await using broker = await startTestWarren({ ...TOKENS_ONLY, roles });
      const ask = await adminOf(broker, { grants: clerk });
      const answer = await ask("POST", "", { principal: "p", ...rights });
      expect(answer.status).toBe(status);
      if (status === 403) expect(answer.body.code).toBe("forbidden");
    });
  }

  test("nor takes it by rotating a key that somebody else made", async () => {
    await using broker = await startTestWarren({ ...TOKENS_ONLY, roles });
    const root = await adminOf(broker);
    const { id } = (await root("POST", "", { principal: "boss", roles: ["all"] })).body;
    const ask = await adminOf(broker, { grants: clerk });
    expect((await ask("POST", `/${id}/rotate`)).status).toBe(403);
    expect((await ask("DELETE", `/${id}`)).status).toBe(204);
  });

  test("who may not be shown everything gives no queue away", async () => {
    await using broker = await startTestWarren(TOKENS_ONLY);
    const own = [
      { allow: ["admin", "consume"], on: ["#"] },
      { deny: ["receive"], on: ["secret/#"] },
    ];
    const ask = await adminOf(broker, { grants: own });
    const body = { principal: "p", grants: [{ allow: ["consume"], on: ["q"] }] };
    expect((await ask("POST", "", body)).status).toBe(403);
  });

  test("and without the right on keys he sees and changes none", async () => {
    await using broker = await startTestWarren(TOKENS_ONLY);
    const ask = await adminOf(broker, { grants: [{ allow: ["admin"], on: ["queues"] }] });
    for (const [method, path] of [
      ["GET", ""],
      ["POST", ""],
      ["GET", "/x"],
      ["DELETE", "/x"],
    ] as const) {
      expect((await ask(method, path, method === "POST" ? {} : undefined)).status).toBe(403);
    }
  });
});
