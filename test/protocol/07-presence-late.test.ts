/** Presence of subscriptions that wait for what is being read: rights and channels may change meanwhile [P-7.1]. */
import { describe, expect, test } from "bun:test";
import { systemClock as clock, systemRandom as random } from "../../src/clock.ts";
import type { Limits } from "../../src/limits.ts";
import { HeldReads } from "../harness/held-reads.ts";
import { openHouse, ROOMER } from "../harness/rooms.ts";
import { tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Encoding } from "../harness/wire-client.ts";

const KEPT = { filter: "room/#", history: {}, retained: true };

/** A house in which everything that is read is held back. */
async function slowHouse(encoding: Encoding, presence: boolean) {
  let engine!: HeldReads;
  const house = await openHouse(encoding, {
    access: { channels: { other: { filter: "other", presence: true } } },
    engine(limits: Limits) {
      engine = new HeldReads({ clock, random, limits });
      return engine;
    },
  });
  const token = await tokenFor("operator", { grants: ROOMER });
  const define = async (body: object) => {
    const answer = await fetch(`${house.broker.httpUrl}/admin/v1/channels/rooms`, {
      method: "PUT",
      body: JSON.stringify(body),
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    });
    expect(answer.status).toBe(200);
  };
  await define({ ...KEPT, presence });
  return { ...house, engine, define, presence: house.broker.warren.broker.presence };
}

for (const encoding of ENCODINGS) {
  describe(`over ${encoding}`, () => {
    test("[P-7.1] who may not watch any more when it takes effect is told, and is a member all the same", async () => {
      await using house = await slowHouse(encoding, true);
      const ada = await house.come("ada");
      const subscribed = ada.request({ type: "subscribe", filter: "room/1", presence: true });
      await house.engine.holds(2);
      const grants = [{ allow: ["subscribe"], on: ["#"] }];
      await ada.ok({ type: "auth", token: await tokenFor("ada", { grants }) });
      house.engine.release();
      expect((await subscribed).type).toBe("ok");
      expect(await ada.everythingUntilNow()).toEqual([
        { type: "notice", code: "presence_ended", filter: "room/1", reason: "forbidden" },
      ]);
      expect(house.presence.members).toBe(1);
      await ada.ok({ type: "unsubscribe", filter: "room/1" });
      expect(house.presence.members).toBe(0);
    });

    test("[P-7.2] a channel that gets or loses presence meanwhile counts as it is in the end", async () => {
      await using house = await slowHouse(encoding, false);
      const ada = await house.come("ada");
      for (const presence of [true, false]) {
        const filter = `room/${presence}`;
        const subscribed = ada.request({ type: "subscribe", filter });
        await house.engine.holds(2);
        await house.define({ ...KEPT, presence });
        house.engine.release();
        expect((await subscribed).type).toBe("ok");
        await ada.ok({ type: "ping" });
        expect(house.presence.members).toBe(presence ? 1 : 0);
        await ada.ok({ type: "unsubscribe", filter });
      }
    });
  });
}
