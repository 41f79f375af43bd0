/** Pings and pongs of the WebSocket itself: they count for rates as what the protocol says does [P-14.11]. */
import { describe, expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker } from "../harness/start-broker.ts";
import { WireClient } from "../harness/wire-client.ts";
import { HostilePeer, webSocketFrame } from "./hostile-peer.ts";

const PING = 9;
const PONG = 10;
const flood = (opcode: number, payload: string) =>
  Buffer.concat(Array.from({ length: 200 }, () => webSocketFrame({ opcode, payload })));

const table: [string, object, Buffer][] = [
  ["pings", { messagesPerSecond: 10 }, flood(PING, "")],
  ["pongs that nobody asked for", { messagesPerSecond: 10 }, flood(PONG, "")],
  ["the bytes in pings", { bytesPerSecond: 1000 }, flood(PING, "x".repeat(125))],
  ["the bytes in pongs", { bytesPerSecond: 1000 }, flood(PONG, "x".repeat(125))],
];

describe("[P-14.11] over a rate of pings and pongs", () => {
  test.each(table)("%s: not read for a while, others are served", async (...row) => {
    const [, connection, frames] = row;
    const clock = new ManualClock();
    const access = { rates: { burstSeconds: 1, connection } };
    await using broker = await startBroker({ access, deps: { clock } });
    using other = await WireClient.connect(broker.wsUrl);
    using peer = await HostilePeer.upgrade(broker.wsUrl);
    const session = [...broker.warren.sessions].at(-1)!;
    peer.write(frames);
    await eventually(
      () => session.intake.throttled,
      () => "the socket not to be read",
    );
    await other.ok({ type: "ping" });
    clock.advance(11_000);
    expect([session.intake.throttled, session.over]).toEqual([false, false]);
  });
});

test("[P-14.11, P-9.2] who keeps his line alive with pings is within his rates", async () => {
  const clock = new ManualClock();
  const access = { rates: { burstSeconds: 1, connection: { messagesPerSecond: 5 } } };
  await using broker = await startBroker({ access, deps: { clock } });
  using peer = await HostilePeer.upgrade(broker.wsUrl);
  const session = [...broker.warren.sessions].at(-1)!;
  for (let n = 0; n < 30; n++) {
    const heard = session.heardAt;
    peer.write(webSocketFrame({ opcode: PING, payload: "" }));
    clock.advance(5000);
    await eventually(
      () => session.heardAt > heard,
      () => "a ping to be heard",
    );
  }
  expect(session.intake.throttled).toBe(false);
  expect(session.over).toBe(false);
});
