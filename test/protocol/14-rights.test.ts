/** Rights as clients meet them: conditions of grants, and what is kept from being shown [P-14.6]. */
import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/clock.ts";
import { configFrom } from "../../src/config.ts";
import { Rates } from "../../src/security/rates.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

/** One message at once and no more, for rates below one a second. */
const SLOWLY = { ...TOKENS_ONLY, rates: { burstSeconds: 1 } };

for (const encoding of ENCODINGS) {
  describe(`over ${encoding}`, () => {
    test("[P-14.6] conditions of a grant hold for each publish", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      await broker.queue("jobs", ["kept/#"]);
      const grants = [
        { allow: ["publish"], on: ["small/#"], maxPayloadBytes: 5 },
        { allow: ["publish"], on: ["kept/#", "live/#"], queues: false },
      ];
      using client = await WireClient.connect(broker.wsUrl, {
        encoding,
        token: await tokenFor("dev", { grants }),
      });
      const publish = (topic: string, payload: unknown) =>
        client.request({ type: "publish", topic, payload });
      expect((await publish("small/a", "abc")).type).toBe("ok");
      // The same topic again: the answer of the check before is not that of this one.
      expect(await publish("small/a", "much too long")).toMatchObject({
        code: "forbidden",
        detail: { action: "publish", on: "small/a", qualifiers: ["maxPayloadBytes"], limit: 5 },
      });
      expect((await publish("live/a", 1)).type).toBe("ok");
      expect(await publish("kept/a", 1)).toMatchObject({
        code: "forbidden",
        detail: { qualifiers: ["queues"] },
      });
    });

    test("[P-14.6] the rate of a grant is that of its principal, over all its connections", async () => {
      await using broker = await startBroker({ access: SLOWLY });
      const slow = { allow: ["publish"], on: ["slow/#"], maxRatePerSecond: 0.01 };
      const grants = [slow, { allow: ["publish"], on: ["free", "slow/but/free"] }];
      const connect = async (name: string) =>
        WireClient.connect(broker.wsUrl, { encoding, token: await tokenFor(name, { grants }) });
      using one = await connect("dev");
      using other = await connect("dev");
      using stranger = await connect("stranger");
      const publish = (client: WireClient, topic: string) =>
        client.request({ type: "publish", topic, payload: 1 });
      expect((await publish(one, "slow/a")).type).toBe("ok");
      for (const [client, topic] of [
        [one, "slow/a"],
        [one, "slow/b"],
        [other, "slow/c"],
      ] as const) {
        expect(await publish(client, topic)).toMatchObject({
          code: "rate_limited",
          retry: true,
          detail: { scope: "grant", retryAfterMs: expect.any(Number) },
        });
      }
      // One without conditions sets it free, and others have a rate of their own.
      expect((await publish(one, "free")).type).toBe("ok");
      expect((await publish(one, "slow/but/free")).type).toBe("ok");
      expect((await publish(stranger, "slow/a")).type).toBe("ok");
    });

    test("[P-14.6] what must not be received is not subscribed to", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const grants = [
        { allow: ["subscribe", "publish"], on: ["#"] },
        { deny: ["receive"], on: ["+/secret/#"] },
      ];
      using client = await WireClient.connect(broker.wsUrl, {
        encoding,
        token: await tokenFor("reader", { grants }),
      });
      for (const filter of ["#", "a/#", "a/secret/x"]) {
        const answer = await client.request({ type: "subscribe", filter });
        expect(answer).toMatchObject({ type: "error", code: "forbidden" });
      }
      await client.ok({ type: "subscribe", filter: "a/open" });
      await client.ok({ type: "publish", topic: "a/secret", payload: 1 });
      await client.ok({ type: "publish", topic: "a/open", payload: 2 });
      expect((await client.expect("event")).payload).toBe(2);
    });

    test("[P-14.6] nor consumed from a queue that its topics go to, or their dead letters", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      await broker.queue("secrets", ["a/#"]);
      await broker.queue("open", ["b/open"]);
      const grants = [
        { allow: ["consume"], on: ["#"] },
        { deny: ["receive"], on: ["+/secret/#"] },
      ];
      using client = await WireClient.connect(broker.wsUrl, {
        encoding,
        token: await tokenFor("worker", { grants }),
      });
      const consume = (queue: string) => client.request({ type: "consume", queue, credit: 1 });
      expect(await consume("secrets")).toMatchObject({ code: "forbidden" });
      expect(await consume("secrets.dead")).toMatchObject({ code: "forbidden" });
      expect(await consume("open")).toMatchObject({ type: "ok" });
    });
  });
}

test("[P-14.6] the same over HTTP", async () => {
  await using broker = await startBroker({ access: TOKENS_ONLY });
  await broker.queue("secrets", ["a/#"]);
  const token = await tokenFor("web", {
    grants: [
      { allow: ["publish"], on: ["small"], maxPayloadBytes: 5 },
      { allow: ["consume"], on: ["#"] },
      { deny: ["receive"], on: ["a/secret"] },
    ],
  });
  const post = (path: string, body: unknown) =>
    fetch(`${broker.httpUrl}${path}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  expect((await post("/v1/topics/small", 12345)).status).toBe(200);
  const refused = await post("/v1/topics/small", 123456);
  expect(refused.status).toBe(403);
  expect(await refused.json()).toMatchObject({ code: "forbidden", limit: 5 });
  expect((await post("/v1/queues/secrets/pull", {})).status).toBe(403);
});

test("[P-14.6] the rate of a grant counts over HTTP too, and together with frames", async () => {
  await using broker = await startBroker({ access: SLOWLY });
  const grants = [{ allow: ["publish"], on: ["slow/{principal}"], maxRatePerSecond: 0.02 }];
  const token = await tokenFor("web", { grants });
  const post = (path: string, body: unknown) =>
    fetch(`${broker.httpUrl}${path}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  const message = { topic: "slow/web", payload: 1 };
  const several = (await (await post("/v1/publish", [message, message])).json()) as {
    results: unknown[];
  };
  expect(several.results).toMatchObject([{ type: "ok" }, { type: "error", code: "rate_limited" }]);
  for (const [path, body] of [
    ["/v1/publish", message],
    ["/v1/batch", [message]],
    ["/v1/topics/slow%2Fweb", 1],
  ] as const) {
    const refused = await post(path, body);
    expect(refused.status).toBe(429);
    expect(refused.headers.get("Retry-After")).not.toBeNull();
    expect(await refused.json()).toMatchObject({ code: "rate_limited", scope: "grant" });
  }
  using client = await WireClient.connect(broker.wsUrl, { token });
  expect(await client.request({ type: "publish", ...message })).toMatchObject({
    code: "rate_limited",
  });
});

test("[P-14.6, P-14.1] under an issuer's bound the token's rate and the bound's both hold", async () => {
  const allow = ["publish"];
  const maxGrants = [{ allow, on: ["#"], maxRatePerSecond: 0.02 }];
  const issuers = [{ issuer: "them", secret: TOKENS_ONLY.jwt.secret, maxGrants }];
  await using broker = await startBroker({ access: { issuers, rates: { burstSeconds: 1 } } });
  const grants = [
    { allow, on: ["a"], maxRatePerSecond: 100 },
    { allow, on: ["b"], maxRatePerSecond: 100 },
  ];
  const token = await tokenFor("partner", { iss: "them", grants });
  using client = await WireClient.connect(broker.wsUrl, { token });
  const publish = (topic: string) => client.request({ type: "publish", topic, payload: 1 });
  expect((await publish("a")).type).toBe("ok");
  // Another grant of its own does not make more of what its issuer may give.
  expect(await publish("b")).toMatchObject({ code: "rate_limited", detail: { scope: "grant" } });
});

test("[P-14.6] of those who are anonymous each address has its own rate", () => {
  const rates = new Rates(configFrom({}).rates, systemClock, 100);
  const one = [{ grant: "g", perSecond: 0.01 }];
  const principal = { name: "anonymous" };
  rates.underGrants({ address: "203.0.113.1", principal }, one);
  expect(() => rates.underGrants({ address: "203.0.113.1", principal }, one)).toThrow();
  rates.underGrants({ address: "203.0.113.2", principal }, one);
  const smallest = [{ grant: "h", perSecond: Number.MIN_VALUE }];
  rates.underGrants({ address: "203.0.113.1", principal }, smallest);
  expect(() => rates.underGrants({ address: "203.0.113.1", principal }, smallest)).toThrow();
});
