/** Live subscriptions that begin with what they missed [P-4.3], [P-4.4]. */
import { describe, expect, test } from "bun:test";
import { Value } from "@sinclair/typebox/value";
import { SERVER_FRAMES } from "../../schemas/frames.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Encoding, type Frame, WireClient } from "../harness/wire-client.ts";

const KEPT = { channels: { kept: { filter: "h/#", history: { maxMessages: 20_000 } } } };
/** Publishes under way while the subscriber comes and goes. */
const AHEAD = 40;

async function publish(client: WireClient, topic: string, from: number, to: number): Promise<void> {
  for (let n = from; n <= to; n++) await client.ok({ type: "publish", topic, payload: n });
}

/** The next so many events, which must be all there is for a while. */
async function events(client: WireClient, count: number): Promise<Frame[]> {
  const seen: Frame[] = [];
  while (seen.length < count) seen.push(await client.expect("event"));
  return seen;
}

const offsetsOf = (frames: readonly Frame[]) => frames.map(({ offset }) => offset);
const upTo = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Publishes on and on, numbered, until it is told to stop; resolves to how many there were. */
function publishOn(client: WireClient, topic: string): { stop(): Promise<number> } {
  let going = true;
  const run = async () => {
    let sent = 0;
    const open: Promise<Frame>[] = [];
    while (going) {
      open.push(client.ok({ type: "publish", topic, payload: ++sent }));
      if (open.length >= AHEAD) await open.shift();
    }
    await Promise.all(open);
    return sent;
  };
  const done = run();
  return {
    stop() {
      going = false;
      return done;
    },
  };
}

for (const encoding of ENCODINGS) {
  const connect = (broker: TestBroker, token?: string) =>
    WireClient.connect(broker.wsUrl, { encoding, ...(token !== undefined && { token }) });

  describe(`[P-4.3] over ${encoding}`, () => {
    test("[P-3.4, P-4.2] publishers and subscribers are told where a message stands", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      const joined = await client.ok({ type: "subscribe", filter: "h/a" });
      expect(joined).toMatchObject({ filter: "h/a", offset: 0, epoch: expect.any(String) });
      expect(joined.recovered).toBeUndefined();
      await client.ok({ type: "subscribe", filter: "#" });
      for (const offset of [1, 2, 3]) {
        const ok = await client.ok({ type: "publish", topic: "h/a", payload: offset });
        expect(ok).toMatchObject({ queues: 0, offset, epoch: joined.epoch });
        for (const _ of ["h/a", "#"]) {
          const event = await client.expect("event");
          expect(Value.Check(SERVER_FRAMES.event, event)).toBe(true);
          expect(event).toMatchObject({ payload: offset, offset, epoch: joined.epoch });
        }
      }
      const other = await client.ok({ type: "publish", topic: "other" });
      expect([other.offset, other.epoch]).toEqual([undefined, undefined]);
      expect(await client.expect("event")).not.toHaveProperty("offset");
      // Offsets are those of the topic, and a duplicate gets none.
      const first = { type: "publish", topic: "h/b", messageId: "m" };
      expect((await client.ok(first)).offset).toBe(1);
      expect(await client.ok(first)).toMatchObject({ duplicate: true });
      expect((await client.ok({ ...first, messageId: "n" })).offset).toBe(2);
    });

    test("what was missed comes in order, before anything new", async () => {
      await using broker = await startBroker({ access: KEPT });
      using publisher = await connect(broker);
      using before = await connect(broker);
      const { epoch } = await before.ok({ type: "subscribe", filter: "h/a" });
      await publish(publisher, "h/a", 1, 5);
      expect(offsetsOf(await events(before, 5))).toEqual([1, 2, 3, 4, 5]);
      await before.close();
      await publish(publisher, "h/a", 6, 9);
      using after = await connect(broker);
      const recover = { epoch, offset: 5 };
      const ok = await after.ok({ type: "subscribe", filter: "h/a", recover });
      expect(ok).toMatchObject({ epoch, offset: 9, recovered: true });
      await publish(publisher, "h/a", 10, 12);
      const seen = await events(after, 7);
      expect(seen.map(({ payload }) => payload)).toEqual([6, 7, 8, 9, 10, 11, 12]);
      expect(offsetsOf(seen)).toEqual([6, 7, 8, 9, 10, 11, 12]);
      expect(seen[0]).toMatchObject({
        type: "event",
        topic: "h/a",
        epoch,
        time: expect.any(Number),
      });
      expect(await after.everythingUntilNow()).toEqual([]);
    });

    test("with nothing missed it is recovered too", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      await publish(client, "h/a", 1, 3);
      const { epoch } = await client.ok({ type: "subscribe", filter: "h/a" });
      using other = await connect(broker);
      const recover = { epoch, offset: 3 };
      const ok = await other.ok({ type: "subscribe", filter: "h/a", recover });
      expect(ok).toMatchObject({ recovered: true, offset: 3 });
      expect(await other.everythingUntilNow()).toEqual([]);
    });

    test("otherwise nothing is replayed, and the subscription begins now", async () => {
      const access = { channels: { kept: { filter: "h/#", history: { maxMessages: 4 } } } };
      await using broker = await startBroker({ access });
      using publisher = await connect(broker);
      await publish(publisher, "h/a", 1, 10);
      using client = await connect(broker);
      const { epoch } = await client.ok({ type: "subscribe", filter: "h/a" });
      await client.ok({ type: "unsubscribe", filter: "h/a" });
      const lost = [
        { epoch: "another", offset: 9 },
        { epoch, offset: 11 },
        { epoch, offset: 5 },
        { epoch, offset: 0 },
      ];
      for (const recover of lost) {
        const ok = await client.ok({ type: "subscribe", filter: "h/a", recover });
        expect(ok).toMatchObject({ recovered: false, epoch, offset: 10 });
        expect(await client.everythingUntilNow()).toEqual([]);
        await client.ok({ type: "unsubscribe", filter: "h/a" });
      }
      const recover = { epoch, offset: 6 };
      const ok = await client.ok({ type: "subscribe", filter: "h/a", recover });
      expect(ok.recovered).toBe(true);
      expect(offsetsOf(await events(client, 4))).toEqual([7, 8, 9, 10]);
      await publish(publisher, "h/a", 11, 11);
      expect(offsetsOf(await events(client, 1))).toEqual([11]);
    });

    test("while others publish: no gap and nothing twice, round after round", async () => {
      await using broker = await startBroker({ access: KEPT });
      using publisher = await connect(broker);
      using client = await connect(broker);
      const { epoch } = await client.ok({ type: "subscribe", filter: "h/a" });
      const publishing = publishOn(publisher, "h/a");
      const seen: number[] = offsetsOf(await events(client, 20));
      for (let round = 0; round < 40; round++) {
        await client.ok({ type: "unsubscribe", filter: "h/a" });
        const late = client.inbox.splice(0).filter(({ type }) => type === "event");
        seen.push(...offsetsOf(late));
        const recover = { epoch, offset: seen.at(-1) };
        const ok = await client.ok({ type: "subscribe", filter: "h/a", recover });
        expect(ok.recovered).toBe(true);
        seen.push(...offsetsOf(await events(client, 5 + (round % 7))));
      }
      const total = await publishing.stop();
      seen.push(...offsetsOf(await events(client, total - seen.length)));
      expect(seen).toEqual(upTo(1, total));
    });

    test("a history that goes on faster than it is read is not passed off as whole", async () => {
      await runsAway(encoding);
    });

    test("[P-4.7] on a subscription that is there it begins anew from that place", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      const { epoch } = await client.ok({ type: "subscribe", filter: "h/a" });
      await publish(client, "h/a", 1, 6);
      await events(client, 6);
      const recover = { epoch, offset: 2 };
      await client.ok({ type: "subscribe", filter: "h/a", recover });
      await publish(client, "h/a", 7, 7);
      expect(offsetsOf(await events(client, 5))).toEqual([3, 4, 5, 6, 7]);
      // It is still one subscription.
      expect(await client.everythingUntilNow()).toEqual([]);
      await client.ok({ type: "unsubscribe", filter: "h/a" });
      await publish(client, "h/a", 8, 8);
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test("what may not be asked for is refused by its field", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      const recover = { epoch: "e", offset: 1 };
      const refused: [object, string, string][] = [
        [{ filter: "h/+", recover }, "invalid_frame", "/recover"],
        [{ filter: "h/#", last: 1 }, "invalid_frame", "/last"],
        [{ filter: "other", recover }, "not_supported", "/recover"],
        [{ filter: "other", last: 1 }, "not_supported", "/last"],
        [{ filter: "h/a", recover, last: 1 }, "invalid_frame", "/last"],
        [{ filter: "h/a", last: 1001 }, "invalid_frame", "/last"],
        [{ filter: "h/a", last: -1 }, "invalid_frame", "/last"],
        [{ filter: "h/a", recover: { epoch: "e" } }, "invalid_frame", "/recover/offset"],
        [
          { filter: "h/a", recover: { epoch: "e", offset: -1 } },
          "invalid_frame",
          "/recover/offset",
        ],
      ];
      for (const [asked, code, pointer] of refused) {
        const answer = await client.request({ type: "subscribe", ...asked });
        expect(answer).toMatchObject({ code, detail: { pointer } });
      }
      await publish(client, "h/a", 1, 1);
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test("[P-4.9, P-13.1] to see what was before takes the right to history", async () => {
      await using broker = await startBroker({ access: { ...TOKENS_ONLY, ...KEPT } });
      const all = [{ allow: ["publish", "subscribe", "history"], on: ["#"] }];
      using publisher = await connect(broker, await tokenFor("p", { grants: all }));
      await publish(publisher, "h/a", 1, 3);
      const { epoch } = await publisher.ok({ type: "subscribe", filter: "h/a" });
      const recover = { epoch, offset: 0 };
      const denied = { deny: ["receive"], on: ["h/secret"] };
      const grants = [{ allow: ["subscribe"], on: ["#"] }];
      using live = await connect(broker, await tokenFor("live", { grants }));
      for (const asked of [{ recover }, { last: 2 }]) {
        const answer = await live.request({ type: "subscribe", filter: "h/a", ...asked });
        expect(answer).toMatchObject({
          code: "forbidden",
          detail: { action: "history", on: "h/a" },
        });
      }
      expect(await live.ok({ type: "subscribe", filter: "h/a" })).toMatchObject({ offset: 3 });
      using blind = await connect(broker, await tokenFor("blind", { grants: [...all, denied] }));
      const hidden = await blind.request({ type: "subscribe", filter: "h/secret", last: 1 });
      expect(hidden.code).toBe("forbidden");
    });
  });

  describe(`[P-4.4] the last messages, over ${encoding}`, () => {
    test("as many as are kept, and then what is new", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      const none = await client.ok({ type: "subscribe", filter: "h/none", last: 5 });
      expect(none).toMatchObject({ offset: 0 });
      await publish(client, "h/a", 1, 10);
      const ok = await client.ok({ type: "subscribe", filter: "h/a", last: 3 });
      expect(ok).toMatchObject({ filter: "h/a", offset: 10, epoch: none.epoch });
      expect(ok.recovered).toBeUndefined();
      await publish(client, "h/a", 11, 11);
      expect(offsetsOf(await events(client, 4))).toEqual([8, 9, 10, 11]);
      using other = await connect(broker);
      await other.ok({ type: "subscribe", filter: "h/a", last: 500 });
      expect(offsetsOf(await events(other, 11))).toEqual(upTo(1, 11));
      using zero = await connect(broker);
      await zero.ok({ type: "subscribe", filter: "h/a", last: 0 });
      expect(await zero.everythingUntilNow()).toEqual([]);
    });

    test("more than fit into one page", async () => {
      await using broker = await startBroker({ access: KEPT, limits: { replayBytes: 4096 } });
      using client = await connect(broker);
      const text = "x".repeat(700);
      for (let n = 1; n <= 60; n++)
        await client.ok({ type: "publish", topic: "h/a", payload: text });
      await client.ok({ type: "subscribe", filter: "h/a", last: 50 });
      expect(offsetsOf(await events(client, 50))).toEqual(upTo(11, 60));
      const { epoch } = await client.ok({ type: "publish", topic: "h/a" });
      expect(offsetsOf(await events(client, 1))).toEqual([61]);
      using other = await connect(broker);
      await other.ok({ type: "subscribe", filter: "h/a", recover: { epoch, offset: 1 } });
      expect(offsetsOf(await events(other, 60))).toEqual(upTo(2, 61));
    });

    test("[P-2.6] payloads are what they were", async () => {
      await using broker = await startBroker({ access: KEPT });
      using json = await WireClient.connect(broker.wsUrl);
      using packed = await WireClient.connect(broker.wsUrl, { encoding: "msgpack" });
      const bytes = new Uint8Array([0, 255, 7]);
      const headers = { a: "b" };
      await packed.ok({ type: "publish", topic: "h/a", payload: bytes, headers });
      await json.ok({ type: "publish", topic: "h/a", payload: { deep: [1] }, replyTo: "r" });
      using client = await connect(broker);
      await client.ok({ type: "subscribe", filter: "h/a", last: 2 });
      const [first, second] = await events(client, 2);
      expect(second).toMatchObject({ payload: { deep: [1] }, replyTo: "r" });
      expect(first).toMatchObject(
        encoding === "json"
          ? { payload: "AP8H", payloadEncoding: "base64", headers }
          : { payload: bytes, headers },
      );
    });
  });
}

/** A reader of a short history, whose pages are read while a publisher goes on much faster. */
async function runsAway(encoding: Encoding): Promise<void> {
  const { HeldReads } = await import("../harness/held-reads.ts");
  const { systemClock: clock, systemRandom: random } = await import("../../src/clock.ts");
  let engine!: InstanceType<typeof HeldReads>;
  await using broker = await startBroker({
    access: { channels: { kept: { filter: "h/#", history: { maxMessages: 5 } } } },
    limits: { replayBytes: 1 },
    engine: (limits) => (engine = new HeldReads({ clock, random, limits })),
  });
  using client = await WireClient.connect(broker.wsUrl, { encoding });
  await publish(client, "h/a", 1, 5);
  const epoch = (await client.ok({ type: "publish", topic: "h/a" })).epoch;
  const answer = client.ok({ type: "subscribe", filter: "h/a", recover: { epoch, offset: 1 } });
  await engine.holds(1);
  engine.release();
  expect(await answer).toMatchObject({ recovered: true, offset: 6 });
  await engine.holds(1);
  await publish(client, "h/a", 7, 20);
  engine.release();
  expect(await client.expect("notice")).toMatchObject({
    code: "unsubscribed",
    filter: "h/a",
    reason: "conflict",
  });
  expect(offsetsOf(await client.everythingUntilNow())).toEqual([2]);
}
