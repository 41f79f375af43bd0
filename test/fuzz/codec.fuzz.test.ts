/** Decoders and a real socket under random and hostile bytes: an error or a close, never a crash. */
import { expect, test } from "bun:test";
import { decode, encode } from "@msgpack/msgpack";
import { PackedPayload } from "../../src/broker/publication.ts";
import type { Random } from "../../src/clock.ts";
import { WarrenError } from "../../src/errors.ts";
import { pack } from "../../src/packing.ts";
import { decodeJson } from "../../src/protocols/native/json.ts";
import { decodeMsgpack } from "../../src/protocols/native/msgpack.ts";
import { unpack } from "../../src/unpacking.ts";
import { eventually } from "../harness/eventually.ts";
import { RawClient } from "../harness/raw-client.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";
import { startBroker } from "../harness/start-broker.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

const NUMBERS = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
const TEXTS = ["", "a", "é", "😀", "x".repeat(31), "x".repeat(32), "ü".repeat(200), "__proto__"];
const TYPES = [
  "publish",
  "subscribe",
  "unsubscribe",
  "consume",
  "credit",
  "cancel",
  "ack",
  "nack",
  "reject",
  "extend",
  "auth",
  "ping",
  "dance",
];
const FIELDS = ["topic", "payload", "filter", "queue", "credit", "tags", "id", "headers", "echo"];

function pick<T>(random: Random, items: readonly T[]): T {
  return items[Math.floor(random() * items.length)]!;
}

function randomBytes(random: Random, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

function randomValue(random: Random, depth = 0): unknown {
  const kind = random();
  if (kind < 0.15) return pick(random, [null, true, false, -1, -32, -33, -(2 ** 31), 1.5]);
  if (kind < 0.35) return pick(random, NUMBERS) * (random() < 0.3 ? -1 : 1) + 0;
  if (kind < 0.6 || depth > 4) return pick(random, TEXTS);
  if (kind < 0.7) return randomBytes(random, Math.floor(random() * 300));
  const items = Array.from({ length: Math.floor(random() * (random() < 0.1 ? 40 : 5)) }, () =>
    randomValue(random, depth + 1),
  );
  if (kind < 0.85) return items;
  return Object.fromEntries(items.map((item, i) => [`${i}${pick(random, TEXTS)}`, item]));
}

function randomFrame(random: Random): Frame {
  const frame: Frame = { type: pick(random, TYPES) };
  for (const field of FIELDS) {
    if (random() < 0.5) frame[field] = randomValue(random);
    else if (random() < 0.3) frame[field] = pick(random, ["a", "a/b", "+", 1, [1]]);
  }
  return frame;
}

/** A map of these entries in this order, its header of any length that will do. */
function mapOf(random: Random, entries: readonly [string, unknown][]): Uint8Array {
  const count = entries.length;
  const headers = [
    Uint8Array.of(0xde, count >> 8, count & 0xff),
    Uint8Array.of(0xdf, 0, 0, count >> 8, count & 0xff),
  ];
  if (count < 16) headers.push(Uint8Array.of(0x80 | count));
  return Buffer.concat([pick(random, headers), ...entries.flat().map((part) => encode(part))]);
}

/** Flips, cuts and repeats. */
function mangled(random: Random, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = Uint8Array.from(bytes);
  for (let flips = 1 + Math.floor(random() * 4); flips > 0; flips--) {
    out[Math.floor(random() * out.length)] = Math.floor(random() * 256);
  }
  return random() < 0.5 ? out : out.slice(0, Math.floor(random() * out.length));
}

function refusal(run: () => unknown): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return error;
  }
}

for (const seed of fuzzSeeds(2)) {
  test(`[P-2.1] what is packed is what other packers read, and the other way (FUZZ_SEED=${seed})`, () => {
    const random = seededRandom(seed);
    for (let i = 0; i < 3000; i++) {
      const value = randomValue(random);
      expect(decode(pack(value))).toEqual(value);
      expect(unpack(encode(value))).toEqual(value);
      expect(unpack(pack(value))).toEqual(value);
    }
  });

  test(`[P-2.6] a payload is cut out of its frame wherever it lies (FUZZ_SEED=${seed})`, () => {
    const random = seededRandom(seed);
    const frames: Frame[] = [];
    const packed: Uint8Array[] = [];
    for (let i = 0; i < 2000; i++) {
      const fields = Object.entries(randomFrame(random)).filter(([name]) => name !== "payload");
      while (random() < 0.3) fields.push([`more${fields.length}`, random()]);
      if (random() < 0.01) fields.push(["long", "x".repeat(20_000)]);
      if (random() < 0.01) for (let n = 0; n < 300; n++) fields.push([`${n}`, n]);
      const payloads = [...Array(pick(random, [0, 1, 1, 1, 2]))].map(() => randomValue(random));
      for (const payload of payloads) {
        fields.splice(Math.floor(random() * (fields.length + 1)), 0, ["payload", payload]);
      }
      frames.push(Object.fromEntries(fields));
      packed.push(mapOf(random, fields));
    }
    const restored = (frame: unknown) => {
      const { payload, ...rest } = frame as Frame;
      if (payload instanceof PackedPayload) return { ...rest, payload: payload.payload.value() };
      return frame;
    };
    for (const [at, frame] of frames.entries()) {
      expect(restored(decodeMsgpack(packed[at]!))).toEqual(frame);
    }
    const header = Uint8Array.of(0xdc, frames.length >> 8, frames.length & 0xff);
    const all = decodeMsgpack(Buffer.concat([header, ...packed])) as unknown[];
    expect(all.map(restored)).toEqual(frames);
  });

  test(`[P-2.4] hostile bytes are malformed_frame or decode, nothing else (FUZZ_SEED=${seed})`, () => {
    const random = seededRandom(seed);
    for (let i = 0; i < 20_000; i++) {
      const bytes =
        random() < 0.5
          ? randomBytes(random, Math.floor(random() * 64))
          : mangled(random, encode(randomFrame(random)));
      for (const read of [unpack, decodeMsgpack]) {
        const error = refusal(() => read(bytes));
        if (error === undefined) continue;
        expect(error).toBeInstanceOf(WarrenError);
        expect((error as WarrenError).code).toBe("malformed_frame");
      }
      // Both ways through the bytes have one opinion of them.
      const whole = refusal(() => unpack(bytes)) === undefined;
      expect(refusal(() => decodeMsgpack(bytes)) === undefined).toBe(whole);
      const error = refusal(() => decodeJson(Buffer.from(bytes).toString("latin1")));
      if (error !== undefined) expect((error as WarrenError).code).toBe("malformed_frame");
    }
  });

  for (const encoding of ENCODINGS) {
    test(`[P-2.4] a real socket outlives any frame (${encoding}, FUZZ_SEED=${seed})`, async () => {
      const random = seededRandom(seed);
      await using broker = await startBroker({ limits: { badFramesInARow: 1_000_000 } });
      await broker.queue("a", ["a/#"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      for (let i = 0; i < 2000; i++) {
        // An auth that anyone may make, and a ping, would be answered with the same ids.
        client.send({ ...randomFrame(random), id: null });
        if (i % 100 === 0) await client.ok({ type: "ping", id: `alive${i}` });
      }
      await client.ok({ type: "ping" });
      expect(broker.log.join("\n")).not.toContain('"level":"error"');
    });

    test(`[P-2.4] mangled messages end their connection only (${encoding}, FUZZ_SEED=${seed})`, async () => {
      const random = seededRandom(seed);
      await using broker = await startBroker();
      using witness = await WireClient.connect(broker.wsUrl);
      for (let i = 0; i < 60; i++) {
        using client = await WireClient.connect(broker.wsUrl, { encoding });
        for (let j = 0; j < 10; j++) {
          const frame = randomFrame(random);
          if (encoding === "msgpack") client.socket.send(mangled(random, encode(frame)));
          else
            client.socket.send(
              Buffer.from(mangled(random, Buffer.from(JSON.stringify(frame)))).toString("latin1"),
            );
        }
      }
      await witness.ok({ type: "ping" });
      await eventually(
        () => broker.warren.sessions.size === 1,
        () => `one session, not ${broker.warren.sessions.size}`,
      );
      expect(broker.warren.broker.counters).toMatchObject({ routes: 0, subscriptions: 0 });
      expect(broker.log.join("\n")).not.toContain('"level":"error"');
    });
  }

  test(`[P-10.2] bytes that are no WebSocket frames end the connection only (FUZZ_SEED=${seed})`, async () => {
    const random = seededRandom(seed);
    await using broker = await startBroker();
    for (let i = 0; i < 40; i++) {
      using client = await RawClient.connect(broker.wsUrl);
      client.socket.write(randomBytes(random, 1 + Math.floor(random() * 2000)));
    }
    await eventually(
      () => broker.warren.sessions.size === 0,
      () => `no session, not ${broker.warren.sessions.size}`,
    );
    using client = await WireClient.connect(broker.wsUrl);
    await client.ok({ type: "ping" });
  });
}

test("[P-2.6] JSON nested a hundred thousand deep is refused, not followed", async () => {
  await using broker = await startBroker();
  using client = await WireClient.connect(broker.wsUrl);
  const deep = "[".repeat(100_000) + "]".repeat(100_000);
  client.socket.send(`{"type":"publish","id":1,"topic":"t","payload":${deep}}`);
  const error = await client.expect("error");
  expect(["invalid_frame", "malformed_frame"]).toContain(error.code);
});
