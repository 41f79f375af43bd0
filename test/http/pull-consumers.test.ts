/** HTTP consumers with a name and a time to be silent [P-5.12]. */
import { expect, test } from "bun:test";
import { systemRandom } from "../../src/clock.ts";
import { configFrom } from "../../src/config.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startTestWarren } from "../harness/warren.ts";

async function house(limits: object = {}) {
  const clock = new ManualClock(Date.now());
  const settings = { queues: { jobs: { bindings: ["jobs"], ackTimeoutMs: 3_600_000 } }, limits };
  const engine = new MemoryEngine({
    clock,
    random: systemRandom,
    limits: configFrom(settings).limits,
  });
  const broker = await startTestWarren(settings, { engine, clock });
  const ask = async (verb: string, body: object) => {
    const answer = await broker.json("POST", `/v1/queues/jobs/${verb}`, body);
    return { status: answer.status, ...answer.body };
  };
  const publish = (...payloads: unknown[]) =>
    broker.json(
      "POST",
      "/v1/publish",
      payloads.map((payload) => ({ topic: "jobs", payload })),
    );
  const inFlight = () => engine.queues.describe("jobs").counts.inFlight;
  return { broker, clock, ask, publish, inFlight, engine };
}

const WORKER = { consumer: "w1", livenessMs: 5000 };

test("[P-5.12] silence for longer than livenessMs gives all back, as a lost connection", async () => {
  const { broker, clock, ask, publish, inFlight } = await house();
  await using _ = broker;
  await publish(1, 2);
  expect((await ask("pull", { max: 2, ...WORKER })).deliveries).toHaveLength(2);
  clock.advance(4999);
  expect(inFlight()).toBe(2);
  clock.advance(1);
  expect(inFlight()).toBe(0);
  const { deliveries } = await ask("pull", { max: 2 });
  expect(deliveries.map(({ attempt }: { attempt: number }) => attempt)).toEqual([2, 2]);
  expect(await ask("alive", { consumer: "w1" })).toMatchObject({ status: 404, code: "not_found" });
});

test("[P-5.12] a pull, a settling and alive renew it, and ackTimeoutMs goes on by itself", async () => {
  const { broker, clock, ask, publish, inFlight } = await house();
  await using _ = broker;
  await publish(1, 2, 3);
  const { deliveries } = await ask("pull", { max: 2, ...WORKER });
  clock.advance(4000);
  expect(await ask("alive", { consumer: "w1" })).toMatchObject({ status: 200, consumer: "w1" });
  clock.advance(4000);
  await ask("settle", { ack: [deliveries[0].tag] });
  clock.advance(4000);
  expect((await ask("pull", WORKER)).deliveries).toHaveLength(1);
  clock.advance(4000);
  expect(inFlight()).toBe(2);
  clock.advance(1000);
  expect(inFlight()).toBe(0);
});

test("[P-5.12] while a pull waits its consumer is there", async () => {
  const { broker, clock, ask, publish, inFlight, engine } = await house();
  await using _ = broker;
  await publish(1);
  await ask("pull", WORKER);
  const waiting = ask("pull", { ...WORKER, waitMs: 20_000 });
  await eventually(
    () => engine.queues.describe("jobs").counts.consumers === 2,
    () => "a waiting pull",
  );
  clock.advance(19_000);
  expect(inFlight()).toBe(1);
  clock.advance(1000);
  expect((await waiting).deliveries).toEqual([]);
  clock.advance(4999);
  expect(inFlight()).toBe(1);
  clock.advance(1);
  expect(inFlight()).toBe(0);
});

test("[P-5.12] release gives all back and burns no attempt, however long it was held", async () => {
  const { broker, clock, ask, publish } = await house();
  await using _ = broker;
  await publish(1, 2);
  await ask("pull", { max: 2, consumer: "w1", livenessMs: 60_000 });
  clock.advance(50_000);
  expect(await ask("release", { consumer: "w1" })).toEqual({ status: 200, released: 2 });
  expect(await ask("release", { consumer: "w1" })).toEqual({ status: 200, released: 0 });
  const { deliveries } = await ask("pull", { max: 2 });
  expect(deliveries.map(({ attempt }: { attempt: number }) => attempt)).toEqual([1, 1]);
});

test("[P-5.12] names are bounded for a principal, and livenessMs needs one", async () => {
  const { broker, clock, ask } = await house({ pullConsumers: 2 });
  await using _ = broker;
  await ask("pull", { consumer: "w1" });
  await ask("pull", { consumer: "w2" });
  const refused = await ask("pull", { consumer: "w3" });
  expect(refused).toMatchObject({ status: 429, code: "rate_limited" });
  expect((await ask("pull", { consumer: "w1" })).status).toBe(200);
  clock.advance(30_000);
  expect((await ask("pull", { consumer: "w3" })).status).toBe(200);
  const nameless = await ask("pull", { livenessMs: 5000 });
  expect(nameless).toMatchObject({ code: "invalid_frame", pointer: "/livenessMs" });
});
