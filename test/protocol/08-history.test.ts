/** Reading the history of a topic [P-8.1], and its bounds [P-14.9]. */
import { describe, expect, test } from "bun:test";
import { Value } from "@sinclair/typebox/value";
import { SERVER_FRAMES } from "../../schemas/frames.ts";
import { systemRandom } from "../../src/clock.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

const KEPT = { channels: { kept: { filter: "h/#", history: { maxMessages: 2000 } } } };

async function publish(client: WireClient, topic: string, from: number, to: number): Promise<void> {
  for (let n = from; n <= to; n++) await client.ok({ type: "publish", topic, payload: n });
}

const payloads = ({ messages }: Frame) => messages.map(({ payload }: Frame) => payload);
const upTo = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

for (const encoding of ENCODINGS) {
  const connect = (broker: TestBroker, token?: string) =>
    WireClient.connect(broker.wsUrl, { encoding, ...(token !== undefined && { token }) });

  describe(`[P-8.1] over ${encoding}`, () => {
    test("pages of it, both ways", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      const empty = await client.ok({ type: "history", topic: "h/a" });
      expect(empty).toMatchObject({ offset: 0, messages: [], epoch: expect.any(String) });
      await publish(client, "h/a", 1, 120);
      const ask = (more: object) => client.ok({ type: "history", topic: "h/a", ...more });
      const first = await ask({});
      expect(Value.Check(SERVER_FRAMES.ok, first)).toBe(true);
      expect(first).toMatchObject({ epoch: empty.epoch, offset: 120, next: 100 });
      expect(payloads(first)).toEqual(upTo(1, 100));
      expect(first.messages[0]).toEqual({
        topic: "h/a",
        offset: 1,
        messageId: expect.any(String),
        payload: 1,
        time: expect.any(Number),
      });
      const second = await ask({ after: first.next });
      expect(payloads(second)).toEqual(upTo(101, 120));
      expect(second).not.toHaveProperty("next");
      const newest = await ask({ reverse: true, limit: 3 });
      expect([payloads(newest), newest.next]).toEqual([[120, 119, 118], 118]);
      expect(payloads(await ask({ reverse: true, limit: 2, before: 118 }))).toEqual([117, 116]);
      expect(payloads(await ask({ after: 5, before: 9 }))).toEqual([6, 7, 8]);
      expect(payloads(await ask({ after: 120 }))).toEqual([]);
      expect(payloads(await ask({ limit: 1000 }))).toEqual(upTo(1, 120));
    });

    test("a page is bounded in bytes too, and says where the next begins", async () => {
      await using broker = await startBroker({ access: KEPT, limits: { replayBytes: 5000 } });
      using client = await connect(broker);
      const text = "x".repeat(1200);
      for (let n = 0; n < 12; n++)
        await client.ok({ type: "publish", topic: "h/a", payload: text });
      await client.ok({ type: "publish", topic: "h/a", payload: "x".repeat(20_000) });
      const offsets: number[] = [];
      for (let after: number | undefined = 0; after !== undefined; ) {
        const page = await client.ok({ type: "history", topic: "h/a", after });
        expect(page.messages.length).toBeLessThanOrEqual(4);
        offsets.push(...page.messages.map(({ offset }: Frame) => offset));
        after = page.next;
      }
      expect(offsets).toEqual(upTo(1, 13));
    });

    test("what may not be asked for is refused by its field", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      const refused: [object, string, object][] = [
        [{ topic: "other" }, "not_supported", { pointer: "/topic" }],
        [{ topic: "h/#" }, "invalid_topic", {}],
        [{ topic: "h/a", limit: 1001 }, "invalid_frame", { pointer: "/limit", limit: 1000 }],
        [{ topic: "h/a", limit: 0 }, "invalid_frame", { pointer: "/limit" }],
        [{ topic: "h/a", after: -1 }, "invalid_frame", { pointer: "/after" }],
        [{ topic: "h/a", before: "x" }, "invalid_frame", { pointer: "/before" }],
      ];
      for (const [asked, code, detail] of refused) {
        const answer = await client.request({ type: "history", ...asked });
        expect(answer).toMatchObject({ type: "error", code, detail });
      }
    });

    test("[P-13.1, P-14.6] with the right to history, and nothing that is denied", async () => {
      await using broker = await startBroker({ access: { ...TOKENS_ONLY, ...KEPT } });
      const on = ["#"];
      const all = [{ allow: ["publish", "history"], on }];
      const denied = { deny: ["receive"], on: ["h/secret/+"] };
      using writer = await connect(broker, await tokenFor("w", { grants: [...all, denied] }));
      await publish(writer, "h/a", 1, 2);
      await publish(writer, "h/secret/a", 1, 2);
      const page = await writer.ok({ type: "history", topic: "h/a" });
      expect(payloads(page)).toEqual([1, 2]);
      expect(page.messages[0].from).toBe("w");
      const ask = (client: WireClient, topic: string) => client.request({ type: "history", topic });
      expect((await ask(writer, "h/secret/a")).code).toBe("forbidden");
      const grants = [{ allow: ["subscribe", "publish"], on }];
      using reader = await connect(broker, await tokenFor("r", { grants }));
      expect(await ask(reader, "h/a")).toMatchObject({
        code: "forbidden",
        detail: { action: "history", on: "h/a" },
      });
    });

    test("[P-14.9] its bounds are those of the channel, and change with it at once", async () => {
      await using broker = await startBroker();
      const clock = new ManualClock();
      await using other = await startBroker({
        access: { channels: { kept: { filter: "h/#", history: { maxAgeMs: 1000 } } } },
        deps: { clock, random: systemRandom },
      });
      using old = await connect(other);
      await publish(old, "h/a", 1, 2);
      clock.advance(600);
      await publish(old, "h/a", 3, 3);
      clock.advance(400);
      expect(payloads(await old.ok({ type: "history", topic: "h/a" }))).toEqual([3]);
      clock.advance(1000);
      expect(await old.ok({ type: "history", topic: "h/a" })).toMatchObject({
        offset: 3,
        messages: [],
      });

      const put = async (definition: object) => {
        const body = JSON.stringify({ filter: "h/#", ...definition });
        const url = `${broker.httpUrl}/admin/v1/channels/kept`;
        expect((await fetch(url, { method: "PUT", body })).status).toBe(200);
      };
      using client = await connect(broker);
      const read = async () => payloads(await client.ok({ type: "history", topic: "h/a" }));
      await put({ history: {} });
      await publish(client, "h/a", 1, 5);
      await put({ history: { maxMessages: 2 } });
      expect(await read()).toEqual([4, 5]);
      await put({ history: { maxMessages: 10 } });
      await publish(client, "h/a", 6, 6);
      expect((await read()).slice(-3)).toEqual([4, 5, 6]);
      await put({});
      const refused = await client.request({ type: "history", topic: "h/a" });
      expect(refused).toMatchObject({ code: "not_supported", detail: { pointer: "/topic" } });
      expect(await client.ok({ type: "publish", topic: "h/a" })).not.toHaveProperty("offset");
    });

    test("[P-3.7, P-14.9] order is kept while a channel begins and ceases to keep history", async () => {
      await using broker = await startBroker();
      using client = await connect(broker);
      await client.ok({ type: "subscribe", filter: "#" });
      let sent = 0;
      for (let round = 0; round < 10; round++) {
        const definition = { filter: "h/#", ...(round % 2 === 0 && { history: {} }) };
        const changed = fetch(`${broker.httpUrl}/admin/v1/channels/kept`, {
          method: "PUT",
          body: JSON.stringify(definition),
        });
        let isChanged = false;
        changed.then(() => {
          isChanged = true;
        });
        while (!isChanged) {
          const frames = Array.from({ length: 20 }, () => ({
            type: "publish",
            topic: "h/a",
            payload: ++sent,
          }));
          client.send(frames);
          await client.ok({ type: "ping" });
        }
        expect((await changed).status).toBe(200);
      }
      const seen: number[] = [];
      while (seen.length < sent) seen.push((await client.expect("event")).payload);
      expect(seen).toEqual(upTo(1, sent));
    });
  });
}
