/** How presence ends, or goes on unnoticed: lost connections, rights, channels, the end of the broker [P-7.2]. */
import { describe, expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { RawClient } from "../harness/raw-client.ts";
import { inWords, membersOf, openHouse, ROOMER, toldUntilNow } from "../harness/rooms.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, type Encoding, WireClient } from "../harness/wire-client.ts";

/** A house with a watcher of all rooms, whose time is in the hands of the test. */
async function watchedHouse(encoding: Encoding, limits: Readonly<Record<string, number>> = {}) {
  const clock = new ManualClock();
  const house = await openHouse(encoding, { limits, deps: { clock } });
  const watcher = await house.come("watcher");
  await watcher.ok({ type: "subscribe", filter: "room/#", presence: true });
  const { sessions, broker: core } = house.broker.warren;
  return {
    ...house,
    clock,
    watcher,
    presence: core.presence,
    /** Breaks the connection, and resolves when the broker knows. */
    async lose(client: WireClient): Promise<void> {
      const left = sessions.size - 1;
      client.socket.terminate();
      await eventually(
        () => sessions.size === left,
        () => `${left} sessions; there are ${sessions.size}`,
      );
    },
  };
}

for (const encoding of ENCODINGS) {
  describe(`over ${encoding}`, () => {
    test("[P-7.2] a lost connection that is back in time was never away", async () => {
      await using house = await watchedHouse(encoding);
      const { watcher, clock, presence } = house;
      const early = await house.come("early");
      const before = await house.come("ada");
      const late = await house.come("late");
      for (const one of [early, before, late]) {
        await one.ok({ type: "subscribe", filter: "room/1", info: "here" });
      }
      const [, came] = await membersOf(watcher, "room/1");
      await toldUntilNow(watcher);
      await house.lose(before);
      clock.advance(4999);
      expect(presence.members).toBe(3);
      const after = await house.come("ada");
      await after.ok({ type: "subscribe", filter: "room/1", info: "here" });
      clock.advance(20_000);
      expect(await toldUntilNow(watcher)).toEqual([]);
      // In its place, since when it was, known by the session that it came with.
      expect((await membersOf(watcher, "room/1"))[1]).toEqual({
        ...came,
        session: after.welcome.session,
        firstSession: before.welcome.session,
      });
      await after.ok({ type: "subscribe", filter: "room/1", info: "there" });
      await after.close();
      const told = (await watcher.everythingUntilNow()).filter(({ type }) => type === "presence");
      expect(told.map(inWords)).toEqual(["update ada", "leave ada"]);
      for (const { member } of told) {
        expect(member.firstSession).toBe(before.welcome.session);
      }
    });

    test("[P-7.2] one that is not back leaves when its time is over, and not before", async () => {
      await using house = await watchedHouse(encoding);
      const { watcher, clock } = house;
      const ada = await house.come("ada");
      for (const filter of ["room/1", "room/2"]) await ada.ok({ type: "subscribe", filter });
      await toldUntilNow(watcher);
      await house.lose(ada);
      clock.advance(4999);
      expect(await toldUntilNow(watcher)).toEqual([]);
      const back = await house.come("ada");
      // On another topic it is somebody new.
      await back.ok({ type: "subscribe", filter: "room/3" });
      await back.ok({ type: "subscribe", filter: "room/2", info: "again" });
      expect(await toldUntilNow(watcher)).toEqual(["join ada", "update ada"]);
      clock.advance(1);
      const told = (await watcher.everythingUntilNow()).filter(({ type }) => type === "presence");
      expect(told.map(({ action, topic }) => [action, topic])).toEqual([["leave", "room/1"]]);
    });

    test("[P-7.2] devices of one principal are told apart; of two lost ones the first is back first", async () => {
      await using house = await watchedHouse(encoding);
      const { watcher, clock } = house;
      const come = async (client: string) => {
        const one = await house.come("ada", { grants: ROOMER, client });
        await one.ok({ type: "subscribe", filter: "room/1" });
        return one;
      };
      const phone = await come("phone");
      const others = [await come("desk"), await come("desk")];
      await toldUntilNow(watcher);
      for (const one of [phone, ...others]) await house.lose(one);
      const back = await come("desk");
      const sessions = async () =>
        (await membersOf(watcher, "room/1")).map(({ session }) => session);
      expect(await sessions()).toEqual(
        [phone, back, others[1]!].map(({ welcome }) => welcome.session),
      );
      await come("tablet");
      expect(await toldUntilNow(watcher)).toEqual(["join ada"]);
      clock.advance(5000);
      expect(await toldUntilNow(watcher)).toEqual(["leave ada", "leave ada"]);
    });

    test("[P-7.2] an end in order is a leaving at once, and so is being thrown out", async () => {
      await using house = await watchedHouse(encoding);
      const { watcher, broker } = house;
      const come = async (name: string) => {
        const one = await house.come(name);
        await one.ok({ type: "subscribe", filter: "room/1" });
        expect(inWords(await watcher.expect("presence"))).toBe(`join ${name}`);
        return one;
      };
      const endings: ((client: WireClient) => unknown)[] = [
        (client) => client.socket.close(1000),
        (client) => client.socket.close(),
        async (client) => {
          const { session } = client.welcome;
          const headers = { Authorization: `Bearer ${await tokenFor("operator")}` };
          const path = `${broker.httpUrl}/admin/v1/connections/${session}`;
          expect((await fetch(path, { method: "DELETE", headers })).status).toBe(204);
          expect((await client.closed()).code).toBe(4410);
        },
        (client) => client.send(Array.from({ length: 20 }, () => ({ type: "ping", id: [] }))),
      ];
      for (const [i, end] of endings.entries()) {
        await end(await come(`number ${i}`));
        expect(inWords(await watcher.expect("presence"))).toBe(`leave number ${i}`);
      }
    });

    test("[P-7.2] a slow reader is lost, not gone: it is to come back", async () => {
      await using house = await watchedHouse(encoding);
      const ada = await house.come("ada");
      await ada.ok({ type: "subscribe", filter: "room/1" });
      await toldUntilNow(house.watcher);
      const { sessions } = house.broker.warren;
      [...sessions].find(({ id }) => id === ada.welcome.session)?.close(4508, "reads too slowly");
      await ada.closed();
      expect(await toldUntilNow(house.watcher)).toEqual([]);
      house.clock.advance(5000);
      expect(await toldUntilNow(house.watcher)).toEqual(["leave ada"]);
    });

    test("[P-7.2] past limits.presenceAbsent those who were lost first have left", async () => {
      await using house = await watchedHouse(encoding, { presenceAbsent: 2 });
      for (const name of ["a", "b", "c"]) {
        const one = await house.come(name);
        await one.ok({ type: "subscribe", filter: "room/1" });
        await house.lose(one);
      }
      expect(await toldUntilNow(house.watcher)).toEqual(["join a", "join b", "join c", "leave a"]);
    });

    test("[P-7.2] anonymous ones cannot be told apart: they leave and join", async () => {
      const anonymous = { grants: ROOMER };
      await using house = await openHouse(encoding, { access: { anonymous } });
      const watcher = await house.come("watcher");
      await watcher.ok({ type: "subscribe", filter: "room/1", presence: true });
      await toldUntilNow(watcher);
      const { wsUrl } = house.broker;
      for (let i = 0; i < 2; i++) {
        using nobody = await WireClient.connect(wsUrl, { encoding });
        await nobody.ok({ type: "subscribe", filter: "room/1" });
        expect(inWords(await watcher.expect("presence"))).toBe("join anonymous");
        nobody.socket.terminate();
        expect(inWords(await watcher.expect("presence"))).toBe("leave anonymous");
      }
    });

    test("[P-7.2, P-9.1] whoever says later who he is is updated", async () => {
      const anonymous = { grants: ROOMER };
      await using house = await openHouse(encoding, { access: { anonymous } });
      const watcher = await house.come("watcher");
      await watcher.ok({ type: "subscribe", filter: "room/#", presence: true });
      using ada = await WireClient.connect(house.broker.wsUrl, { encoding });
      for (const filter of ["room/1", "room/2"]) await ada.ok({ type: "subscribe", filter });
      const told = await toldUntilNow(watcher);
      expect(told).toEqual(["join anonymous", "join anonymous"]);
      const narrow = [{ allow: ["subscribe"], on: ["room/1"] }];
      await ada.ok({ type: "auth", token: await tokenFor("ada", { grants: narrow }) });
      // First goes what he may not do any more, still under the name that was known.
      expect(await toldUntilNow(watcher)).toEqual(["leave anonymous", "update ada"]);
      await ada.ok({ type: "auth", token: await tokenFor("ada", { grants: narrow }) });
      expect(await toldUntilNow(watcher)).toEqual([]);
    });

    test("[P-7.2, P-9.3] when the broker stops nobody is told who leaves", async () => {
      await using house = await openHouse(encoding);
      const { warren } = house.broker;
      const clients = [await house.come("a"), await house.come("b")];
      for (const one of clients) {
        await one.ok({ type: "subscribe", filter: "room/1", presence: true });
      }
      for (const one of clients) await one.everythingUntilNow();
      await house.broker.stop();
      for (const one of clients) {
        expect((await one.closed()).code).toBe(1012);
        expect(one.inbox.map(({ type, code }) => code ?? type)).toEqual(["draining"]);
      }
      expect(warren.broker.presence.members).toBe(0);
    });
  });
}

test("[P-7.1, P-9.2] back before the old line is known to be lost: two members, one principal", async () => {
  const clock = new ManualClock(Date.now());
  await using house = await openHouse("json", { limits: { heartbeatMs: 1600 }, deps: { clock } });
  const { sessions, broker: core } = house.broker.warren;
  const claims = { grants: ROOMER, client: "phone" };
  const token = await tokenFor("ada", claims);
  // It answers no ping, as a device does that has gone to another network.
  using before = await RawClient.connect(`${house.broker.wsUrl}?access_token=${token}`);
  before.send({ type: "subscribe", id: 1, filter: "room/1" });
  await before.until(({ id }) => id === 1);
  const after = await house.come("ada", claims);
  await after.ok({ type: "subscribe", filter: "room/1", presence: true });
  const both = await membersOf(after, "room/1");
  const { session } = after.welcome;
  expect(both).toMatchObject([{ principal: "ada" }, { principal: "ada", session }]);
  const pass = async (isOver: () => boolean) => {
    for (let step = 0; step < 100 && !isOver(); step++) {
      clock.advance(100);
      await after.ok({ type: "ping" });
    }
    expect(isOver()).toBe(true);
  };
  await pass(() => sessions.size === 1);
  expect(await membersOf(after, "room/1")).toEqual(both);
  await pass(() => core.presence.members === 1);
  const told = (await after.everythingUntilNow()).filter(({ type }) => type === "presence");
  expect(told.map(inWords)).toEqual(["join ada", "leave ada"]);
  expect(told[1]?.member).toEqual(both[0]);
  expect(await membersOf(after, "room/1")).toEqual([both[1]!]);
});

describe("rights and channels", () => {
  test("[P-7.1, P-14.6] watching and listing take the right on all of the filter", async () => {
    await using house = await openHouse("json");
    const grants = [
      { allow: ["subscribe"], on: ["#"] },
      { allow: ["presence"], on: ["room/#"] },
      { deny: ["receive"], on: ["room/secret/#"] },
      { deny: ["presence"], on: ["room/+/quiet"] },
    ];
    const one = await house.come("one", { grants });
    const refused = async (frame: object) => (await one.request(frame)).detail;
    for (const filter of ["#", "room/#", "room/a/quiet", "hall"]) {
      const answer = await refused({ type: "subscribe", filter, presence: true });
      const action = filter === "#" || filter === "room/#" ? "subscribe" : "presence";
      expect(answer).toMatchObject({ action, on: filter });
    }
    for (const topic of ["room/a/quiet", "room/secret", "hall"]) {
      expect(await refused({ type: "presence", topic })).toMatchObject({
        action: "presence",
        on: topic,
      });
    }
    await one.ok({ type: "subscribe", filter: "room/a/b", presence: true });
    // Whoever may not see is seen, without a right of its own.
    await one.ok({ type: "subscribe", filter: "room/a/quiet" });
    const other = await house.come("other");
    expect(await membersOf(other, "room/a/quiet")).toMatchObject([{ principal: "one" }]);
  });

  test("[P-7.1, P-4.6] who may not watch any more is told, and stays subscribed", async () => {
    await using broker = await startBroker({
      access: { ...TOKENS_ONLY, channels: { rooms: { filter: "room/#", presence: true } } },
    });
    const admin = { Authorization: `Bearer ${await tokenFor("operator")}` };
    const put = async (grants: unknown) => {
      const body = JSON.stringify({ grants });
      const headers = { ...admin, "Content-Type": "application/json" };
      const path = `${broker.httpUrl}/admin/v1/roles/guest`;
      expect((await fetch(path, { method: "PUT", headers, body })).status).toBe(200);
    };
    const subscribe = { allow: ["subscribe", "publish"], on: ["room/#"] };
    await put([subscribe, { allow: ["presence"], on: ["room/#"] }]);
    const token = await tokenFor("ada", { roles: ["guest"] });
    using ada = await WireClient.connect(broker.wsUrl, { token });
    for (const filter of ["room/1", "room/+"]) {
      await ada.ok({ type: "subscribe", filter, presence: true });
    }
    await ada.everythingUntilNow();
    await put([subscribe, { allow: ["presence"], on: ["room/1"] }]);
    expect(await ada.expect("notice")).toEqual({
      type: "notice",
      code: "presence_ended",
      filter: "room/+",
      reason: "forbidden",
    });
    await ada.ok({ type: "publish", topic: "room/1" });
    expect((await ada.everythingUntilNow()).map(({ type }) => type)).toEqual(["event", "event"]);
    const explain = await fetch(
      `${broker.httpUrl}/admin/v1/access/explain?principal=ada&action=presence&on=room/2`,
      { headers: admin },
    );
    expect(((await explain.json()) as { ended: unknown }).ended).toMatchObject([
      { action: "presence", on: "room/+" },
    ]);
    // A member that may not be subscribed any more has left.
    using watcher = await WireClient.connect(broker.wsUrl, {
      token: await tokenFor("watcher", { grants: ROOMER }),
    });
    await watcher.ok({ type: "subscribe", filter: "room/1", presence: true });
    await watcher.everythingUntilNow();
    await put([]);
    expect(inWords(await watcher.expect("presence"))).toBe("leave ada");
  });

  test("[P-7.2, P-14.9] a channel that gets presence has members, one that loses it has none", async () => {
    await using broker = await startBroker();
    const put = async (body: object, name = "halls") => {
      const answer = await fetch(`${broker.httpUrl}/admin/v1/channels/${name}`, {
        method: "PUT",
        body: JSON.stringify(body),
        headers: { "Content-Type": "application/json" },
      });
      expect(answer.status).toBe(200);
    };
    await put({ filter: "hall/#" });
    using member = await WireClient.connect(broker.wsUrl);
    using watcher = await WireClient.connect(broker.wsUrl);
    await member.ok({ type: "subscribe", filter: "hall/1" });
    await member.ok({ type: "subscribe", filter: "hall/#" });
    const asked = { type: "subscribe", filter: "hall/#", presence: true };
    expect(await watcher.request(asked)).toMatchObject({ code: "not_supported" });
    await put({ filter: "hall/#", presence: true });
    await put({ filter: "room/#", presence: true }, "rooms");
    const { presence } = broker.warren.broker;
    await eventually(
      () => presence.members === 1,
      () => "a member",
    );
    await watcher.ok(asked);
    using wider = await WireClient.connect(broker.wsUrl);
    await wider.ok({ ...asked, filter: "#" });
    await watcher.ok({ type: "subscribe", filter: "hall/2" });
    expect(inWords(await wider.expect("presence"))).toBe("join anonymous");
    await put({ filter: "hall/#", presence: false });
    // There may still be somebody to watch in the rooms, and those in the halls have left.
    for (let i = 0; i < 2; i++) {
      expect(inWords(await wider.expect("presence"))).toBe("leave anonymous");
    }
    expect(await watcher.expect("notice")).toEqual({
      type: "notice",
      code: "presence_ended",
      filter: "hall/#",
      reason: "not_supported",
    });
    expect(presence.members).toBe(0);
    expect((await watcher.request({ type: "presence", topic: "hall/1" })).code).toBe(
      "not_supported",
    );
  });

  test("[P-7.2, P-14.9] where a channel loses presence nobody is waited for any more", async () => {
    await using house = await watchedHouse("json");
    const { watcher, broker, presence } = house;
    const Authorization = `Bearer ${await tokenFor("operator")}`;
    for (const name of ["ada", "bob"]) {
      const one = await house.come(name);
      await one.ok({ type: "subscribe", filter: name === "ada" ? "room/hall/1" : "room/1" });
      await house.lose(one);
    }
    expect(await toldUntilNow(watcher)).toEqual(["join ada", "join bob"]);
    const answer = await fetch(`${broker.httpUrl}/admin/v1/channels/halls`, {
      method: "PUT",
      body: JSON.stringify({ filter: "room/hall/#" }),
      headers: { Authorization, "Content-Type": "application/json" },
    });
    expect(answer.status).toBe(200);
    await eventually(
      () => presence.members === 1,
      () => `bob alone; there are ${presence.members}`,
    );
    expect(await toldUntilNow(watcher)).toEqual(["leave ada"]);
  });
});
