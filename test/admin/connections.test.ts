/** Who is connected, who is sent away and who is shut out [P-14.5]. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jsonLines, runCli } from "../harness/cli.ts";
import { eventually } from "../harness/eventually.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const BEHIND_A_PROXY = { ...TOKENS_ONLY, trustedProxies: ["127.0.0.1"] };
const wsUrlOf = ({ url }: TestWarren) => `${url.replace("http", "ws")}/ws`;
const from = (address: string) => ({ "X-Forwarded-For": address });

async function admin(broker: TestWarren) {
  const bearer = { Authorization: `Bearer ${await tokenFor("root")}`, ...from("192.0.2.1") };
  return (method: string, path: string, body?: unknown) =>
    broker.json(method, `/admin/v1/${path}`, body, bearer);
}

async function connect(
  broker: TestWarren,
  name: string,
  address = "203.0.113.7",
  client?: string,
  encoding: "json" | "msgpack" = "json",
): Promise<WireClient> {
  const claims = { grants: EVERYTHING, ...(client !== undefined && { client }) };
  const token = await tokenFor(name, claims);
  return WireClient.connect(wsUrlOf(broker), { token, encoding, headers: from(address) });
}

/** How a request and a handshake of this one are answered. */
async function answersTo(broker: TestWarren, name: string, address: string, client?: string) {
  const token = await tokenFor(name, { grants: EVERYTHING, ...(client && { client }) });
  const headers = { Authorization: `Bearer ${token}`, ...from(address) };
  const http = await broker.json("POST", "/v1/publish", { topic: "t" }, headers);
  const upgrade = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13" };
  const handshake = await broker.json("GET", "/ws", undefined, { ...headers, ...upgrade });
  return [http.status, http.body.code ?? "ok", handshake.status, handshake.body.code];
}
// Without a key the handshake is refused in any case, but later than a ban.
const LET_IN = [200, "ok", 400, "invalid_frame"];
const SHUT_OUT = [403, "banned", 403, "banned"];

test("[P-14.5, P-13.5] connections are listed in pages, chosen by principal, client and range", async () => {
  await using broker = await startTestWarren({ ...BEHIND_A_PROXY, queues: { q: {} } });
  const ask = await admin(broker);
  using one = await connect(broker, "ada", "203.0.113.7", "device-1");
  using _two = await connect(broker, "ada", "2001:db8::7", "device-2", "msgpack");
  using _three = await connect(broker, "bob", "203.0.113.9");
  await one.ok({ type: "subscribe", filter: "a/#" });
  await one.ok({ type: "consume", queue: "q", credit: 1 });
  const sessions: string[] = [];
  let after = "";
  do {
    const { body } = await ask("GET", `connections?limit=2${after}`);
    expect(body.connections.length).toBeLessThanOrEqual(2);
    sessions.push(...body.connections.map(({ session }: { session: string }) => session));
    after = body.next === undefined ? "" : `&after=${body.next}`;
  } while (after !== "");
  expect(sessions).toEqual([...sessions].sort());
  expect(new Set(sessions).size).toBe(3);
  const chosen = async (query: string) =>
    (await ask("GET", `connections?${query}`)).body.connections.length;
  expect(await chosen("principal=ada")).toBe(2);
  expect(await chosen("principal=ada&client=device-2")).toBe(1);
  expect(await chosen("address=203.0.113.0/24")).toBe(2);
  expect(await chosen("address=2001:db8::/64&principal=bob")).toBe(0);
  const wrong = await ask("GET", "connections?address=here");
  expect([wrong.status, wrong.body.pointer]).toEqual([400, "/address"]);
  const { session } = one.welcome;
  expect((await ask("GET", `connections/${session}`)).body).toMatchObject({
    session,
    principal: "ada",
    client: "device-1",
    address: "203.0.113.7",
    encoding: "json",
    state: "open",
    filters: ["a/#"],
    queues: ["q"],
    subscriptions: 1,
    consumers: 1,
    reading: true,
  });
  const nobody = await ask("GET", "connections/none");
  expect([nobody.status, nobody.body.code]).toEqual([404, "not_found"]);
});

for (const encoding of ENCODINGS) {
  test(`[P-14.5, P-10.2] a kick ends one connection with 4410 and the reason (${encoding})`, async () => {
    await using broker = await startTestWarren(BEHIND_A_PROXY);
    const ask = await admin(broker);
    const kicked = await connect(broker, "ada", "203.0.113.7", undefined, encoding);
    using stays = await connect(broker, "ada");
    const path = `connections/${kicked.welcome.session}`;
    expect((await ask("DELETE", `${path}?reason=too%20loud`)).status).toBe(204);
    expect(await kicked.closed()).toEqual({ code: 4410, reason: "too loud" });
    await stays.ok({ type: "ping" });
    expect((await ask("DELETE", path)).status).toBe(404);
    using _again = await connect(broker, "ada");
    const { body } = await ask("GET", "audit?action=connection.kick");
    const told = body.entries.map(({ outcome, on }: Record<string, string>) => [outcome, on]);
    expect(told).toEqual([
      ["refused", kicked.welcome.session],
      ["done", kicked.welcome.session],
    ]);
  });

  test(`[P-14.5] a ban ends live connections and keeps them out; its end lets them in (${encoding})`, async () => {
    await using broker = await startTestWarren(BEHIND_A_PROXY);
    const ask = await admin(broker);
    const live = await connect(broker, "ada", "203.0.113.7", undefined, encoding);
    using other = await connect(broker, "bob", "203.0.113.8", undefined, encoding);
    const put = await ask("PUT", "bans/b1", { address: "203.0.113.7", reason: "noise" });
    expect([put.status, put.body.id, put.body.by]).toEqual([200, "b1", "root"]);
    expect(await live.closed()).toEqual({ code: 4410, reason: "noise" });
    const why = live.inbox.at(-1);
    expect(why).toMatchObject({ type: "error", code: "banned", detail: { reason: "noise" } });
    await other.ok({ type: "ping" });
    expect(await answersTo(broker, "ada", "203.0.113.7")).toEqual(SHUT_OUT);
    expect(await answersTo(broker, "ada", "203.0.113.8")).toEqual(LET_IN);
    // Who was shut out is told of, be it by an operator or by a rule [P-14.8].
    const { entries } = (await ask("GET", "audit?action=access.connect&outcome=refused")).body;
    const told = { code: "banned", address: "203.0.113.7" };
    expect(entries).toMatchObject([{ ...told }, { ...told, principal: "ada", count: 1 }]);
    expect((await ask("DELETE", "bans/b1")).status).toBe(204);
    expect(await answersTo(broker, "ada", "203.0.113.7")).toEqual(LET_IN);
    expect((await ask("DELETE", "bans/b1")).status).toBe(404);
  });
}

describe("[P-14.5] whom a ban means", () => {
  const table: [object, [string, string, string?][], [string, string, string?][]][] = [
    [
      { principal: "ada" },
      [
        ["ada", "203.0.113.7"],
        ["ada", "::1", "x"],
      ],
      [["bob", "203.0.113.7"]],
    ],
    [
      { client: "x" },
      [
        ["ada", "::2", "x"],
        ["bob", "::2", "x"],
      ],
      [
        ["ada", "::2"],
        ["x", "::2"],
      ],
    ],
    [
      { principal: "ada", client: "x" },
      [["ada", "::2", "x"]],
      [
        ["bob", "::2", "x"],
        ["ada", "::2"],
      ],
    ],
    [{ address: "203.0.113.0/24" }, [["ada", "203.0.113.255"]], [["ada", "203.0.114.0"]]],
    [{ address: "2001:db8::/33" }, [["ada", "2001:db8:7fff::1"]], [["ada", "2001:db8:8000::1"]]],
    [{ address: "::ffff:203.0.113.7" }, [["ada", "203.0.113.7"]], [["ada", "203.0.113.6"]]],
    [
      { principal: "ada", address: "203.0.113.0/24" },
      [["ada", "203.0.113.1"]],
      [
        ["ada", "::2"],
        ["bob", "203.0.113.1"],
      ],
    ],
  ];
  for (const [ban, meant, others] of table) {
    test(`[P-14.5] ${JSON.stringify(ban)}`, async () => {
      await using broker = await startTestWarren(BEHIND_A_PROXY);
      const ask = await admin(broker);
      expect((await ask("PUT", "bans/b", ban)).status).toBe(200);
      for (const who of meant)
        expect([who, await answersTo(broker, ...who)]).toEqual([who, SHUT_OUT]);
      for (const who of others)
        expect([who, await answersTo(broker, ...who)]).toEqual([who, LET_IN]);
    });
  }

  test("[P-14.5] a ban that means nobody, everybody or oneself is refused", async () => {
    await using broker = await startTestWarren(BEHIND_A_PROXY);
    const ask = await admin(broker);
    const refusals: [object, number, string][] = [
      [{}, 400, "invalid_frame"],
      [{ reason: "x" }, 400, "invalid_frame"],
      [{ address: "203.0.113.0/64" }, 400, "invalid_frame"],
      [{ address: "everywhere" }, 400, "invalid_frame"],
      [{ principal: "ada", expiresAt: Date.now() - 1 }, 400, "invalid_frame"],
      [{ principal: "ada", expiresAt: Math.ceil(Date.now() / 1000) + 3600 }, 400, "invalid_frame"],
      [{ principal: "a\u0000b" }, 400, "invalid_frame"],
      [{ principal: "root" }, 409, "conflict"],
      [{ address: "0.0.0.0/0" }, 409, "conflict"],
    ];
    for (const [body, status, code] of refusals) {
      const answer = await ask("PUT", "bans/b", body);
      expect([body, answer.status, answer.body.code]).toEqual([body, status, code]);
    }
    expect((await ask("PUT", "bans/-b%20c", { principal: "x" })).status).toBe(400);
    expect((await ask("GET", "bans")).body).toEqual({ bans: [] });
  });
});

test("[P-14.5] a ban outlives a restart; one that is over is gone with the next change", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "warren-bans-"));
  try {
    {
      await using broker = await startTestWarren({ ...BEHIND_A_PROXY, dataDir });
      const ask = await admin(broker);
      await ask("PUT", "bans/kept", { principal: "ada" });
      const over = { id: "over", principal: "bob", expiresAt: 1000, createdAt: 1, by: "root" };
      const change = { collection: "bans", key: "over", value: over } as const;
      await broker.warren.broker.engine.records.write([change]);
    }
    await using broker = await startTestWarren({ ...BEHIND_A_PROXY, dataDir });
    const ask = await admin(broker);
    expect(await answersTo(broker, "ada", "203.0.113.7")).toEqual(SHUT_OUT);
    expect(await answersTo(broker, "bob", "203.0.113.7")).toEqual(LET_IN);
    expect((await ask("GET", "bans")).body.bans).toMatchObject([{ id: "kept" }]);
    const { records } = broker.warren.broker.engine;
    expect([...records.all("bans").keys()]).toEqual(["kept", "over"]);
    await ask("PUT", "bans/another", { principal: "cid" });
    expect([...records.all("bans").keys()]).toEqual(["kept", "another"]);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});

test("[P-14.5, P-9.1] who says a banned name late is closed with 4410", async () => {
  await using broker = await startTestWarren(BEHIND_A_PROXY);
  await (await admin(broker))("PUT", "bans/b", { principal: "ada" });
  using late = await WireClient.open(wsUrlOf(broker), { headers: from("203.0.113.7") });
  late.send({ type: "auth", id: 1, token: await tokenFor("ada") });
  expect((await late.closed()).code).toBe(4410);
  expect(late.inbox.at(-1)).toMatchObject({ type: "error", id: 1, code: "banned" });
});

test("[P-14.5] thousands of bans: each is found, and live connections of the last go too", async () => {
  await using broker = await startTestWarren(BEHIND_A_PROXY);
  const live = await connect(broker, "ada", "10.19.135.1");
  using other = await connect(broker, "ada", "10.250.0.1");
  const { records } = broker.warren.broker.engine;
  const createdAt = 1;
  const bans = Array.from({ length: 5000 }, (_, n) => {
    const address = `10.${n >> 8}.${n & 255}.0/24`;
    return {
      collection: "bans" as const,
      key: `b${n}`,
      value: { id: `b${n}`, address, createdAt },
    };
  });
  await records.write(bans);
  expect((await live.closed()).code).toBe(4410);
  await other.ok({ type: "ping" });
  expect(await answersTo(broker, "ada", "10.7.9.200")).toEqual(SHUT_OUT);
  expect(await answersTo(broker, "ada", "10.20.0.1")).toEqual(LET_IN);
});

for (const encoding of ENCODINGS) {
  test(`[P-14.5] all connections of a principal, a client or a range are ended (${encoding})`, async () => {
    await using broker = await startTestWarren(BEHIND_A_PROXY);
    const ask = await admin(broker);
    const many = Array.from({ length: 70 }, (_, n) =>
      connect(broker, "ada", `203.0.113.${n}`, `device-${n % 7}`, encoding),
    );
    const hers = await Promise.all(many);
    using his = await connect(broker, "bob", "203.0.113.250", "device-1", encoding);
    const kick = async (query: string) => (await ask("DELETE", `connections?${query}`)).body.kicked;
    expect(await kick("principal=ada&client=device-1&reason=lost")).toBe(10);
    expect(await hers[1]?.closed()).toEqual({ code: 4410, reason: "lost" });
    expect(await kick("address=203.0.113.0/28&principal=ada")).toBe(13);
    expect(await kick("principal=ada")).toBe(47);
    for (const client of hers) expect((await client.closed()).code).toBe(4410);
    expect(await kick("principal=ada")).toBe(0);
    await his.ok({ type: "ping" });
    // They may come back, and no slip ends everybody.
    using again = await connect(broker, "ada");
    await again.ok({ type: "ping" });
    for (const query of ["", "reason=all", "address=everywhere", "session=x"]) {
      expect((await ask("DELETE", `connections?${query}`)).body.code).toBe("invalid_frame");
    }
    const { body } = await ask("GET", "audit?action=connections.kick&outcome=done");
    expect(body.entries.map(({ on, count }: Record<string, unknown>) => [on, count])).toEqual([
      ...[
        ["ada", 0],
        ["ada", 47],
        ["ada", 13],
      ],
      ["ada", 10],
    ]);
  });
}

describe("bans by rules", () => {
  test("[P-14.11, P-14.5] who comes and goes all the time is out, its neighbours are not", async () => {
    const rates = { flapping: { perMinute: 15, banMs: 300_000 } };
    await using broker = await startTestWarren({ ...BEHIND_A_PROXY, rates });
    const ask = await admin(broker);
    using neighbour = await connect(broker, "ada", "203.0.113.7", "calm");
    const { bans } = broker.warren.sessions.admission;
    for (let n = 0; n < 16; n++) {
      expect(bans.automatic).toBe(0);
      await (await connect(broker, "ada", "203.0.113.7", "flapping")).close();
      await eventually(
        () => broker.warren.sessions.size === 1,
        () => "an end",
      );
    }
    expect(bans.automatic).toBe(1);
    expect(await answersTo(broker, "ada", "203.0.113.7", "flapping")).toEqual(SHUT_OUT);
    expect(await answersTo(broker, "ada", "203.0.113.7", "other")).toEqual(LET_IN);
    await neighbour.ok({ type: "ping" });
    const [ban] = (await ask("GET", "bans")).body.bans;
    expect(ban).toMatchObject({ principal: "ada", client: "flapping", automatic: true });
    expect(ban.expiresAt - ban.createdAt).toBe(300_000);
    expect((await ask("DELETE", `bans/${ban.id}`)).status).toBe(204);
    expect(await answersTo(broker, "ada", "203.0.113.7", "flapping")).toEqual(LET_IN);
    expect(broker.warren.broker.engine.records.all("bans").size).toBe(0);
  });

  test("[P-14.11] who is over its rates again and again is closed with 4429, and out", async () => {
    const rates = {
      burstSeconds: 1,
      connection: { messagesPerSecond: 1 },
      address: { connectionsPerMinute: 2 },
      abuse: { perMinute: 3, banMs: 60_000 },
    };
    await using broker = await startTestWarren({ ...BEHIND_A_PROXY, rates });
    const abuser = await connect(broker, "ada", "203.0.113.7");
    using other = await connect(broker, "bob", "203.0.113.8");
    const admission = broker.warren.sessions.admission;
    for (let n = 0; n < 4; n++) {
      const who = { address: "203.0.113.7", principal: [...broker.warren.sessions][0]!.principal };
      admission.offence(who);
    }
    expect((await abuser.closed()).code).toBe(4429);
    await other.ok({ type: "ping" });
    expect((await answersTo(broker, "ada", "203.0.113.7")).slice(0, 2)).toEqual([403, "banned"]);
  });

  test("[P-14.11] handshakes that go on after a 429 lead to a ban of the address", async () => {
    const rates = { address: { connectionsPerMinute: 1 }, abuse: { perMinute: 5, banMs: 60_000 } };
    await using broker = await startTestWarren({ ...BEHIND_A_PROXY, rates });
    const statuses: number[] = [];
    for (let n = 0; n < 9; n++) {
      const answer = await broker.json("GET", "/ws", undefined, {
        ...{ Connection: "Upgrade", Upgrade: "websocket" },
        ...from("203.0.113.7"),
      });
      statuses.push(answer.status);
    }
    expect(statuses).toEqual(
      [401, 429, 429, 429, 429, 429, 429, 403, 403].map((s) => (s === 401 ? 400 : s)),
    );
  });
});

test("[P-13.7, P-14.5] conn list, show, kick; ban add, list, remove", async () => {
  await using broker = await startTestWarren(BEHIND_A_PROXY);
  const env = { WARREN_URL: broker.url, WARREN_TOKEN: await tokenFor("root") };
  const warren = async (...words: string[]) => {
    const { code, out, err } = await runCli([...words, "--json"], { env });
    return { code, err, values: jsonLines(out) };
  };
  const live = await connect(broker, "ada");
  const { session } = live.welcome;
  expect((await warren("conn", "list", "--principal", "ada")).values).toMatchObject([{ session }]);
  expect((await warren("conn", "show", session)).values).toMatchObject([{ principal: "ada" }]);
  expect((await warren("conn", "kick", session, "--reason", "x")).values).toEqual([
    { kicked: session },
  ]);
  expect((await live.closed()).code).toBe(4410);
  const more = await connect(broker, "ada");
  expect((await warren("conn", "kick", "--principal", "ada")).values).toEqual([{ kicked: 1 }]);
  expect((await more.closed()).code).toBe(4410);
  for (const wrong of [[], [session, "--principal", "ada"]]) {
    expect((await warren("conn", "kick", ...wrong)).code).toBe(2);
  }
  const add = ["ban", "add", "b1", "--address", "203.0.113.0/24", "--for-ms", "60000"];
  expect((await warren(...add)).values).toMatchObject([{ id: "b1", address: "203.0.113.0/24" }]);
  expect((await warren("ban", "add", "b2")).code).toBe(2);
  expect((await warren("ban", "list")).values).toMatchObject([{ id: "b1", by: "root" }]);
  expect((await warren("ban", "remove", "b1")).values).toEqual([{ removed: "b1" }]);
  expect((await warren("ban", "list")).values).toEqual([]);
});
