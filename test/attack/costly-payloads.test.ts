/** Payloads that are made to cost much where a channel's schema is asked about them [P-14.10]. */
import { describe, expect, test } from "bun:test";
import { compileSchema } from "../../src/broker/payload-schema.ts";
import { Payload } from "../../src/payload.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

/** Half a minute and more for a whole message, character by character, without a bound. */
const SLOW_PATTERN = "(?i:\\pL{1,1000})$";
const consts = Array.from({ length: 500 }, (_, at) => ({ const: at }));
const LAST = consts.length - 1;

const channels = {
  text: { filter: "text/#", schema: { properties: { name: { pattern: SLOW_PATTERN } } } },
  not: { filter: "not/#", schema: { properties: { name: { not: { pattern: SLOW_PATTERN } } } } },
  keys: { filter: "keys/#", schema: { propertyNames: { pattern: SLOW_PATTERN } } },
  many: { filter: "many/#", schema: { items: { anyOf: consts } } },
  listed: { filter: "listed/#", schema: { items: { enum: consts.map((one) => one.const) } } },
  shared: {
    filter: "shared/#",
    schema: {
      $defs: { one: { anyOf: consts } },
      additionalProperties: { type: "array", items: { $ref: "#/$defs/one" } },
    },
  },
  counted: {
    filter: "counted/#",
    schema: { properties: { name: { pattern: SLOW_PATTERN } } },
    onInvalid: "count",
  },
};

const TEXT = "too much text";
const VALUES = "too many values";
const long = "a".repeat(20_000);
const items = new Array(20_000).fill(LAST);
const hostile: [string, string, unknown, string][] = [
  ["a text for a pattern", "text/1", { name: long }, TEXT],
  ["a text for one that must not match", "not/1", { name: `${long}!` }, TEXT],
  ["names for one", "keys/1", { [long]: 1 }, TEXT],
  ["items for many alternatives", "many/1", items, VALUES],
  ["items for a long list", "listed/1", items, VALUES],
  ["the same, by way of a definition", "shared/1", { a: items }, VALUES],
];
const harmless: [string, unknown][] = [
  ["text/1", { name: long.slice(0, 4000) }],
  ["not/1", { name: `${long.slice(0, 4000)}!` }],
  ["many/1", items.slice(0, 4000)],
  ["listed/1", items.slice(0, 4000)],
  ["shared/1", { a: items.slice(0, 4000) }],
];

describe("[P-14.10] what would take long to check does not fit", () => {
  test.each(ENCODINGS)("and is refused, over %s", async (encoding) => {
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, channels } });
    using client = await WireClient.connect(broker.wsUrl, {
      encoding,
      token: await tokenFor("dev"),
    });
    const publish = (topic: string, payload: unknown) =>
      client.request({ type: "publish", topic, payload });
    for (const [what, topic, payload, why] of hostile) {
      const answer = await publish(topic, payload);
      expect([what, answer.code, answer.message]).toEqual([
        what,
        "schema_violation",
        expect.stringContaining(why),
      ]);
    }
    // Each payload has all of it: nothing is spent by those before.
    for (const [topic, payload] of harmless) {
      expect((await publish(topic, payload)).type).toBe("ok");
    }
    expect((await publish("counted/1", { name: long })).type).toBe("ok");
  });
});

describe("[P-14.10] the value that is checked is the one that readers of JSON are shown", () => {
  const schema = {
    properties: { blob: { type: "string", maxLength: 8 } },
    additionalProperties: { type: "object" },
  };
  const channel = { filter: "t/#", schema };
  const table: [string, unknown, string | undefined][] = [
    ["bytes are base64", { blob: new Uint8Array(6) }, undefined],
    ["which has a length", { blob: new Uint8Array(7) }, "/payload/blob"],
    ["bytes are no object", { other: new Uint8Array(3) }, "/payload/other"],
    ["however deep", { other: { a: [new Uint8Array(3)] } }, undefined],
  ];
  test.each(table)("%s", async (_, payload, pointer) => {
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, channels: { channel } } });
    using writer = await WireClient.connect(broker.wsUrl, {
      encoding: "msgpack",
      token: await tokenFor("dev"),
    });
    const answer = await writer.request({ type: "publish", topic: "t/1", payload });
    if (pointer === undefined) expect(answer.type).toBe("ok");
    else expect(answer).toMatchObject({ code: "schema_violation", detail: { pointer } });
  });
});

test("[P-14.10] ordinary payloads are far from the bounds", () => {
  const uuid = { type: "string", pattern: "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" };
  const reading = { type: "object", properties: { device: uuid, degrees: { type: "number" } } };
  const check = compileSchema({ type: "array", items: reading }, "");
  if (typeof check !== "function") throw new Error(check.message);
  const device = "0f8fad5b-d9cb-469f-a165-70867728950e";
  const readings = Array.from({ length: 5000 }, (_, at) => ({ device, degrees: at }));
  expect(check(Payload.fromValue(readings))).toBeUndefined();
  const text = compileSchema({ pattern: "^[A-Za-z0-9+/]*={0,2}$" }, "");
  if (typeof text !== "function") throw new Error(text.message);
  expect(text(Payload.fromValue("a".repeat(1_000_000)))).toBeUndefined();
});
