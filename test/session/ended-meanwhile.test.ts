/** A session that is ended by the very thing that it asked for holds nothing afterwards. */
import { expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { ROOMS } from "../harness/rooms.ts";
import { startBroker } from "../harness/start-broker.ts";
import { WireClient } from "../harness/wire-client.ts";

/** What is asked, and before it what leaves something pending where that leads. */
const ASKED: readonly (readonly [what: string, before: object, asked: object])[] = [
  ["to subscribe", { type: "publish", topic: "room/3" }, { filter: "room/+" }],
  ["to be a member", { type: "unsubscribe", filter: "room/2" }, { filter: "room/1" }],
  ["to watch", { type: "unsubscribe", filter: "room/2" }, { filter: "room/#", presence: true }],
];

for (const [what, before, asked] of ASKED) {
  test(`[P-4.7, P-7.1] who turns out not to read while he asks ${what} leaves nothing behind`, async () => {
    const limits = { coalescedFrames: 2 };
    await using broker = await startBroker({ limits, access: { channels: ROOMS } });
    using other = await WireClient.connect(broker.wsUrl);
    for (const filter of ["room/+", "room/#"]) {
      await other.ok({ type: "subscribe", filter, presence: true });
    }
    using slow = await WireClient.connect(broker.wsUrl);
    await slow.ok({ type: "subscribe", filter: "room/2" });
    await other.everythingUntilNow();
    const { broker: core, sessions } = broker.warren;
    const session = [...sessions].find(({ id }) => id === slow.welcome.session)!;
    // As if nothing could be sent to it any more: Bun says so when something is.
    Object.assign(session.socket, { send: () => 0 });
    // What is pending leaves before anybody joins it, and answers before that.
    slow.send([{ type: "ping", id: 1 }, before, { type: "subscribe", ...asked }]);
    await slow.closed();
    await eventually(
      () => sessions.size === 1,
      () => `one session; there are ${sessions.size}`,
    );
    await other.everythingUntilNow();
    expect(core.presence.members).toBe(0);
    expect(core.counters.subscriptions).toBe(2);
    for (const filter of ["room/1", "room/2"]) {
      for (const route of core.router.lookup(filter).routes) expect(route.members.size).toBe(1);
    }
    await other.close();
    expect(core.counters.routes).toBe(0);
    // Nobody watches any more.
    const { frames } = core.presence;
    using last = await WireClient.connect(broker.wsUrl);
    await last.ok({ type: "subscribe", filter: "room/1" });
    expect(core.presence.frames).toBe(frames);
  });
}

test("[P-4.3, P-4.7] who does not read what is replayed anew leaves nothing", async () => {
  const channels = { kept: { filter: "kept/#", history: { maxMessages: 10 } } };
  await using broker = await startBroker({ access: { channels } });
  using slow = await WireClient.connect(broker.wsUrl);
  for (const filter of ["kept/1", "kept/2", "kept/3"]) await slow.ok({ type: "subscribe", filter });
  const { broker: core, sessions } = broker.warren;
  const [session] = [...sessions];
  Object.assign(session!.socket, { send: () => 0 });
  // The answer to the first makes the second wait for the end of the turn; before that it is off the air.
  const publish = { type: "publish", topic: "kept/1", id: 1 };
  slow.send([publish, publish, { type: "subscribe", filter: "kept/1", last: 1 }]);
  await slow.closed();
  await eventually(
    () => sessions.size === 0,
    () => `nobody; there are ${sessions.size}`,
  );
  expect(core.counters.subscriptions).toBe(0);
  expect(core.counters.routes).toBe(0);
});
