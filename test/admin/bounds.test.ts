/** Nobody gives more than he has, by whatever area of the operator's plane [P-14.14]. */
import { describe, expect, test } from "bun:test";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";

const AREAS = ["roles", "channels", "queues", "access", "audit"];
const OWN = [
  { allow: ["admin"], on: AREAS },
  { allow: ["publish", "subscribe"], on: ["shop/#"] },
  { allow: ["publish"], on: ["small/#"], maxPayloadBytes: 100 },
  { allow: ["consume"], on: ["shop", "shop.dead", "park"] },
  { deny: ["receive"], on: ["shop/secret"] },
];

async function asker(broker: TestBroker, claims?: Record<string, unknown>) {
  const token = await tokenFor("clerk", claims);
  return async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${broker.httpUrl}/admin/v1${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) };
  };
}

async function started(settings: object = {}) {
  const broker = await startBroker({ access: { ...TOKENS_ONLY, ...settings } });
  return { broker, root: await asker(broker), clerk: await asker(broker, { grants: OWN }) };
}

describe("[P-14.14] roles", () => {
  test("no rule beyond one's own comes in, and no denial goes that keeps more", async () => {
    const { broker, root, clerk } = await started();
    await using _ = broker;
    const denial = { deny: ["publish"], on: ["bank/secret/#"] };
    const far = { allow: ["subscribe"], on: ["bank/#"] };
    const near = { allow: ["publish"], on: ["shop/{client}/#"] };
    const path = "/roles/teller";
    expect((await clerk("PUT", path, { grants: [near] })).status).toBe(200);
    const refused = await clerk("PUT", path, { grants: [near, far] });
    expect(refused.body).toMatchObject({
      code: "forbidden",
      ...{ action: "subscribe", on: "bank/#", rule: far, pointer: "/grants/1/on/0" },
    });
    expect(refused.body.detail).toContain(JSON.stringify(far));
    expect((await clerk("GET", path)).body.grants).toEqual([near]);
    await root("PUT", path, { grants: [far, denial] });
    // What was there may stay; what was kept back stays so.
    expect((await clerk("PUT", path, { grants: [near, far, denial] })).status).toBe(200);
    const bare = await clerk("PUT", path, { grants: [near, far] });
    expect(bare.body).toMatchObject({ code: "forbidden", rule: denial, action: "publish" });
    const narrowed = { deny: ["publish"], on: ["bank/secret"] };
    expect((await clerk("PUT", path, { grants: [far, narrowed] })).status).toBe(403);
    expect((await clerk("DELETE", path)).status).toBe(403);
    expect((await clerk("PUT", path, { grants: [denial] })).status).toBe(200);
    expect((await root("DELETE", path)).status).toBe(204);
  });

  test("not to oneself, not by areas, conditions, queues and variables", async () => {
    const { broker, clerk } = await started();
    await using _ = broker;
    for (const rule of [
      { allow: ["admin"], on: ["#"] },
      { allow: ["admin"], on: ["keys"] },
      { allow: ["publish"], on: ["small/#"] },
      { allow: ["publish"], on: ["small/a"], maxPayloadBytes: 101 },
      { allow: ["subscribe"], on: ["shop/#"] },
      { allow: ["subscribe"], on: ["shop/{client}"] },
      { allow: ["publish"], on: ["{client}/#"] },
      { allow: ["consume"], on: ["shop"] },
      { allow: ["consume"], on: ["{principal}"] },
      { allow: ["history"], on: ["shop/a"] },
    ]) {
      const answer = await clerk("PUT", "/roles/mine", { grants: [rule] });
      expect([rule, answer.status, answer.body.code]).toEqual([rule, 403, "forbidden"]);
    }
    expect((await clerk("GET", "/roles/mine")).status).toBe(404);
  });

  test("a refusal is in the audit trail with the rule that exceeds", async () => {
    const { broker, clerk } = await started();
    await using _ = broker;
    const rule = { allow: ["publish"], on: ["#"] };
    await clerk("PUT", "/roles/mine", { grants: [rule] });
    const { entries } = (await clerk("GET", "/audit?action=role.define")).body;
    expect(entries).toMatchObject([
      {
        ...{ action: "role.define", on: "mine", outcome: "refused", code: "forbidden" },
        ...{ principal: "clerk", detail: { action: "publish", on: "#", rule } },
      },
    ]);
  });

  test("[P-14.11] rates are no higher than before, or than one's own", async () => {
    const rates = { principal: { messagesPerSecond: 1000, connections: 50 } };
    const { broker, root, clerk } = await started({ rates });
    await using _ = broker;
    const put = async (ask: typeof root, own: object) =>
      (await ask("PUT", "/roles/quick", { grants: [], rates: own })).status;
    expect(await put(clerk, { messagesPerSecond: 1000 })).toBe(200);
    expect(await put(clerk, { messagesPerSecond: 1001 })).toBe(403);
    expect(await put(clerk, { connections: 0 })).toBe(403);
    expect(await put(root, { messagesPerSecond: 5000, connections: 5 })).toBe(200);
    expect(await put(clerk, { messagesPerSecond: 4000, connections: 5 })).toBe(200);
    expect(await put(clerk, { messagesPerSecond: 5000 })).toBe(403);
    expect((await clerk("DELETE", "/roles/quick")).status).toBe(204);
  });

  test("changes at the same time are judged one after the other", async () => {
    const { broker, root, clerk } = await started();
    await using _ = broker;
    const denial = { deny: ["publish"], on: ["bank/#"] };
    // Without turns some of the clerk's would be judged by what was there before the denial.
    const answers = await Promise.all([
      root("PUT", "/roles/r", { grants: [denial] }),
      ...Array.from({ length: 20 }, () => clerk("PUT", "/roles/r", { grants: [] })),
    ]);
    const [first, ...others] = answers.map(({ status }) => status);
    expect(first).toBe(200);
    expect(new Set(others).isSubsetOf(new Set([200, 403]))).toBe(true);
    expect((await root("GET", "/roles/r")).body.grants).toEqual([denial]);
  });
});

describe("[P-14.14] channels", () => {
  test("only on topics that one may publish to, and for everyone only what one has", async () => {
    const { broker, root, clerk } = await started();
    await using _ = broker;
    const put = async (filter: string, more: object = {}) =>
      (await clerk("PUT", "/channels/c", { filter, ...more })).body;
    expect(await put("bank/#")).toMatchObject({ code: "forbidden", action: "publish" });
    expect(await put("small/#")).toMatchObject({ code: "forbidden", on: "small/#" });
    expect(await put("shop/#", { everyone: ["subscribe"] })).toMatchObject({
      ...{ code: "forbidden", action: "subscribe", on: "shop/#", pointer: "/everyone/0" },
    });
    expect(await put("shop/a/#", { everyone: ["publish", "subscribe"] })).toMatchObject({
      name: "c",
    });
    await root("PUT", "/channels/b", { filter: "bank/#", maxPayloadBytes: 1 });
    expect((await clerk("DELETE", "/channels/b")).status).toBe(403);
    expect((await clerk("PUT", "/channels/b", { filter: "shop/b" })).status).toBe(403);
    await root("PUT", "/channels/c", { filter: "shop/#", everyone: ["history"] });
    expect(await put("shop/a", { everyone: ["history"] })).toMatchObject({ name: "c" });
    expect((await clerk("DELETE", "/channels/c")).status).toBe(204);
  });
});

describe("[P-14.14] queues", () => {
  test("are bound only to what one may subscribe to, and pushed only where one may consume", async () => {
    const { broker, root, clerk } = await started();
    await using _ = broker;
    const put = async (name: string, body: object) =>
      (await clerk("PUT", `/queues/${name}`, body)).body;
    const refused = { code: "forbidden", action: "subscribe" };
    expect(await put("spy", { bindings: ["shop/a", "bank/#"] })).toMatchObject({
      ...refused,
      ...{ on: "bank/#", pointer: "/bindings/1" },
    });
    expect(await put("spy", { bindings: ["shop/secret"] })).toMatchObject(refused);
    expect(await put("spy", { bindings: ["#"] })).toMatchObject(refused);
    expect(await put("spy", { bindings: ["shop/a"] })).toMatchObject({ name: "spy" });
    await root("PUT", "/queues/vault", { bindings: ["bank/#"] });
    // What it was bound to by others it stays bound to.
    expect(await put("vault", { ttlMs: 1000 })).toMatchObject({ name: "vault" });
    expect(await put("vault", { bindings: ["bank/#", "shop/a"] })).toMatchObject({ name: "vault" });
    expect(await put("vault", { bindings: [] })).toMatchObject({ name: "vault" });
    expect(await put("vault", { bindings: ["bank/#"] })).toMatchObject(refused);
    const webhook = { url: "http://127.0.0.1:9/x" };
    expect(await put("vault", { webhook })).toMatchObject({ code: "forbidden", action: "consume" });
    expect(await put("shop", { webhook, bindings: ["shop/a"] })).toMatchObject({ name: "shop" });
    expect(await put("vault.dead", { bindings: ["shop/a"] })).toMatchObject({ pointer: "/name" });
  });
});

test("[P-14.14, P-14.7] explain says that an area is bounded by the holder's other rights", async () => {
  const { broker, root } = await started();
  await using _ = broker;
  const ask = async (grants: unknown, on: string) => {
    const query = new URLSearchParams({
      ...{ principal: "x", action: "admin", on, grants: JSON.stringify(grants) },
    });
    return (await root("GET", `/access/explain?${query}`)).body.subjects[0];
  };
  const some = [{ allow: ["admin"], on: ["roles", "audit"] }];
  const within = "within the holder's other rights";
  expect((await ask(some, "roles")).reason).toContain(within);
  expect((await ask(some, "audit")).reason).not.toContain(within);
  expect((await ask(some, "queues")).allowed).toBe(false);
  expect((await ask([{ allow: ["admin"], on: ["#"] }], "roles")).reason).not.toContain(within);
});
