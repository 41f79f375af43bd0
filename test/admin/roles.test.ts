/** Roles edited while the broker runs, and why somebody may do something or not [P-13.1], [P-14.7]. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCli } from "../harness/cli.ts";
import { type BrokerOptions, startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const READ = { grants: [{ allow: ["subscribe"], on: ["news/#"] }] };

async function started(options: BrokerOptions = {}) {
  const broker = await startBroker({ ...options, access: { ...TOKENS_ONLY, ...options.access } });
  return { broker, ask: asker(broker.httpUrl, await tokenFor("operator")) };
}

function asker(url: string, token: string) {
  return async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${url}/admin/v1${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) };
  };
}

const withRoles = async (broker: TestBroker, principal: string, roles: string[], more = {}) =>
  WireClient.connect(broker.wsUrl, { token: await tokenFor(principal, { roles }), ...more });

describe("[P-13.8] roles are stored", () => {
  test("put, read, listed, replaced, removed", async () => {
    const { broker, ask } = await started({ access: { roles: { base: READ } } });
    await using _ = broker;
    const put = await ask("PUT", "/roles/reader", READ);
    expect(put).toEqual({ status: 200, body: { name: "reader", origin: "stored", ...READ } });
    expect((await ask("GET", "/roles/reader")).body).toEqual(put.body);
    const twice = await ask("PUT", "/roles/reader", READ);
    expect(twice).toEqual(put);
    const listed = await ask("GET", "/roles");
    expect(listed.body.roles.map((role: { name: string }) => role.name)).toEqual([
      "base",
      "reader",
    ]);
    expect((await ask("DELETE", "/roles/reader")).status).toBe(204);
    expect((await ask("GET", "/roles/reader")).status).toBe(404);
    expect((await ask("DELETE", "/roles/reader")).status).toBe(404);
  });

  test("[P-13.5] a list of them is paged", async () => {
    const { broker, ask } = await started();
    await using _ = broker;
    for (const name of ["c", "a", "b"]) await ask("PUT", `/roles/${name}`, { grants: [] });
    const first = (await ask("GET", "/roles?limit=2")).body;
    expect(first.roles.map((role: { name: string }) => role.name)).toEqual(["a", "b"]);
    const second = (await ask("GET", `/roles?limit=2&after=${first.next}`)).body;
    expect(second.roles.map((role: { name: string }) => role.name)).toEqual(["c"]);
    expect(second.next).toBeUndefined();
  });

  test("faults are named by their place, and change nothing", async () => {
    const { broker, ask } = await started();
    await using _ = broker;
    const bad = {
      grants: [
        { allow: ["publish"], on: ["a"] },
        { allow: ["publish"], on: ["#/x"] },
      ],
    };
    const answer = await ask("PUT", "/roles/r", bad);
    expect(answer).toMatchObject({ status: 400, body: { pointer: "/grants/1/on/0" } });
    expect((await ask("GET", "/roles/r")).status).toBe(404);
    expect((await ask("PUT", "/roles/a,b", READ)).body.pointer).toBe("/name");
  });

  test("those of the settings are changed there", async () => {
    const { broker, ask } = await started({ access: { roles: { base: READ } } });
    await using _ = broker;
    expect((await ask("PUT", "/roles/base", { grants: [] })).body.code).toBe("conflict");
    expect((await ask("DELETE", "/roles/base")).body.code).toBe("conflict");
    expect((await ask("GET", "/roles/base")).body.origin).toBe("settings");
  });

  test("nobody without the admin right on roles sees or changes them", async () => {
    const { broker } = await started();
    await using _ = broker;
    const grants = [{ allow: ["admin"], on: ["queues"] }];
    const ask = asker(broker.httpUrl, await tokenFor("clerk", { grants }));
    expect((await ask("GET", "/roles")).status).toBe(403);
    expect((await ask("PUT", "/roles/r", READ)).status).toBe(403);
  });

  test("they are there after a restart", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "warren-roles-"));
    try {
      const token = await tokenFor("operator");
      {
        await using first = await startTestWarren({ ...TOKENS_ONLY, dataDir });
        await asker(first.url, token)("PUT", "/roles/reader", READ);
      }
      await using second = await startTestWarren({ ...TOKENS_ONLY, dataDir });
      expect((await asker(second.url, token)("GET", "/roles/reader")).body).toMatchObject(READ);
      using client = await WireClient.connect(`${second.url.replace("http", "ws")}/ws`, {
        token: await tokenFor("ada", { roles: ["reader"] }),
      });
      await client.ok({ type: "subscribe", filter: "news/a" });
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  });
});

for (const encoding of ENCODINGS) {
  describe(`[P-4.6] a change of a role over ${encoding}`, () => {
    test("gives rights to those who are connected", async () => {
      const { broker, ask } = await started();
      await using _ = broker;
      using client = await withRoles(broker, "ada", ["reader"], { encoding });
      const subscribe = () => client.request({ type: "subscribe", filter: "news/a" });
      expect((await subscribe()).code).toBe("forbidden");
      await ask("PUT", "/roles/reader", READ);
      expect((await subscribe()).type).toBe("ok");
    });

    test("takes them away, from the next publish on", async () => {
      const { broker, ask } = await started();
      await using _ = broker;
      const grants = [{ allow: ["publish"], on: ["t"] }];
      await ask("PUT", "/roles/writer", { grants });
      using client = await withRoles(broker, "ada", ["writer"], { encoding });
      const publish = () => client.request({ type: "publish", topic: "t", payload: 1 });
      expect((await publish()).type).toBe("ok");
      await ask("PUT", "/roles/writer", { grants: [] });
      expect((await publish()).code).toBe("forbidden");
      await ask("PUT", "/roles/writer", { grants });
      expect((await publish()).type).toBe("ok");
      await ask("DELETE", "/roles/writer");
      expect((await publish()).code).toBe("forbidden");
    });

    test("ends what is subscribed and consumed, and leaves the rest", async () => {
      const { broker, ask } = await started();
      await using _ = broker;
      await broker.queue("jobs", []);
      await broker.queue("mail", []);
      await ask("PUT", "/roles/all", {
        grants: [
          { allow: ["subscribe"], on: ["#"] },
          { allow: ["consume"], on: ["#"] },
        ],
      });
      using client = await withRoles(broker, "ada", ["all"], { encoding });
      for (const filter of ["a/#", "b"]) await client.ok({ type: "subscribe", filter });
      for (const queue of ["jobs", "mail"]) await client.ok({ type: "consume", queue, credit: 1 });
      await ask("PUT", "/roles/all", {
        grants: [
          { allow: ["subscribe"], on: ["#"] },
          { allow: ["consume"], on: ["mail"] },
          { deny: ["receive"], on: ["a/secret"] },
        ],
      });
      expect(await client.expect((one) => one.code === "unsubscribed")).toMatchObject({
        filter: "a/#",
        reason: "forbidden",
      });
      expect(await client.expect((one) => one.code === "consumer_ended")).toMatchObject({
        queue: "jobs",
        reason: "forbidden",
      });
      expect(await client.everythingUntilNow()).toEqual([]);
      expect((await client.request({ type: "unsubscribe", filter: "b" })).type).toBe("ok");
      await client.ok({ type: "cancel", queue: "mail" });
    });

    test("[P-14.6] so does a queue that is bound to what must not be received", async () => {
      const { broker, ask } = await started();
      await using _ = broker;
      await broker.queue("jobs", ["open"]);
      const grants = [
        { allow: ["consume"], on: ["#"] },
        { deny: ["receive"], on: ["secret"] },
      ];
      const token = await tokenFor("ada", { grants });
      using client = await WireClient.connect(broker.wsUrl, { token, encoding });
      await client.ok({ type: "consume", queue: "jobs", credit: 1 });
      await ask("PUT", "/queues/jobs", { bindings: ["open", "secret"] });
      expect(await client.expect((one) => one.code === "consumer_ended")).toMatchObject({
        queue: "jobs",
      });
    });
  });
}

describe("[P-14.7] explain", () => {
  const url = (query: Record<string, string>) =>
    `/access/explain?${new URLSearchParams(query).toString()}`;

  test("a living session: the rule, where it is from, in a sentence", async () => {
    const { broker, ask } = await started();
    await using _ = broker;
    await ask("PUT", "/roles/reader", READ);
    using client = await withRoles(broker, "ada", ["reader"]);
    const answer = await ask("GET", url({ principal: "ada", action: "subscribe", on: "news/a" }));
    expect(answer.body).toEqual({
      principal: "ada",
      action: "subscribe",
      on: "news/a",
      subjects: [
        {
          session: client.welcome.session,
          allowed: true,
          rule: READ.grants[0],
          source: { kind: "role", name: "reader" },
          reason: "A grant of the role reader on news/# allows subscribe on news/a.",
        },
      ],
      ended: [],
    });
    const session = client.welcome.session;
    const refused = await ask("GET", url({ session, action: "subscribe", on: "#" }));
    expect(refused.body.subjects[0]).toMatchObject({ allowed: false });
    expect(refused.body.subjects[0].reason).toContain("reaches beyond the grant on news/#");
  });

  test("why a subscription was ended", async () => {
    const { broker, ask } = await started();
    await using _ = broker;
    await ask("PUT", "/roles/reader", READ);
    using client = await withRoles(broker, "ada", ["reader"]);
    await client.ok({ type: "subscribe", filter: "news/a" });
    await ask("DELETE", "/roles/reader");
    await client.expect((one) => one.code === "unsubscribed");
    const { body } = await ask("GET", url({ principal: "ada", action: "subscribe", on: "news/a" }));
    expect(body.ended).toEqual([
      {
        time: expect.any(Number),
        session: client.welcome.session,
        action: "subscribe",
        on: "news/a",
        reason: "No grant allows subscribe on anything.",
      },
    ]);
  });

  test("somebody thought up, with roles, grants, a client and claims", async () => {
    const { broker, ask } = await started({ access: { roles: { base: READ } } });
    await using _ = broker;
    const asked = { principal: "x", action: "publish", on: "d/7/acme" };
    const grants = JSON.stringify([{ allow: ["publish"], on: ["d/{client}/{claims.tenant}"] }]);
    const claims = JSON.stringify({ tenant: "acme" });
    const yes = await ask("GET", url({ ...asked, grants, client: "7", claims }));
    expect(yes.body.subjects[0]).toMatchObject({ allowed: true, source: { kind: "request" } });
    const no = await ask("GET", url({ ...asked, grants, client: "8", claims, roles: "base" }));
    expect(no.body.subjects[0].allowed).toBe(false);
    const role = await ask(
      "GET",
      url({ principal: "x", action: "subscribe", on: "news", roles: "base" }),
    );
    expect(role.body.subjects[0].source).toEqual({ kind: "role", name: "base" });
    const bad = JSON.stringify([{ allow: ["fly"], on: ["a"] }]);
    expect((await ask("GET", url({ ...asked, grants: bad }))).body.pointer).toBe(
      "/grants/0/allow/0",
    );
    expect((await ask("GET", url({ ...asked, grants: "{" }))).body.pointer).toBe("/grants");
  });

  test("a configured key, and nobody", async () => {
    const key = {
      id: "k1",
      hash: "0".repeat(64),
      principal: "svc",
      grants: [{ allow: ["publish"], on: ["a"] }],
    };
    const { broker, ask } = await started({ access: { keys: [key] } });
    await using _ = broker;
    const of = await ask("GET", url({ principal: "svc", action: "publish", on: "a" }));
    expect(of.body.subjects).toEqual([
      {
        key: "k1",
        allowed: true,
        rule: key.grants[0],
        source: { kind: "key", id: "k1" },
        reason: "A grant of the key k1 on a allows publish on a.",
      },
    ]);
    const nobody = await ask("GET", url({ principal: "nobody", action: "publish", on: "a" }));
    expect(nobody.status).toBe(404);
    expect((await ask("GET", url({ action: "publish", on: "a" }))).body.pointer).toBe("/principal");
    expect(
      (await ask("GET", url({ principal: "svc", action: "publish", on: "#" }))).body.code,
    ).toBe("invalid_topic");
  });

  test("[P-13.7] warren explain says it in a terminal, stored roles and all", async () => {
    const { broker, ask } = await started();
    await using _ = broker;
    await ask("PUT", "/roles/reader", READ);
    const env = { WARREN_URL: broker.httpUrl, WARREN_TOKEN: await tokenFor("operator") };
    using __ = await withRoles(broker, "ada", ["reader"]);
    const explain = (...words: string[]) => runCli(["explain", ...words], { env });
    const may = await explain("subscribe", "news/a", "--principal", "ada");
    expect(may.code).toBe(0);
    expect(JSON.parse(may.out)).toMatchObject({
      subjects: [{ allowed: true, source: { kind: "role", name: "reader" } }],
    });
    const not = await explain(
      "publish",
      "news/a",
      "--principal",
      "bob",
      "--roles",
      "reader",
      "--json",
    );
    expect(not.code).toBe(1);
    expect(JSON.parse(not.out)).toMatchObject({ principal: "bob", subjects: [{ allowed: false }] });
    const ghost = await explain("publish", "x", "--principal", "bob", "--roles", "reader, ghost");
    expect(ghost.err).toContain("There is no role ghost. (/roles)");
    expect((await explain("rule", "x", "--principal", "ada")).code).toBe(2);
    expect((await explain("publish", "x")).code).toBe(2);
    expect((await explain("publish", "x", "--principal", "nobody")).err).toContain("not_found");
  });

  test("a queue whose bindings bring what must not be received", async () => {
    const { broker, ask } = await started();
    await using _ = broker;
    await broker.queue("jobs", ["secret/#"]);
    const grants = JSON.stringify([
      { allow: ["consume"], on: ["#"] },
      { deny: ["receive"], on: ["secret/a"] },
    ]);
    const { body } = await ask(
      "GET",
      url({ principal: "x", action: "consume", on: "jobs", grants }),
    );
    expect(body.subjects[0]).toMatchObject({ allowed: false });
    expect(body.subjects[0].reason).toStartWith("The queue is bound to secret/#.");
  });
});

describe("[P-14.8] the audit trail", () => {
  test("has changes of roles with who made them", async () => {
    const { broker, ask } = await started();
    await using _ = broker;
    await ask("PUT", "/roles/r", READ);
    await ask("PUT", "/roles/r", { grants: [] });
    await ask("DELETE", "/roles/r");
    const { entries } = await broker.warren.broker.engine.audit.query({ limit: 10, on: "r" });
    expect(entries.map(({ action, principal }) => [action, principal])).toEqual([
      ["role.delete", "operator"],
      ["role.change", "operator"],
      ["role.define", "operator"],
    ]);
    expect(entries[2]?.detail).toEqual(READ);
  });

  test("has refusals over WebSocket and HTTP, equal ones together", async () => {
    const { broker } = await started();
    const { audit } = broker.warren.broker.engine;
    await using _ = broker;
    using client = await withRoles(broker, "ada", []);
    for (let i = 0; i < 5; i++) {
      await client.request({ type: "publish", topic: "t", payload: i });
    }
    const headers = { Authorization: `Bearer ${await tokenFor("bob", {})}` };
    await fetch(`${broker.httpUrl}/v1/topics/t`, { method: "POST", body: "1", headers });
    await fetch(`${broker.httpUrl}/admin/v1/roles`, { headers });
    await fetch(`${broker.httpUrl}/v1/topics/t`, { method: "POST", body: "1" });
    broker.warren.broker.refusals.flush();
    const { entries } = await audit.query({ limit: 20, outcome: "refused" });
    const told = entries.map(({ action, on, principal, code, count }) => ({
      action,
      on,
      principal,
      code,
      count,
    }));
    const forbidden = { code: "forbidden" };
    expect(told.filter(({ principal }) => principal === "ada")).toEqual([
      { action: "access.publish", on: "t", principal: "ada", ...forbidden, count: 4 },
      { action: "access.publish", on: "t", principal: "ada", ...forbidden, count: 1 },
    ]);
    expect(told).toContainEqual({
      action: "access.admin",
      on: "roles",
      principal: "bob",
      ...forbidden,
      count: 1,
    });
    expect(told.find(({ code }) => code === "unauthenticated")).toMatchObject({
      action: "access.authenticate",
      count: 1,
    });
  });
});
