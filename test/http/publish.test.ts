/** Publishing over HTTP, as objects and as bodies [P-12.3], [P-12.4]. */
import { describe, expect, test } from "bun:test";
import { decode, encode } from "@msgpack/msgpack";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/;

async function withQueue(settings: object = {}): Promise<TestWarren> {
  return startTestWarren({ queues: { all: { bindings: ["#"] } }, ...settings });
}

/** What the queue holds, oldest first. */
async function kept(broker: TestWarren) {
  return (await broker.json("GET", "/admin/v1/queues/all/messages")).body.messages;
}

describe("[P-12.3] POST /v1/publish", () => {
  test("[P-12.3] one message is answered with its receipt", async () => {
    await using broker = await withQueue();
    const { status, body } = await broker.json("POST", "/v1/publish", { topic: "a/b", payload: 1 });
    expect(status).toBe(200);
    expect(body).toEqual({
      results: [{ type: "ok", messageId: expect.stringMatching(UUID_V7), queues: 1 }],
    });
  });

  test("[P-12.3] an array answers each by itself, in order", async () => {
    await using broker = await withQueue();
    const { status, body } = await broker.json("POST", "/v1/publish", [
      { topic: "a", payload: 1 },
      { topic: "a/#", payload: 2 },
      { topic: "a", payload: 3, priority: 10 },
      { payload: 4 },
      "five",
      { topic: "b", payload: 6 },
    ]);
    expect(status).toBe(200);
    expect(body.results.map((result: { type: string }) => result.type)).toEqual([
      "ok",
      "error",
      "error",
      "error",
      "error",
      "ok",
    ]);
    expect(body.results[1]).toMatchObject({ code: "invalid_topic", retry: false });
    expect(body.results[2].detail).toMatchObject({ pointer: "/2/priority" });
    expect(body.results[3].detail).toMatchObject({ pointer: "/3/topic" });
    expect(body.results[4]).toMatchObject({ code: "invalid_frame" });
    const payloads = (await kept(broker)).map((message: { payload: unknown }) => message.payload);
    expect(payloads).toEqual([1, 6]);
  });

  test("[P-12.3] a single message that fails has the status of its error", async () => {
    await using broker = await withQueue();
    const answer = await broker.json("POST", "/v1/publish", { topic: "a", ttlMs: 0 });
    expect(answer.status).toBe(400);
    expect(answer.headers.get("Content-Type")).toBe("application/problem+json");
    expect(answer.body).toMatchObject({ code: "invalid_frame", pointer: "/ttlMs" });
  });

  test("[P-12.3] more than limits.batch messages are refused as a whole", async () => {
    await using broker = await withQueue({ limits: { batch: 4, coalescedFrames: 4 } });
    const five = Array.from({ length: 5 }, () => ({ topic: "a" }));
    const { status, body } = await broker.json("POST", "/v1/publish", five);
    expect(status).toBe(400);
    expect(body).toMatchObject({ code: "invalid_frame", limit: 4 });
    expect(await kept(broker)).toEqual([]);
  });

  test("[P-3.2] every option reaches the queue", async () => {
    await using broker = await withQueue();
    const options = {
      messageId: "m-1",
      headers: { trace: "t" },
      key: "k",
      priority: 7,
      replyTo: "answers/1",
      correlationId: "c",
      contentType: "text/x-thing",
    };
    await broker.json("POST", "/v1/publish", {
      topic: "a",
      payload: null,
      ttlMs: 60_000,
      ...options,
    });
    const [message] = await kept(broker);
    expect(message).toMatchObject({ topic: "a", payload: null, ...options });
    expect(message.expiresAt - message.time).toBe(60_000);
  });

  test("[P-3.5] a repeated message id is a duplicate and is stored once", async () => {
    await using broker = await withQueue();
    const message = { topic: "a", payload: 1, messageId: "once" };
    const first = await broker.json("POST", "/v1/publish", message);
    const second = await broker.json("POST", "/v1/publish", message);
    expect(first.body.results[0]).toEqual({ type: "ok", messageId: "once", queues: 1 });
    expect(second.body.results[0]).toMatchObject({ messageId: "once", duplicate: true });
    expect(await kept(broker)).toHaveLength(1);
  });

  test("[P-12.1] MessagePack in and out, with binary as it is", async () => {
    await using broker = await withQueue();
    const bytes = Uint8Array.of(0, 255, 1);
    const answer = await broker.request(
      "POST",
      "/v1/publish",
      encode({ topic: "a", payload: bytes }),
      {
        "Content-Type": "application/msgpack",
        Accept: "application/msgpack",
      },
    );
    expect(answer.headers.get("Content-Type")).toBe("application/msgpack");
    expect(decode(await answer.arrayBuffer())).toMatchObject({
      results: [{ type: "ok", queues: 1 }],
    });
    const [asJson] = await kept(broker);
    expect(asJson).toMatchObject({ payload: "AP8B", payloadEncoding: "base64" });
    const packed = await broker.request("GET", "/admin/v1/queues/all/messages", undefined, {
      Accept: "application/msgpack",
    });
    const { messages } = decode(await packed.arrayBuffer()) as { messages: { payload: unknown }[] };
    expect(messages[0]?.payload).toEqual(bytes);
    expect(messages[0]).not.toHaveProperty("payloadEncoding");
  });

  test("[P-3.1] topics of the broker's own are forbidden", async () => {
    await using broker = await withQueue();
    const { status, body } = await broker.json("POST", "/v1/publish", { topic: "$sys/x" });
    expect([status, body.code]).toEqual([403, "forbidden"]);
  });
});

describe("[P-12.4] POST /v1/topics/<topic>", () => {
  const publish = (broker: TestWarren, body: string | Uint8Array, type?: string) =>
    broker.json("POST", "/v1/topics/a/b", body, type === undefined ? {} : { "Content-Type": type });

  test("[P-12.4] the rest of the path is the topic, percent-decoded", async () => {
    await using broker = await withQueue();
    await broker.json("POST", "/v1/topics/devices/42/caf%C3%A9%20x", "1");
    expect((await kept(broker))[0].topic).toBe("devices/42/café x");
    const bad = await broker.json("POST", "/v1/topics/a/%zz", "1");
    expect([bad.status, bad.body.code]).toEqual([400, "invalid_frame"]);
  });

  test("[P-2.6] the content type says what the body is", async () => {
    await using broker = await withQueue();
    await publish(broker, '{"t":21.5}', "application/json");
    await publish(broker, '{"t":22}', "application/senml+json; charset=utf-8");
    await publish(broker, "grüß dich", "text/plain");
    await publish(broker, Uint8Array.of(0xff, 0xfe), "text/plain");
    await publish(broker, Uint8Array.of(1, 2, 3), "application/octet-stream");
    await publish(broker, "40", "application/x-www-form-urlencoded");
    await publish(broker, encode({ t: 23 }), "application/msgpack");
    const found = (await kept(broker)).map(
      ({ payload, payloadEncoding, contentType }: Record<string, unknown>) => [
        payload,
        payloadEncoding,
        contentType,
      ],
    );
    expect(found).toEqual([
      [{ t: 21.5 }, undefined, undefined],
      [{ t: 22 }, undefined, "application/senml+json; charset=utf-8"],
      ["grüß dich", undefined, "text/plain"],
      ["//4=", "base64", "text/plain"],
      ["AQID", "base64", "application/octet-stream"],
      ["40", undefined, undefined],
      [{ t: 23 }, undefined, undefined],
    ]);
  });

  test("[P-2.6] a body that is not what its content type says is malformed", async () => {
    await using broker = await withQueue();
    const { status, body } = await publish(broker, "{", "application/json");
    expect([status, body.code]).toEqual([400, "malformed_frame"]);
  });

  test("[P-12.4] options are headers", async () => {
    await using broker = await withQueue();
    const answer = await broker.json("POST", "/v1/topics/a", "x", {
      "Warren-Message-Id": "m-2",
      "Warren-Key": "k",
      "Warren-Ttl-Ms": "5000",
      "Warren-Priority": "9",
      "Warren-Reply-To": "answers",
      "Warren-Correlation-Id": "c",
      "Warren-Header-Trace-Id": "abc",
    });
    expect(answer.body).toEqual({ type: "ok", messageId: "m-2", queues: 1 });
    expect((await kept(broker))[0]).toMatchObject({
      messageId: "m-2",
      key: "k",
      priority: 9,
      replyTo: "answers",
      correlationId: "c",
      headers: { "trace-id": "abc" },
    });
  });

  test("[P-12.4] an unknown option or a value that does not fit is refused, by its name", async () => {
    await using broker = await withQueue();
    for (const [name, value] of [
      ["Warren-Prio", "1"],
      ["Warren-Priority", "high"],
      ["Warren-Priority", "11"],
    ] as const) {
      const { status, body } = await broker.json("POST", "/v1/topics/a", "x", { [name]: value });
      expect([status, body.code]).toEqual([400, "invalid_frame"]);
      expect(JSON.stringify(body).toLowerCase()).toContain("prio");
    }
    expect(await kept(broker)).toEqual([]);
  });

  test("[P-3.6] a full queue refuses, and says to try again", async () => {
    await using broker = await withQueue({ queues: { all: { bindings: ["#"], maxMessages: 1 } } });
    await broker.json("POST", "/v1/topics/a", "1");
    const { status, body } = await broker.json("POST", "/v1/topics/a", "2");
    expect([status, body.code, body.retry]).toEqual([507, "queue_full", true]);
  });
});
