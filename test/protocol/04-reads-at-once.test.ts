/** Many who read of what topics keep at the same time [P-4.8]. */
import { expect, test } from "bun:test";
import { startWithHeldReads } from "../harness/held-reads.ts";
import { WireClient } from "../harness/wire-client.ts";

const CHANNELS = { kept: { filter: "h/#", history: {}, retained: true } };
const READERS = 40;

test("[P-4.8] of all who come back at once a few read at a time, and each gets everything", async () => {
  const { broker, engine } = await startWithHeldReads({
    access: { channels: CHANNELS },
    limits: { readsAtOnce: 3 },
  });
  await using _ = broker;
  engine.holding = false;
  using publisher = await WireClient.connect(broker.wsUrl);
  for (const payload of [1, 2, 3]) await publisher.ok({ type: "publish", topic: "h/1", payload });
  const clients = await Promise.all(
    Array.from({ length: READERS }, () => WireClient.connect(broker.wsUrl)),
  );
  using connected = new DisposableStack();
  for (const client of clients) connected.use(client);
  engine.holding = true;
  const { epoch } = await publisher.ok({ type: "publish", topic: "h/1", payload: 4 });
  const recover = { epoch, offset: 1 };
  for (const client of clients) {
    client.send({ type: "subscribe", id: 1, filter: "h/1", recover });
  }
  // Each asks for the history, and for the retained value of the same moment.
  await engine.holds(6);
  const history = fetch(`${broker.httpUrl}/v1/history/h/1`);
  // Who has gone before its turn came keeps nobody from his.
  clients.pop()?.close();
  engine.holding = false;
  engine.release();
  for (const client of clients) {
    expect((await client.expect("ok")).recovered).toBe(true);
    const payloads: unknown[] = [];
    for (let i = 0; i < 3; i++) payloads.push((await client.expect("event")).payload);
    expect(payloads).toEqual([2, 3, 4]);
  }
  expect(await (await history).json()).toMatchObject({ offset: 4 });
  // All slots are free again.
  engine.holding = true;
  for (const client of clients.slice(0, 5)) client.send({ type: "history", id: 2, topic: "h/1" });
  await engine.holds(3);
  engine.release();
  await engine.holds(2);
});
