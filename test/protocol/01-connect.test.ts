/** Connecting [P-1]: upgrade, subprotocol, credentials, refusals, welcome, origins. */
import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { Value } from "@sinclair/typebox/value";
import { SERVER_FRAMES } from "../../schemas/frames.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

interface Handshake {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect
  readonly problem: any;
}

/** An upgrade with exactly these headers, as no client library would let us make it. */
async function handshake(
  broker: TestBroker,
  headers: Readonly<Record<string, string>> = {},
  path = "/ws",
): Promise<Handshake> {
  const { hostname, port } = new URL(broker.httpUrl);
  const lines = Object.entries({
    Host: `${hostname}:${port}`,
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  const socket = connect(Number(port), hostname);
  socket.write(`GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
  let text = "";
  try {
    for await (const chunk of socket) {
      text += chunk.toString("latin1");
      const end = text.indexOf("\r\n\r\n");
      if (end < 0) continue;
      const head = text.slice(0, end).split("\r\n");
      const answer = new Headers(
        head.slice(1).map((line) => line.split(/: (.*)/s).slice(0, 2) as [string, string]),
      );
      const status = Number(head[0]!.split(" ")[1]);
      const length = Number(answer.get("content-length") ?? 0);
      const body = text.slice(end + 4);
      if (status !== 101 && body.length < length) continue;
      return {
        status,
        headers: answer,
        problem: status === 101 ? undefined : JSON.parse(body),
      };
    }
  } finally {
    socket.destroy();
  }
  throw new Error(`no answer: ${text}`);
}

describe("upgrade and subprotocol", () => {
  test("[P-1.1] native clients upgrade at /ws; [P-1.4] what is no upgrade is 426", async () => {
    await using broker = await startBroker();
    expect((await handshake(broker)).status).toBe(101);
    const plain = await fetch(`${broker.httpUrl}/ws`);
    expect(plain.status).toBe(426);
    expect(plain.headers.get("upgrade")).toBe("websocket");
    expect(plain.headers.get("content-type")).toBe("application/problem+json");
    expect(await plain.json()).toMatchObject({ status: 426, code: "invalid_frame" });
  });

  test("[P-1.2] the first known subprotocol in the client's order is selected", async () => {
    await using broker = await startBroker();
    const offers = {
      "warren.v1.json": "warren.v1.json",
      "warren.v1.msgpack": "warren.v1.msgpack",
      "other, warren.v1.msgpack, warren.v1.json": "warren.v1.msgpack",
      "warren.token.secret,warren.v1.json": "warren.v1.json",
    };
    for (const [offer, selected] of Object.entries(offers)) {
      const { status, headers } = await handshake(broker, { "Sec-WebSocket-Protocol": offer });
      expect([offer, status, headers.get("sec-websocket-protocol")]).toEqual([
        offer,
        101,
        selected,
      ]);
    }
  });

  test("[P-1.2] several offered, none known: 400 naming the ones spoken", async () => {
    await using broker = await startBroker();
    const { status, problem } = await handshake(broker, {
      "Sec-WebSocket-Protocol": "mqtt, stomp",
    });
    expect(status).toBe(400);
    expect(problem.subprotocols).toEqual(["warren.v1.json", "warren.v1.msgpack"]);
    expect(problem.detail).toContain("warren.v1.json");
  });

  test("[P-1.2] none offered, or only a token: JSON, and no subprotocol in the answer", async () => {
    await using broker = await startBroker();
    const none = await handshake(broker);
    expect(none.headers.has("sec-websocket-protocol")).toBe(false);
    const token = await handshake(broker, { "Sec-WebSocket-Protocol": "warren.token.abc" });
    expect(token.status).toBe(101);
    expect(token.headers.get("sec-websocket-protocol") ?? "").toBe("");
    using client = await WireClient.connect(broker.wsUrl, { protocols: [] });
    expect(client.welcome.type).toBe("welcome");
  });
});

describe("credentials", () => {
  test("[P-1.3] header, subprotocol item, query and cookie are all taken", async () => {
    const allowedOrigins = ["https://app.example"];
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, allowedOrigins } });
    const token = await tokenFor("ada");
    const ways: [Record<string, string>, string][] = [
      [{ Authorization: `Bearer ${token}` }, "/ws"],
      [{ "Sec-WebSocket-Protocol": `warren.v1.json, warren.token.${token}` }, "/ws"],
      [{}, `/ws?access_token=${token}`],
      [{ Cookie: `warren_token=${token}`, Origin: "https://app.example" }, "/ws"],
    ];
    for (const [headers, path] of ways) {
      const answer = await handshake(broker, headers, path);
      expect(answer.status).toBe(101);
      expect(answer.headers.get("sec-websocket-protocol") ?? "").not.toContain("token");
    }
    expect(broker.log.join("\n")).not.toContain(token);
  });

  test("[P-1.3] the first found wins: a wrong header is not mended by a right query", async () => {
    await using broker = await startBroker({ access: TOKENS_ONLY });
    const right = await tokenFor("ada");
    const wrong = { Authorization: "Bearer wrong" };
    const { status } = await handshake(broker, wrong, `/ws?access_token=${right}`);
    expect(status).toBe(401);
  });

  for (const encoding of ENCODINGS) {
    test(`[P-1.3, P-1.5] without a credential an auth frame in time, then welcome (${encoding})`, async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      using client = await WireClient.open(broker.wsUrl, { encoding });
      const token = await tokenFor("ada");
      // What follows in the same message takes effect after it, under the new rights.
      client.send([
        { type: "auth", id: 1, token },
        { type: "subscribe", id: 2, filter: "a" },
      ]);
      client.send({ type: "publish", id: 3, topic: "a", payload: 1 });
      const welcome = await client.expect(() => true);
      expect(welcome).toMatchObject({ type: "welcome", principal: "ada" });
      expect(await client.expect(() => true)).toMatchObject({ type: "ok", id: 1 });
      expect(await client.expect(() => true)).toMatchObject({ type: "ok", id: 2 });
      expect(await client.expect("event")).toMatchObject({ topic: "a", payload: 1, from: "ada" });
    });
  }

  test("[P-1.3, P-10.2] no auth within the handshake timeout: close 4408", async () => {
    const limits = { handshakeTimeoutMs: 50 };
    await using broker = await startBroker({ access: TOKENS_ONLY, limits });
    using client = await WireClient.open(broker.wsUrl);
    expect((await client.closed()).code).toBe(4408);
  });

  test("[P-1.3] before auth every other frame is unauthenticated, and a wrong token closes 4401", async () => {
    await using broker = await startBroker({ access: TOKENS_ONLY });
    using client = await WireClient.open(broker.wsUrl);
    const refused = await client.request({ type: "subscribe", filter: "a" });
    expect(refused).toMatchObject({ type: "error", code: "unauthenticated" });
    const answer = await client.request({ type: "auth", token: "wrong" });
    expect(answer).toMatchObject({ type: "error", code: "unauthenticated" });
    expect((await client.closed()).code).toBe(4401);
  });
});

describe("refusals, welcome and origins", () => {
  test("[P-1.4] a refused handshake is problem+json: 401, and 503 with Retry-After when full", async () => {
    await using broker = await startBroker({ access: TOKENS_ONLY, limits: { connections: 1 } });
    const refused = await handshake(broker, { Authorization: "Bearer wrong" });
    expect(refused.status).toBe(401);
    expect(refused.headers.get("content-type")).toBe("application/problem+json");
    expect(refused.problem).toMatchObject({ status: 401, code: "unauthenticated" });
    for (const field of ["type", "title", "detail"]) expect(refused.problem).toHaveProperty(field);
    using first = await WireClient.connect(broker.wsUrl, { token: await tokenFor("ada") });
    expect(first.welcome.principal).toBe("ada");
    const full = await handshake(broker, { Authorization: `Bearer ${await tokenFor("bob")}` });
    expect(full.status).toBe(503);
    expect(Number(full.headers.get("retry-after"))).toBeGreaterThan(0);
  });

  for (const encoding of ENCODINGS) {
    test(`[P-1.5, P-11.1] the first frame is welcome and states every bound (${encoding})`, async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      expect(Value.Check(SERVER_FRAMES.welcome, client.welcome)).toBe(true);
      expect(client.welcome).toMatchObject({
        principal: "anonymous",
        heartbeatMs: 25_000,
        server: { name: "warren" },
        limits: {
          frameBytes: 262_144,
          batch: 256,
          topicBytes: 256,
          topicLevels: 16,
          subscriptions: 512,
          consumers: 32,
          credit: 1000,
          pendingPublishes: 1024,
          outboundBytes: 1_048_576,
          headers: 32,
          headerBytes: 4096,
        },
      });
      expect(client.welcome.session).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
      expect(Math.abs(client.welcome.time - Date.now())).toBeLessThan(3_600_000);
    });
  }

  test("[P-1.6] an origin that is not allowed is 403; allowed ones and our own come in", async () => {
    const allowedOrigins = ["https://app.example"];
    await using broker = await startBroker({ access: { allowedOrigins } });
    const from = async (Origin: string) => (await handshake(broker, { Origin })).status;
    expect(await from("https://evil.example")).toBe(403);
    expect(await from("https://app.example")).toBe(101);
    expect(await from(broker.httpUrl)).toBe(101);
  });
});
