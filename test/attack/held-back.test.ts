/** One read of a socket brings thousands of messages: who is held back is so in the midst of them. */
import { expect, test } from "bun:test";
import { constants, deflateRawSync } from "node:zlib";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker } from "../harness/start-broker.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";
import { HostilePeer, OPCODE, webSocketFrame } from "./hostile-peer.ts";

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

for (const encoding of ENCODINGS) {
  for (const together of [true, false]) {
    const how = `${together ? "one message" : "messages of their own"}, ${encoding}`;
    test(`[P-14.11, P-2.3] what was read with one frame too many waits (${how})`, async () => {
      const clock = new ManualClock();
      const rates = { burstSeconds: 1, connection: { messagesPerSecond: 10 } };
      await using broker = await startBroker({ access: { rates }, deps: { clock } });
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      using other = await WireClient.connect(broker.wsUrl);
      const session = [...broker.warren.sessions][0]!;
      const pings = range(0, 200).map((id) => ({ type: "ping", id }));
      if (together) client.send(pings);
      else for (const ping of pings) client.send(ping);
      const seen: Frame[] = [];
      // Ten are within the rate, and sixteen are refused, before it is not read any more.
      for (const from of range(0, 7).map((round) => round * 26)) {
        await client.expect(({ id }) => id === from + 25);
        for (let n = 0; n < 5; n++) await other.ok({ type: "ping" });
        seen.push(...client.inbox.splice(0));
        expect(session.intake.throttled).toBe(true);
        expect(seen.at(-1)?.id ?? from + 25).toBeLessThanOrEqual(from + 25);
        clock.advance(1000);
      }
      await client.expect(({ id }) => id === 199);
      seen.push(...client.inbox);
      const ids = seen.map(({ id }) => id);
      expect(ids).toEqual(ids.toSorted((a, b) => a - b));
      expect(seen.filter(({ type }) => type === "ok").length).toBeGreaterThanOrEqual(70);
    });
  }
}

test("[P-14.11, P-14.13] compressed, it may be more than can wait: 4429", async () => {
  const clock = new ManualClock();
  const rates = { burstSeconds: 1, connection: { bytesPerSecond: 100_000 } };
  const access = { rates, compression: "on" as const };
  await using broker = await startBroker({ access, deps: { clock } });
  using other = await WireClient.connect(broker.wsUrl);
  const offer = "Sec-WebSocket-Extensions: permessage-deflate";
  using peer = await HostilePeer.upgrade(broker.wsUrl, offer);
  const text = `{"type":"publish","topic":"t","payload":"${"x".repeat(200_000)}"}`;
  const bytes = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH });
  const payload = bytes.subarray(0, bytes.length - 4);
  const message = webSocketFrame({ opcode: OPCODE.text, payload, reserved: 4 });
  peer.write(Buffer.concat(new Array<Buffer>(50).fill(message)));
  expect(await peer.over()).toBe(4429);
  await eventually(
    () => broker.warren.sessions.size === 1,
    () => `one session, not ${broker.warren.sessions.size}`,
  );
  await other.ok({ type: "ping" });
  expect(broker.warren.broker.counters.published).toBe(1);
});

test("[P-14.11, P-11.2] past heldInputBytes who is over his rate is refused at once, in order", async () => {
  const clock = new ManualClock();
  const rates = { burstSeconds: 1, connection: { messagesPerSecond: 10 } };
  const limits = { heldInputBytes: 1 };
  await using broker = await startBroker({ limits, access: { rates }, deps: { clock } });
  using client = await WireClient.connect(broker.wsUrl);
  const session = [...broker.warren.sessions][0]!;
  for (const id of range(0, 200)) session.receive(JSON.stringify({ type: "ping", id }));
  for (const id of range(0, 200)) {
    expect(await client.expect((frame) => frame.id !== undefined)).toMatchObject({ id });
  }
  expect(broker.warren.sessions.turns.heldBytes).toBe(0);
});

test("[P-14.11, P-11.2] who ends while he is held back is gone, after what he had sent", async () => {
  const clock = new ManualClock();
  const rates = { burstSeconds: 1, connection: { messagesPerSecond: 10, bytesPerSecond: 1000 } };
  await using broker = await startBroker({ access: { rates }, deps: { clock } });
  using peer = await HostilePeer.upgrade(broker.wsUrl);
  const frames = range(0, 200).map((n) => {
    const payload = JSON.stringify({ type: "publish", topic: "t", payload: n });
    return webSocketFrame({ opcode: OPCODE.text, payload });
  });
  const goodbye = webSocketFrame({ opcode: OPCODE.close, payload: Buffer.from([0x03, 0xe8]) });
  peer.write(Buffer.concat([...frames, goodbye]));
  await eventually(
    () => broker.warren.sessions.size === 0,
    () => "nobody to be left",
  );
  expect(broker.warren.broker.counters.published).toBe(10);
  expect(broker.warren.sessions.turns.heldBytes).toBe(0);
});
