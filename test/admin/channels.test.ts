/** Channels: what holds on the topics of a filter [P-13.8], [P-14.9], and payload schemas [P-14.10]. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isMoreSpecific } from "../../src/broker/channels.ts";
import { compileSchema } from "../../src/broker/payload-schema.ts";
import { Payload } from "../../src/payload.ts";
import { filterContains, filterMatches } from "../../src/topic.ts";
import { fuzzSeeds } from "../harness/seeded-random.ts";
import { type BrokerOptions, startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

async function started(options: BrokerOptions = {}) {
  const broker = await startBroker({ ...options, access: { ...TOKENS_ONLY, ...options.access } });
  const token = await tokenFor("operator");
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${broker.httpUrl}/admin/v1/channels${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) };
  };
  return { broker, ask };
}

/** What `/metrics` says of payloads that did not fit. */
async function invalid({ httpUrl }: TestBroker): Promise<number> {
  const headers = { Authorization: `Bearer ${await tokenFor("operator")}` };
  const text = await (await fetch(`${httpUrl}/metrics`, { headers })).text();
  return Number(/^warren_invalid_total (\d+)$/m.exec(text)?.[1]);
}

describe("[P-13.8] channels are stored", () => {
  test("put, read, listed, removed", async () => {
    const { broker, ask } = await started({ access: { channels: { base: { filter: "b/#" } } } });
    await using _ = broker;
    const put = await ask("PUT", "/c", { filter: "c/#", maxPayloadBytes: 9 });
    expect(put.body).toEqual({ name: "c", origin: "stored", filter: "c/#", maxPayloadBytes: 9 });
    expect((await ask("GET", "/c")).body).toEqual(put.body);
    const listed = (await ask("GET", "?limit=1")).body;
    expect(listed).toMatchObject({
      channels: [{ name: "base", origin: "settings" }],
      next: "base",
    });
    expect((await ask("PUT", "/base", { filter: "b/#" })).body.code).toBe("conflict");
    expect((await ask("PUT", "/d", { filter: "c/#" })).body).toMatchObject({
      code: "conflict",
      pointer: "/filter",
    });
    expect((await ask("DELETE", "/c")).status).toBe(204);
    expect((await ask("GET", "/c")).status).toBe(404);
  });

  test("[P-14.9] of two that come at the same time with one filter, one is refused", async () => {
    const { broker, ask } = await started();
    await using _ = broker;
    const puts = ["/one", "/two"].map((name) => ask("PUT", name, { filter: "same/#" }));
    const statuses = (await Promise.all(puts)).map(({ status }) => status);
    expect(statuses.sort()).toEqual([200, 409]);
    expect((await ask("GET", "")).body.channels).toHaveLength(1);
  });

  const kept = (history: object) => ({ filter: "a", history });
  const refused: [string, object, string, string][] = [
    ["a bad filter", { filter: "a/#/b" }, "invalid_frame", "/filter"],
    ["an unknown field", { filter: "a", size: 1 }, "invalid_frame", "/size"],
    ["onInvalid alone", { filter: "a", onInvalid: "count" }, "invalid_frame", "/onInvalid"],
    [
      "history that keeps nothing",
      kept({ maxMessages: 0 }),
      "invalid_frame",
      "/history/maxMessages",
    ],
    ["too much history", kept({ maxMessages: 1e7 }), "invalid_frame", "/history/maxMessages"],
    ["history of no age", kept({ maxAgeMs: 0 }), "invalid_frame", "/history/maxAgeMs"],
    ["an unknown bound", kept({ max: 1 }), "invalid_frame", "/history/max"],
    ["retained that is no answer", { filter: "a", retained: 1 }, "invalid_frame", "/retained"],
    ["dead-letter alone", { filter: "a", onInvalid: "dead-letter" }, "invalid_frame", "/onInvalid"],
  ];
  test("what does not fit or is not there yet is refused by its place", async () => {
    const { broker, ask } = await started();
    await using _ = broker;
    for (const [, body, code, pointer] of refused) {
      expect((await ask("PUT", "/c", body)).body).toMatchObject({ code, pointer });
    }
  });

  test("faults in the settings stop the start", async () => {
    const channels = { a: { filter: "x" }, b: { filter: "x", schema: { type: "nope" } } };
    await expect(startBroker({ access: { channels } })).rejects.toThrow(/channels\.b\.filter/);
  });
});

for (const encoding of ENCODINGS) {
  describe(`over ${encoding}`, () => {
    test("[P-14.9] the most specific channel rules, from the next message on", async () => {
      const { broker, ask } = await started();
      await using _ = broker;
      using client = await WireClient.connect(broker.wsUrl, {
        encoding,
        token: await tokenFor("dev"),
      });
      const publish = (topic: string, payload: unknown) =>
        client.request({ type: "publish", topic, payload });
      expect((await publish("a/b", "long enough")).type).toBe("ok");
      await ask("PUT", "/wide", { filter: "a/#", maxPayloadBytes: 3 });
      expect(await publish("a/b", "long enough")).toMatchObject({
        code: "too_large",
        detail: { channel: "wide", limit: 3 },
      });
      await ask("PUT", "/narrow", { filter: "a/+", maxPayloadBytes: 30 });
      expect((await publish("a/b", "long enough")).type).toBe("ok");
      expect((await publish("a/b/c", "long enough")).code).toBe("too_large");
      await ask("DELETE", "/wide");
      expect((await publish("a/b/c", "long enough")).type).toBe("ok");
    });

    test("[P-14.9] what everyone may do there, and no longer when it goes", async () => {
      const { broker, ask } = await started();
      await using _ = broker;
      const grants = [{ deny: ["subscribe"], on: ["open/closed"] }];
      using client = await WireClient.connect(broker.wsUrl, {
        encoding,
        token: await tokenFor("guest", { grants }),
      });
      const subscribe = (filter: string) => client.request({ type: "subscribe", filter });
      expect((await subscribe("open/a")).code).toBe("forbidden");
      await ask("PUT", "/lobby", { filter: "open/+", everyone: ["subscribe"] });
      expect((await subscribe("open/a")).type).toBe("ok");
      expect((await subscribe("open/closed")).code).toBe("forbidden");
      expect((await client.request({ type: "publish", topic: "open/a" })).code).toBe("forbidden");
      await ask("DELETE", "/lobby");
      expect(await client.expect("notice")).toMatchObject({
        code: "unsubscribed",
        filter: "open/a",
      });
    });

    test("[P-14.10] a payload that does not fit is refused with its place, or counted", async () => {
      const { broker, ask } = await started();
      await using _ = broker;
      const schema = {
        type: "object",
        properties: { degrees: { type: "number", minimum: -50 } },
        required: ["degrees"],
      };
      await ask("PUT", "/t", { filter: "t/#", schema });
      using client = await WireClient.connect(broker.wsUrl, {
        encoding,
        token: await tokenFor("dev"),
      });
      const publish = (payload: unknown) =>
        client.request({ type: "publish", topic: "t/1", payload });
      expect((await publish({ degrees: 20.5 })).type).toBe("ok");
      expect(await publish({ degrees: -51 })).toMatchObject({
        code: "schema_violation",
        detail: { channel: "t", pointer: "/payload/degrees" },
      });
      expect((await publish({})).detail.pointer).toBe("/payload");
      expect(await invalid(broker)).toBe(2);
      await ask("PUT", "/t", { filter: "t/#", schema, onInvalid: "count" });
      await client.ok({ type: "subscribe", filter: "t/#" });
      expect((await publish({ degrees: -51 })).type).toBe("ok");
      // Only counted: whoever listens sees it as ever.
      expect((await client.expect("event")).payload).toEqual({ degrees: -51 });
      expect((await publish({ degrees: -49 })).type).toBe("ok");
      expect(await invalid(broker)).toBe(3);
    });

    test("[P-14.10] or goes to the dead letters, unseen by live subscribers", async () => {
      const { broker, ask } = await started();
      await using _ = broker;
      const schema = { type: "object", required: ["degrees"] };
      await ask("PUT", "/t", { filter: "t/#", schema, onInvalid: "dead-letter" });
      await broker.queue("jobs", ["t/kept"]);
      using client = await WireClient.connect(broker.wsUrl, {
        encoding,
        token: await tokenFor("dev"),
      });
      await client.ok({ type: "subscribe", filter: "t/#" });
      const publish = (topic: string, payload: unknown) =>
        client.request({ type: "publish", topic, payload });
      const misfit = await publish("t/kept", { degree: 1 });
      expect(misfit).toMatchObject({ type: "ok", queues: 1, invalid: true });
      const fitting = await publish("t/kept", { degrees: 1 });
      expect(fitting).toMatchObject({ type: "ok", queues: 1 });
      expect(fitting).not.toHaveProperty("invalid");
      expect(await client.expect("event")).toMatchObject({ payload: { degrees: 1 } });
      await client.ok({ type: "consume", queue: "jobs.dead", credit: 10 });
      expect(await client.expect("delivery")).toMatchObject({
        messageId: misfit.messageId,
        payload: { degree: 1 },
        deaths: [{ queue: "jobs", reason: "invalid", detail: expect.stringContaining("/payload") }],
      });
      // No queue, nowhere to keep it; in a batch it goes its own way.
      expect(await publish("t/live", {})).toMatchObject({ code: "schema_violation" });
      const frames = [{ degrees: 2 }, {}].map((payload) => ({ topic: "t/kept", payload }));
      const batch = await client.ok({ type: "batch", publish: frames });
      expect(batch.results).toMatchObject([{ queues: 1 }, { queues: 1, invalid: true }]);
      expect((await client.expect("event")).payload).toEqual({ degrees: 2 });
      const named = await fetch(`${broker.httpUrl}/v1/topics/t/kept`, {
        method: "POST",
        headers: {
          Authorization: `Bearer ${await tokenFor("web")}`,
          "Content-Type": "application/json",
        },
        body: JSON.stringify({ ["x".repeat(2000)]: 1 }),
      });
      expect(await named.json()).toMatchObject({ queues: 1, invalid: true });
    });

    test("[P-14.9] a channel has a rate for all its publishers together", async () => {
      const { broker, ask } = await started();
      await using _ = broker;
      await ask("PUT", "/slow", { filter: "s", maxRatePerSecond: 0.001 });
      const token = await tokenFor("dev");
      using one = await WireClient.connect(broker.wsUrl, { encoding, token });
      using other = await WireClient.connect(broker.wsUrl, { encoding, token });
      expect((await one.request({ type: "publish", topic: "s" })).type).toBe("ok");
      expect(await other.request({ type: "publish", topic: "s" })).toMatchObject({
        code: "rate_limited",
        detail: { channel: "slow", scope: "channel" },
      });
    });
  });
}

test("[P-14.9] of the filters that match a topic exactly one is the most specific, and inner ones are", () => {
  const level = fc.constantFrom("a", "b", "+");
  const filter = fc
    .tuple(fc.array(level, { minLength: 1, maxLength: 3 }), fc.boolean())
    .map(([levels, open]) => (open ? [...levels, "#"] : levels).join("/"));
  const topic = fc
    .array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 4 })
    .map((levels) => levels.join("/"));
  const seed = fuzzSeeds(1)[0]!;
  fc.assert(
    fc.property(topic, fc.uniqueArray(filter, { minLength: 12, maxLength: 30 }), (on, filters) => {
      const matching = filters.filter((one) => filterMatches(one, on));
      const best = matching.filter((one) =>
        matching.every((other) => one === other || isMoreSpecific(one, other)),
      );
      expect(best.length).toBe(matching.length === 0 ? 0 : 1);
      for (const inner of matching) {
        for (const outer of matching) {
          if (filterContains(outer, inner) && !filterContains(inner, outer)) {
            expect(isMoreSpecific(inner, outer)).toBe(true);
          }
        }
      }
    }),
    { seed, numRuns: 1000 },
  );
});

describe("[P-14.10] a schema cannot be made to cost too much", () => {
  const refused: [string, unknown, string][] = [
    ["no object", true, "/schema"],
    ["an unknown keyword", { foo: 1 }, "/schema"],
    ["a wrong type", { type: "nope" }, "/schema/type"],
    ["somebody else's schema", { $ref: "https://example.com/x" }, "/schema/$ref"],
    [
      "a circle",
      { $defs: { a: { $ref: "#/$defs/a" } }, $ref: "#/$defs/a" },
      "/schema/$defs/a/$ref",
    ],
    ["look-ahead", { type: "string", pattern: "(?=a)" }, "/schema/pattern"],
    ["a long pattern", { pattern: "a".repeat(513) }, "/schema/pattern"],
    ["comparing everything", { type: "array", uniqueItems: true }, "/schema/uniqueItems"],
    ["a large one", { title: "x".repeat(70_000) }, "/schema"],
  ];
  for (const [name, schema, pointer] of refused) {
    test(name, () => {
      expect(compileSchema(schema, "/schema")).toMatchObject({ pointer });
    });
  }

  test("references that double at each step", () => {
    const $defs: Record<string, object> = { d0: { type: "number" } };
    for (let i = 1; i < 30; i++) {
      const $ref = `#/$defs/d${i - 1}`;
      $defs[`d${i}`] = { anyOf: [{ $ref }, { $ref }] };
    }
    expect(compileSchema({ $defs, $ref: "#/$defs/d29" }, "")).toHaveProperty("message");
  });

  test("a pattern that backtracking would not survive", () => {
    const check = compileSchema({ type: "string", pattern: "^(a+)+$" }, "");
    if (typeof check !== "function") throw new Error(check.message);
    expect(check(Payload.fromValue("a".repeat(5000)))).toBeUndefined();
    expect(check(Payload.fromValue(`${"a".repeat(5000)}!`))).toMatchObject({ pointer: "" });
  });

  test("several patterns are each their own", () => {
    const properties = {
      a: { type: "string", pattern: "^a$" },
      b: { type: "string", pattern: "^b$" },
    };
    const check = compileSchema({ type: "object", properties }, "");
    if (typeof check !== "function") throw new Error(check.message);
    expect(check(Payload.fromValue({ a: "a", b: "b" }))).toBeUndefined();
    expect(check(Payload.fromValue({ a: "b", b: "b" }))).toMatchObject({ pointer: "/a" });
    expect(check(Payload.fromValue({ a: "a", b: "a" }))).toMatchObject({ pointer: "/b" });
  });

  test("binary is no JSON value", () => {
    const check = compileSchema({}, "");
    if (typeof check !== "function") throw new Error(check.message);
    expect(check(Payload.fromBinary(new Uint8Array([1])))?.message).toContain("binary");
  });
});
