/** Tokens, keys and secrets stay out of answers and logs, wherever they stood when something went wrong. */
import { expect, test } from "bun:test";
import { configFrom } from "../../src/config.ts";
import { checkConfig } from "../../src/main.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { WireClient } from "../harness/wire-client.ts";

const KEY = "wk_intruder_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA";

test("[P-1.3] no answer and no line of the log repeats a credential, wherever it was", async () => {
  await using broker = await startBroker({ access: TOKENS_ONLY });
  const good = await tokenFor("operator");
  const forged = `${good.slice(0, -8)}AAAAAAA${good.at(-1)}`;
  const secrets = [good, forged, KEY];
  const told: string[] = [];
  for (const secret of secrets) {
    const headers = { Authorization: `Bearer ${secret}` };
    const requests: [string, RequestInit][] = [
      ["/v1/publish", { method: "POST", headers, body: "{" }],
      ["/v1/publish", { method: "POST", headers, body: `{"token":"${secret}"` }],
      [`/v1/topics/a?access_token=${secret}`, { method: "POST", body: "x" }],
      [`/nowhere?access_token=${secret}`, {}],
      [`/admin/v1/queues/none?%61ccess_token=${secret}`, {}],
      ["/admin/v1/info", { headers: { Cookie: `warren_token=${secret}` } }],
      ["/ws", { headers: { ...headers, "Sec-WebSocket-Protocol": `warren.token.${secret}` } }],
      [
        "/v1/publish",
        { method: "POST", headers, body: JSON.stringify({ topic: "+", payload: secret }) },
      ],
    ];
    for (const [path, init] of requests) {
      const answer = await fetch(`${broker.httpUrl}${path}`, init);
      told.push(await answer.text(), JSON.stringify([...answer.headers]));
    }
    using client = await WireClient.connect(broker.wsUrl, { token: good });
    for (const frame of [
      { type: "auth", token: secret },
      { type: "auth", token: { secret } },
      { type: "publish", topic: "a", payload: 1, headers: { authorization: [secret] } },
    ]) {
      told.push(JSON.stringify(await client.request(frame)));
    }
  }
  const everything = [...told, ...broker.log].join("\n");
  for (const secret of secrets) {
    expect(everything).not.toContain(secret);
    // Nor the part of it that makes it one.
    expect(everything).not.toContain(secret.split(/[._]/).at(-1) as string);
  }
});

test("[P-13.6] faults of the settings name the place and not the secret", () => {
  const secret = "s3cret-s3cret-s3cret";
  const faulty = [
    { jwt: { secret } },
    { jwt: { secret: [secret] } },
    { jwt: { secret: "x".repeat(40), previousSecret: secret } },
    { issuers: [{ issuer: "a", secret }] },
    { keys: [{ id: "a", hash: secret, principal: "p" }] },
    { queues: { q: { webhook: { url: "ftp://x", secret, headers: { Authorization: secret } } } } },
    { queues: { q: { webhook: { url: `https://user:${secret}@example.com/` } } } },
  ];
  for (const settings of faulty) {
    let said = "nothing";
    try {
      checkConfig(configFrom(settings));
    } catch (error) {
      said = `${(error as Error).message}\n${(error as Error).stack}`;
    }
    expect(said).not.toBe("nothing");
    expect(said).not.toContain(secret);
  }
});
