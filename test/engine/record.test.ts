/** A record that was read keeps nothing of the memory that it was read from: the next page uses it again. */
import { expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import { OPERATION } from "../../src/engine/sqlite/batch.ts";
import {
  decodeHeader,
  decodeRecord,
  encodeRecord,
  reenteredHeader,
} from "../../src/engine/sqlite/record.ts";
import type { Message } from "../../src/message.ts";
import { PAYLOAD_FORMAT, Payload } from "../../src/payload.ts";

const PAYLOADS = {
  json: Payload.fromValue({ a: "text" }),
  msgpack: Payload.fromStored(PAYLOAD_FORMAT.msgpack, encode({ a: "text" })),
  binary: Payload.fromBinary(Buffer.from("bytes")),
};

test("[P-5.8] the writer can tell every kind of operation from the others", () => {
  const kinds = Object.values<number>(OPERATION);
  expect(new Set(kinds).size).toBe(kinds.length);
});

for (const [name, payload] of Object.entries(PAYLOADS)) {
  test(`[P-5.8] a stored ${name} payload outlives the page it came in`, () => {
    const message: Message = { id: "m", topic: "t", time: 1, payload };
    const { header, payload: body } = encodeRecord(message, 1, undefined);
    const page = Buffer.from(new SharedArrayBuffer(1000));
    const start = page.write(header, 100);
    const length = typeof body === "string" ? page.write(body, 100 + start) : body.length;
    if (typeof body !== "string") page.set(body, 100 + start);
    const stored = decodeRecord(page.subarray(100, 100 + start + length));
    page.fill(0xff);
    expect(stored.message.payload.json()).toBe(payload.json());
  });
}

test("[P-5.8] headers that look alike are told apart", () => {
  const payload = Payload.fromValue(1);
  const time = 1_790_000_000_000;
  const id = "0".repeat(36);
  const messages: Message[] = [
    { id, topic: "a/b", time, payload },
    { id, topic: "a/b", time: time + 1, payload },
    { id: `"${"0".repeat(34)}`, topic: "a/b", time, payload },
    { id: `${"0".repeat(34)}"`, topic: "a/b", time, payload },
    { id: "\\".repeat(18), topic: "a/b", time, payload },
    { id, topic: "a/c", time, payload },
    { id, topic: "a/c", time: 1, payload },
    // As long as a time of the usual length is.
    { id, topic: "a/c", time: 1, payload, priority: 9 },
    { id, topic: "a/c", time: 12, payload, key: "abcd" },
  ];
  for (const message of [...messages, ...messages]) {
    const { header } = encodeRecord(message, message.time, undefined);
    const stored = decodeRecord(Buffer.from(`${header}1`)).message;
    expect({ ...stored, payload: stored.payload.json() }).toEqual({ ...message, payload: "1" });
  }
});

test("[P-13.10] the header of a message that moves says the new time, and all else as before", () => {
  const time = 1_790_000_000_000;
  const now = time + 5000;
  const expiresAt = time + 1000;
  const deaths = [
    { queue: "q", reason: "rejected", attempts: 1, firstAt: time, lastAt: time },
  ] as const;
  // A name that looks like the field, with a value that looks like a time.
  const headers = { a: "b", enteredAt: "1790000000000", c: ',"enteredAt":1790000000000,' };
  const plain = { id: 'i"d', topic: 't,"enteredAt":1790000000000,', time, headers, expiresAt };
  const payloads = [Payload.fromValue(1), Payload.fromBinary(Buffer.from([0, 10, 255]))];
  for (const payload of payloads) {
    for (const enteredAt of [time, time + 1, 12, 12_345_678_901_234]) {
      for (const ends of [false, true]) {
        const message: Message = { ...plain, payload };
        const { header } = encodeRecord(message, enteredAt, deaths);
        const moved = reenteredHeader(header.trimEnd(), now, !ends);
        const { expiresAt: _gone, ...endless } = message;
        const expected = encodeRecord(ends ? endless : message, now, deaths).header;
        expect(moved.trimEnd()).toBe(expected.trimEnd());
        expect(decodeHeader(moved)).toMatchObject({ enteredAt: now, deaths });
      }
    }
  }
});
