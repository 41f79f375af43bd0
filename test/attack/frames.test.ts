/** WebSocket frames that break the rules: the connection ends with a code that says why, no other does. */
import { describe, expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { WireClient } from "../harness/wire-client.ts";
import { HostilePeer, OPCODE, textFrame, webSocketFrame } from "./hostile-peer.ts";

const PING = JSON.stringify({ type: "ping", id: 1 });
const { text, continuation, close, ping } = OPCODE;
const code = (value: number, ...rest: number[]) => Buffer.from([value >> 8, value & 255, ...rest]);
const around = (...bytes: number[]) =>
  Buffer.concat([
    Buffer.from('{"type":"publish","id":1,"topic":"t","payload":"'),
    Buffer.from(bytes),
    Buffer.from('"}'),
  ]);

/** What is sent after `welcome`, and the close code of the answer. */
const BROKEN: Readonly<Record<string, readonly [number, ...(string | Uint8Array)[]]>> = {
  "a frame without a mask": [1002, webSocketFrame({ opcode: text, payload: PING, masked: false })],
  "compression that was not agreed": [
    1002,
    webSocketFrame({ opcode: text, payload: PING, reserved: 4 }),
  ],
  "a reserved bit": [1002, webSocketFrame({ opcode: text, payload: PING, reserved: 1 })],
  "a reserved opcode": [1002, webSocketFrame({ opcode: 3, payload: PING })],
  "a reserved control opcode": [1002, webSocketFrame({ opcode: 11 })],
  "HTTP after the upgrade": [1002, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"],
  "a continuation of nothing": [1002, webSocketFrame({ opcode: continuation, payload: PING })],
  "a message inside another": [
    1002,
    webSocketFrame({ opcode: text, payload: PING.slice(0, 5), final: false }),
    textFrame(PING),
  ],
  "a ping that is too long": [1002, webSocketFrame({ opcode: ping, payload: "x".repeat(126) })],
  "a ping in fragments": [1002, webSocketFrame({ opcode: ping, payload: "x", final: false })],
  "a close of one byte": [1002, webSocketFrame({ opcode: close, payload: "x" })],
  "a close with a code that nobody may send": [
    1002,
    webSocketFrame({ opcode: close, payload: code(1005) }),
  ],
  "a close with a reason that is not UTF-8": [
    1007,
    webSocketFrame({ opcode: close, payload: code(1000, 0xff) }),
  ],
  "bytes that are no UTF-8": [1007, webSocketFrame({ opcode: text, payload: around(0xc3, 0x28) })],
  "half a surrogate pair in UTF-8": [
    1007,
    webSocketFrame({ opcode: text, payload: around(0xed, 0xa0, 0x80) }),
  ],
  "UTF-8 longer than it need be": [
    1007,
    webSocketFrame({ opcode: text, payload: around(0xc0, 0xaf) }),
  ],
  "an empty message": [1007, webSocketFrame({ opcode: text })],
  "a message longer than it may be": [1009, textFrame("x".repeat(300_000))],
  "a promise of a terabyte": [1009, webSocketFrame({ opcode: text, statedLength: 2 ** 40 })],
  "a length with its highest bit set": [
    1009,
    Buffer.from([0x81, 0xff, ...new Array<number>(8).fill(0xff), 0, 0, 0, 0]),
  ],
  "fragments longer together than a message may be": [
    1009,
    ...Array.from({ length: 10 }, (_, i) =>
      webSocketFrame({
        opcode: i === 0 ? text : continuation,
        payload: "x".repeat(40_000),
        final: false,
      }),
    ),
  ],
};

async function nothingHappened(broker: TestBroker, witness: WireClient): Promise<void> {
  await eventually(
    () => broker.warren.sessions.size === 1,
    () => `one session, not ${broker.warren.sessions.size}`,
  );
  // Whatever was in the broken messages, nobody saw it.
  expect(await witness.everythingUntilNow()).toEqual([]);
  expect(broker.log.join("\n")).not.toContain('"level":"error"');
}

describe("[P-10.2, P-2.4] what breaks the rules of WebSockets", () => {
  for (const [what, [wanted, ...bytes]] of Object.entries(BROKEN)) {
    test(`[P-10.2, P-11.1] ${what} closes with ${wanted}`, async () => {
      await using broker = await startBroker();
      using witness = await WireClient.connect(broker.wsUrl);
      await witness.ok({ type: "subscribe", filter: "#" });
      using peer = await HostilePeer.upgrade(broker.wsUrl);
      for (const some of bytes) peer.write(some);
      expect(await peer.over()).toBe(wanted);
      await nothingHappened(broker, witness);
    });
  }
});

test("[P-2.1] a message in many fragments, with pings between them, is one message", async () => {
  await using broker = await startBroker();
  using peer = await HostilePeer.upgrade(broker.wsUrl);
  const frame = JSON.stringify({ type: "ping", id: "ü".repeat(20) });
  // Cut inside characters too: only the whole is text.
  const bytes = Buffer.from(frame);
  for (let i = 0; i < bytes.length; i++) {
    const opcode = i === 0 ? text : continuation;
    const final = i === bytes.length - 1;
    peer.write(webSocketFrame({ opcode, payload: bytes.subarray(i, i + 1), final }));
    if (i % 10 === 0) peer.write(webSocketFrame({ opcode: ping, payload: String(i) }));
  }
  expect(await peer.until(({ type }) => type === "ok")).toMatchObject({ id: "ü".repeat(20) });
  expect(peer.opcodes.filter((opcode) => opcode === OPCODE.pong).length).toBe(
    Math.ceil(bytes.length / 10),
  );
});

test("[P-2.1] frames that arrive byte by byte are frames, and hinder nobody", async () => {
  await using broker = await startBroker();
  using other = await WireClient.connect(broker.wsUrl);
  using peer = await HostilePeer.upgrade(broker.wsUrl);
  peer.socket.setNoDelay(true);
  const bytes = textFrame({ type: "ping", id: 7 });
  for (const byte of bytes) {
    peer.write(Uint8Array.of(byte));
    await other.ok({ type: "ping" });
  }
  await peer.until(({ id }) => id === 7);
});

test("[P-10.2] what is sent after a close is not read", async () => {
  await using broker = await startBroker();
  using witness = await WireClient.connect(broker.wsUrl);
  await witness.ok({ type: "subscribe", filter: "#" });
  using peer = await HostilePeer.upgrade(broker.wsUrl);
  peer.write(
    Buffer.concat([
      webSocketFrame({ opcode: close, payload: code(1000) }),
      textFrame({ type: "publish", id: 1, topic: "after" }),
    ]),
  );
  expect(await peer.over()).toBe(1000);
  await nothingHappened(broker, witness);
});

test("[P-2.4] nor what is sent after the broker has closed", async () => {
  await using broker = await startBroker();
  using witness = await WireClient.connect(broker.wsUrl);
  await witness.ok({ type: "subscribe", filter: "#" });
  using peer = await HostilePeer.upgrade(broker.wsUrl);
  peer.write(
    Buffer.concat([textFrame("{"), textFrame({ type: "publish", id: 1, topic: "after" })]),
  );
  expect(await peer.over()).toBe(1007);
  expect(peer.frames.map(({ type, code }) => code ?? type)).toEqual(["welcome", "malformed_frame"]);
  await nothingHappened(broker, witness);
});

test("[P-4.7] one that floods with pings and does not read the pongs is closed with 4508", async () => {
  await using broker = await startBroker();
  using other = await WireClient.connect(broker.wsUrl);
  using peer = await HostilePeer.upgrade(broker.wsUrl);
  const { outboundBytes } = broker.warren.sessions.limits;
  const session = [...broker.warren.sessions].at(-1)!;
  peer.socket.pause();
  const flood = Buffer.concat(
    Array.from({ length: 1000 }, () => webSocketFrame({ opcode: ping, payload: "x".repeat(125) })),
  );
  await eventually(
    () => {
      if (peer.socket.writableLength === 0) peer.write(flood);
      return session.over;
    },
    () => `an end; ${session.socket.getBufferedAmount()} bytes wait`,
  );
  // What it had sent before is read still, but not more than the socket itself holds back.
  expect(session.socket.getBufferedAmount()).toBeLessThan(4 * outboundBytes);
  await other.ok({ type: "ping" });
  peer.socket.resume();
  expect(await peer.over()).toBe(4508);
});
