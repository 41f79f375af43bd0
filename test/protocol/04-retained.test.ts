/** Retained values: what a subscription begins with [P-4.4]. */
import { describe, expect, test } from "bun:test";
import { Value } from "@sinclair/typebox/value";
import { SERVER_FRAMES } from "../../schemas/frames.ts";
import { systemRandom } from "../../src/clock.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

const CHANNELS = {
  values: { filter: "v/#", retained: true },
  both: { filter: "b/#", retained: true, history: {} },
  plain: { filter: "v/plain/#" },
};
const KEPT = { channels: CHANNELS };

const put = (client: WireClient, topic: string, payload: unknown, more: object = {}) =>
  client.ok({ type: "publish", topic, payload, retain: true, ...more });

async function events(client: WireClient, count: number): Promise<Frame[]> {
  const seen: Frame[] = [];
  while (seen.length < count) seen.push(await client.expect("event"));
  return seen;
}

const shown = (frames: readonly Frame[]) =>
  frames.map(({ topic, payload, retained }) => [topic, payload, retained]);

for (const encoding of ENCODINGS) {
  const connect = (broker: TestBroker, token?: string) =>
    WireClient.connect(broker.wsUrl, { encoding, ...(token !== undefined && { token }) });

  describe(`[P-4.4] over ${encoding}`, () => {
    test("the last value of each topic comes first, marked, then what is new", async () => {
      await using broker = await startBroker({ access: KEPT });
      using publisher = await connect(broker);
      await put(publisher, "v/a", 1);
      await put(publisher, "v/a", 2, { headers: { unit: "C" } });
      await put(publisher, "v/b", 3);
      // Without `retain` the value stays what it is.
      await publisher.ok({ type: "publish", topic: "v/b", payload: 4 });
      using client = await connect(broker);
      const ok = await client.ok({ type: "subscribe", filter: "v/+" });
      expect(ok).toMatchObject({ filter: "v/+", retained: 2 });
      await put(publisher, "v/a", 5);
      const seen = await events(client, 3);
      expect(shown(seen)).toEqual([
        ["v/a", 2, true],
        ["v/b", 3, true],
        ["v/a", 5, undefined],
      ]);
      expect(seen[0]).toMatchObject({ filter: "v/+", headers: { unit: "C" } });
      for (const event of seen) expect(Value.Check(SERVER_FRAMES.event, event)).toBe(true);
      const one = await client.ok({ type: "subscribe", filter: "v/b" });
      expect(one.retained).toBe(1);
      const [value] = await events(client, 1);
      expect(value).toMatchObject({ topic: "v/b", payload: 3, retained: true });
      expect(value).not.toHaveProperty("filter");
      const none = await client.ok({ type: "subscribe", filter: "v/none" });
      expect(none.retained).toBe(0);
      expect(await client.ok({ type: "subscribe", filter: "x/#" })).not.toHaveProperty("retained");
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test("null, nothing and empty binary take the value away", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      const nothing: object[] = [
        { payload: null },
        {},
        encoding === "json"
          ? { payload: "", payloadEncoding: "base64" }
          : { payload: new Uint8Array() },
      ];
      for (const [index, one] of nothing.entries()) {
        await put(client, "v/a", index);
        await client.ok({ type: "subscribe", filter: "v/a" });
        expect((await client.expect("event")).payload).toBe(index);
        await client.ok({ type: "publish", topic: "v/a", retain: true, ...one });
        // Who is subscribed sees that.
        expect(await client.expect("event")).not.toHaveProperty("retained");
        await client.ok({ type: "unsubscribe", filter: "v/a" });
        expect(await client.ok({ type: "subscribe", filter: "v/a" })).toMatchObject({
          retained: 0,
        });
        await client.ok({ type: "unsubscribe", filter: "v/a" });
      }
      // What is empty and not nothing stays.
      for (const value of ["", 0, false, {}, []]) {
        await put(client, "v/a", value);
        expect((await client.ok({ type: "subscribe", filter: "v/a" })).retained).toBe(1);
        expect((await client.expect("event")).payload).toEqual(value);
        await client.ok({ type: "unsubscribe", filter: "v/a" });
      }
    });

    test("[P-3.2] where no value is kept, retain is refused by its field", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      for (const topic of ["other", "v/plain/a"]) {
        const answer = await client.request({ type: "publish", topic, payload: 1, retain: true });
        expect(answer).toMatchObject({ code: "not_supported", detail: { pointer: "/retain" } });
      }
      const batch = [
        { topic: "v/a", payload: 1, retain: true },
        { topic: "other", retain: true },
      ];
      expect(await client.request({ type: "batch", publish: batch })).toMatchObject({
        code: "not_supported",
        detail: { pointer: "/publish/1/retain", index: 1 },
      });
      await client.ok({ type: "publish", topic: "other", retain: false });
      expect(await client.ok({ type: "subscribe", filter: "v/#" })).toMatchObject({ retained: 0 });
    });

    test("[P-5.14, P-3.7] a batch keeps its place behind values that are on their way", async () => {
      // On disk, so that what is stored takes a while.
      await using warren = await startTestWarren({ channels: CHANNELS });
      const url = `${warren.url.replace("http", "ws")}/ws`;
      using reader = await WireClient.connect(url, { encoding });
      using client = await WireClient.connect(url, { encoding });
      await reader.ok({ type: "subscribe", filter: "v/+" });
      const answers: Promise<Frame>[] = [];
      let n = 0;
      const message = (more: object = {}) => ({ topic: "v/a", payload: ++n, ...more });
      for (let round = 0; round < 30; round++) {
        answers.push(client.request({ type: "publish", ...message({ retain: true }) }));
        const publish = [message(), message({ topic: "v/plain" }), message({ retain: true })];
        answers.push(client.request({ type: "batch", publish }));
        answers.push(client.request({ type: "publish", ...message({ topic: "v/plain" }) }));
        answers.push(client.request({ type: "publish", ...message() }));
        answers.push(client.request({ type: "batch", publish: [message(), message()] }));
      }
      for (const answer of await Promise.all(answers)) expect(answer.type).toBe("ok");
      const seen = await events(reader, n);
      const of = (wanted: string) =>
        seen.filter(({ topic }) => topic === wanted).map(({ payload }) => payload);
      for (const topic of ["v/a", "v/plain"]) {
        expect(of(topic)).toEqual(of(topic).toSorted((a, b) => a - b));
      }
      expect(of("v/plain").length).toBe(60);
      const ok = await client.ok({ type: "subscribe", filter: "v/a" });
      expect(ok.retained).toBe(1);
      expect((await events(client, 1))[0]!.payload).toBe(n - 4);
    });

    test("[P-5.14] a batch sets and takes away, in order", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      const publish = [
        { topic: "v/a", payload: 1, retain: true },
        { topic: "v/b", payload: 2, retain: true },
        { topic: "v/a", payload: null, retain: true },
        { topic: "b/a", payload: 3, retain: true },
        { topic: "b/a", payload: 4 },
        { topic: "v/c", payload: 5 },
      ];
      const { results } = await client.ok({ type: "batch", publish });
      expect(results.map(({ offset }: Frame) => offset)).toEqual([
        undefined,
        undefined,
        undefined,
        1,
        2,
        undefined,
      ]);
      expect((await client.ok({ type: "subscribe", filter: "#" })).retained).toBe(2);
      expect(shown(await events(client, 2))).toEqual([
        ["b/a", 3, true],
        ["v/b", 2, true],
      ]);
    });

    test("it expires with its ttlMs", async () => {
      const clock = new ManualClock();
      await using broker = await startBroker({
        access: KEPT,
        deps: { clock, random: systemRandom },
      });
      using client = await connect(broker);
      await put(client, "v/a", 1, { ttlMs: 1000 });
      await put(client, "v/b", 2);
      clock.advance(999);
      expect((await client.ok({ type: "subscribe", filter: "v/a" })).retained).toBe(1);
      clock.advance(1);
      expect((await client.ok({ type: "subscribe", filter: "v/+" })).retained).toBe(1);
    });

    test("many come in pages, each as new as what was seen before, and their end is told", async () => {
      await using broker = await startBroker({ access: KEPT, limits: { replayBytes: 16_384 } });
      using publisher = await connect(broker);
      const many = 5000;
      for (let from = 0; from < many; from += 250) {
        const publish = Array.from({ length: 250 }, (_, i) => ({
          topic: `v/${from + i}`,
          payload: 0,
          retain: true,
        }));
        await publisher.ok({ type: "batch", publish });
      }
      using client = await connect(broker);
      const ok = await client.ok({ type: "subscribe", filter: "v/#" });
      expect(ok.retained).toBeLessThan(many);
      expect(ok.retained).toBeGreaterThan(0);
      // Meanwhile some of them change.
      for (let i = 0; i < many; i += 97) await put(publisher, `v/${i}`, 1);
      const end = await client.expect(({ code }) => code === "retained_sent");
      expect(end).toEqual({ type: "notice", code: "retained_sent", filter: "v/#" });
      await publisher.ok({ type: "ping" });
      const values = new Map<string, number>();
      for (const { topic, payload, type } of await client.everythingUntilNow()) {
        if (type !== "event") continue;
        expect(payload).toBeGreaterThanOrEqual(values.get(topic) ?? 0);
        values.set(topic, payload);
      }
      expect(values.size).toBe(many);
      for (let i = 0; i < many; i++) expect(values.get(`v/${i}`)).toBe(i % 97 === 0 ? 1 : 0);
    });

    test("[P-4.3] with history: both, and nothing twice", async () => {
      await using broker = await startBroker({ access: KEPT });
      using publisher = await connect(broker);
      const publish = (payload: number, retain: boolean) =>
        publisher.ok({ type: "publish", topic: "b/a", payload, retain });
      await publish(1, true);
      const { epoch } = await publish(2, false);
      await publish(3, false);
      const begin = async (asked: object) => {
        using client = await connect(broker);
        const ok = await client.ok({ type: "subscribe", filter: "b/a", ...asked });
        const seen = (await client.everythingUntilNow()).map((one) => [one.payload, one.retained]);
        return [ok.offset, ok.retained, seen];
      };
      const value = [1, true];
      expect(await begin({})).toEqual([3, 1, [value]]);
      const last = [
        [2, undefined],
        [3, undefined],
      ];
      expect(await begin({ last: 2 })).toEqual([3, 1, [value, ...last]]);
      expect(await begin({ last: 3 })).toEqual([3, undefined, [[1, undefined], ...last]]);
      expect(await begin({ recover: { epoch, offset: 1 } })).toEqual([3, undefined, last]);
      expect(await begin({ recover: { epoch, offset: 9 } })).toEqual([3, 1, [value]]);
    });

    test("[P-4.3] with a history of several parts nothing comes twice either", async () => {
      await using broker = await startBroker({ access: KEPT, limits: { replayBytes: 1 } });
      using publisher = await connect(broker);
      for (let payload = 1; payload <= 12; payload++) {
        const retain = payload === 10;
        await publisher.ok({ type: "publish", topic: "b/a", payload, retain });
      }
      const begin = async (last: number) => {
        using client = await connect(broker);
        await client.ok({ type: "subscribe", filter: "b/a", last });
        await publisher.ok({ type: "publish", topic: "b/a", payload: "end" });
        const seen: unknown[] = [];
        while (seen.at(-1) !== "end") {
          const { payload, retained } = await client.expect("event");
          seen.push(retained ? `value ${payload}` : payload);
        }
        return seen;
      };
      expect(await begin(5)).toEqual([8, 9, 10, 11, 12, "end"]);
      expect(await begin(3)).toEqual(["value 10", 11, 12, "end"]);
    });

    test("[P-4.9, P-14.6] the right to subscribe is enough, and retain may be denied", async () => {
      await using broker = await startBroker({ access: { ...TOKENS_ONLY, ...KEPT } });
      const on = ["#"];
      const granted = (grants: object[]) => tokenFor("p", { grants });
      using full = await connect(broker, await granted([{ allow: ["publish"], on }]));
      await put(full, "v/a", 1);
      using writer = await connect(
        broker,
        await granted([{ allow: ["publish"], on, retain: false }]),
      );
      const refused = { type: "publish", topic: "v/a", payload: 2, retain: true };
      expect(await writer.request(refused)).toMatchObject({
        code: "forbidden",
        detail: { qualifiers: ["retain"] },
      });
      using reader = await connect(broker, await granted([{ allow: ["subscribe"], on }]));
      expect((await reader.ok({ type: "subscribe", filter: "v/a" })).retained).toBe(1);
      const hidden = [
        { allow: ["subscribe"], on },
        { deny: ["receive"], on: ["v/a"] },
      ];
      using blind = await connect(broker, await granted(hidden));
      for (const filter of ["v/a", "v/+", "#"]) {
        expect((await blind.request({ type: "subscribe", filter })).code).toBe("forbidden");
      }
      expect((await blind.ok({ type: "subscribe", filter: "v/b" })).retained).toBe(0);
    });

    test("[P-3.7] what is kept and what is not are seen in the order in which they came", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      await client.ok({ type: "subscribe", filter: "v/a" });
      const frames = Array.from({ length: 60 }, (_, payload) => ({
        type: "publish",
        topic: "v/a",
        payload,
        retain: payload % 3 === 0,
      }));
      client.send(frames);
      const seen = await events(client, frames.length);
      expect(seen.map(({ payload }) => payload)).toEqual(frames.map(({ payload }) => payload));
    });
  });
}

test("[P-4.4, P-11.1] no more is read at a time than the limits say", () => {
  expect(DEFAULT_LIMITS.replayBytes).toBeLessThanOrEqual(DEFAULT_LIMITS.outboundBytes / 4);
});
