/** permessage-deflate [P-14.13]: off unless asked for; bounded; nobody's text is another's context. */
import { expect, test } from "bun:test";
import { constants, deflateRawSync, inflateRawSync } from "node:zlib";
import { startBroker } from "../harness/start-broker.ts";
import { WireClient } from "../harness/wire-client.ts";
import { HostilePeer, OPCODE, webSocketFrame } from "./hostile-peer.ts";

const OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
const ON = { access: { compression: "on" } };
const RSV1 = 4;

/** A message as RFC 7692 has it: deflated, flushed, without the empty block at its end. */
function deflated(text: string | Uint8Array): Buffer {
  const bytes = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH });
  return bytes.subarray(0, bytes.length - 4);
}

const compressedFrame = (payload: Uint8Array) =>
  webSocketFrame({ opcode: OPCODE.text, payload, reserved: RSV1 });

test("[P-14.13] nothing is agreed unless it is configured", async () => {
  await using off = await startBroker();
  using refused = await HostilePeer.upgrade(off.wsUrl, OFFER);
  expect(refused.head).not.toContain("permessage-deflate");
  refused.write(compressedFrame(deflated('{"type":"ping","id":1}')));
  expect(await refused.over()).toBe(1002);
});

test("[P-14.13] agreed without context takeover, in both directions, and understood", async () => {
  await using on = await startBroker(ON);
  using peer = await HostilePeer.upgrade(on.wsUrl, OFFER);
  expect(peer.head).toContain("permessage-deflate");
  expect(peer.head).toContain("server_no_context_takeover");
  expect(peer.head).toContain("client_no_context_takeover");
  peer.write(compressedFrame(deflated('{"type":"ping","id":1}')));
  expect(await peer.until(({ id }) => id === 1)).toMatchObject({ type: "ok" });
});

test("[P-14.13] each message unpacks by itself: what went to others, or before, is not in it", async () => {
  await using on = await startBroker(ON);
  using one = await HostilePeer.upgrade(on.wsUrl, OFFER);
  using other = await HostilePeer.upgrade(on.wsUrl, OFFER);
  using publisher = await WireClient.connect(on.wsUrl);
  for (const peer of [one, other]) {
    peer.send({ type: "subscribe", id: 1, filter: "t" });
    await peer.until(({ id }) => id === 1);
  }
  const payload = "secret ".repeat(400);
  for (let n = 0; n < 3; n++) {
    await publisher.ok({ type: "publish", topic: "t", headers: { n: String(n) }, payload });
    for (const peer of [one, other]) await peer.until(({ headers }) => headers?.n === String(n));
  }
  for (const peer of [one, other]) {
    expect(peer.compressed.length).toBeGreaterThanOrEqual(3);
    for (const bytes of peer.compressed) {
      expect(inflated(bytes)).toContain("secret secret");
      expect(bytes.length).toBeLessThan(payload.length / 4);
    }
  }
});

test("[P-14.13, P-11.1] a bomb is not unpacked beyond limits.frameBytes, and others go on", async () => {
  await using on = await startBroker(ON);
  using other = await WireClient.connect(on.wsUrl);
  const bomb = compressedFrame(deflated(Buffer.alloc(64 * 1024 * 1024, 0x20)));
  expect(bomb.length).toBeLessThan(100_000);
  const before = process.memoryUsage.rss();
  for (let n = 0; n < 20; n++) {
    using peer = await HostilePeer.upgrade(on.wsUrl, OFFER);
    peer.write(bomb);
    expect(await peer.over()).toBe(1009);
    await other.ok({ type: "ping" });
  }
  // Unpacked they would be 1,280 MiB.
  expect((process.memoryUsage.rss() - before) / 2 ** 20).toBeLessThan(200);
});

test("[P-14.13] what is no deflated text at all ends that connection and no other", async () => {
  await using on = await startBroker(ON);
  using other = await WireClient.connect(on.wsUrl);
  for (const bytes of [Buffer.from([0xff, 0xff, 0xff]), Buffer.alloc(1000, 0xa5)]) {
    using peer = await HostilePeer.upgrade(on.wsUrl, OFFER);
    peer.write(compressedFrame(bytes));
    expect([1002, 1006, 1007, 1009, undefined]).toContain(await peer.over());
    await other.ok({ type: "ping" });
  }
});

function inflated(bytes: Uint8Array): string {
  const whole = Buffer.concat([bytes, Buffer.from([0, 0, 0xff, 0xff])]);
  return inflateRawSync(whole, { finishFlush: constants.Z_SYNC_FLUSH }).toString();
}
