/** Where what is read for a subscription meets what else is said of it [P-4.4, P-4.8, P-7.1]. */
import { describe, expect, test } from "bun:test";
import { startWithHeldReads } from "../harness/held-reads.ts";
import { type BrokerOptions, startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

const KEPT = {
  channels: {
    kept: { filter: "h/#", history: { maxMessages: 100_000 } },
    both: { filter: "b/#", history: {}, retained: true },
    rooms: { filter: "room/#", history: {}, presence: true },
  },
};

const started = (options: Omit<BrokerOptions, "engine"> = {}) =>
  startWithHeldReads({ access: KEPT, ...options });

for (const encoding of ENCODINGS) {
  describe(`[P-4.8] over ${encoding}`, () => {
    const connect = (broker: TestBroker, token?: string) =>
      WireClient.connect(broker.wsUrl, { encoding, ...(token !== undefined && { token }) });

    test("[P-7.1] who may not watch any more when it takes effect, does not", async () => {
      const { broker, engine } = await started({ access: { ...TOKENS_ONLY, ...KEPT } });
      await using _ = broker;
      const rights = (...allow: string[]) => tokenFor("p", { grants: [{ allow, on: ["#"] }] });
      const all = await rights("subscribe", "history", "presence");
      const blind = await rights("subscribe", "history");
      using client = await connect(broker, all);
      const filter = "room/a";
      const asked = client.ok({ type: "subscribe", filter, last: 1, presence: true });
      await engine.holds(1);
      await client.ok({ type: "auth", token: blind });
      engine.release();
      await asked;
      expect(await client.everythingUntilNow()).toMatchObject([
        { type: "notice", code: "presence_ended", filter, reason: "forbidden" },
      ]);
      using other = await connect(
        broker,
        await tokenFor("q", { grants: [{ allow: ["subscribe"], on: ["#"] }] }),
      );
      engine.holding = false;
      await other.ok({ type: "subscribe", filter });
      expect(await client.everythingUntilNow()).toEqual([]);
    });

    test("[P-7.2] a channel that gets presence meanwhile has it as a member", async () => {
      const admin = [{ allow: ["subscribe", "history", "admin"], on: ["#"] }];
      const { broker, engine } = await started({ access: { ...TOKENS_ONLY, ...KEPT } });
      await using _ = broker;
      const token = await tokenFor("p", { grants: admin });
      using client = await connect(broker, token);
      const put = (more: object) =>
        fetch(`${broker.httpUrl}/admin/v1/channels/late`, {
          method: "PUT",
          headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
          body: JSON.stringify({ filter: "late/#", history: {}, ...more }),
        });
      expect((await put({})).ok).toBe(true);
      const asked = client.ok({ type: "subscribe", filter: "late/a", last: 1 });
      await engine.holds(1);
      expect((await put({ presence: true })).ok).toBe(true);
      await client.everythingUntilNow();
      engine.release();
      await asked;
      expect(broker.warren.broker.presence.list("late/a").members).toMatchObject([
        { principal: "p" },
      ]);
    });

    test("[P-2.3] what the connection publishes is not missed by what waits its turn", async () => {
      const { broker, engine } = await started();
      await using _ = broker;
      using client = await connect(broker);
      client.send([
        { type: "subscribe", id: 1, filter: "h/first", last: 1 },
        { type: "subscribe", id: 2, filter: "b/a" },
        { type: "subscribe", id: 3, filter: "h/c", last: 2 },
        { type: "publish", topic: "b/a", payload: 2 },
        { type: "publish", topic: "h/c", payload: 3 },
        { type: "publish", topic: "h/c", payload: 4 },
      ]);
      await engine.holds(1);
      engine.holding = false;
      engine.release();
      const seen: Frame[] = [];
      while (seen.length < 3) seen.push(await client.expect("event"));
      expect(seen.map(({ payload }) => payload).sort()).toEqual([2, 3, 4]);
      expect(await client.everythingUntilNow()).toMatchObject([1, 2, 3].map((id) => ({ id })));
    });

    test("[P-3.2] what is not echoed is in the history all the same", async () => {
      await using broker = await startBroker({ access: KEPT });
      using client = await connect(broker);
      await client.ok({ type: "subscribe", filter: "h/a" });
      const own = { type: "publish", topic: "h/a", payload: 1, echo: false };
      const { epoch, offset } = await client.ok(own);
      expect(await client.everythingUntilNow()).toEqual([]);
      const recover = { epoch, offset: offset - 1 };
      await client.ok({ type: "subscribe", filter: "h/a", recover });
      expect(await client.everythingUntilNow()).toMatchObject([{ type: "event", offset }]);
    });

    test("[P-3.2, P-14.10] a value is taken away only by what fits the schema", async () => {
      const value = { filter: "v/#", retained: true, schema: { type: "object" } };
      await using broker = await startBroker({ access: { channels: { value } } });
      using client = await connect(broker);
      const put = (payload: unknown) =>
        client.request({ type: "publish", topic: "v/a", payload, retain: true });
      expect((await put({})).type).toBe("ok");
      expect((await put(null)).code).toBe("schema_violation");
      expect((await client.ok({ type: "subscribe", filter: "v/a" })).retained).toBe(1);
    });

    test("[P-4.4] of a long replay too the value is not told twice", async () => {
      await using broker = await startBroker({ access: KEPT, limits: { replayBytes: 2000 } });
      using client = await connect(broker);
      const put = (payload: unknown, retain = false) =>
        client.ok({ type: "publish", topic: "b/a", payload, ...(retain && { retain }) });
      const text = "x".repeat(500);
      await put(`old${text}`, true);
      const told = async (last: number) => {
        const { retained } = await client.ok({ type: "subscribe", filter: "b/a", last });
        const frames = await client.everythingUntilNow();
        await client.ok({ type: "unsubscribe", filter: "b/a" });
        return {
          retained,
          told: frames.map((one) => `${one.payload.slice(0, 3)}${one.retained ?? ""}`),
        };
      };
      for (let n = 0; n < 9; n++) await put(`00${n}${text}`);
      const nine = Array.from({ length: 9 }, (_, n) => `00${n}`);
      expect(await told(9)).toEqual({ retained: 1, told: ["oldtrue", ...nine] });
      expect(await told(10)).toEqual({ retained: undefined, told: ["old", ...nine] });
      expect(await told(100)).toEqual({ retained: undefined, told: ["old", ...nine] });
    });
  });
}
