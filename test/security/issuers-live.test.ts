/** Issuers at the real interface: keys over HTTP, rotation, order of frames, in both encodings [P-14.1]. */
import { afterAll, describe, expect, test } from "bun:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { KEYS_ATTEMPT_MS, KEYS_MAX_AGE_MS } from "../../src/security/jwks.ts";
import { JumpingClock } from "../harness/jumping-clock.ts";
import { startBroker } from "../harness/start-broker.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const GRANTS = [{ allow: ["publish", "subscribe"], on: ["#"] }];

/** An identity provider on this machine, whose keys can be changed. */
async function startIssuer() {
  const state = {
    kid: "first",
    pair: await generateKeyPair("ES256"),
    asked: 0,
    name: "",
    /** Keys from before that are still published. */
    older: [] as object[],
    /** What its document says instead of what is so. */
    says: {} as object,
  };
  const answering = Promise.withResolvers<void>();
  answering.resolve();
  let gate = answering.promise;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request): Promise<Response> {
      state.asked++;
      const { pathname } = new URL(request.url);
      if (pathname === "/.well-known/openid-configuration") {
        return Response.json({ issuer: state.name, jwks_uri: `${url}/keys`, ...state.says });
      }
      if (pathname === "/moved") return Response.redirect(`${url}/keys`);
      if (pathname === "/none") return Response.json({ keys: [] });
      if (pathname === "/secret") return Response.json({ keys: [{ kty: "oct", k: "c2VjcmV0" }] });
      await gate;
      const jwk = { ...(await exportJWK(state.pair.publicKey)), kid: state.kid, alg: "ES256" };
      return Response.json({ keys: [...state.older, jwk] });
    },
  });
  const url: string = server.url.origin;
  state.name = url;
  return {
    url,
    state,
    stop: () => server.stop(true),
    hold() {
      const held = Promise.withResolvers<void>();
      gate = held.promise;
      return held.resolve;
    },
    async rotate(kid: string) {
      state.kid = kid;
      state.pair = await generateKeyPair("ES256");
    },
    token: (sub: string, claims: object = {}) =>
      new SignJWT({ grants: GRANTS, ...claims })
        .setProtectedHeader({ alg: "ES256", kid: state.kid })
        .setIssuer(url)
        .setAudience("warren")
        .setSubject(sub)
        .setExpirationTime("1h")
        .sign(state.pair.privateKey),
  };
}

const issuer = await startIssuer();
afterAll(() => issuer.stop());
const settings = (more: object = { discovery: true }) => ({
  issuers: [{ issuer: issuer.url, audience: "warren", allowPrivate: true, ...more }],
});

describe.each(ENCODINGS)("[P-14.1] %s", (encoding) => {
  test("a token of a discovered issuer is let in, by header and by auth", async () => {
    await using broker = await startBroker({ access: settings() });
    using client = await WireClient.connect(broker.wsUrl, {
      encoding,
      token: await issuer.token("ada"),
    });
    expect(client.welcome.principal).toBe("ada");
    using other = await WireClient.open(broker.wsUrl, { encoding });
    other.send({ type: "auth", id: 1, token: await issuer.token("bob") });
    expect((await other.expect("welcome")).principal).toBe("bob");
  });

  test("what follows an auth waits until the keys are there", async () => {
    await using broker = await startBroker({ access: settings({ jwksUrl: `${issuer.url}/keys` }) });
    const release = issuer.hold();
    using client = await WireClient.open(broker.wsUrl, { encoding });
    client.send([
      { type: "auth", id: 1, token: await issuer.token("ada") },
      { type: "subscribe", id: 2, filter: "a" },
      { type: "publish", id: 3, topic: "a", payload: 1 },
    ]);
    release();
    expect((await client.expect(({ id }) => id === 2)).type).toBe("ok");
    expect((await client.expect(({ id }) => id === 3)).type).toBe("ok");
    expect((await client.expect("event")).payload).toBe(1);
  });
});

describe("[P-14.1] when things change or fail", () => {
  test("after a rotation and a refresh new tokens are good, and old keys are not", async () => {
    await using broker = await startBroker({ access: settings() });
    const old = await issuer.token("ada");
    (await WireClient.connect(broker.wsUrl, { token: old })).socket.close();
    await issuer.rotate("second");
    const token = await issuer.token("ada");
    broker.warren.reload();
    (await WireClient.connect(broker.wsUrl, { token })).socket.close();
    await expect(WireClient.connect(broker.wsUrl, { token: old })).rejects.toThrow();
  });

  test("an issuer that calls itself something else is not believed: busy, and a log line", async () => {
    await using broker = await startBroker({ access: settings() });
    issuer.state.name = "https://somebody.example";
    const headers = { Authorization: `Bearer ${await issuer.token("ada")}` };
    const answer = await fetch(`${broker.httpUrl}/v1/topics/a`, { method: "POST", headers });
    issuer.state.name = issuer.url;
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ code: "busy" });
    expect(broker.log.join("")).toContain("does not name itself as the issuer");
  });

  const lies: [string, (url: string) => object, RegExp][] = [
    ["names itself with a slash", (url) => ({ issuer: `${url}/` }), /does not name itself/],
    ["names itself in capitals", (url) => ({ issuer: url.toUpperCase() }), /does not name itself/],
    ["names many", (url) => ({ issuer: [url] }), /does not name itself/],
    ["has no keys", () => ({ jwks_uri: undefined }), /names no jwks_uri/],
    ["has its keys in a list", (url) => ({ jwks_uri: [`${url}/keys`] }), /names no jwks_uri/],
    ["has its keys in a file", () => ({ jwks_uri: "file:///etc/passwd" }), /https/],
    [
      "has its keys behind a password",
      (url) => ({ jwks_uri: `${url.replace("//", "//user:pass@")}/keys` }),
      /name or a password/,
    ],
    ["has its keys behind a redirect", (url) => ({ jwks_uri: `${url}/moved` }), /redirects/],
    ["has a key set without keys", (url) => ({ jwks_uri: `${url}/none` }), /no key that verifies/],
    ["shows secrets", (url) => ({ jwks_uri: `${url}/secret` }), /whoever reads it/],
  ];
  test.each(lies)("an issuer whose document %s lets nobody in", async (_, says, why) => {
    await using broker = await startBroker({ access: settings() });
    issuer.state.says = says(issuer.url);
    const headers = { Authorization: `Bearer ${await issuer.token("ada")}` };
    const ask = () => fetch(`${broker.httpUrl}/v1/topics/a`, { method: "POST", headers });
    const answer = await ask();
    issuer.state.says = {};
    expect([answer.status, answer.headers.get("Retry-After")]).toEqual([503, "1"]);
    expect(broker.log.join("")).toMatch(why);
    // Once it says what is so, and is asked again, its tokens are good.
    broker.warren.reload();
    expect((await ask()).status).toBe(200);
  });

  test("keys that rotate while hundreds connect: nobody who is genuine is refused, and two are asked for", async () => {
    const clock = new JumpingClock();
    clock.jump(Date.now() - clock.now());
    await using broker = await startBroker({ access: settings(), deps: { clock } });
    const enter = async (token: string) => {
      const headers = { Authorization: `Bearer ${token}` };
      const request = { method: "POST", headers };
      return (await fetch(`${broker.httpUrl}/v1/topics/a`, request)).status;
    };
    const names = Array.from({ length: 100 }, (_, n) => `device-${n}`);
    const old = await Promise.all(names.map((name) => issuer.token(name)));
    expect(await enter(old[0]!)).toBe(200);
    const before = issuer.state.asked;
    const { kid, pair } = issuer.state;
    issuer.state.older = [{ ...(await exportJWK(pair.publicKey)), kid, alg: "ES256" }];
    await issuer.rotate("next");
    const fresh = await Promise.all(names.map((name) => issuer.token(name)));
    clock.jump(KEYS_ATTEMPT_MS);
    const all = await Promise.all([...old, ...fresh].map(enter));
    expect(new Set(all)).toEqual(new Set([200]));
    expect(issuer.state.asked - before).toBe(2);
    issuer.state.older = [];
    clock.jump(KEYS_MAX_AGE_MS + 1);
    expect(new Set(await Promise.all(fresh.map(enter)))).toEqual(new Set([200]));
    expect(new Set(await Promise.all(old.map(enter)))).toEqual(new Set([401]));
    expect(issuer.state.asked - before).toBe(4);
  });

  test("a token whose key may be newer than those known comes too early, and is good a little later", async () => {
    const clock = new JumpingClock();
    clock.jump(Date.now() - clock.now());
    await using broker = await startBroker({ access: settings(), deps: { clock } });
    using client = await WireClient.connect(broker.wsUrl, { token: await issuer.token("ada") });
    await issuer.rotate("after");
    const claims = { iat: Math.floor(clock.now() / 1000) };
    const token = await issuer.token("ada", claims);
    const knock = () =>
      fetch(`${broker.httpUrl}/v1/topics/a`, {
        method: "POST",
        headers: { Authorization: `Bearer ${token}` },
      });
    const early = await knock();
    expect(early.status).toBe(503);
    const waitSeconds = Number(early.headers.get("Retry-After"));
    expect(waitSeconds).toBeGreaterThan(0);
    expect(waitSeconds).toBeLessThanOrEqual(KEYS_ATTEMPT_MS / 1000);
    // Who is connected goes on as he was.
    const refused = await client.request({ type: "auth", token });
    expect(refused).toMatchObject({ type: "error", code: "busy", retry: true });
    clock.jump(KEYS_ATTEMPT_MS);
    await client.ok({ type: "auth", token });
    expect((await knock()).status).toBe(200);
  });

  test("a flood of unknown key ids asks the issuer once", async () => {
    await using broker = await startBroker({ access: settings({ jwksUrl: `${issuer.url}/keys` }) });
    (await WireClient.connect(broker.wsUrl, { token: await issuer.token("ada") })).socket.close();
    const before = issuer.state.asked;
    const { privateKey } = await generateKeyPair("ES256");
    const attempts = Array.from({ length: 50 }, async (_, i) => {
      const forged = await new SignJWT({ sub: "eve", grants: GRANTS })
        .setProtectedHeader({ alg: "ES256", kid: `made-up-${i}` })
        .setIssuer(issuer.url)
        .setAudience("warren")
        .sign(privateKey);
      const headers = { Authorization: `Bearer ${forged}` };
      return (await fetch(`${broker.httpUrl}/v1/topics/a`, { method: "POST", headers })).status;
    });
    expect(new Set(await Promise.all(attempts))).toEqual(new Set([401]));
    expect(issuer.state.asked).toBe(before);
  });
});
