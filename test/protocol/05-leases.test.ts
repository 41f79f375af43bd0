/** How long work is held, and what its end costs, as clients see it [P-5.12]. */
import { describe, expect, test } from "bun:test";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { ENCODINGS, type Encoding, WireClient } from "../harness/wire-client.ts";

/** Far more than the grace time, and less than the ack timeout. */
const LONG_MS = 20_000;

interface Held {
  readonly broker: TestBroker;
  readonly client: WireClient;
}

/** A client that has held a delivery for long. */
async function holding(
  encoding: Encoding,
  prepare: (engine: MemoryEngine) => void = () => {},
): Promise<Held> {
  const clock = new ManualClock(Date.now());
  const broker = await startBroker({
    deps: { clock },
    limits: { heartbeatMs: 600_000 },
    engine(limits) {
      const engine = new MemoryEngine({ clock, random: () => 0.5, limits });
      prepare(engine);
      return engine;
    },
  });
  await broker.queue("jobs", ["jobs"]);
  const client = await WireClient.connect(broker.wsUrl, { encoding });
  await client.ok({ type: "consume", queue: "jobs", credit: 1 });
  await client.ok({ type: "publish", topic: "jobs", payload: 1 });
  await client.expect("delivery");
  clock.advance(LONG_MS);
  return { broker, client };
}

/** Which attempt the next consumer is handed. */
async function nextAttempt(broker: TestBroker, encoding: Encoding): Promise<number> {
  using next = await WireClient.connect(broker.wsUrl, { encoding });
  await next.ok({ type: "consume", queue: "jobs", credit: 1 });
  return (await next.expect("delivery")).attempt as number;
}

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    for (const code of [1000, 1001, undefined]) {
      test(`[P-5.12] a client that closes with ${code ?? "no code"} burns no attempt`, async () => {
        const { broker, client } = await holding(encoding);
        await using _ = broker;
        client.socket.close(code);
        await client.closed();
        expect(await nextAttempt(broker, encoding)).toBe(1);
      });
    }

    test("[P-5.12] a cancel burns no attempt however long the work was held", async () => {
      const { broker, client } = await holding(encoding);
      await using _ = broker;
      await client.ok({ type: "cancel", queue: "jobs" });
      expect(await nextAttempt(broker, encoding)).toBe(1);
    });

    test("[P-5.5] any other close, and a broken connection, count", async () => {
      const closed = await holding(encoding);
      await using _1 = closed.broker;
      closed.client.socket.close(4000);
      await closed.client.closed();
      expect(await nextAttempt(closed.broker, encoding)).toBe(2);
      const broken = await holding(encoding);
      await using _2 = broken.broker;
      broken.client.socket.terminate();
      await broken.client.closed();
      expect(await nextAttempt(broken.broker, encoding)).toBe(2);
    });

    test("[P-5.12, P-9.3] our own planned stop burns no attempt", async () => {
      const attempts: number[] = [];
      const look = (engine: MemoryEngine) => {
        const close = engine.close.bind(engine);
        engine.close = async () => {
          const { messages } = await engine.queues.peek("jobs", { limit: 1 });
          attempts.push(...messages.map((message) => message.attempts));
          return close();
        };
      };
      const { broker, client } = await holding(encoding, look);
      const stopped = broker.stop();
      expect(await client.expect("notice")).toMatchObject({ code: "draining" });
      expect((await client.closed()).code).toBe(1012);
      await stopped;
      expect(attempts).toEqual([0]);
    });

    test("[P-5.2] one connection consumes a queue once, and other queues beside", async () => {
      await using broker = await startBroker();
      await broker.queue("a", ["a"]);
      await broker.queue("b", ["b"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "consume", queue: "a", credit: 1 });
      await client.ok({ type: "consume", queue: "b", credit: 1 });
      const again = await client.request({ type: "consume", queue: "a", credit: 5 });
      expect(again).toMatchObject({ type: "error", code: "conflict", detail: { queue: "a" } });
      // The first one goes on as it was.
      await client.ok({ type: "publish", topic: "a", payload: 1 });
      expect(await client.expect("delivery")).toMatchObject({ queue: "a", payload: 1 });
    });
  });
}
