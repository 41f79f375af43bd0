/** Values that mean harm: nesting, lies about lengths, prototypes, ids. They are data or they are refused. */
import { describe, expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import { eventually } from "../harness/eventually.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

const text = (value: string) => [...encode(value)];
const key = (name: string, ...bytes: number[]) => [...text(name), ...bytes];
/** A map of these entries, each from `key`. */
const map = (...entries: number[][]) => [0x80 | entries.length, ...entries.flat()];
const publish = (...payload: number[]) =>
  map(key("type", ...text("publish")), key("topic", ...text("t")), key("payload", ...payload));

const REPEAT = 100_000;

/** MessagePack that would cost much more than it is long, or that is no value at all. */
const BOMBS: Readonly<Record<string, readonly number[]>> = {
  "an array of four billion": [0xdd, 0xff, 0xff, 0xff, 0xff],
  "a map of four billion": [0xdf, 0xff, 0xff, 0xff, 0xff],
  "a text of four billion bytes": [0xdb, 0xff, 0xff, 0xff, 0xff],
  "binary of four billion bytes": [0xc6, 0xff, 0xff, 0xff, 0xff],
  "a payload that says it is an array of four billion": publish(0xdd, 0xff, 0xff, 0xff, 0xff),
  "a payload that says it is four billion bytes": publish(0xc6, 0xff, 0xff, 0xff, 0xff, 1),
  "a hundred thousand arrays in one another": new Array<number>(REPEAT).fill(0x91),
  "a hundred thousand maps in one another": Array.from({ length: REPEAT }, () => [
    0x81, 0xa0,
  ]).flat(),
  "a payload of a hundred thousand arrays": publish(...new Array<number>(REPEAT).fill(0x91), 0xc0),
  "arrays in one another that each promise a lot": Array.from({ length: 1000 }, () => [
    0xdc, 0xff, 0xff,
  ]).flat(),
  "an extension": publish(0xc7, 1, 5, 0),
  "an extension of no bytes": publish(0xc7, 0, 5),
  "an extension of four billion bytes": publish(0xc9, 0xff, 0xff, 0xff, 0xff, 5),
  "a timestamp": publish(0xd6, 0xff, 0, 0, 0, 0),
  "an extension for a key": map([0xd4, 5, 0, 0xc0]),
  "a type that does not exist": publish(0xc1),
  "a number for a key": publish(0x81, 0x01, 0x01),
  "two values": [0x80, 0x80],
};

async function refusedAsMalformed(broker: TestBroker, bytes: readonly number[]): Promise<void> {
  using client = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
  client.socket.send(Uint8Array.from(bytes));
  expect(await client.expect("error")).toMatchObject({ code: "malformed_frame" });
  expect((await client.closed()).code).toBe(1007);
}

describe("MessagePack", () => {
  for (const [what, bytes] of Object.entries(BOMBS)) {
    test(`[P-2.6, P-2.4] ${what} is malformed_frame, then 1007`, async () => {
      await using broker = await startBroker();
      using witness = await WireClient.connect(broker.wsUrl);
      await witness.ok({ type: "subscribe", filter: "#" });
      await refusedAsMalformed(broker, bytes);
      expect(await witness.everythingUntilNow()).toEqual([]);
      const answer = await fetch(`${broker.httpUrl}/v1/publish`, {
        method: "POST",
        headers: { "Content-Type": "application/msgpack" },
        body: Uint8Array.from(bytes),
      });
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ code: "malformed_frame" });
    });
  }

  test("[P-2.6] as many items as a message can hold are a payload like any other", async () => {
    await using broker = await startBroker();
    using client = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
    await client.ok({ type: "subscribe", filter: "t" });
    const items = new Array<null>(200_000).fill(null);
    await client.ok({ type: "publish", topic: "t", payload: items });
    expect((await client.expect("event")).payload).toEqual(items);
  });
});

describe("JSON", () => {
  const deep = `${"[".repeat(REPEAT)}${"]".repeat(REPEAT)}`;
  const objects = `${'{"a":'.repeat(REPEAT / 4)}1${"}".repeat(REPEAT / 4)}`;
  const places: Readonly<Record<string, (nested: string) => string>> = {
    "the payload": (nested) => `{"type":"publish","id":1,"topic":"t","payload":${nested}}`,
    headers: (nested) => `{"type":"publish","id":1,"topic":"t","headers":${nested}}`,
    "an id": (nested) => `{"type":"ping","id":${nested}}`,
    "a type": (nested) => `{"type":${nested}}`,
    "a whole message": (nested) => nested,
    where: (nested) => `{"type":"subscribe","id":1,"filter":"t","where":${nested}}`,
  };
  for (const [place, message] of Object.entries(places)) {
    test(`[P-2.6] nesting without end in ${place} is refused, and the broker lives`, async () => {
      await using broker = await startBroker();
      using witness = await WireClient.connect(broker.wsUrl);
      for (const nested of [deep, objects]) {
        using client = await WireClient.connect(broker.wsUrl);
        client.socket.send(message(nested));
        const { code } = await client.expect("error");
        expect(["malformed_frame", "invalid_frame", "not_supported"]).toContain(code);
        await witness.ok({ type: "ping" });
      }
      expect(broker.log.join("\n")).not.toContain('"level":"error"');
    });
  }

  test("[P-2.5] an unknown field may be nested without end, since nobody looks at it", async () => {
    await using broker = await startBroker();
    using client = await WireClient.connect(broker.wsUrl);
    client.socket.send(`{"type":"ping","id":1,"unknown":${deep}}`);
    const answer = await client.expect(({ type }) => type === "ok" || type === "error");
    expect(["ok", "error"]).toContain(answer.type);
  });
});

/** `JSON.parse` gives these names to the object itself, as any other. */
const POISON = JSON.parse(
  '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":"x",' +
    '"hasOwnProperty":1,"prototype":{"a":[{"__proto__":null}]},"":0,"then":"x","toJSON":"x"}',
);

describe("prototypes", () => {
  const untouched = () => {
    expect(({} as Frame).polluted).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect(([] as unknown as Frame).polluted).toBeUndefined();
  };

  test("[P-2.6] __proto__ and its like are keys as any other, from JSON to JSON", async () => {
    await using broker = await startBroker();
    await broker.queue("q", ["jobs"]);
    using client = await WireClient.connect(broker.wsUrl);
    await client.ok({ type: "subscribe", filter: "#" });
    await client.ok({ type: "consume", queue: "q", credit: 10 });
    const headers = JSON.parse('{"__proto__":"a","constructor":"b","toString":"c"}');
    client.socket.send(
      `{"type":"publish","id":1,"topic":"jobs","payload":${JSON.stringify(POISON)},` +
        `"headers":${JSON.stringify(headers)}}`,
    );
    for (const type of ["event", "delivery"]) {
      const got = await client.expect(type);
      expect(JSON.stringify(got.payload)).toBe(JSON.stringify(POISON));
      expect(JSON.stringify(got.headers)).toBe(JSON.stringify(headers));
    }
    untouched();
  });

  test("[P-2.6] the same from MessagePack to JSON, where __proto__ is __proto_", async () => {
    await using broker = await startBroker();
    await broker.queue("q", ["jobs"]);
    using json = await WireClient.connect(broker.wsUrl);
    using msgpack = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
    await json.ok({ type: "subscribe", filter: "#" });
    await json.ok({ type: "consume", queue: "q", credit: 10 });
    const headers = JSON.parse('{"__proto__":"a","constructor":"b"}');
    const renamed = (value: unknown) => JSON.stringify(value).replaceAll("__proto__", "__proto_");
    msgpack.send({ type: "publish", topic: "jobs", payload: POISON, headers });
    for (const type of ["event", "delivery"]) {
      const got = await json.expect(type);
      expect(JSON.stringify(got.payload)).toBe(renamed(POISON));
      expect(JSON.stringify(got.headers)).toBe(renamed(headers));
    }
    const peek = await fetch(`${broker.httpUrl}/admin/v1/queues/q/messages`);
    const [stored] = ((await peek.json()) as Frame).messages;
    expect(JSON.stringify(stored.payload)).toBe(renamed(POISON));
    expect(JSON.stringify(stored.headers)).toBe(renamed(headers));
    untouched();
  });

  test("[P-2.6] to MessagePack they go as they came, from JSON, MessagePack and HTTP", async () => {
    await using broker = await startBroker();
    using json = await WireClient.connect(broker.wsUrl);
    using msgpack = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
    // The test client's reader refuses such keys, so the bytes are looked at.
    const socket = new WebSocket(broker.wsUrl, ["warren.v1.msgpack"]);
    socket.binaryType = "arraybuffer";
    const came: Buffer[] = [];
    socket.addEventListener("message", ({ data }) => came.push(Buffer.from(data as ArrayBuffer)));
    const messages = (count: number) =>
      eventually(
        () => came.length >= count,
        () => `${count} messages; there are ${came.length}`,
      );
    await messages(1);
    socket.send(encode({ type: "subscribe", id: 1, filter: "#" }));
    await messages(2);
    const payload = POISON;
    const post = (path: string, body: Uint8Array<ArrayBuffer>) =>
      fetch(`${broker.httpUrl}/v1/${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/msgpack" },
        body,
      });
    const publishes = [
      () => json.ok({ type: "publish", topic: "t", payload }),
      () => msgpack.ok({ type: "publish", topic: "t", payload }),
      () => post("publish", encode({ topic: "t", payload })),
      () => post("topics/t", encode(payload)),
    ];
    for (const [at, publish] of publishes.entries()) {
      await publish();
      await messages(3 + at);
      expect(came[2 + at]!.includes(encode(payload))).toBe(true);
    }
    socket.close();
    untouched();
  });

  for (const encoding of ENCODINGS) {
    test(`[P-2.4, P-2.5] frames do not inherit from what they hold (${encoding})`, async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      // Taken for the frame's prototype, these would be a whole publish.
      const frame = JSON.parse('{"__proto__":{"type":"publish","topic":"t"},"id":1}');
      client.socket.send(encoding === "json" ? JSON.stringify(frame) : encode(frame));
      expect(await client.expect("error")).toMatchObject({ id: 1, code: "invalid_frame" });
      for (const type of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
        const answer = await client.request({ type });
        expect([type, answer.code]).toEqual([type, "unknown_type"]);
      }
      for (const name of ["__proto__", "constructor", "toString"]) {
        const consume = { type: "consume", queue: name, credit: 1 };
        expect((await client.request(consume)).code).toBe("unknown_queue");
        await client.ok({ type: "subscribe", filter: name });
        await client.ok({ type: "publish", topic: name, payload: name });
        expect(await client.expect("event")).toMatchObject({ topic: name, payload: name });
      }
      untouched();
    });
  }
});

describe("ids", () => {
  for (const encoding of ENCODINGS) {
    test(`[P-2.2] one id for many frames is answered for each (${encoding})`, async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      client.send(Array.from({ length: 200 }, () => ({ type: "ping", id: "same" })));
      for (let i = 0; i < 200; i++) expect(await client.expect("ok")).toMatchObject({ id: "same" });
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test(`[P-2.2] the largest numbers and the strangest texts come back as they were (${encoding})`, async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const ids = [2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 53, 1e300, "", "\u0000", '"},{"', "\u2028"];
      for (const id of ids) {
        expect(await client.request({ type: "ping", id })).toMatchObject({ type: "ok", id });
        const published = await client.request({ type: "publish", topic: "t", id });
        expect(published).toMatchObject({ type: "ok", id });
      }
    });

    test(`[P-2.2, P-11.1] an id as long as a message is refused without being repeated (${encoding})`, async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      client.send({ type: "ping", id: "x".repeat(200_000) });
      const error = await client.expect("error");
      expect(error).toMatchObject({ code: "invalid_frame", detail: { pointer: "/id" } });
      client.send({ type: "x".repeat(200_000), id: 1 });
      const unknown = await client.expect("error");
      expect(unknown).toMatchObject({ code: "unknown_type", id: 1 });
      for (const one of [error, unknown]) expect(encode(one).length).toBeLessThan(1000);
    });
  }

  test("[P-3.5] a flood of message ids of their own choice is remembered within a bound", async () => {
    await using broker = await startBroker({ limits: { recentMessageIds: 1000 } });
    using client = await WireClient.connect(broker.wsUrl);
    const messageId = (n: number) => `${n}-`.padEnd(128, "x");
    for (let n = 0; n < 10_000; n += 250) {
      client.send(
        Array.from({ length: 250 }, (_, i) => ({
          type: "publish",
          topic: "t",
          messageId: messageId(n + i),
        })),
      );
      await client.ok({ type: "ping" });
    }
    const again = (n: number) =>
      client.ok({ type: "publish", topic: "t", messageId: messageId(n) });
    expect(await again(9999)).toMatchObject({ duplicate: true });
    expect(await again(0)).not.toHaveProperty("duplicate");
  });
});

test("[P-2.6] a text that JSON may hold and UTF-8 may not is still an answer that all can read", async () => {
  await using broker = await startBroker();
  using json = await WireClient.connect(broker.wsUrl);
  using msgpack = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
  for (const client of [json, msgpack]) await client.ok({ type: "subscribe", filter: "#" });
  json.socket.send(
    '{"type":"publish","id":1,"topic":"t","payload":"\\ud800","headers":{"\\udc00":"\\ud800"},' +
      '"correlationId":"\\ud800","messageId":"\\ud800"}',
  );
  for (const client of [json, msgpack]) {
    expect(await client.expect("event")).toMatchObject({ topic: "t" });
  }
  json.socket.send('{"type":"publish","id":2,"topic":"\\ud800"}');
  expect(await json.expect(({ id }) => id === 2)).toMatchObject({ code: "invalid_topic" });
});
