/** Credentials that end before their time, on live connections and for requests [P-14.4]. */
import { afterAll, describe, expect, test } from "bun:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { KEYS_MAX_AGE_MS } from "../../src/security/jwks.ts";
import { RECHECK_MS } from "../../src/session/recall.ts";
import { JumpingClock } from "../harness/jumping-clock.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Encoding, WireClient } from "../harness/wire-client.ts";

const HOUR_MS = 3_600_000;
const seconds = (ms: number) => Math.floor(ms / 1000);

async function askerOf(broker: TestBroker) {
  // Of another issue time than those of the test, and of a name that it does not revoke.
  const token = await tokenFor("root");
  return async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${broker.httpUrl}/admin/v1/${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) };
  };
}

/** A token that says when it was made: a minute ago unless said otherwise. */
const issued = (name: string, claims: Record<string, unknown> = {}, ageMs = 60_000) =>
  tokenFor(name, { grants: EVERYTHING, iat: seconds(Date.now() - ageMs), ...claims });

async function requestWith(broker: TestBroker, token: string) {
  const answer = await fetch(`${broker.httpUrl}/v1/publish`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}` },
    body: JSON.stringify({ topic: "t" }),
  });
  return [answer.status, ((await answer.json()) as { code?: string }).code];
}

async function endOf(client: WireClient) {
  const { code } = await client.expect("error");
  return [code, (await client.closed()).code];
}

const connect = (broker: TestBroker, encoding: Encoding, token: string) =>
  WireClient.connect(broker.wsUrl, { encoding, token });

describe.each(ENCODINGS)("[P-14.4] %s", (encoding) => {
  test("a revoked token ends its connection and its requests, and no other's", async () => {
    await using broker = await startBroker({ access: TOKENS_ONLY });
    const ask = await askerOf(broker);
    const token = await issued("ada", { jti: "t-1" });
    using revoked = await connect(broker, encoding, token);
    using other = await connect(broker, encoding, await issued("ada", { jti: "t-2" }));
    const made = await ask("POST", "revocations", { jti: "t-1", reason: "lost phone" });
    expect(made.body).toMatchObject({ jti: "t-1", reason: "lost phone", by: "root" });
    const error = await revoked.expect("error");
    expect(error).toMatchObject({ code: "token_revoked", detail: { reason: "lost phone" } });
    expect((await revoked.closed()).code).toBe(4401);
    expect(await requestWith(broker, token)).toEqual([401, "token_revoked"]);
    await expect(connect(broker, encoding, token)).rejects.toThrow();
    await other.ok({ type: "publish", topic: "t" });
    expect((await ask("DELETE", `revocations/${made.body.id}`)).status).toBe(204);
    expect((await requestWith(broker, token))[0]).toBe(200);
  });

  test("of a principal or a client, what was issued until now is revoked, and what comes is not", async () => {
    await using broker = await startBroker({ access: TOKENS_ONLY });
    const ask = await askerOf(broker);
    using one = await connect(broker, encoding, await issued("ada", { client: "a" }));
    using two = await connect(broker, encoding, await issued("ada", { client: "b" }));
    using mute = await connect(broker, encoding, await tokenFor("ada", { client: "b" }));
    using bob = await connect(broker, encoding, await issued("bob", { client: "a" }));
    await ask("POST", "revocations", { principal: "ada", client: "a" });
    expect(await endOf(one)).toEqual(["token_revoked", 4401]);
    await two.ok({ type: "ping" });
    await ask("POST", "revocations", { principal: "ada" });
    expect(await endOf(two)).toEqual(["token_revoked", 4401]);
    // It does not say when it was made.
    expect(await endOf(mute)).toEqual(["token_revoked", 4401]);
    await bob.ok({ type: "ping" });
    // A clock that is a little ahead is tolerated, so that this token is newer than the revocation.
    using fresh = await connect(broker, encoding, await issued("ada", { client: "a" }, -2000));
    await fresh.ok({ type: "publish", topic: "t" });
  });

  test("with reauthMs it is told, and may go on with another token", async () => {
    await using broker = await startBroker({ access: TOKENS_ONLY });
    const ask = await askerOf(broker);
    const token = await issued("ada");
    using client = await connect(broker, encoding, token);
    await client.ok({ type: "subscribe", filter: "t" });
    const { body } = await ask("POST", "revocations", { principal: "ada", reauthMs: HOUR_MS });
    expect(await client.expect("notice")).toEqual({
      type: "notice",
      code: "token_expiring",
      expiresAt: body.createdAt + HOUR_MS,
    });
    // Those that are not connected have no such time.
    expect(await requestWith(broker, token)).toEqual([401, "token_revoked"]);
    expect(await client.request({ type: "auth", token })).toMatchObject({ code: "token_revoked" });
    await client.ok({ type: "publish", topic: "t" });
    await client.ok({ type: "auth", token: await issued("ada", {}, -2000) });
    // The next one without such a time would end it, were it still under its old token.
    await ask("POST", "revocations", { principal: "ada", issuedBefore: body.createdAt });
    using witness = await connect(broker, encoding, await issued("eve"));
    await ask("POST", "revocations", { principal: "eve" });
    expect(await endOf(witness)).toEqual(["token_revoked", 4401]);
    await client.ok({ type: "publish", topic: "t" });
  });

  test("and when that time is over without one, 4401", async () => {
    await using broker = await startBroker({ access: TOKENS_ONLY });
    const ask = await askerOf(broker);
    using client = await connect(broker, encoding, await issued("ada"));
    await ask("POST", "revocations", { principal: "ada", reauthMs: 300 });
    expect((await client.expect("notice")).code).toBe("token_expiring");
    expect(await endOf(client)).toEqual(["token_revoked", 4401]);
  });

  test("a key that is revoked ends its connections; one that is rotated when the overlap is over", async () => {
    await using broker = await startBroker({ access: TOKENS_ONLY });
    const ask = await askerOf(broker);
    const one = (await ask("POST", "keys", { principal: "svc" })).body;
    const two = (await ask("POST", "keys", { principal: "svc" })).body;
    using first = await connect(broker, encoding, one.key);
    using second = await connect(broker, encoding, two.key);
    using third = await connect(broker, encoding, two.key);
    await ask("DELETE", `keys/${one.id}`);
    expect(await endOf(first)).toEqual(["token_revoked", 4401]);
    const { body } = await ask("POST", `keys/${two.id}/rotate`, { graceMs: 700 });
    for (const client of [second, third]) {
      expect((await client.expect("notice")).expiresAt).toBe(body.rotatedAt + 700);
    }
    await second.ok({ type: "auth", token: body.key });
    expect(await endOf(third)).toEqual(["token_expired", 4401]);
    await second.ok({ type: "ping" });
  });

  test("a key ends when it said, and an auth with another one of the same principal goes on", async () => {
    await using broker = await startBroker({ access: TOKENS_ONLY });
    const ask = await askerOf(broker);
    const expiresAt = Date.now() + 1500;
    const short = (await ask("POST", "keys", { principal: "svc", expiresAt })).body;
    const grants = [{ allow: ["publish"], on: ["t"] }];
    const long = (await ask("POST", "keys", { principal: "svc", grants })).body;
    using ends = await connect(broker, encoding, short.key);
    using goesOn = await connect(broker, encoding, short.key);
    expect(ends.welcome.expiresAt).toBe(expiresAt);
    expect(await goesOn.request({ type: "publish", topic: "t" })).toMatchObject({
      code: "forbidden",
    });
    await goesOn.ok({ type: "auth", token: long.key });
    await goesOn.ok({ type: "publish", topic: "t" });
    expect(await endOf(ends)).toEqual(["token_expired", 4401]);
    await goesOn.ok({ type: "publish", topic: "t" });
  });
});

describe("[P-14.4] races", () => {
  test("an auth in flight while its token is revoked is refused, and ends nothing else", async () => {
    await using issuer = await startIssuer();
    await using broker = await startBroker({
      access: { ...TOKENS_ONLY, issuers: issuer.settings },
    });
    const ask = await askerOf(broker);
    using client = await connect(broker, "json", await issued("ada"));
    const release = issuer.hold();
    const answer = client.request({ type: "auth", token: await issuer.token("ada", "t-1") });
    await issuer.asked;
    await ask("POST", "revocations", { jti: "t-1" });
    release();
    expect(await answer).toMatchObject({ code: "token_revoked" });
    await client.ok({ type: "publish", topic: "t" });
  });

  test("an auth in flight while the present token is revoked comes too late", async () => {
    await using issuer = await startIssuer();
    await using broker = await startBroker({
      access: { ...TOKENS_ONLY, issuers: issuer.settings },
    });
    const ask = await askerOf(broker);
    using client = await connect(broker, "json", await issued("ada", { jti: "now" }));
    const release = issuer.hold();
    client.send({ type: "auth", id: 1, token: await issuer.token("ada", "next") });
    await issuer.asked;
    await ask("POST", "revocations", { jti: "now" });
    expect(await endOf(client)).toEqual(["token_revoked", 4401]);
    release();
    expect(client.inbox).toEqual([]);
  });

  test("a handshake in flight while its token is revoked is refused", async () => {
    await using issuer = await startIssuer();
    await using broker = await startBroker({
      access: { ...TOKENS_ONLY, issuers: issuer.settings },
    });
    const ask = await askerOf(broker);
    const release = issuer.hold();
    const token = await issuer.token("ada", "t-1");
    const outcome = connect(broker, "json", token).then(
      () => "let in",
      () => "refused",
    );
    await issuer.asked;
    await ask("POST", "revocations", { jti: "t-1" });
    release();
    expect(await outcome).toBe("refused");
    expect(broker.warren.sessions.size).toBe(0);
    expect(await requestWith(broker, token)).toEqual([401, "token_revoked"]);
  });

  test("a role that goes between subscribe and publish: the publish is refused, the subscription ends", async () => {
    await using broker = await startBroker({ access: TOKENS_ONLY });
    const ask = await askerOf(broker);
    await ask("PUT", "roles/r", { grants: [{ allow: ["publish", "subscribe"], on: ["t"] }] });
    const { body } = await ask("POST", "keys", { principal: "svc", roles: ["r"] });
    using client = await connect(broker, "json", body.key);
    await client.ok({ type: "subscribe", filter: "t" });
    await client.ok({ type: "publish", topic: "t" });
    await ask("DELETE", "roles/r");
    expect(await client.request({ type: "publish", topic: "t" })).toMatchObject({
      code: "forbidden",
    });
    expect(await client.expect("notice")).toMatchObject({ code: "unsubscribed", filter: "t" });
  });

  test("a clock that is set forward ends what is over by then, one that is set back ends nothing", async () => {
    const clock = new JumpingClock();
    await using broker = await startBroker({ access: TOKENS_ONLY, deps: { clock } });
    const exp = seconds(clock.now() + HOUR_MS);
    using client = await connect(broker, "json", await tokenFor("ada", { exp }));
    clock.jump(-2 * HOUR_MS);
    clock.advance(5000);
    await client.ok({ type: "ping" });
    clock.jump(2 * HOUR_MS + HOUR_MS);
    clock.advance(5000);
    expect(await endOf(client)).toEqual(["token_expired", 4401]);
  });
});

test("[P-14.4] a token whose key its issuer has taken out of use ends at the next look", async () => {
  const clock = new JumpingClock();
  clock.jump(Date.now() - clock.now());
  await using issuer = await startIssuer();
  const access = { ...TOKENS_ONLY, issuers: issuer.settings };
  await using broker = await startBroker({ access, deps: { clock }, limits: LONG_SILENCE });
  using old = await connect(broker, "json", await issuer.token("ada", "t-1"));
  await issuer.rotate();
  clock.advance(Math.max(KEYS_MAX_AGE_MS, RECHECK_MS) + LONG_SILENCE.heartbeatMs / 8);
  // What it asks the issuers comes in its own time; the round is begun by the clock again.
  const ended = endOf(old);
  const pushing = setInterval(() => clock.advance(100), 5);
  expect(await ended).toEqual(["unauthenticated", 4401]);
  clearInterval(pushing);
  using fresh = await connect(broker, "json", await issuer.token("ada", "t-2"));
  await fresh.ok({ type: "ping" });
});

/** Nobody is pinged or cut off while a test moves the clock. */
const LONG_SILENCE = { heartbeatMs: 1_600_000 };

const issuers: { stop(): void }[] = [];
afterAll(() => {
  for (const one of issuers) one.stop();
});

/** Somebody else who makes tokens, and answers for its keys when it is let. */
async function startIssuer() {
  let pair = await generateKeyPair("ES256");
  let kid = "first";
  let gate: Promise<void> = Promise.resolve();
  const asked = Promise.withResolvers<void>();
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch() {
      asked.resolve();
      await gate;
      return Response.json({ keys: [{ ...(await exportJWK(pair.publicKey)), kid, alg: "ES256" }] });
    },
  });
  issuers.push(server);
  const url = server.url.origin;
  return {
    asked: asked.promise,
    settings: [{ issuer: url, audience: "warren", jwksUrl: `${url}/keys`, allowPrivate: true }],
    hold() {
      const held = Promise.withResolvers<void>();
      gate = held.promise;
      return held.resolve;
    },
    async rotate() {
      pair = await generateKeyPair("ES256");
      kid = "second";
    },
    token: (sub: string, jti: string) =>
      new SignJWT({ grants: EVERYTHING, jti })
        .setProtectedHeader({ alg: "ES256", kid })
        .setIssuer(url)
        .setAudience("warren")
        .setSubject(sub)
        .setIssuedAt(seconds(Date.now() - 60_000))
        .setExpirationTime("1h")
        .sign(pair.privateKey),
    [Symbol.asyncDispose]: async () => void (await server.stop(true)),
  };
}
