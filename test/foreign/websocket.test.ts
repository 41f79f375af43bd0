/** What a stranger's WebSocket client sees: `ws` on Node, with `@msgpack/msgpack` for MessagePack. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS } from "../harness/wire-client.ts";
import { NODE, type NodePeer, NodePeers } from "./node-peers.ts";

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

let node: NodePeers;
let broker: TestBroker;

beforeAll(async () => {
  if (NODE === null) return;
  node = new NodePeers();
  broker = await startBroker();
});

afterAll(async () => {
  if (NODE === null) return;
  await node[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
});

describe.skipIf(NODE === null)("[P-1] handshakes of ws on Node", () => {
  for (const encoding of ENCODINGS) {
    test(`[P-1.2, P-1.5] warren.v1.${encoding} is echoed, then welcome in that encoding`, async () => {
      const peer = node.connect(broker.wsUrl, { protocols: [`warren.v1.${encoding}`] });
      expect(await peer.happened("open")).toMatchObject({ protocol: `warren.v1.${encoding}` });
      const { frame, isBinary } = await peer.frame();
      expect(isBinary).toBe(encoding === "msgpack");
      expect(frame).toMatchObject({ type: "welcome", principal: "anonymous", heartbeatMs: 25_000 });
      expect(frame.session).toMatch(UUID_V7);
      expect(Number.isInteger(frame.time)).toBe(true);
      expect(frame.limits).toMatchObject({ frameBytes: 262_144, batch: 256 });
    });
  }

  test("[P-1.2] the first of the client's offers that is spoken wins", async () => {
    const protocols = ["mqtt", "warren.v2.json", "warren.v1.msgpack", "warren.v1.json"];
    const peer = node.connect(broker.wsUrl, { protocols });
    expect(await peer.happened("open")).toMatchObject({ protocol: "warren.v1.msgpack" });
  });

  test("[P-1.2] without an offer: JSON, and no subprotocol", async () => {
    const peer = node.connect(broker.wsUrl);
    expect(await peer.happened("open")).toMatchObject({ protocol: "" });
    expect(await peer.frame()).toMatchObject({ isBinary: false, frame: { type: "welcome" } });
  });

  test("[P-1.2, P-1.4] offers of which none is spoken: 400, saying what is", async () => {
    const peer = node.connect(broker.wsUrl, { protocols: ["mqtt", "stomp"] });
    const { status, headers, body } = await peer.happened("refused");
    expect(status).toBe(400);
    expect(headers["content-type"]).toBe("application/problem+json");
    expect(JSON.parse(body)).toMatchObject({
      status: 400,
      subprotocols: ["warren.v1.json", "warren.v1.msgpack"],
    });
  });

  test("[P-1.3, P-1.4] a header or a subprotocol item brings a token; a wrong one is 401", async () => {
    await using guarded = await startBroker({ access: TOKENS_ONLY });
    const token = await tokenFor("ada");
    const byHeader = { headers: { Authorization: `Bearer ${token}` } };
    // `ws` holds an offer to be refused when none of it is selected, so one is offered besides.
    const byItem = { protocols: [`warren.token.${token}`, "warren.v1.json"] };
    for (const opening of [byHeader, byItem]) {
      const peer = node.connect(guarded.wsUrl, opening);
      expect(await peer.expect("welcome")).toMatchObject({ principal: "ada" });
    }
    const wrong = node.connect(guarded.wsUrl, { headers: { Authorization: "Bearer nonsense" } });
    expect(await wrong.happened("refused")).toMatchObject({ status: 401 });
  });

  test("[P-1.6, P-1.4] a page of another origin is 403", async () => {
    const peer = node.connect(broker.wsUrl, { headers: { Origin: "https://evil.example" } });
    const { status, body } = await peer.happened("refused");
    expect([status, JSON.parse(body).code]).toEqual([403, "forbidden"]);
  });
});

for (const encoding of ENCODINGS) {
  describe.skipIf(NODE === null)(`ws on Node, ${encoding}`, () => {
    const connect = () => node.welcome(broker.wsUrl, encoding);

    test("[P-4.1, P-4.2, P-3.2] subscribe, publish, and an event with everything that was said", async () => {
      const [one, two] = [await connect(), await connect()];
      const filter = `${encoding}/+/temperature`;
      expect(await one.ok({ type: "subscribe", id: 1, filter })).toEqual({
        type: "ok",
        id: 1,
        filter,
      });
      const said = {
        payload: { value: 21.5, tags: ["a", null, true], at: 1_795_255_200_000 },
        headers: { unit: "°C" },
        replyTo: "answers/42",
        correlationId: "c-1",
        contentType: "application/vnd.reading+json",
      };
      const topic = `${encoding}/42/temperature`;
      const receipt = await two.ok({ type: "publish", topic, ...said });
      expect(receipt).toMatchObject({ queues: 0, messageId: expect.stringMatching(UUID_V7) });
      const event = await one.expect("event");
      expect(event).toEqual({
        type: "event",
        topic,
        filter,
        messageId: receipt.messageId,
        time: expect.any(Number),
        ...said,
      });
      await one.ok({ type: "unsubscribe", filter });
      await two.ok({ type: "publish", topic, payload: "late" });
      expect(await one.everythingUntilNow()).toEqual([]);
    });

    test("[P-3.1, P-4.2] an event for each filter that matches, and none else", async () => {
      const peer = await connect();
      const root = `${encoding}-wild`;
      const filters = [`${root}/#`, `${root}/+/c`, `${root}/b/c`, `${root}/+`, `${root}/b/c/#`];
      for (const filter of filters) await peer.ok({ type: "subscribe", filter });
      await peer.ok({ type: "publish", topic: `${root}/b/c`, payload: 1 });
      const events = await peer.everythingUntilNow();
      expect(events.map(({ filter, topic }) => filter ?? topic).sort()).toEqual(
        [`${root}/#`, `${root}/+/c`, `${root}/b/c`, `${root}/b/c/#`].sort(),
      );
      const [first] = events.filter(({ filter }) => filter === undefined);
      expect(first).toMatchObject({ topic: `${root}/b/c` });
    });

    test("[P-3.2] echo:false spares the publisher, and nobody else", async () => {
      const [one, two] = [await connect(), await connect()];
      const topic = `${encoding}/echo`;
      for (const peer of [one, two]) await peer.ok({ type: "subscribe", filter: topic });
      await one.ok({ type: "publish", topic, payload: "others", echo: false });
      await one.ok({ type: "publish", topic, payload: "all" });
      const payloads = async (peer: NodePeer) =>
        (await peer.everythingUntilNow()).map(({ payload }) => payload);
      expect(await payloads(one)).toEqual(["all"]);
      expect(await payloads(two)).toEqual(["others", "all"]);
    });

    test("[P-2.1, P-2.3, P-3.7] arrays both ways, in order", async () => {
      const peer = await connect();
      const topic = `${encoding}/batch`;
      const publishes = Array.from({ length: 200 }, (_, n) => ({
        type: "publish",
        topic,
        payload: n,
      }));
      peer.send([{ type: "subscribe", id: "s", filter: topic }, ...publishes]);
      await peer.expect(({ id }) => id === "s");
      const seen: unknown[] = [];
      let together = 0;
      while (seen.length < 200) {
        const one = await peer.frame(({ type }) => type === "event");
        seen.push(one.frame.payload);
        together = Math.max(together, one.together);
      }
      expect(seen).toEqual(Array.from({ length: 200 }, (_, n) => n));
      expect(together).toBeGreaterThan(1);
      peer.send([1, 2, 3].map((id) => ({ type: "ping", id })));
      for (const id of [1, 2, 3]) expect(await peer.expect("ok")).toMatchObject({ id });
    });

    test("[P-5.2, P-5.3, P-5.4] consume, ack, nack until the dead letters, reject", async () => {
      const name = `work-${encoding}`;
      await broker.queue(name, [`${name}/#`], { maxDeliveries: 2 });
      const peer = await connect();
      for (const job of ["acked", "nacked", "rejected"]) {
        const receipt = await peer.ok({ type: "publish", topic: `${name}/${job}`, payload: job });
        expect(receipt.queues).toBe(1);
      }
      await peer.ok({ type: "consume", queue: name, credit: 3 });
      const tags: Record<string, number> = {};
      for (const job of ["acked", "nacked", "rejected"]) {
        const delivery = await peer.expect("delivery");
        expect(delivery).toMatchObject({
          queue: name,
          topic: `${name}/${job}`,
          payload: job,
          attempt: 1,
        });
        expect(Number.isSafeInteger(delivery.tag)).toBe(true);
        tags[job] = delivery.tag;
      }
      await peer.ok({ type: "extend", tags: Object.values(tags), byMs: 60_000 });
      await peer.ok({ type: "ack", tags: [tags.acked] });
      const again = await peer.request({ type: "ack", tags: [tags.acked] });
      expect(again).toMatchObject({ type: "error", code: "stale_delivery", retry: false });
      await peer.ok({ type: "reject", tags: [tags.rejected], reason: "no good" });
      await peer.ok({ type: "nack", tags: [tags.nacked], delayMs: 0 });
      const second = await peer.expect("delivery");
      expect(second).toMatchObject({ payload: "nacked", attempt: 2 });
      await peer.ok({ type: "nack", tags: [second.tag], delayMs: 0, reason: "tired" });
      await peer.ok({ type: "cancel", queue: name });
      await peer.ok({ type: "consume", queue: `${name}.dead`, credit: 10 });
      const deaths = [await peer.expect("delivery"), await peer.expect("delivery")];
      expect(deaths.map(({ payload, deaths: [death] }) => [payload, death])).toEqual([
        ["rejected", expect.objectContaining({ queue: name, reason: "rejected", attempts: 1 })],
        ["nacked", expect.objectContaining({ queue: name, reason: "max_deliveries", attempts: 2 })],
      ]);
      await peer.ok({ type: "ack", tags: deaths.map(({ tag }) => tag) });
      expect(broker.warren.broker.engine.queues.describe(`${name}.dead`).counts).toMatchObject({
        ready: 0,
        inFlight: 0,
      });
    });

    test("[P-5.2] no more unsettled deliveries than the credit", async () => {
      const name = `credit-${encoding}`;
      await broker.queue(name, [name]);
      const peer = await connect();
      for (let n = 0; n < 5; n++) await peer.ok({ type: "publish", topic: name, payload: n });
      await peer.ok({ type: "consume", queue: name, credit: 2 });
      const first = await peer.expect("delivery");
      await peer.expect("delivery");
      expect(await peer.everythingUntilNow()).toEqual([]);
      await peer.ok({ type: "ack", tags: [first.tag] });
      expect(await peer.expect("delivery")).toMatchObject({ payload: 2 });
      expect(await peer.everythingUntilNow()).toEqual([]);
    });

    test("[P-2.2, P-2.5, P-10.1] errors carry the id, a code, and where the fault is", async () => {
      const peer = await connect();
      expect(await peer.request({ type: "publish", id: 9, topic: "a/+" })).toMatchObject({
        type: "error",
        id: 9,
        code: "invalid_topic",
        retry: false,
        message: expect.any(String),
      });
      expect(await peer.request({ type: "dance" })).toMatchObject({ code: "unknown_type" });
      expect(await peer.request({ type: "publish" })).toMatchObject({
        code: "invalid_frame",
        detail: { pointer: "/topic" },
      });
      peer.send({ type: "subscribe", filter: "#/a" });
      const silent = await peer.expect("error");
      expect(silent).toMatchObject({ ref: "subscribe", code: "invalid_filter" });
      expect(silent).not.toHaveProperty("id");
    });

    test("[P-2.4, P-10.2] close codes as they are seen from outside", async () => {
      const garbage = await connect();
      garbage.sendRaw(encoding === "json" ? "{" : Uint8Array.of(0xc1));
      expect(await garbage.expect("error")).toMatchObject({ code: "malformed_frame" });
      expect(await garbage.happened("close")).toMatchObject({
        code: 1007,
        reason: "malformed_frame",
      });
      const otherKind = await connect();
      otherKind.sendRaw(encoding === "json" ? Uint8Array.of(0x80) : "{}");
      expect((await otherKind.happened("close")).code).toBe(1003);
      const large = await connect();
      large.send({ type: "publish", topic: "t", payload: "x".repeat(300_000) });
      expect((await large.happened("close")).code).toBe(1009);
      const stubborn = await connect();
      stubborn.send(Array.from({ length: 20 }, () => ({ type: "publish" })));
      expect((await stubborn.happened("close")).code).toBe(4400);
      const polite = await connect();
      polite.close(1000, "bye");
      expect((await polite.happened("close")).code).toBe(1000);
    });

    test("[P-9.2] a ping of ours and one of WebSocket's are answered", async () => {
      const peer = await connect();
      const { time } = await peer.ok({ type: "ping" });
      expect(Number.isInteger(time)).toBe(true);
      peer.ping("are you there");
      expect(await peer.happened("pong")).toMatchObject({ text: "are you there" });
    });
  });
}

describe.skipIf(NODE === null)("ws on Node, JSON and MessagePack together", () => {
  test("[P-2.6] binary is a base64 text with payloadEncoding here and binary there, both ways", async () => {
    await broker.queue("blobs", ["blobs"]);
    const json = await node.welcome(broker.wsUrl, "json");
    const msgpack = await node.welcome(broker.wsUrl, "msgpack");
    for (const peer of [json, msgpack]) await peer.ok({ type: "subscribe", filter: "blobs" });
    const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) & 255);
    const asText = { payload: bytes.toBase64(), payloadEncoding: "base64" };
    await msgpack.ok({ type: "publish", topic: "blobs", payload: bytes });
    await json.ok({ type: "publish", topic: "blobs", ...asText });
    for (let n = 0; n < 2; n++) {
      expect(await json.expect("event")).toMatchObject(asText);
      const event = await msgpack.expect("event");
      expect(event.payload).toEqual(bytes);
      expect(event).not.toHaveProperty("payloadEncoding");
    }
    await json.ok({ type: "consume", queue: "blobs", credit: 1 });
    expect(await json.expect("delivery")).toMatchObject(asText);
    await msgpack.ok({ type: "consume", queue: "blobs", credit: 1 });
    expect((await msgpack.expect("delivery")).payload).toEqual(bytes);
  });

  test("[P-2.6] binary inside a value is base64 text in JSON, and stays binary in MessagePack", async () => {
    const json = await node.welcome(broker.wsUrl, "json");
    const msgpack = await node.welcome(broker.wsUrl, "msgpack");
    for (const peer of [json, msgpack]) await peer.ok({ type: "subscribe", filter: "nested" });
    const raw = Uint8Array.of(1, 2, 3);
    await msgpack.ok({ type: "publish", topic: "nested", payload: { raw, list: [raw] } });
    expect((await json.expect("event")).payload).toEqual({ raw: "AQID", list: ["AQID"] });
    expect((await msgpack.expect("event")).payload).toEqual({ raw, list: [raw] });
  });

  test("[P-2.6] any value comes through either encoding as it was", async () => {
    const json = await node.welcome(broker.wsUrl, "json");
    const msgpack = await node.welcome(broker.wsUrl, "msgpack");
    for (const peer of [json, msgpack]) await peer.ok({ type: "subscribe", filter: "values" });
    const values = [
      null,
      false,
      0,
      -1,
      127,
      128,
      -33,
      65_536,
      2 ** 32,
      2 ** 53 - 1,
      0.1,
      "",
      "ü😀",
    ];
    for (const publisher of [json, msgpack]) {
      const payload = { values, map: { a: { b: [] } }, text: "x".repeat(70_000) };
      await publisher.ok({ type: "publish", topic: "values", payload });
      for (const peer of [json, msgpack]) {
        expect((await peer.expect("event")).payload).toEqual(payload);
      }
    }
  });
});
