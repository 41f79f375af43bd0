/** Rates and caps, seen from outside, with time in the hands of the tests [P-14.11]. */
import { describe, expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

interface Limited {
  readonly broker: TestBroker;
  readonly clock: ManualClock;
}

/** A broker behind a proxy, so that tests can come from anywhere. */
async function limited(rates: object, access: object = {}): Promise<Limited> {
  const clock = new ManualClock();
  const settings = { rates, trustedProxies: ["127.0.0.1"], ...access };
  return { clock, broker: await startBroker({ access: settings, deps: { clock } }) };
}

const from = (address: string) => ({ "X-Forwarded-For": address });

interface Refusal {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly body: Frame;
}

/** The answer to a handshake that is refused. */
async function refusal(
  { httpUrl }: TestBroker,
  address: string,
  headers: Record<string, string> = {},
): Promise<Refusal> {
  const answer = await fetch(`${httpUrl}/ws`, {
    headers: {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
      ...from(address),
      ...headers,
    },
  });
  const body = (await answer.json()) as Frame;
  return { status: answer.status, retryAfter: answer.headers.get("Retry-After"), body };
}

const limitedBy = (scope: string) => ({ code: "rate_limited", retry: true, detail: { scope } });

for (const encoding of ENCODINGS) {
  describe(`messages (${encoding})`, () => {
    test(`[P-14.11, P-2.2] past its rate a frame is refused and says when to come back (${encoding})`, async () => {
      const { broker, clock } = await limited({
        burstSeconds: 1,
        connection: { messagesPerSecond: 5 },
      });
      await using _ = broker;
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      using other = await WireClient.connect(broker.wsUrl, { encoding });
      for (let n = 0; n < 5; n++) await client.ok({ type: "publish", topic: "t" });
      const answer = await client.request({ type: "publish", topic: "t" });
      expect(answer).toMatchObject(limitedBy("connection"));
      expect(answer.detail.retryAfterMs).toBe(200);
      // Whoever has a connection of its own has a rate of its own.
      await other.ok({ type: "ping" });
      clock.advance(199);
      expect((await client.request({ type: "ping" })).code).toBe("rate_limited");
      clock.advance(1);
      await client.ok({ type: "ping" });
      expect(broker.warren.broker.counters.published).toBe(5);
    });

    test(`[P-14.11, P-2.5] what means nothing counts, and a batch as it was sent (${encoding})`, async () => {
      const rates = { burstSeconds: 1, connection: { messagesPerSecond: 6 } };
      const { broker, clock } = await limited(rates);
      await using _ = broker;
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const codes = async (frames: Frame[]) => {
        const answers: string[] = [];
        for (const frame of frames) answers.push((await client.request(frame)).code ?? "ok");
        return answers;
      };
      const unknown = { type: "dance" };
      const misshapen = { type: "publish", topic: 5 };
      expect(await codes([unknown, misshapen, unknown, misshapen, unknown, unknown])).toEqual([
        ...["unknown_type", "invalid_frame", "unknown_type", "invalid_frame"],
        ...["unknown_type", "unknown_type"],
      ]);
      expect(await codes([unknown, misshapen, { type: "ping" }])).toEqual([
        ...["rate_limited", "rate_limited", "rate_limited"],
      ]);
      clock.advance(1000);
      // Refused for its third message, for which there was no right; the two before have counted.
      const publish = [{ topic: "a" }, { topic: "b" }, { topic: "$c" }, { topic: "d" }];
      expect(await codes([{ type: "batch", publish }])).toEqual(["forbidden"]);
      const pings = Array.from({ length: 4 }, () => ({ type: "ping" }));
      expect(await codes(pings)).toEqual(["ok", "ok", "ok", "rate_limited"]);
    });

    test(`[P-14.11] who goes on all the same is not read any more, then read again (${encoding})`, async () => {
      const { broker, clock } = await limited({
        burstSeconds: 1,
        connection: { messagesPerSecond: 10 },
      });
      await using _ = broker;
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const session = [...broker.warren.sessions][0]!;
      client.send(Array.from({ length: 26 }, (_, id) => ({ type: "ping", id })));
      await client.expect(({ id }) => id === 25);
      const refused = client.inbox.filter(({ code }) => code === "rate_limited");
      expect(refused.length + 1).toBe(16);
      expect(session.intake.throttled).toBe(true);
      const answered = client.request({ type: "ping" });
      // Nothing is read, however often others are served.
      using other = await WireClient.connect(broker.wsUrl);
      for (let n = 0; n < 10; n++) await other.ok({ type: "ping" });
      expect(client.inbox.some(({ type, id }) => type === "ok" && id > 9)).toBe(false);
      clock.advance(1000);
      expect(session.intake.throttled).toBe(false);
      expect((await answered).type).toBe("ok");
    });

    test(`[P-14.11, P-9.1] bytes count once, also those that wait for an auth (${encoding})`, async () => {
      const rates = { burstSeconds: 1, connection: { bytesPerSecond: 4000 } };
      const { broker } = await limited(rates, TOKENS_ONLY);
      await using _ = broker;
      const token = await tokenFor("ada", { grants: EVERYTHING });
      using client = await WireClient.open(broker.wsUrl, { encoding });
      const payload = "x".repeat(Math.floor((3900 - token.length) * 0.7));
      client.send({ type: "auth", id: 1, token });
      client.send({ type: "publish", id: 2, topic: "t", payload });
      for (const id of [1, 2]) {
        expect(await client.expect((frame) => frame.id === id)).toMatchObject({ type: "ok" });
      }
      // Counted twice, it would have been too much: nothing more would be read.
      await client.ok({ type: "ping" });
    });

    test(`[P-14.11] too many bytes are taken, and no more read until they are paid for (${encoding})`, async () => {
      const { broker, clock } = await limited({
        burstSeconds: 1,
        connection: { bytesPerSecond: 1000 },
      });
      await using _ = broker;
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const session = [...broker.warren.sessions][0]!;
      await client.ok({ type: "publish", topic: "t", payload: "x".repeat(3000) });
      expect(session.intake.throttled).toBe(true);
      const answered = client.request({ type: "ping" });
      clock.advance(1000);
      expect(session.intake.throttled).toBe(true);
      clock.advance(2500);
      expect(session.intake.throttled).toBe(false);
      await answered;
    });
  });
}

describe("who shares a rate", () => {
  test("[P-14.11] the connections of one principal, wherever they are; a role may say another rate", async () => {
    const { broker } = await limited(
      { burstSeconds: 1, principal: { messagesPerSecond: 4 } },
      {
        ...TOKENS_ONLY,
        roles: {
          fast: { grants: EVERYTHING, rates: { messagesPerSecond: 8 } },
          free: { grants: [], rates: { messagesPerSecond: 0 } },
        },
      },
    );
    await using _ = broker;
    const connect = async (name: string, roles: string[], address: string) =>
      WireClient.connect(broker.wsUrl, {
        token: await tokenFor(name, { grants: EVERYTHING, roles }),
        headers: from(address),
      });
    const admitted = async (name: string, roles: string[]) => {
      using one = await connect(name, roles, "203.0.113.1");
      using two = await connect(name, roles, "203.0.113.2");
      let count = 0;
      for (let n = 0; n < 6; n++) {
        for (const client of [one, two]) {
          const answer = await client.request({ type: "ping" });
          if (answer.type === "ok") count++;
          else expect(answer).toMatchObject(limitedBy("principal"));
        }
      }
      return count;
    };
    expect(await admitted("ada", [])).toBe(4);
    expect(await admitted("bob", ["fast"])).toBe(8);
    expect(await admitted("cid", ["fast", "free"])).toBe(12);
  });

  test("[P-14.11] an IPv4 address, and an IPv6 /64; and all together", async () => {
    const { broker } = await limited({
      burstSeconds: 1,
      address: { messagesPerSecond: 2 },
      overall: { messagesPerSecond: 7 },
    });
    await using _ = broker;
    const ping = async (address: string) => {
      using client = await WireClient.connect(broker.wsUrl, { headers: from(address) });
      const { type, detail } = await client.request({ type: "ping" });
      return type === "ok" ? "ok" : detail.scope;
    };
    const addresses = ["203.0.113.1", "203.0.113.1", "203.0.113.1", "203.0.113.2"];
    const wide = ["2001:db8::1", "2001:db8::2:1", "2001:db8::3:1", "2001:db8:0:1::1"];
    const answers: string[] = [];
    for (const address of [...addresses, ...wide]) answers.push(await ping(address));
    expect(answers).toEqual(["ok", "ok", "address", "ok", "ok", "ok", "address", "ok"]);
    expect(await ping("203.0.113.9")).toBe("ok");
    expect(await ping("203.0.113.10")).toBe("overall");
  });

  test("[P-14.11, P-12.3] requests over HTTP: 429 with Retry-After, and each message of a batch counts", async () => {
    const { broker, clock } = await limited({ burstSeconds: 2, address: { messagesPerSecond: 2 } });
    await using _ = broker;
    const publish = (count: number, address = "203.0.113.1") =>
      fetch(`${broker.httpUrl}/v1/publish`, {
        method: "POST",
        headers: from(address),
        body: JSON.stringify(Array.from({ length: count }, () => ({ topic: "t" }))),
      });
    const { results } = (await (await publish(6)).json()) as Frame;
    const outcomes = results.map(({ type, code }: Frame) => code ?? type);
    expect(outcomes).toEqual([...new Array(4).fill("ok"), "rate_limited", "rate_limited"]);
    const refused = await publish(1);
    expect([refused.status, refused.headers.get("Retry-After")]).toEqual([429, "1"]);
    expect(await refused.json()).toMatchObject({ code: "rate_limited", scope: "address" });
    expect((await publish(1, "203.0.113.2")).status).toBe(200);
    clock.advance(500);
    expect((await publish(1)).status).toBe(200);
  });

  test("[P-14.11] a body past the rate of bytes is taken; the next request waits", async () => {
    const { broker, clock } = await limited({ burstSeconds: 1, overall: { bytesPerSecond: 100 } });
    await using _ = broker;
    const publish = () =>
      fetch(`${broker.httpUrl}/v1/topics/t`, { method: "POST", body: "x".repeat(300) });
    expect((await publish()).status).toBe(200);
    const refused = await publish();
    expect([refused.status, refused.headers.get("Retry-After")]).toEqual([429, "3"]);
    clock.advance(3000);
    expect((await publish()).status).toBe(200);
  });
});

describe("connections", () => {
  test("[P-14.11, P-1.4] so many in a minute from one address, then 429 with Retry-After", async () => {
    const { broker, clock } = await limited({ address: { connectionsPerMinute: 6 } });
    await using _ = broker;
    for (let n = 0; n < 6; n++) {
      using client = await WireClient.connect(broker.wsUrl, { headers: from("203.0.113.1") });
      expect(client.welcome.type).toBe("welcome");
    }
    const refused = await refusal(broker, "203.0.113.1");
    expect([refused.status, refused.retryAfter]).toEqual([429, "10"]);
    expect(refused.body).toMatchObject({ code: "rate_limited", scope: "address" });
    using _other = await WireClient.connect(broker.wsUrl, { headers: from("203.0.113.2") });
    clock.advance(10_000);
    using _again = await WireClient.connect(broker.wsUrl, { headers: from("203.0.113.1") });
  });

  test("[P-14.11] so many at a time of one address or principal, and one that ends makes room", async () => {
    const { broker } = await limited(
      { address: { connections: 3 }, principal: { connections: 2 } },
      TOKENS_ONLY,
    );
    await using _ = broker;
    const tokens = { ada: await tokenFor("ada"), bob: await tokenFor("bob") };
    const connect = (name: "ada" | "bob", address: string) =>
      WireClient.connect(broker.wsUrl, { token: tokens[name], headers: from(address) });
    const refused = async (name: "ada" | "bob", address: string) => {
      const bearer = { Authorization: `Bearer ${tokens[name]}` };
      const { status, body } = await refusal(broker, address, bearer);
      return [status, body.scope];
    };
    const one = await connect("ada", "203.0.113.1");
    using _two = await connect("ada", "203.0.113.1");
    expect(await refused("ada", "203.0.113.2")).toEqual([429, "principal"]);
    using _bob = await connect("bob", "203.0.113.1");
    expect(await refused("bob", "203.0.113.1")).toEqual([429, "address"]);
    await one.close();
    await eventually(
      () => broker.warren.sessions.size === 2,
      () => "an end",
    );
    using _three = await connect("ada", "203.0.113.1");
    expect(broker.warren.sessions.size).toBe(3);
  });

  test("[P-14.11, P-9.1] who says its name later is counted then, and may try again", async () => {
    const { broker } = await limited({ principal: { connections: 1 } }, TOKENS_ONLY);
    await using _ = broker;
    const token = await tokenFor("ada");
    const first = await WireClient.connect(broker.wsUrl, { token });
    using late = await WireClient.open(broker.wsUrl);
    expect(await late.request({ type: "auth", token })).toMatchObject(limitedBy("principal"));
    await first.close();
    await eventually(
      () => broker.warren.sessions.size === 1,
      () => "an end",
    );
    await late.ok({ type: "auth", token });
    await late.ok({ type: "auth", token });
    await late.ok({ type: "ping" });
  });
});

describe("credentials", () => {
  test("[P-14.11] after too many that were refused none of the address is looked at, right or wrong", async () => {
    const { broker, clock } = await limited({ address: { failedLoginsPerMinute: 5 } }, TOKENS_ONLY);
    await using _ = broker;
    const token = await tokenFor("ada");
    const guess = async (credential: string, address = "203.0.113.1") => {
      const bearer = { ...from(address), Authorization: `Bearer ${credential}` };
      return (await fetch(`${broker.httpUrl}/admin/v1/info`, { headers: bearer })).status;
    };
    for (let n = 0; n < 4; n++) expect(await guess(`wk_a_${"x".repeat(43)}`)).toBe(401);
    // Over WebSocket too, in the handshake and after it.
    using late = await WireClient.open(broker.wsUrl, { headers: from("203.0.113.1") });
    expect((await late.request({ type: "auth", token: "wrong" })).code).toBe("unauthenticated");
    expect(await guess(token)).toBe(429);
    const bearer = { Authorization: "Bearer wrong" };
    expect((await refusal(broker, "203.0.113.1", bearer)).status).toBe(429);
    expect(await guess(token, "203.0.113.2")).toBe(200);
    clock.advance(12_000);
    expect(await guess(token)).toBe(200);
  });
});

test("[P-14.11] what is remembered of addresses is bounded", async () => {
  const clock = new ManualClock();
  const rates = { address: { messagesPerSecond: 5 } };
  await using broker = await startBroker({
    access: { rates, trustedProxies: ["127.0.0.1"] },
    limits: { rateAccounts: 100 },
    deps: { clock },
  });
  const { addresses } = broker.warren.sessions.admission.rates;
  using held = await WireClient.connect(broker.wsUrl, { headers: from("198.51.100.1") });
  for (let n = 0; n < 300; n++) {
    const headers = from(`203.0.113.${n % 200}`);
    await fetch(`${broker.httpUrl}/v1/topics/t`, { method: "POST", body: "x", headers });
    expect(addresses.size).toBeLessThanOrEqual(101);
  }
  for (let n = 0; n < 25; n++) await held.ok({ type: "ping" });
  expect((await held.request({ type: "ping" })).code).toBe("rate_limited");
});
