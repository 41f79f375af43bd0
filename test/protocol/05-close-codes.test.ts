/** Which ends of a connection are in order, told by the bytes on the wire [P-5.12], RFC 6455 §7.1.5 and §7.4.1. */
import { expect, test } from "bun:test";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { RawClient } from "../harness/raw-client.ts";
import { startBroker } from "../harness/start-broker.ts";

/** Far more than the grace time, and less than the ack timeout. */
const LONG_MS = 20_000;
const CLOSE = 0x88;

const code = (number: number) => Buffer.from([number >> 8, number & 0xff]);
const closing = (payload: Uint8Array) => (client: RawClient) => client.sendBytes(CLOSE, payload);

const ENDS: Readonly<Record<string, readonly [attempt: number, end: (client: RawClient) => void]>> =
  {
    "a close frame with 1000": [1, closing(code(1000))],
    "a close frame with 1001": [1, closing(code(1001))],
    "a close frame without a code, which counts as 1005": [1, closing(Buffer.alloc(0))],
    "a close frame with a code of the peer's own": [2, closing(code(4000))],
    "a close frame that writes 1005, which nobody may": [2, closing(code(1005))],
    "a close frame that writes 1006, which nobody may": [2, closing(code(1006))],
    "a close frame of one byte": [2, closing(Buffer.from([3]))],
    "the end of the TCP connection without a close frame, which counts as 1006": [
      2,
      (client) => client.socket.end(),
    ],
    "half a close frame, and the end": [
      2,
      (client) => {
        client.socket.end(Buffer.from([CLOSE, 0x82, 0, 0]));
      },
    ],
  };

for (const [name, [attempt, end]] of Object.entries(ENDS)) {
  const burns = attempt === 1 ? "burns no attempt" : "burns one";
  test(`[P-5.12, P-5.5] ${name}: ${burns}`, async () => {
    const clock = new ManualClock(Date.now());
    await using broker = await startBroker({
      deps: { clock },
      limits: { heartbeatMs: 600_000 },
      engine: (limits) => new MemoryEngine({ clock, random: () => 0.5, limits }),
    });
    await broker.queue("jobs", ["jobs"]);
    using client = await RawClient.connect(broker.wsUrl);
    client.send({ type: "consume", id: 1, queue: "jobs", credit: 1 });
    client.send({ type: "publish", id: 2, topic: "jobs", payload: 1 });
    await client.until(({ type }) => type === "delivery");
    clock.advance(LONG_MS);
    end(client);
    await eventually(
      () => client.ended,
      () => "the connection to end",
    );
    using next = await RawClient.connect(broker.wsUrl);
    next.send({ type: "consume", id: 1, queue: "jobs", credit: 1 });
    const delivery = await next.until(({ type }) => type === "delivery");
    expect(delivery.attempt).toBe(attempt);
  });
}
