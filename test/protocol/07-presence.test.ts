/** Who is present on a topic: coming, going, watching and being listed [P-7]. */
import { describe, expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import { Value } from "@sinclair/typebox/value";
import { SERVER_FRAMES } from "../../schemas/frames.ts";
import { inWords, membersOf, openHouse, ROOMS, toldUntilNow } from "../harness/rooms.ts";
import { startBroker } from "../harness/start-broker.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  describe(`over ${encoding}`, () => {
    test("[P-7.1] who subscribes to a topic is a member, until it unsubscribes, and others are told", async () => {
      await using house = await openHouse(encoding);
      const watcher = await house.come("watcher");
      const ada = await house.come("ada");
      const ok = await watcher.ok({ type: "subscribe", filter: "room/+", presence: true });
      expect(ok).toMatchObject({ filter: "room/+" });
      const info = { name: "Ada", seat: [1, null, 2.5] };
      await ada.ok({ type: "subscribe", filter: "room/1", info });
      const join = await watcher.expect("presence");
      expect(join).toEqual({
        type: "presence",
        topic: "room/1",
        filter: "room/+",
        action: "join",
        member: {
          principal: "ada",
          session: ada.welcome.session,
          since: expect.any(Number),
          info,
        },
      });
      expect(Value.Check(SERVER_FRAMES.presence, join)).toBe(true);
      await ada.ok({ type: "subscribe", filter: "room/1", info: "elsewhere" });
      const { member } = join;
      const update = { ...join, action: "update", member: { ...member, info: "elsewhere" } };
      expect(await watcher.expect("presence")).toEqual(update);
      // The same again, and without anything to say of oneself: nothing has changed.
      await ada.ok({ type: "subscribe", filter: "room/1", info: "elsewhere" });
      await ada.ok({ type: "subscribe", filter: "room/1" });
      expect(await membersOf(watcher, "room/1")).toEqual([update.member]);
      await ada.ok({ type: "unsubscribe", filter: "room/1" });
      expect(await watcher.expect("presence")).toEqual({ ...update, action: "leave" });
      expect(await membersOf(watcher, "room/1")).toEqual([]);
      expect(await toldUntilNow(watcher)).toEqual([]);
    });

    test("[P-7.1] wildcards make nobody a member, nor do topics without presence", async () => {
      await using house = await openHouse(encoding);
      const watcher = await house.come("watcher");
      const ada = await house.come("ada");
      await watcher.ok({ type: "subscribe", filter: "#", presence: true });
      for (const filter of ["room/#", "room/+", "#", "hall", "room"]) {
        await ada.ok({ type: "subscribe", filter });
      }
      expect(await toldUntilNow(watcher)).toEqual(["join ada"]);
      for (const filter of ["room/#", "hall"]) {
        const answer = await ada.request({ type: "subscribe", filter, info: 1 });
        expect(answer).toMatchObject({ code: "not_supported", detail: { pointer: "/info" } });
      }
      for (const filter of ["hall", "hall/#", "+/x/y"]) {
        const answer = await ada.request({ type: "subscribe", filter, presence: true });
        const isWatchable = filter === "+/x/y";
        expect([filter, answer.type]).toEqual([filter, isWatchable ? "ok" : "error"]);
        if (!isWatchable) expect(answer).toMatchObject({ detail: { pointer: "/presence" } });
      }
      expect(await ada.request({ type: "presence", topic: "hall" })).toMatchObject({
        code: "not_supported",
        detail: { topic: "hall", pointer: "/topic" },
      });
    });

    test("[P-7.1] one's own coming is told like anybody's, behind the answer", async () => {
      await using house = await openHouse(encoding);
      const ada = await house.come("ada");
      for (let round = 0; round < 20; round++) {
        ada.send([
          { type: "subscribe", id: round, filter: "room/1", presence: true },
          { type: "unsubscribe", id: `${round}`, filter: "room/1" },
          { type: "subscribe", id: `b${round}`, filter: "room/1", presence: true },
        ]);
        expect(await ada.expect(() => true)).toMatchObject({ type: "ok", id: round });
        await ada.expect(({ id }) => id === `b${round}`);
        // It was away before that turn was over: what went before is not its business.
        expect(await toldUntilNow(ada)).toEqual(["join ada"]);
        await ada.ok({ type: "unsubscribe", filter: "room/1" });
        expect(await toldUntilNow(ada)).toEqual([]);
      }
    });

    test("[P-7.1] who comes and goes is told in that order, however much happens in one turn", async () => {
      await using house = await openHouse(encoding);
      const watcher = await house.come("watcher");
      const ada = await house.come("ada");
      await watcher.ok({ type: "subscribe", filter: "room/#", presence: true });
      const frames = Array.from({ length: 240 }, (_, i) =>
        i % 2 === 0
          ? { type: "subscribe", id: i, filter: `room/${i % 6}` }
          : { type: "unsubscribe", id: i, filter: `room/${(i - 1) % 6}` },
      );
      const before = watcher.messages;
      ada.send(frames);
      await ada.ok({ type: "ping" });
      const told = await watcher.everythingUntilNow();
      expect(told.map(({ action, topic }) => [action, topic])).toEqual(
        frames.map(({ type, filter }) => [type === "subscribe" ? "join" : "leave", filter]),
      );
      expect(watcher.messages - before).toBeLessThan(20);
    });

    test("[P-7.1] one frame for each filter that is watched; unwatched again by presence:false", async () => {
      await using house = await openHouse(encoding);
      const watcher = await house.come("watcher");
      const ada = await house.come("ada");
      const filters = ["room/#", "room/+", "#", "room/1"];
      for (const filter of filters) await watcher.ok({ type: "subscribe", filter, presence: true });
      await watcher.ok({ type: "subscribe", filter: "+/1" });
      await watcher.everythingUntilNow();
      await ada.ok({ type: "subscribe", filter: "room/1" });
      const told = await watcher.everythingUntilNow();
      expect(told.map(({ filter = "room/1" }) => filter).sort()).toEqual([...filters].sort());
      // Without the field nothing changes.
      for (const filter of filters) await watcher.ok({ type: "subscribe", filter });
      for (const filter of ["room/#", "#"]) {
        await watcher.ok({ type: "subscribe", filter, presence: false });
      }
      await watcher.ok({ type: "unsubscribe", filter: "room/+" });
      await ada.ok({ type: "unsubscribe", filter: "room/1" });
      await ada.ok({ type: "publish", topic: "room/1" });
      const later = await watcher.everythingUntilNow();
      expect(later.filter(({ type }) => type === "presence").map(inWords)).toEqual(["leave ada"]);
      // It is subscribed to them all the same.
      const events = later.filter(({ type }) => type === "event");
      expect(events.map(({ filter }) => filter)).toHaveLength(4);
    });

    test("[P-7.3] a list has the members in the order in which they came, and all are counted", async () => {
      await using house = await openHouse(encoding);
      const watcher = await house.come("watcher");
      const names = ["a", "b", "c", "d"];
      for (const name of names) {
        await (await house.come(name)).ok({ type: "subscribe", filter: "room/1", info: null });
      }
      const list = await watcher.ok({ type: "presence", topic: "room/1", limit: 2 });
      expect(list.count).toBe(4);
      expect(list.members.map((member: { principal: string }) => member.principal)).toEqual([
        "a",
        "b",
      ]);
      expect(Value.Check(SERVER_FRAMES.ok, list)).toBe(true);
      const counted = await watcher.ok({ type: "presence", topic: "room/1", limit: 0 });
      expect(counted).toMatchObject({ members: [], count: 4 });
      expect(
        await watcher.request({ type: "presence", topic: "room/1", limit: 1001 }),
      ).toMatchObject({ code: "invalid_frame", detail: { pointer: "/limit", limit: 1000 } });
      expect(await watcher.request({ type: "presence", topic: "a/+" })).toMatchObject({
        code: "invalid_topic",
      });
      expect(await watcher.ok({ type: "presence", topic: "room/empty" })).toMatchObject({
        members: [],
        count: 0,
      });
    });

    test("[P-7.3] a list is between what was told before and what is told later", async () => {
      await using house = await openHouse(encoding);
      const ada = await house.come("ada");
      await ada.ok({ type: "subscribe", filter: "room/#", presence: true });
      // Everything in one turn: what is told leaves at its end, unless a list asks for it to leave.
      ada.send([
        { type: "subscribe", filter: "room/1" },
        { type: "presence", id: "with", topic: "room/1" },
        { type: "unsubscribe", filter: "room/1" },
        { type: "presence", id: "without", topic: "room/1" },
      ]);
      const seen = [];
      while (seen.length < 4) {
        const frame = await ada.expect(({ type }) => type === "ok" || type === "presence");
        seen.push(frame.id === undefined ? inWords(frame) : `${frame.id} ${frame.count}`);
      }
      expect(seen).toEqual(["join ada", "with 1", "leave ada", "without 0"]);
    });

    test("[P-7.1, P-2.6] info is bounded, and reaches everybody as JSON can say it", async () => {
      await using house = await openHouse(encoding, { limits: { presenceInfoBytes: 100 } });
      const ada = await house.come("ada");
      const say = (info: unknown) => ada.request({ type: "subscribe", filter: "room/1", info });
      expect((await say("x".repeat(98))).type).toBe("ok");
      expect(await say("x".repeat(99))).toMatchObject({
        code: "too_large",
        detail: { pointer: "/info", limit: 100 },
      });
      expect(await say("ä".repeat(50))).toMatchObject({ code: "too_large" });
      let deep: unknown = 1;
      for (let i = 0; i < 65; i++) deep = [deep];
      expect(await say(deep)).toMatchObject({
        code: "invalid_frame",
        detail: { pointer: "/info", limit: 64 },
      });
      // What was refused has changed nothing.
      expect(await membersOf(ada, "room/1")).toMatchObject([{ info: "x".repeat(98) }]);
      if (encoding === "json") return;
      const info = { bytes: Uint8Array.of(1, 2, 3), wide: 2n ** 60n };
      const frame = { type: "subscribe", filter: "room/1", info };
      ada.socket.send(encode(frame, { useBigInt64: true }));
      expect(await membersOf(ada, "room/1")).toMatchObject([
        { info: { bytes: "AQID", wide: `${2n ** 60n}` } },
      ]);
    });

    test("[P-7.3] a list is not longer than a frame may be", async () => {
      const limits = { frameBytes: 16_384, presenceInfoBytes: 4096 };
      await using house = await openHouse(encoding, { limits });
      const info = "x".repeat(4000);
      for (const name of ["a", "b", "c", "d", "e"]) {
        await (await house.come(name)).ok({ type: "subscribe", filter: "room/1", info });
      }
      const watcher = await house.come("watcher");
      const list = await watcher.ok({ type: "presence", topic: "room/1" });
      expect([list.members.length, list.count]).toEqual([3, 5]);
    });
  });
}

test("[P-7.1] N watchers of one filter cost one publish in each encoding", async () => {
  await using broker = await startBroker({ access: { channels: ROOMS } });
  const watchers = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      WireClient.connect(broker.wsUrl, { encoding: ENCODINGS[i % 2]! }),
    ),
  );
  for (const one of watchers) await one.ok({ type: "subscribe", filter: "#", presence: true });
  const { presence, counters } = broker.warren.broker;
  using somebody = await WireClient.connect(broker.wsUrl);
  await somebody.ok({ type: "subscribe", filter: "room/1" });
  for (const one of watchers) expect((await one.expect("presence")).action).toBe("join");
  expect(presence.frames).toBe(2);
  // They are no events, and nobody's subscription more.
  expect(counters).toMatchObject({ events: 0, subscriptions: 21 });
  const metrics = await (await fetch(`${broker.httpUrl}/metrics`)).text();
  expect(metrics).toContain("\nwarren_presence_members 1\n");
  expect(metrics).toContain("\nwarren_presence_frames_total 2\n");
  for (const one of watchers) await one.close();
  await somebody.close();
  expect(presence.members).toBe(0);
});
