/** Credentials that mean harm: forged, endless, repeated. Nobody gets in, and nobody else notices. */
import { describe, expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";
import { HostilePeer, upgradeRequest } from "./hostile-peer.ts";

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
const claims = part({ sub: "root", roles: ["admin"], grants: [{ allow: ["admin"], on: ["#"] }] });

const FORGED: Readonly<Record<string, string>> = {
  "without a signature": `${part({ alg: "none" })}.${claims}.`,
  "with no algorithm at all": `${part({})}.${claims}.x`,
  "of another algorithm": `${part({ alg: "RS256", jwk: {} })}.${claims}.AAAA`,
  "with a key of its own": `${part({ alg: "HS256", jwk: { kty: "oct", k: "AAAA" } })}.${claims}.AA`,
  "with a prototype": `${Buffer.from('{"__proto__":{"alg":"none"}}').toString("base64url")}.${claims}.`,
  "that is critical of something": `${part({ alg: "HS256", crit: ["b64"], b64: false })}.${claims}.A`,
  "of nothing": "..",
  "of too many parts": ".".repeat(2000),
  "that is no base64": "a.b.c!",
  "that is JSON": '{"sub":"root"}',
  "that begins like a key": "wk_",
  "of a key without a secret": "wk_root_",
  "of a key with a strange name": "wk___proto___x",
  "of a key that objects know": "wk_constructor_constructor",
  "that is very long": "x".repeat(8000),
};

for (const [what, token] of Object.entries(FORGED)) {
  test(`[P-1.3, P-13.1, P-13.2] a token ${what} is unauthenticated, however it comes`, async () => {
    const keys = [{ id: "ops", hash: "0".repeat(64), principal: "ops", grants: [] }];
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, keys } });
    using waiting = await WireClient.open(broker.wsUrl);
    waiting.send({ type: "auth", id: 1, token });
    expect(await waiting.expect("error")).toMatchObject({ id: 1, code: "unauthenticated" });
    expect((await waiting.closed()).code).toBe(4401);
    const answers = [
      await fetch(`${broker.httpUrl}/admin/v1/info`, {
        headers: { Authorization: `Bearer ${token}` },
      }),
      await fetch(`${broker.httpUrl}/admin/v1/info?access_token=${encodeURIComponent(token)}`),
      await fetch(`${broker.httpUrl}/ws`, {
        headers: {
          Authorization: `Bearer ${token}`,
          Upgrade: "websocket",
          Connection: "Upgrade",
          "Sec-WebSocket-Version": "13",
          "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
      }),
    ];
    for (const { status } of answers) expect(status).toBe(401);
    expect(broker.log.join("\n")).not.toContain('"level":"error"');
    expect(broker.warren.sessions.opened).toBe(1);
  });
}

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test(`[P-1.3, P-2.4] who will not say who it is gets nothing done (${encoding})`, async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const token = await tokenFor("ada");
      using witness = await WireClient.connect(broker.wsUrl, { token });
      await witness.ok({ type: "subscribe", filter: "#" });
      using nobody = await WireClient.open(broker.wsUrl, { encoding });
      nobody.send([
        { type: "publish", topic: "t" },
        { type: "subscribe", filter: "#" },
        { type: "consume", queue: "q", credit: 1 },
        ...Array.from({ length: 200 }, () => ({ type: "ping", id: 1 })),
        { type: "auth", token },
      ]);
      expect((await nobody.closed()).code).toBe(4400);
      expect(new Set(nobody.inbox.map(({ code }) => code))).toEqual(new Set(["unauthenticated"]));
      expect(nobody.inbox.length).toBe(20);
      expect(await witness.everythingUntilNow()).toEqual([]);
    });

    test(`[P-9.1, P-2.3] a flood of auths, good and bad, is decided in order (${encoding})`, async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const good = await tokenFor("ada");
      const other = await tokenFor("eve");
      using client = await WireClient.connect(broker.wsUrl, { encoding, token: good });
      using witness = await WireClient.connect(broker.wsUrl, { token: good });
      const tokens = [good, "nonsense", other];
      const total = 300;
      const frames = Array.from({ length: total }, (_, id) =>
        id % 2 === 0
          ? { type: "auth", id, token: tokens[(id / 2) % 3] }
          : { type: "publish", id, topic: "t" },
      );
      for (let n = 0; n < total; n += 50) client.send(frames.slice(n, n + 50));
      const wanted = ["ok", "ok", "unauthenticated", "ok", "forbidden", "ok"];
      for (let id = 0; id < total; id++) {
        const answer = await client.expect(() => true);
        expect([answer.id, answer.code ?? answer.type]).toEqual([id, wanted[id % 6]]);
        if (id % 50 === 0) await witness.ok({ type: "ping" });
      }
    });
  });
}

test("[P-1.3] connections that wait without a word are counted, bounded, and gone when they go", async () => {
  await using broker = await startBroker({ access: TOKENS_ONLY, limits: { connections: 100 } });
  const { sessions } = broker.warren;
  const silent = await Promise.all(
    Array.from({ length: 150 }, async () => {
      const peer = await HostilePeer.dial(broker.wsUrl);
      peer.write(upgradeRequest(peer.host));
      return peer;
    }),
  );
  const full = () => silent.filter((peer) => peer.text.startsWith("HTTP/1.1 503"));
  await eventually(
    () => sessions.size === 100 && full().length === 50,
    () => `100 sessions and 50 refusals, not ${sessions.size} and ${full().length}`,
  );
  for (const peer of silent) peer.socket.destroy();
  await eventually(
    () => sessions.size === 0,
    () => `no session, not ${sessions.size}`,
  );
  using client = await WireClient.connect(broker.wsUrl, { token: await tokenFor("ada") });
  await client.ok({ type: "ping" });
});
