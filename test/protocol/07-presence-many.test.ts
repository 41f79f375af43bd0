/** Presence where there are many: topics that tell how many, not who [P-7.4]; slow watchers; lists over HTTP. */
import { describe, expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { RawClient } from "../harness/raw-client.ts";
import { openHouse, ROOMS, toldUntilNow } from "../harness/rooms.ts";
import { startBroker } from "../harness/start-broker.ts";
import { tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  test(`[P-7.4] past limits.presenceAnnounced members are counted, not told one by one (${encoding})`, async () => {
    const clock = new ManualClock();
    const limits = { presenceAnnounced: 4 };
    await using house = await openHouse(encoding, { limits, deps: { clock } });
    const watcher = await house.come("watcher");
    await watcher.ok({ type: "subscribe", filter: "room/#", presence: true });
    const come = async (name: string) => {
      const one = await house.come(name);
      await one.ok({ type: "subscribe", filter: "room/1" });
      return one;
    };
    const people: WireClient[] = [];
    for (let i = 1; i <= 7; i++) people.push(await come(`p${i}`));
    expect(await toldUntilNow(watcher)).toEqual([
      ...["join p1", "join p2", "join p3", "join p4"],
      "many 5",
    ]);
    const list = await watcher.ok({ type: "presence", topic: "room/1" });
    expect([list.members.length, list.count, list.many]).toEqual([7, 7, true]);
    // How many there are is told once a second, where it is not what was told before.
    clock.advance(999);
    expect(await toldUntilNow(watcher)).toEqual([]);
    clock.advance(1);
    expect(await toldUntilNow(watcher)).toEqual(["many 7"]);
    await people[0]!.ok({ type: "subscribe", filter: "room/1", info: "not told" });
    await people.pop()!.close();
    people.push(await come("p7 again"));
    clock.advance(10_000);
    expect(await toldUntilNow(watcher)).toEqual([]);
    // Other topics are not concerned.
    await people[0]!.ok({ type: "subscribe", filter: "room/2" });
    expect(await toldUntilNow(watcher)).toEqual(["join p1"]);
    for (const one of people.splice(3)) await one.close();
    clock.advance(1000);
    expect(await toldUntilNow(watcher)).toEqual(["many 3"]);
    await people.pop()!.ok({ type: "unsubscribe", filter: "room/1" });
    expect(await toldUntilNow(watcher)).toEqual(["few 2"]);
    await come("somebody");
    await people.pop()!.ok({ type: "unsubscribe", filter: "room/1" });
    clock.advance(10_000);
    expect(await toldUntilNow(watcher)).toEqual(["join somebody", "leave p2"]);
    expect(await watcher.ok({ type: "presence", topic: "room/1" })).not.toHaveProperty("many");
  });
}

test("[P-7.3, P-7.4] who has listed another count than was told is told when it is that again", async () => {
  const clock = new ManualClock();
  await using house = await openHouse("json", {
    limits: { presenceAnnounced: 2 },
    deps: { clock },
  });
  const come = async (name: string) => {
    const one = await house.come(name);
    await one.ok({ type: "subscribe", filter: "room/1" });
    return one;
  };
  for (const name of ["p1", "p2", "p3"]) await come(name);
  const last = await come("p4");
  clock.advance(1000);
  const late = await come("p5");
  const watcher = await house.come("watcher");
  await watcher.ok({ type: "subscribe", filter: "room/#", presence: true });
  expect(await watcher.ok({ type: "presence", topic: "room/1" })).toMatchObject({ count: 5 });
  await late.close();
  clock.advance(1000);
  expect(await toldUntilNow(watcher)).toEqual(["many 4"]);
  await last.close();
  clock.advance(1000);
  expect(await toldUntilNow(watcher)).toEqual(["many 3"]);
});

test("[P-7.4] hundreds that come and go together cost few frames", async () => {
  const limits = { presenceAnnounced: 20 };
  await using broker = await startBroker({ limits, access: { channels: ROOMS } });
  const people = await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      WireClient.connect(broker.wsUrl, { encoding: ENCODINGS[i % 2]! }),
    ),
  );
  const asked = { type: "subscribe", filter: "room/1", presence: true };
  await Promise.all(people.map((one) => one.ok(asked)));
  const { presence } = broker.warren.broker;
  expect(presence.members).toBe(200);
  const told = await people[0]!.everythingUntilNow();
  expect(told.length).toBeLessThan(30);
  await Promise.all(people.map((one) => one.close()));
  // They are seen to in parts.
  await eventually(
    () => presence.members === 0,
    () => `${presence.members} members`,
  );
  // 20 joins and what is said of many, in two encodings, and the same again where few are left.
  expect(presence.frames).toBeLessThan(100);
});

test("[P-4.7, P-7.4] a watcher that reads too slowly is told that it has missed something", async () => {
  const limits = { outboundBytes: 512 * 1024, frameBytes: 64 * 1024, presenceInfoBytes: 16_384 };
  await using broker = await startBroker({ limits, access: { channels: ROOMS } });
  using slow = await RawClient.connect(broker.wsUrl);
  using busy = await WireClient.connect(broker.wsUrl);
  slow.send({ type: "subscribe", id: 1, filter: "room/#", presence: true });
  await slow.until(({ id }) => id === 1);
  slow.stopReading();
  const info = "x".repeat(16_000);
  // How much the system takes before the broker sees that nobody reads is its own business.
  const isSeen = () => [...broker.warren.sessions].some((one) => one.holdings.live?.suspended);
  let total = 0;
  for (let i = 0; i < 600 || (!isSeen() && i < 6000); i++) {
    total++;
    await busy.ok({ type: "subscribe", filter: "room/1", info: `${i}${info}` });
  }
  slow.readOn();
  const { filter, presence, missed } = await slow.until(({ code }) => code === "lagged");
  expect({ filter, presence }).toEqual({ filter: "room/#", presence: true });
  const seen = slow.frames.filter(({ type }) => type === "presence");
  expect(seen.length + missed).toBe(total);
  await busy.ok({ type: "unsubscribe", filter: "room/1" });
  expect((await slow.until(({ action }) => action === "leave")).topic).toBe("room/1");
});

describe("over HTTP", () => {
  test("[P-7.3, P-12.9] the same list, with the same rights and bounds", async () => {
    await using house = await openHouse("json");
    for (const name of ["a", "b", "c"]) {
      const one = await house.come(name);
      await one.ok({ type: "subscribe", filter: "room/1", info: { of: name } });
    }
    const grants = [{ allow: ["presence"], on: ["room/#"] }];
    const headers = { Authorization: `Bearer ${await tokenFor("page", { grants })}` };
    const get = async (path: string) => {
      const answer = await fetch(`${house.broker.httpUrl}/v1/presence/${path}`, { headers });
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
    };
    const all = await get("room/1");
    expect(all.status).toBe(200);
    expect(all.body).toMatchObject({
      count: 3,
      members: ["a", "b", "c"].map((name) => ({
        principal: name,
        session: expect.any(String),
        since: expect.any(Number),
        info: { of: name },
      })),
    });
    expect((await get("room%2F1?limit=1")).body).toMatchObject({
      count: 3,
      members: [{ principal: "a" }],
    });
    const refused: [string, number, object][] = [
      ["room/1?limit=1001", 400, { code: "invalid_frame", pointer: "/limit" }],
      ["room/1?limit=x", 400, { code: "invalid_frame", pointer: "/limit" }],
      ["room/%2B", 400, { code: "invalid_topic" }],
      ["hall", 403, { code: "forbidden", action: "presence", on: "hall" }],
    ];
    for (const [path, status, body] of refused) {
      expect([path, await get(path)]).toMatchObject([path, { status, body }]);
    }
    const nobody = await fetch(`${house.broker.httpUrl}/v1/presence/room/1`);
    expect(nobody.status).toBe(401);
  });

  test("[P-7.3] a topic without presence is not_supported", async () => {
    await using broker = await startBroker({ access: { channels: ROOMS } });
    const answer = await fetch(`${broker.httpUrl}/v1/presence/hall`);
    expect(answer.status).toBe(501);
    expect(await answer.json()).toMatchObject({ code: "not_supported", topic: "hall" });
  });
});
