/** What strangers' HTTP clients see: the `fetch` of Node in both encodings, and curl. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Encoding, type Frame, WireClient } from "../harness/wire-client.ts";
import { type FetchOptions, NODE, NodePeers } from "./node-peers.ts";

const CURL = Bun.which("curl");
if (CURL === null) process.stdout.write("SKIPPED-MISSING-PROGRAM: curl\n");

let node: NodePeers;
let broker: TestBroker;

beforeAll(async () => {
  if (NODE !== null) node = new NodePeers();
  broker = await startBroker();
});

afterAll(async () => {
  if (NODE !== null) await node[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
});

function encoded(encoding: Encoding, body: unknown): FetchOptions {
  const type = `application/${encoding}`;
  return {
    method: "POST",
    headers: { "Content-Type": type, Accept: type },
    ...(encoding === "json" ? { json: body } : { msgpack: body }),
  };
}

for (const encoding of ENCODINGS) {
  describe.skipIf(NODE === null)(`fetch on Node, ${encoding}`, () => {
    const post = async (path: string, body: unknown) => {
      const answer = await node.fetch(`${broker.httpUrl}${path}`, encoded(encoding, body));
      if (answer.status < 300) expect(answer.type).toBe(`application/${encoding}`);
      return answer;
    };
    const bytes = Uint8Array.of(0, 1, 254, 255);
    const blob =
      encoding === "msgpack"
        ? { payload: bytes }
        : { payload: bytes.toBase64(), payloadEncoding: "base64" };

    test("[P-12.1, P-12.3] publish one and many; each has its own result", async () => {
      using live = await WireClient.connect(broker.wsUrl);
      await live.ok({ type: "subscribe", filter: `${encoding}/#` });
      const one = await post("/v1/publish", { topic: `${encoding}/a`, payload: { n: 1 } });
      expect([one.status, one.value.results.length]).toEqual([200, 1]);
      expect(one.value.results[0]).toMatchObject({ type: "ok", queues: 0 });
      const many = await post("/v1/publish", [
        { topic: `${encoding}/b`, payload: 2 },
        { topic: "a/+", payload: 3 },
        { topic: `${encoding}/c`, ...blob, headers: { k: "v" } },
      ]);
      expect(many.value.results.map(({ type, code }: Frame) => code ?? type)).toEqual([
        "ok",
        "invalid_topic",
        "ok",
      ]);
      const events = [
        await live.expect("event"),
        await live.expect("event"),
        await live.expect("event"),
      ];
      expect(events[0]).toMatchObject({ topic: `${encoding}/a`, payload: { n: 1 } });
      expect(events[1]).toMatchObject({ payload: 2, filter: `${encoding}/#` });
      expect(events[2]).toMatchObject({
        payload: bytes.toBase64(),
        payloadEncoding: "base64",
        headers: { k: "v" },
      });
    });

    test("[P-12.1, P-1.4] errors are problem+json whatever is asked for", async () => {
      const refused = await post("/v1/publish", { topic: "$sys/x" });
      expect([refused.status, refused.type]).toEqual([403, "application/problem+json"]);
      expect(refused.value).toMatchObject({ status: 403, code: "forbidden" });
      const shape = await post("/v1/publish", { topic: "t", priority: 99 });
      expect([shape.status, shape.value.pointer]).toEqual([400, "/priority"]);
    });

    test("[P-12.7, P-12.8] pull and settle, with each outcome", async () => {
      const name = `pulled-${encoding}`;
      await broker.queue(name, [name]);
      const messages = [{ payload: "a" }, { payload: "b" }, { payload: "c" }, blob];
      await post(
        "/v1/publish",
        messages.map((message) => ({ topic: name, ...message })),
      );
      const { value } = await post(`/v1/queues/${name}/pull`, { max: 10, waitMs: 1000 });
      expect(value.deliveries.map(({ payload }: Frame) => payload)).toEqual([
        "a",
        "b",
        "c",
        blob.payload,
      ]);
      const [a, b, c, d] = value.deliveries.map(({ tag }: Frame) => tag);
      const settled = await post(`/v1/queues/${name}/settle`, {
        ack: [a, 999_999],
        nack: [{ tags: [b], delayMs: 0 }],
        reject: [{ tags: [c], reason: "bad" }],
        extend: [d],
      });
      expect(settled.value.results.map(({ tag, code }: Frame) => [tag, code])).toEqual([
        [a, undefined],
        [999_999, "stale_delivery"],
        [b, undefined],
        [c, undefined],
        [d, undefined],
      ]);
      const again = await post(`/v1/queues/${name}/pull`, { max: 10, waitMs: 1000 });
      expect(again.value.deliveries).toMatchObject([{ payload: "b", attempt: 2 }]);
      const dead = await post(`/v1/queues/${name}.dead/pull`, {});
      expect(dead.value.deliveries).toMatchObject([
        { payload: "c", deaths: [{ queue: name, reason: "rejected" }] },
      ]);
      const unknown = await post("/v1/queues/nowhere/pull", {});
      expect([unknown.status, unknown.value.code]).toEqual([404, "unknown_queue"]);
    });

    test("[P-13.3, P-12.10] an operator defines, looks, purges and deletes", async () => {
      const path = `${broker.httpUrl}/admin/v1/queues/made-${encoding}`;
      const options = encoded(encoding, { bindings: ["made/#"], maxDeliveries: 3 });
      const made = await node.fetch(path, { ...options, method: "PUT" });
      expect([made.status, made.value.maxDeliveries]).toEqual([200, 3]);
      await post("/v1/publish", { topic: "made/x", ...blob });
      const { headers } = options;
      const accept = { headers: { Accept: headers?.Accept ?? "" } };
      const peek = await node.fetch(`${path}/messages?state=ready`, accept);
      expect(peek.value.messages).toMatchObject([{ topic: "made/x", state: "ready", ...blob }]);
      const purged = await node.fetch(`${path}/purge`, { method: "POST", ...accept });
      expect(purged.value).toEqual({ purged: 1 });
      const gone = await node.fetch(path, { method: "DELETE", ...accept });
      expect(gone.status).toBe(204);
    });
  });
}

describe.skipIf(NODE === null)("fetch on Node", () => {
  test("[P-12.2] health, version, metrics and the description of itself", async () => {
    const get = (path: string) => node.fetch(`${broker.httpUrl}${path}`);
    expect((await get("/healthz")).value).toEqual({ status: "ok" });
    expect((await get("/readyz")).value).toEqual({ status: "ready" });
    expect((await get("/version")).value).toMatchObject({ name: "warren" });
    expect((await get("/metrics")).value).toContain("# TYPE warren_sessions gauge");
    expect((await get("/openapi.json")).value).toMatchObject({ openapi: "3.1.0" });
    expect(await get("/ws")).toMatchObject({ status: 426, type: "application/problem+json" });
  });

  test("[P-1.3, P-1.4] without a credential 401, with one what it allows", async () => {
    await using guarded = await startBroker({ access: TOKENS_ONLY });
    const url = `${guarded.httpUrl}/v1/topics/a/b`;
    const post = (headers: Record<string, string>) =>
      node.fetch(url, { method: "POST", text: "x", headers });
    expect(await post({})).toMatchObject({ status: 401, value: { code: "unauthenticated" } });
    const Authorization = `Bearer ${await tokenFor("ada")}`;
    expect(await post({ Authorization })).toMatchObject({ status: 200, value: { queues: 0 } });
  });
});

async function curl(...words: string[]): Promise<{ status: number; body: Frame }> {
  const child = Bun.spawn(
    [CURL ?? "curl", "--silent", "--show-error", "--max-time", "30", "-w", "\n%{http_code}"].concat(
      words,
    ),
    { stdout: "pipe", stderr: "pipe" },
  );
  const [out, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`curl: ${errors}`);
  const at = out.lastIndexOf("\n");
  return { status: Number(out.slice(at + 1)), body: JSON.parse(out.slice(0, at)) };
}

describe.skipIf(CURL === null)("curl", () => {
  const topics = (path: string) => `${broker.httpUrl}/v1/topics/${path}`;

  test("[P-12.4, P-2.6] the body is the payload: text, JSON, binary, by its content type", async () => {
    using live = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
    await live.ok({ type: "subscribe", filter: "curl/#" });
    const json = ["-H", "Content-Type: application/json"];
    const binary = ["-H", "Content-Type: application/octet-stream"];
    const sent: [string[], unknown][] = [
      [["-d", "hello=world"], "hello=world"],
      [[...json, "-d", '{"a":[1,null]}'], { a: [1, null] }],
      [[...binary, "--data-binary", "\u0001ü"], new Uint8Array(Buffer.from("\u0001ü"))],
      [["-X", "POST", "-H", "Content-Type: text/plain"], ""],
    ];
    for (const [words, payload] of sent) {
      const { status, body } = await curl(...words, topics("curl/a"));
      expect([status, body.type]).toEqual([200, "ok"]);
      expect(await live.expect("event")).toMatchObject({ topic: "curl/a", payload });
    }
  });

  test("[P-12.4] a topic with anything in it, percent-encoded; options in headers", async () => {
    await broker.queue("curled", ["curl-options/#"]);
    const path = "curl-options/%C3%BC%20%2F%3F%25";
    const { body } = await curl(
      ...["-H", "Warren-Message-Id: m-1", "-H", "Warren-Key: k", "-H", "Warren-Priority: 9"],
      ...["-H", "Warren-Header-Trace: abc", "-d", "x", topics(path)],
    );
    expect(body).toMatchObject({ type: "ok", messageId: "m-1", queues: 1 });
    const again = await curl("-H", "Warren-Message-Id: m-1", "-d", "x", topics(path));
    expect(again.body).toMatchObject({ duplicate: true });
    const peek = await curl(`${broker.httpUrl}/admin/v1/queues/curled/messages`);
    expect(peek.body.messages).toMatchObject([
      {
        topic: "curl-options/ü /?%",
        messageId: "m-1",
        key: "k",
        priority: 9,
        headers: { trace: "abc" },
      },
    ]);
  });

  test("[P-12.4, P-1.4] what is refused says so with a status and a code", async () => {
    const option = await curl("-H", "Warren-Colour: red", "-d", "x", topics("t"));
    expect([option.status, option.body.code]).toEqual([400, "invalid_frame"]);
    const wild = await curl("-d", "x", topics("a/%2B"));
    expect([wild.status, wild.body.code]).toEqual([400, "invalid_topic"]);
    const broken = await curl("-H", "Content-Type: application/json", "-d", "{", topics("t"));
    expect([broken.status, broken.body.code]).toEqual([400, "malformed_frame"]);
    const method = await curl("-X", "DELETE", topics("t"));
    expect([method.status, method.body.code]).toEqual([405, "method_not_allowed"]);
  });
});
