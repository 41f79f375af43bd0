/** Issuers at the real interface: keys over HTTP, rotation, order of frames, in both encodings [P-14.1]. */
import { afterAll, describe, expect, test } from "bun:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { startBroker } from "../harness/start-broker.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const GRANTS = [{ allow: ["publish", "subscribe"], on: ["#"] }];

/** An identity provider on this machine, whose keys can be changed. */
async function startIssuer() {
  const state = { kid: "first", pair: await generateKeyPair("ES256"), asked: 0, name: "" };
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
        return Response.json({ issuer: state.name, jwks_uri: `${url}/keys` });
      }
      await gate;
      const jwk = { ...(await exportJWK(state.pair.publicKey)), kid: state.kid, alg: "ES256" };
      return Response.json({ keys: [jwk] });
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
    token: (sub: string) =>
      new SignJWT({ grants: GRANTS })
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
