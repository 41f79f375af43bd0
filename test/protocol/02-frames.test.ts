/** Frames [P-2]: both encodings, batches, answers, order, and what does not fit. */
import { describe, expect, test } from "bun:test";
import { decode, encode } from "@msgpack/msgpack";
import { startBroker } from "../harness/start-broker.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test("[P-2.1] an array of frames is handled in order, and answers may come as one array", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const before = client.messages;
      client.send([1, 2, 3].map((id) => ({ type: "ping", id })));
      for (const id of [1, 2, 3]) expect(await client.expect("ok")).toMatchObject({ id });
      expect(client.messages - before).toBe(1);
    });

    test("[P-2.1, P-11.1] more frames than limits.batch: invalid_frame, and none is handled", async () => {
      await using broker = await startBroker({ limits: { batch: 4, coalescedFrames: 4 } });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      client.send([1, 2, 3, 4, 5].map((id) => ({ type: "ping", id })));
      expect(await client.expect("error")).toMatchObject({
        code: "invalid_frame",
        detail: { limit: 4 },
      });
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test("[P-2.2] an id is answered with it; without one success is silent and failure names ref", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (const id of [7, 0, -3, "a", "x".repeat(64), "ü".repeat(32)]) {
        expect(await client.request({ type: "ping", id })).toMatchObject({ type: "ok", id });
      }
      client.send({ type: "subscribe", filter: "quiet" });
      expect(await client.everythingUntilNow()).toEqual([]);
      client.send({ type: "subscribe", filter: "a/#/b" });
      const error = await client.expect("error");
      expect(error).toMatchObject({ ref: "subscribe", code: "invalid_filter", retry: false });
      expect(error).not.toHaveProperty("id");
    });

    test("[P-2.2] an id of the wrong kind or over 64 bytes is no id", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (const id of [1.5, true, "x".repeat(65), "ü".repeat(33), {}]) {
        client.send({ type: "ping", id });
        const error = await client.expect("error");
        expect(error).toMatchObject({ code: "invalid_frame", detail: { pointer: "/id" } });
        expect(error).not.toHaveProperty("id");
      }
    });

    test("[P-2.3] frames take effect in the order in which they arrive", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      client.send({ type: "publish", topic: "t", payload: "before" });
      client.send({ type: "subscribe", filter: "t" });
      client.send({ type: "publish", topic: "t", payload: "during" });
      client.send({ type: "unsubscribe", filter: "t" });
      client.send({ type: "publish", topic: "t", payload: "after" });
      const events = await client.everythingUntilNow();
      expect(events.map((event) => event.payload)).toEqual(["during"]);
    });

    test("[P-2.4] bytes that cannot be decoded: malformed_frame, then 1007", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      client.socket.send(encoding === "json" ? '{"type":' : new Uint8Array([0x82, 0xa1]));
      expect(await client.expect("error")).toMatchObject({ code: "malformed_frame" });
      expect((await client.closed()).code).toBe(1007);
    });

    test("[P-2.4] the other kind of message closes with 1003", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const ping: Frame = { type: "ping", id: 1 };
      client.socket.send(encoding === "json" ? encode(ping) : JSON.stringify(ping));
      expect((await client.closed()).code).toBe(1003);
    });

    test("[P-2.4] what does not fit is invalid_frame with a pointer; the connection stays", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const faults: [Frame, string][] = [
        [{ type: "publish", payload: 1 }, "/topic"],
        [{ type: "publish", topic: 5 }, "/topic"],
        [{ type: "publish", topic: "t", priority: 10 }, "/priority"],
        [{ type: "publish", topic: "t", headers: { a: 1 } }, "/headers/a"],
        [{ type: "publish", topic: "t", ttlMs: 10, delayMs: 10 }, "/ttlMs"],
        [{ type: "publish", topic: "t", payload: "é", payloadEncoding: "base64" }, "/payload"],
        [{ type: "consume", queue: "q", credit: -1 }, "/credit"],
        [{ type: "ack", tags: [] }, "/tags"],
      ];
      for (const [frame, pointer] of faults) {
        const answer = await client.request(frame);
        expect([answer.code, answer.detail?.pointer]).toEqual(["invalid_frame", pointer]);
      }
      expect(await client.ok({ type: "ping" })).toHaveProperty("time");
    });

    test("[P-2.4] what is no object with a type is invalid_frame", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (const value of [1, null, "ping", true, {}, { type: 1 }, [[{ type: "ping" }]]]) {
        client.send(value as Frame);
        const error = await client.expect("error");
        expect(error).toMatchObject({ code: "invalid_frame", detail: { pointer: "/type" } });
      }
    });

    test("[P-2.4] twenty bad frames in a row close with 4400; a good one between them forgives", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const bad = (count: number) => {
        for (let i = 0; i < count; i++) client.send({ type: "publish" });
      };
      bad(19);
      await client.ok({ type: "ping" });
      bad(19);
      await client.ok({ type: "ping" });
      bad(20);
      expect((await client.closed()).code).toBe(4400);
    });

    test("[P-2.5] an unknown type is unknown_type; unknown fields are ignored", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      expect(await client.request({ type: "dance" })).toMatchObject({ code: "unknown_type" });
      client.send({ type: "__proto__" });
      expect(await client.expect("error")).toMatchObject({
        code: "unknown_type",
        ref: "__proto__",
      });
      expect(await client.ok({ type: "ping", shoes: "red", nested: { a: [] } })).toBeDefined();
    });
  });
}

describe("payloads", () => {
  test("[P-2.6] any JSON value reaches both encodings as it is", async () => {
    await using broker = await startBroker();
    using json = await WireClient.connect(broker.wsUrl);
    using msgpack = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
    for (const one of [json, msgpack]) await one.ok({ type: "subscribe", filter: "v" });
    const values = [
      null,
      true,
      0,
      -1,
      1.5,
      2 ** 31,
      1_795_255_200_000,
      -(2 ** 53) + 1,
      "",
      "ünï\u0000\u2028😀",
      [],
      {},
      [[1], { a: { b: [null] } }],
      "x".repeat(70_000),
      Array.from({ length: 70_000 }, (_, i) => i % 10),
    ];
    for (const publisher of [json, msgpack]) {
      for (const payload of values) {
        await publisher.ok({ type: "publish", topic: "v", payload });
        expect((await json.expect("event")).payload).toEqual(payload);
        expect((await msgpack.expect("event")).payload).toEqual(payload);
      }
    }
    await json.ok({ type: "publish", topic: "v" });
    expect((await msgpack.expect("event")).payload).toBeNull();
  });

  test("[P-2.6] binary is binary in MessagePack and base64 with payloadEncoding in JSON, both ways", async () => {
    await using broker = await startBroker();
    using json = await WireClient.connect(broker.wsUrl);
    using msgpack = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
    for (const one of [json, msgpack]) await one.ok({ type: "subscribe", filter: "b" });
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => i & 255);
    const text = Buffer.from(bytes).toString("base64");
    const asText = { payload: text, payloadEncoding: "base64" };
    const publishes = [
      () => msgpack.ok({ type: "publish", topic: "b", payload: bytes }),
      () => msgpack.ok({ type: "publish", topic: "b", ...asText }),
      () => json.ok({ type: "publish", topic: "b", ...asText }),
    ];
    for (const publish of publishes) {
      await publish();
      expect(await json.expect("event")).toMatchObject(asText);
      expect((await msgpack.expect("event")).payload).toEqual(bytes);
    }
  });

  test("[P-2.6] binary inside a value is base64 text in JSON, an integer beyond 2^53 its digits", async () => {
    await using broker = await startBroker();
    using json = await WireClient.connect(broker.wsUrl);
    using msgpack = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
    for (const one of [json, msgpack]) await one.ok({ type: "subscribe", filter: "n" });
    // {raw: bin(1 2 3), big: uint64 max, time: uint64 of a time} inside a publish frame.
    const payload = Buffer.concat([
      Buffer.from([0x83, 0xa3, ...Buffer.from("raw"), 0xc4, 3, 1, 2, 3]),
      Buffer.from([0xa3, ...Buffer.from("big"), 0xcf, ...new Array<number>(8).fill(255)]),
      Buffer.from([0xa4, ...Buffer.from("time"), 0xcf, 0, 0, 1, 0xa1, 0xfd, 0xcf, 0x6a, 0x4d]),
    ]);
    const head = encode({ type: "publish", topic: "n" });
    const frame = Buffer.concat([
      Buffer.from([0x83]),
      head.subarray(1),
      encode("payload"),
      payload,
    ]);
    msgpack.socket.send(frame);
    const time = Number(0x01a1fdcf6a4dn);
    expect((await json.expect("event")).payload).toEqual({
      raw: "AQID",
      big: "18446744073709551615",
      time,
    });
    const event = await msgpack.expect("event");
    expect(event.payload).toMatchObject({ raw: new Uint8Array([1, 2, 3]), time });
  });

  test("[P-2.6] what typed readers are strict about: integers are integers, text is UTF-8", async () => {
    await using broker = await startBroker();
    using json = await WireClient.connect(broker.wsUrl);
    using msgpack = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
    await msgpack.ok({ type: "subscribe", filter: "s" });
    const messages: Uint8Array[] = [];
    msgpack.socket.addEventListener("message", ({ data }) => messages.push(new Uint8Array(data)));
    const payload = {
      wide: [2 ** 32, -(2 ** 31) - 1, 2 ** 53 - 1, [{ deep: -(2 ** 53) + 1 }]],
      narrow: [0, 2 ** 32 - 1, -(2 ** 31), 1.5, 1e300],
      texts: ["\ud800", `${"x".repeat(100)}\udfff`, "\ud83d\ude00"],
      "\udc00": null,
    };
    const headers = { half: "\ud800" };
    await json.ok({ type: "publish", topic: "s", payload, headers, correlationId: "\ud800" });
    const { time } = await msgpack.expect("event");
    const [event] = messages.map((bytes) => decode(bytes, { useBigInt64: true }) as Frame);
    expect(event).toMatchObject({
      time: BigInt(time),
      headers: { half: "\ufffd" },
      correlationId: "\ufffd",
    });
    expect(event!.payload).toEqual({
      wide: [2n ** 32n, -(2n ** 31n) - 1n, 2n ** 53n - 1n, [{ deep: -(2n ** 53n) + 1n }]],
      narrow: payload.narrow,
      texts: ["\ufffd", `${"x".repeat(100)}\ufffd`, "\u{1f600}"],
      "\ufffd": null,
    });
    const bytes = Buffer.from(messages[0]!);
    expect(bytes.includes(Buffer.from([0xed, 0xa0, 0x80]))).toBe(false);
  });

  test("[P-2.6] a delivery with all that it can have has more entries than a short map", async () => {
    await using broker = await startBroker();
    await broker.queue("q", ["jobs"]);
    using client = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
    const message = {
      topic: "jobs",
      payload: { a: [1.5, null] },
      key: "k",
      priority: 9,
      headers: { h: "v" },
      replyTo: "answers",
      correlationId: "c",
      contentType: "text/x",
    };
    await client.ok({ type: "publish", ...message, ttlMs: 600_000 });
    await client.ok({ type: "consume", queue: "q", credit: 1 });
    const { tag, ...first } = await client.expect("delivery");
    expect(first).toMatchObject(message);
    await client.ok({ type: "reject", tags: [tag], reason: "seen" });
    await client.ok({ type: "consume", queue: "q.dead", credit: 1 });
    const dead = await client.expect("delivery");
    expect(dead).toMatchObject({ ...message, deaths: [{ queue: "q", reason: "rejected" }] });
    expect(Object.keys(dead).length).toBeGreaterThan(15);
  });

  test("[P-2.6] keys that are not text and extension types are malformed_frame", async () => {
    await using broker = await startBroker();
    const hostile = [
      [0x81, 0x01, 0x01],
      [0x81, 0xc4, 0x01, 0x61, 0x01],
      [0x81, 0xa7, ...Buffer.from("payload"), 0xd4, 0x72, 0x40],
      [0x81, 0xa4, ...Buffer.from("type"), 0xd6, 0xff, 0, 0, 0, 0],
      [0x81, 0xa4, ...Buffer.from("type"), 0xc7, 0, 1],
      [0x81, 0xa4, ...Buffer.from("type"), 0xa2, 0xc3, 0x28],
      [0xc0, 0xc0],
      [0xdf, 0xff, 0xff, 0xff, 0xff],
      new Array<number>(5000).fill(0x91),
    ];
    for (const bytes of hostile) {
      using client = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
      client.socket.send(Uint8Array.from(bytes));
      expect(await client.expect("error")).toMatchObject({ code: "malformed_frame" });
      expect((await client.closed()).code).toBe(1007);
    }
  });

  for (const encoding of ENCODINGS) {
    test(`[P-2.6] the depth of nesting of a payload is bounded (${encoding})`, async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
      await client.ok({ type: "publish", topic: "d", payload: nested(64) });
      const answer = await client.request({ type: "publish", topic: "d", payload: nested(65) });
      expect(answer).toMatchObject({ code: "invalid_frame", detail: { pointer: "/payload" } });
    });
  }

  test("[P-2.7] ids that the broker makes are UUIDv7, times are integer milliseconds", async () => {
    await using broker = await startBroker();
    using client = await WireClient.connect(broker.wsUrl);
    await client.ok({ type: "subscribe", filter: "t" });
    const { messageId } = await client.ok({ type: "publish", topic: "t" });
    expect(messageId).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    const event = await client.expect("event");
    expect(event.messageId).toBe(messageId);
    expect(Number.isInteger(event.time)).toBe(true);
  });
});
