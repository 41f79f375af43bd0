/** HTTP that means harm: the broker says what is wrong, or cuts the connection, and does nothing else. */
import { describe, expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { startTestWarren } from "../harness/warren.ts";
import { type Frame, WireClient } from "../harness/wire-client.ts";
import { HostilePeer } from "./hostile-peer.ts";

interface RawAnswer {
  readonly status: number;
  /** The body; undefined where the parser itself refused, which says nothing more. */
  readonly problem: Frame | undefined;
}

/** Sends these bytes and reads one answer. `HOST` in them is the broker's own. */
async function raw(broker: Pick<TestBroker, "httpUrl">, bytes: string): Promise<RawAnswer> {
  using peer = await HostilePeer.dial(broker.httpUrl);
  peer.write(bytes.replaceAll("HOST", peer.host));
  const whole = () => {
    const end = peer.text.indexOf("\r\n\r\n");
    if (end < 0) return false;
    const length = /content-length: (\d+)/i.exec(peer.text)?.[1] ?? "0";
    return peer.text.length >= end + 4 + Number(length);
  };
  await eventually(
    () => whole() || peer.ended,
    () => `an answer; there is ${peer.text}`,
  );
  const body = peer.text.slice(peer.text.indexOf("\r\n\r\n") + 4);
  return {
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(peer.text)?.[1] ?? 0),
    problem: body.startsWith("{") ? JSON.parse(body) : undefined,
  };
}

function request(line: string, headers: readonly string[] = [], body = ""): string {
  const lines = [`${line} HTTP/1.1`, ...headers];
  if (!headers.some((header) => /^Host:/.test(header))) lines.push("Host: HOST");
  if (body !== "") lines.push(`Content-Length: ${Buffer.byteLength(body)}`);
  return `${lines.join("\r\n")}\r\n\r\n${body}`;
}

const JSON_BODY = ["Content-Type: application/json"];

async function unharmed(broker: TestBroker): Promise<void> {
  using client = await WireClient.connect(broker.wsUrl);
  await client.ok({ type: "subscribe", filter: "witness" });
  await client.ok({ type: "publish", topic: "witness", payload: 1 });
  expect((await client.expect("event")).payload).toBe(1);
  const faults = broker.log.filter((line) => line.includes('"level":"error"'));
  expect(faults).toEqual([]);
}

describe("requests that are hardly HTTP", () => {
  const BROKEN: Readonly<Record<string, readonly [number, string]>> = {
    "no Host": [400, "GET /version HTTP/1.1\r\n\r\n"],
    "HTTP/1.0 without a Host": [400, "GET /version HTTP/1.0\r\n\r\n"],
    "a Host that is none": [400, request("GET /version", ["Host: ]]]"])],
    "a Host with a path in it": [400, request("GET /version", ["Host: localhost/admin?x="])],
    "a Host with a name before it": [
      400,
      request("GET /version", ["Host: localhost@evil.example"]),
    ],
    "a Host with a port too many": [400, request("GET /version", ["Host: localhost:99999"])],
    "a WebSocket from a Host that is none": [
      400,
      request("GET /ws", ["Host: a b/", "Connection: Upgrade", "Upgrade: websocket"]),
    ],
    "the greeting of TLS": [400, "\u0016\u0003\u0001\u0002\u0000\u0001\r\n\r\n"],
    "the greeting of HTTP/2": [400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    "a tunnel": [400, "CONNECT HOST HTTP/1.1\r\nHost: HOST\r\n\r\n"],
    "a length and chunks": [
      400,
      request("POST /v1/topics/a", ["Content-Length: 5", "Transfer-Encoding: chunked"]),
    ],
    "two lengths": [400, request("POST /v1/topics/a", ["Content-Length: 1", "Content-Length: 2"])],
    "a length below nothing": [400, request("POST /v1/topics/a", ["Content-Length: -1"])],
    "a length past all numbers": [
      400,
      request("POST /v1/topics/a", ["Content-Length: 99999999999999999999"]),
    ],
    "a length of a gigabyte": [413, request("POST /v1/topics/a", ["Content-Length: 1000000000"])],
    "a chunk of no known size": [
      400,
      `${request("POST /v1/topics/a", ["Transfer-Encoding: chunked"])}zz\r\nxx\r\n0\r\n\r\n`,
    ],
    "a flood of headers": [
      431,
      request(
        "GET /version",
        Array.from({ length: 500 }, (_, i) => `X-${i}: y`),
      ),
    ],
    "a header without end": [431, request("GET /version", [`X: ${"y".repeat(40_000)}`])],
    "an address without end": [431, request(`GET /${"y".repeat(40_000)}`)],
  };
  for (const [what, [status, bytes]] of Object.entries(BROKEN)) {
    test(`[P-1.4, P-12.1] ${what} is ${status}`, async () => {
      await using broker = await startBroker();
      expect((await raw(broker, bytes)).status).toBe(status);
      await unharmed(broker);
    });
  }

  test("[P-12.4] a client that breaks off leaves nothing: no message, no fault in the log", async () => {
    await using broker = await startBroker();
    using live = await WireClient.connect(broker.wsUrl);
    await live.ok({ type: "subscribe", filter: "#" });
    for (let i = 0; i < 50; i++) {
      using peer = await HostilePeer.dial(broker.httpUrl);
      const path = i % 2 === 0 ? "/v1/topics/a" : "/v1/publish";
      peer.write(`POST ${path} HTTP/1.1\r\nHost: ${peer.host}\r\nContent-Length: 1000\r\n\r\n{"to`);
    }
    for (let i = 0; i < 50; i++) {
      expect((await fetch(`${broker.httpUrl}/healthz`)).status).toBe(200);
    }
    expect(await live.everythingUntilNow()).toEqual([]);
    await unharmed(broker);
  });

  test("[P-12.1] connections that never finish a request hinder nobody, and go when they are cut", async () => {
    await using broker = await startBroker();
    const peers = await Promise.all(
      Array.from({ length: 300 }, () => HostilePeer.dial(broker.httpUrl)),
    );
    for (const [i, peer] of peers.entries()) {
      const line = ["G", "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: webso", "POST /v1/publish HT"][
        i % 3
      ];
      peer.write(line ?? "");
    }
    using client = await WireClient.connect(broker.wsUrl);
    for (let i = 0; i < 50; i++) {
      // A byte at a time, as slowly as others are served.
      for (const peer of peers) peer.write("x");
      await client.ok({ type: "ping" });
    }
    expect(broker.warren.sessions.size).toBe(1);
    for (const peer of peers) peer.socket.destroy();
    await unharmed(broker);
  });
});

describe("addresses", () => {
  const refusals: Readonly<Record<string, readonly [string, number, string]>> = {
    "a topic above the root": ["POST /v1/topics/../../admin/v1/info", 405, "method_not_allowed"],
    "dots alone": ["POST /v1/topics/..", 404, "not_found"],
    "no topic": ["POST /v1/topics/", 400, "invalid_topic"],
    "a lone %": ["POST /v1/topics/%", 400, "invalid_frame"],
    "a % with letters": ["POST /v1/topics/%zz", 400, "invalid_frame"],
    "a % that is no UTF-8": ["POST /v1/topics/%ff%fe", 400, "invalid_frame"],
    "a slash spelt too long": ["POST /v1/topics/%c0%af", 400, "invalid_frame"],
    "a null character": ["POST /v1/topics/a%00b", 400, "invalid_topic"],
    "a line break": ["POST /v1/topics/a%0d%0aX:%20y", 400, "invalid_topic"],
    "a wildcard": ["POST /v1/topics/a/%23", 400, "invalid_topic"],
    "the broker's own topics": ["POST /v1/topics/%24sys/x", 403, "forbidden"],
    "a topic without end": [`POST /v1/topics/${"x".repeat(5000)}`, 400, "invalid_topic"],
    "a file": ["GET /..%2f..%2f..%2fetc/passwd", 404, "not_found"],
    "a method that does nothing here": ["TRACE /version", 405, "method_not_allowed"],
  };
  for (const [what, [line, status, code]] of Object.entries(refusals)) {
    test(`[P-12.4, P-12.1] ${what} is ${code}`, async () => {
      await using broker = await startBroker();
      const answer = await raw(broker, request(line, [], line.startsWith("POST") ? "x" : ""));
      expect([answer.status, answer.problem?.code]).toEqual([status, code]);
      await unharmed(broker);
    });
  }

  test("[P-12.10, P-13.1] no spelling of an address gets around the rights to what it leads to", async () => {
    const access = {
      jwt: { secret: "a secret for tests that is long enough for HS256" },
      anonymous: { grants: [{ allow: ["publish"], on: ["#"] }] },
    };
    await using broker = await startBroker({ access });
    await broker.queue("q", ["jobs"]);
    const spellings = [
      "POST /admin/v1/queues/q/purge",
      "POST /v1/topics/../../admin/v1/queues/q/purge",
      "POST /v1/topics/%2e%2e/%2e%2e/admin/v1/queues/q/purge",
      "POST /v1/topics/a/..\\..\\..\\..\\admin/v1/queues/q/purge",
      "POST http://HOST/admin/v1/queues/q/purge",
      "POST /admin/v1/queues/q/purge?access_token=",
      "POST /%61dmin/v1/queues/q/purge",
      "POST //admin/v1/queues/q/purge",
      "POST /admin/v1/queues//q/purge",
    ];
    await raw(broker, request("POST /v1/topics/jobs", [], "kept"));
    for (const line of spellings) {
      const { status } = await raw(broker, request(line));
      expect([line, status]).toEqual([line, expect.any(Number)]);
      expect([401, 403, 404]).toContain(status);
    }
    // A slash that is spelt out is part of the topic, and leads nowhere.
    const spelt = "POST /v1/topics/..%2f..%2fadmin/v1/queues/q/purge";
    expect((await raw(broker, request(spelt, [], "x"))).status).toBe(200);
    expect(broker.warren.broker.engine.queues.describe("q").counts.ready).toBe(1);
  });

  test("[P-5.1, P-13.3] names that are no queue's are refused; strange ones that are work", async () => {
    await using broker = await startBroker();
    const put = (name: string) =>
      raw(broker, request(`PUT /admin/v1/queues/${name}`, JSON_BODY, "{}"));
    const bad = [
      ...["%00", "a%2Fb", "a%20b", "%C3%BC", "%F0%9F%98%80", "-x", ".x", "x.dead", "__proto__"],
      ...["'%20OR%201=1--", "a%0Ab", "x".repeat(129), "%2e%2e%2f", "..%5c"],
    ];
    for (const name of bad) {
      const { status, problem } = await put(name);
      expect([name, status, problem?.code]).toEqual([name, 400, "invalid_frame"]);
    }
    for (const name of ["constructor", "toString", "hasOwnProperty", "a:b-c_d.e", "0"]) {
      expect([name, (await put(name)).status]).toEqual([name, 200]);
      const url = `${broker.httpUrl}/v1/queues/${name}/pull`;
      const pulled = await fetch(url, { method: "POST", body: "{}" });
      expect(await pulled.json()).toEqual({ deliveries: [] });
    }
    for (const name of ["__proto__", "valueOf", "%00", "a%20b"]) {
      const pull = await raw(broker, request(`POST /v1/queues/${name}/pull`, JSON_BODY, "{}"));
      expect([name, pull.status, pull.problem?.code]).toEqual([name, 404, "unknown_queue"]);
    }
    await unharmed(broker);
  });
});

describe("queries, headers and bodies", () => {
  test("[P-13.5] a hostile `after` is refused by name, in memory and on disk", async () => {
    await using broker = await startBroker();
    await using onDisk = await startTestWarren();
    for (const httpUrl of [broker.httpUrl, onDisk.url]) {
      const ask = (line: string, body = "") => raw({ httpUrl }, request(line, JSON_BODY, body));
      expect((await ask("PUT /admin/v1/queues/q", '{"bindings":["jobs"]}')).status).toBe(200);
      for (let i = 0; i < 3; i++) await ask("POST /v1/topics/jobs", `${i}`);
      const afters = [
        "%00",
        "'%22--",
        "-1",
        "9".repeat(1024),
        "NaN",
        "1e999",
        "..",
        "%F0%9F%98%80",
      ];
      for (const after of afters) {
        const answer = await ask(`GET /admin/v1/queues/q/messages?after=${after}`);
        expect([after, answer.status, answer.problem?.pointer]).toEqual([after, 400, "/after"]);
      }
      const search = encodeURIComponent("%_'\"\\*[(");
      const found = await ask(`GET /admin/v1/queues/q/messages?search=${search}`);
      expect(found).toMatchObject({ status: 200, problem: { messages: [] } });
      const id = encodeURIComponent("' OR 1=1 --");
      expect((await ask(`GET /admin/v1/queues/q/messages/${id}`)).status).toBe(404);
      const all = await ask("GET /admin/v1/queues/q/messages");
      expect(all.problem?.messages.length).toBe(3);
    }
    await unharmed(broker);
  });

  test("[P-13.5, P-12.1] a query that is no number, or is nobody's, is refused by name", async () => {
    await using broker = await startBroker();
    const ask = (path: string) => raw(broker, request(`GET ${path}`));
    const limits = ["0", "-1", "1001", "1e9", "5.5", "0x10", "%20", "NaN", "", "9".repeat(30)];
    for (const limit of limits) {
      const { status, problem } = await ask(`/admin/v1/queues?limit=${limit}`);
      expect([limit, status, problem?.pointer]).toEqual([limit, 400, "/limit"]);
    }
    for (const name of ["__proto__", "constructor", "toString", "unknown"]) {
      const { status, problem } = await ask(`/admin/v1/queues?${name}=x`);
      expect([name, status, problem?.pointer]).toEqual([name, 400, `/${name}`]);
      expect(problem?.detail).not.toContain("more than once");
    }
    await unharmed(broker);
  });

  test("[P-12.4] a header of any name is the message's own; too many are refused", async () => {
    await using broker = await startBroker();
    using live = await WireClient.connect(broker.wsUrl);
    await live.ok({ type: "subscribe", filter: "t" });
    const own = ["__proto__: a", "constructor: b", "toString: c"];
    const headers = own.map((header) => `Warren-Header-${header}`);
    expect((await raw(broker, request("POST /v1/topics/t", headers, "x"))).status).toBe(200);
    const event = await live.expect("event");
    expect(JSON.stringify(event.headers)).toBe(
      '{"__proto__":"a","constructor":"b","tostring":"c"}',
    );
    const flood = Array.from({ length: 33 }, (_, i) => `Warren-Header-${i}: x`);
    const many = await raw(broker, request("POST /v1/topics/t", flood, "x"));
    expect([many.status, many.problem?.code]).toEqual([413, "too_large"]);
    const long = [`Warren-Header-A: ${"x".repeat(4096)}`];
    expect((await raw(broker, request("POST /v1/topics/t", long, "x"))).status).toBe(413);
    await unharmed(broker);
  });

  test("[P-12.1, P-2.4] a content type that is wrong or strange never makes a fault of ours", async () => {
    await using broker = await startBroker();
    const bodies = ['{"topic":"t"}', "\u0001\u0002", "topic=t", "[]", "null", '"text"', "0"];
    const types = [
      ...["application/msgpack", "application/msgpack;charset=utf-8", "multipart/form-data", ";;,"],
      ...["text/html", "application/json;charset=utf-16", "x".repeat(300), "application/x+json"],
    ];
    for (const path of ["/v1/publish", "/v1/topics/t", "/v1/queues/q/pull"]) {
      for (const type of types) {
        for (const body of bodies) {
          const bytes = request(`POST ${path}`, [`Content-Type: ${type}`], body);
          const { status } = await raw(broker, bytes);
          expect([path, type, body, status < 500]).toEqual([path, type, body, true]);
        }
      }
    }
    await unharmed(broker);
  });

  test("[P-12.1, P-11.1] bodies over the bound are 413 however they come, and their bytes go nowhere", async () => {
    await using broker = await startBroker();
    for (const size of [262_145, 524_288, 600_000]) {
      const stated = await raw(broker, request("POST /v1/topics/t", [], "x".repeat(size)));
      expect([size, stated.status]).toEqual([size, 413]);
      const chunk = `${size.toString(16)}\r\n${"x".repeat(size)}\r\n0\r\n\r\n`;
      const head = request("POST /v1/topics/t", ["Transfer-Encoding: chunked"]);
      expect([size, (await raw(broker, head + chunk)).status]).toEqual([size, 413]);
    }
    await unharmed(broker);
  });

  test("[P-12.3, P-12.8] prototypes and floods in a body are data or are refused", async () => {
    await using broker = await startBroker();
    await broker.queue("q", ["jobs"]);
    const post = (path: string, body: string) =>
      raw(broker, request(`POST ${path}`, JSON_BODY, body));
    const inherited = await post("/v1/publish", '{"__proto__":{"topic":"t"},"payload":1}');
    expect([inherited.status, inherited.problem?.pointer]).toEqual([400, "/topic"]);
    const pull = await post("/v1/queues/q/pull", '{"__proto__":{"max":1000}}');
    expect([200, 400]).toContain(pull.status);
    const tags = Array.from({ length: 1001 }, (_, i) => i);
    const settle = await post("/v1/queues/q/settle", JSON.stringify({ ack: tags }));
    expect([settle.status, settle.problem?.limit]).toEqual([400, 1000]);
    const nacks = JSON.stringify({ nack: [{ tags, __proto__: 1 }] });
    expect((await post("/v1/queues/q/settle", nacks)).status).toBe(400);
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    // An array is a batch, of which each item is answered by itself.
    expect(await post("/v1/publish", deep)).toMatchObject({
      status: 200,
      problem: { results: [{ type: "error", code: "invalid_frame" }] },
    });
    const bodies = {
      "/v1/publish": `{"topic":"t","payload":${deep}}`,
      "/v1/topics/t": deep,
      "/v1/queues/q/pull": deep,
    };
    for (const [path, body] of Object.entries(bodies)) {
      expect([path, (await post(path, body)).status]).toEqual([path, 400]);
    }
    expect(({} as Frame).topic).toBeUndefined();
    await unharmed(broker);
  });
});
