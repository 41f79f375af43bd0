/** How long the name of an HTTP consumer holds, to the millisecond: on an engine and a clock in hand. */
import { expect, test } from "bun:test";
import { Leases } from "../../src/listeners/leases.ts";
import { Subject } from "../contracts/engine/subject.ts";
import { memory } from "../engine/memory-kind.ts";
import { eventually } from "../harness/eventually.ts";

const WHO = { principal: "p", queue: "q" } as const;
const LIVENESS_MS = 1000;

test("[P-5.12] a client that goes away while its pull waits is silent from then on", async () => {
  await using subject = await Subject.open(memory);
  const { engine, clock } = subject;
  await subject.define("q", { ackTimeoutMs: 3_600_000 });
  const leases = new Leases(engine, clock, { credit: 10, pullConsumers: 10 });
  const pull = (waitMs: number, signal = new AbortController().signal) =>
    leases.pull({
      ...WHO,
      max: 1,
      waitMs,
      signal,
      consumer: { name: "c", livenessMs: LIVENESS_MS },
    });
  await subject.append("q");
  expect((await pull(100)).deliveries.length).toBe(1);

  const client = new AbortController();
  const waiting = pull(60_000, client.signal);
  clock.advance(LIVENESS_MS - 300);
  client.abort();
  expect((await waiting).deliveries).toEqual([]);
  const states = () => subject.states("q");
  clock.advance(LIVENESS_MS - 1);
  await subject.quiet();
  expect(states()).toEqual([0, 0, 1]);
  clock.advance(1);
  await eventually(
    () => states()[0] === 1,
    () => `what it held to go back, not ${states()}`,
  );
  leases.stop();
});
