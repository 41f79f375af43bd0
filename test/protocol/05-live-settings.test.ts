/**
 * Every setting of a queue is changed while the queue is at work, and the next message feels it [P-5.17]. A
 * setting without a case here fails.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { QueueSettings } from "../../schemas/queue.ts";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";
import { type Frame, WireClient } from "../harness/wire-client.ts";

const clock = new ManualClock();
let broker: TestWarren;
beforeAll(async () => {
  broker = await startTestWarren({}, { clock });
});
afterAll(() => broker[Symbol.asyncDispose]());

/** A queue of the setting's own, and somebody who publishes to it and consumes it. */
class Bench implements Disposable {
  readonly name: string;
  readonly client: WireClient;

  constructor(name: string, client: WireClient) {
    this.name = name;
    this.client = client;
  }

  [Symbol.dispose](): void {
    this.client[Symbol.dispose]();
  }

  async put(settings: object): Promise<void> {
    const { status } = await broker.json("PUT", `/admin/v1/queues/${this.name}`, settings);
    expect(status).toBe(200);
  }

  publish(payload: unknown, more: object = {}): Promise<Frame> {
    return this.client.request({ type: "publish", topic: `${this.name}/x`, payload, ...more });
  }

  async consume(credit: number): Promise<void> {
    await this.client.ok({ type: "consume", queue: this.name, credit });
  }

  next(): Promise<Frame> {
    return this.client.expect("delivery");
  }

  ack({ tag }: Frame): Promise<Frame> {
    return this.client.ok({ type: "ack", tags: [tag] });
  }

  /** Deliveries that have come and were not asked for. */
  async unasked(): Promise<unknown[]> {
    return (await this.client.everythingUntilNow()).map(({ payload }) => payload);
  }

  count(of: string): number {
    const { counts } = broker.warren.broker.engine.queues.describe(this.name);
    return counts[of as keyof typeof counts];
  }

  counts(of: string, wanted: number): Promise<void> {
    return eventually(
      () => this.count(of) === wanted,
      () => `${wanted} ${of} in ${this.name}, not ${this.count(of)}`,
    );
  }
}

const CASES: Record<string, (bench: Bench) => Promise<void>> = {
  async bindings(bench) {
    await bench.put({ bindings: ["other"] });
    expect(await bench.publish(1)).toMatchObject({ queues: 0 });
    await bench.put({ bindings: [`${bench.name}/#`] });
    expect(await bench.publish(2)).toMatchObject({ queues: 1 });
    await bench.put({ bindings: [] });
    expect(await bench.publish(3)).toMatchObject({ queues: 0 });
    await bench.consume(5);
    expect(await bench.next()).toMatchObject({ payload: 2 });
  },
  async ackTimeoutMs(bench) {
    await bench.consume(2);
    await bench.publish("before");
    await bench.next();
    await bench.put({ ackTimeoutMs: 100 });
    await bench.publish("after");
    await bench.next();
    clock.advance(150);
    expect(await bench.next()).toMatchObject({ payload: "after", attempt: 2 });
  },
  async maxDeliveries(bench) {
    await bench.consume(1);
    await bench.publish(1);
    const { tag } = await bench.next();
    await bench.put({ maxDeliveries: 1 });
    await bench.client.ok({ type: "nack", tags: [tag] });
    await bench.counts("dead", 1);
  },
  async backoff(bench) {
    await bench.put({ backoff: { minMs: 60_000, maxMs: 60_000 } });
    await bench.consume(1);
    await bench.publish(1);
    const { tag } = await bench.next();
    await bench.put({ backoff: { minMs: 50, jitter: 0 } });
    await bench.client.ok({ type: "nack", tags: [tag] });
    clock.advance(50);
    expect(await bench.next()).toMatchObject({ attempt: 2 });
  },
  async ttlMs(bench) {
    await bench.publish(1);
    await bench.put({ ttlMs: 1000 });
    clock.advance(1000);
    await bench.counts("dead", 1);
  },
  async maxMessages(bench) {
    await bench.publish(1);
    await bench.put({ maxMessages: 1 });
    expect(await bench.publish(2)).toMatchObject({ code: "queue_full" });
    await bench.put({ maxMessages: null });
    expect(await bench.publish(3)).toMatchObject({ queues: 1 });
  },
  async maxBytes(bench) {
    await bench.publish(1);
    await bench.put({ maxBytes: bench.count("bytes") });
    expect(await bench.publish(2)).toMatchObject({ code: "queue_full" });
    await bench.put({ maxBytes: null });
    expect(await bench.publish(3)).toMatchObject({ queues: 1 });
  },
  async overflow(bench) {
    await bench.put({ maxMessages: 1 });
    await bench.publish(1);
    expect(await bench.publish(2)).toMatchObject({ code: "queue_full" });
    await bench.put({ overflow: "dead-letter-oldest" });
    expect(await bench.publish(3)).toMatchObject({ displaced: 1 });
    await bench.put({ overflow: "drop-oldest" });
    expect(await bench.publish(4)).toMatchObject({ displaced: 1 });
    expect([bench.count("ready"), bench.count("dead")]).toEqual([1, 1]);
  },
  async deadLetter(bench) {
    await bench.consume(1);
    await bench.publish(1);
    await bench.client.ok({ type: "reject", tags: [(await bench.next()).tag] });
    await bench.counts("dead", 1);
    await bench.put({ deadLetter: { ttlMs: 1000 } });
    clock.advance(1000);
    await bench.counts("dead", 0);
  },
  async defaultPriority(bench) {
    await bench.publish("before");
    await bench.put({ defaultPriority: 9 });
    await bench.publish("after");
    await bench.consume(1);
    expect(await bench.next()).toMatchObject({ payload: "after" });
  },
  async dedupeWindowMs(bench) {
    await bench.publish(1, { messageId: "a" });
    expect(await bench.publish(1, { messageId: "a" })).toMatchObject({ duplicate: true });
    await bench.put({ dedupeWindowMs: 0 });
    await bench.publish(1, { messageId: "b" });
    expect(await bench.publish(1, { messageId: "b" })).toMatchObject({ queues: 1 });
  },
  async priorityAgeingMs(bench) {
    await bench.put({ priorityAgeingMs: 0 });
    for (const payload of ["old", "older"]) await bench.publish(payload, { priority: 0 });
    clock.advance(20_000);
    await bench.publish("urgent", { priority: 8 });
    await bench.publish("urgent too", { priority: 8 });
    await bench.consume(1);
    const first = await bench.next();
    await bench.put({ priorityAgeingMs: 1000 });
    await bench.ack(first);
    expect([first.payload, (await bench.next()).payload]).toEqual(["urgent", "old"]);
  },
  maxInFlight: (bench) => inFlight(bench, "maxInFlight"),
  maxInFlightPerConsumer: (bench) => inFlight(bench, "maxInFlightPerConsumer"),
  async maxRedrives(bench) {
    await bench.consume(1);
    await bench.publish(1);
    await bench.client.ok({ type: "reject", tags: [(await bench.next()).tag] });
    const redrive = async () => {
      const path = `/admin/v1/queues/${bench.name}.dead/redrive`;
      const { body } = await broker.json("POST", path, { dryRun: true });
      return [body.moved, body.held];
    };
    expect(await redrive()).toEqual([1, 0]);
    await bench.put({ maxRedrives: 1 });
    expect(await redrive()).toEqual([0, 1]);
  },
  async retainAckedMs(bench) {
    await bench.consume(1);
    await bench.publish(1);
    await bench.ack(await bench.next());
    expect(bench.count("retained")).toBe(0);
    await bench.put({ retainAckedMs: 60_000 });
    await bench.publish(2);
    await bench.ack(await bench.next());
    expect(bench.count("retained")).toBe(1);
    await bench.put({ retainAckedMs: 0 });
    await bench.counts("retained", 0);
  },
  async retainAckedBytes(bench) {
    await bench.put({ retainAckedMs: 60_000 });
    await bench.consume(1);
    await bench.publish("x".repeat(1000));
    await bench.ack(await bench.next());
    expect(bench.count("retained")).toBe(1);
    await bench.put({ retainAckedBytes: 500 });
    await bench.counts("retained", 0);
  },
  async paused(bench) {
    await bench.consume(5);
    await bench.put({ paused: true });
    await bench.publish(1);
    expect(await bench.unasked()).toEqual([]);
    await bench.put({ paused: false });
    expect(await bench.next()).toMatchObject({ payload: 1 });
  },
  async ordering(bench) {
    await bench.put({ ordering: "key" });
    await bench.consume(5);
    for (const payload of [1, 2]) await bench.publish(payload, { key: "k" });
    const first = await bench.next();
    expect(await bench.unasked()).toEqual([]);
    await bench.ack(first);
    await bench.ack(await bench.next());
    await bench.put({ ordering: "none" });
    for (const payload of [3, 4]) await bench.publish(payload, { key: "k" });
    expect([(await bench.next()).payload, (await bench.next()).payload]).toEqual([3, 4]);
  },
  async keyRetry(bench) {
    await bench.put({ ordering: "key", backoff: { minMs: 60_000 } });
    await bench.consume(5);
    for (const payload of [1, 2]) await bench.publish(payload, { key: "k" });
    await bench.client.ok({ type: "nack", tags: [(await bench.next()).tag] });
    expect(await bench.unasked()).toEqual([]);
    await bench.put({ keyRetry: "step-aside" });
    expect(await bench.next()).toMatchObject({ payload: 2 });
  },
  async draining(bench) {
    await bench.consume(5);
    await bench.publish(1);
    await bench.put({ draining: true });
    expect(await bench.publish(2)).toMatchObject({ code: "queue_paused" });
    await bench.ack(await bench.next());
    await bench.put({ draining: false });
    expect(await bench.publish(3)).toMatchObject({ queues: 1 });
  },
  async webhook(bench) {
    const bodies: string[] = [];
    using endpoint = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      async fetch(request) {
        bodies.push(await request.text());
        return new Response();
      },
    });
    await bench.put({ webhook: { url: endpoint.url.href } });
    await bench.publish("pushed");
    await eventually(
      () => bodies.length === 1,
      () => "the message at the endpoint",
    );
    await bench.counts("inFlight", 0);
    await bench.put({ webhook: null });
    await bench.publish("kept");
    await bench.consume(1);
    expect(await bench.next()).toMatchObject({ payload: "kept" });
    expect(bodies).toEqual(['"pushed"']);
  },
};

/** Of three messages one is handed out, and the others when the bound is lifted; then none until it is low. */
async function inFlight(bench: Bench, setting: string): Promise<void> {
  await bench.put({ [setting]: 1 });
  await bench.consume(5);
  for (const payload of [1, 2, 3]) await bench.publish(payload);
  const held = [await bench.next()];
  expect(await bench.unasked()).toEqual([]);
  await bench.put({ [setting]: 3 });
  held.push(await bench.next(), await bench.next());
  await bench.put({ [setting]: 1 });
  await bench.publish(4);
  for (const delivery of held.slice(0, 2)) await bench.ack(delivery);
  expect(await bench.unasked()).toEqual([]);
  await bench.ack(held[2]!);
  expect(await bench.next()).toMatchObject({ payload: 4 });
}

const SETTINGS = [...Object.keys(QueueSettings.properties), "bindings"];
for (const setting of SETTINGS) {
  test(`[P-5.1, P-5.17] ${setting} acts at once on a queue at work`, async () => {
    const url = `${broker.url.replace("http", "ws")}/ws`;
    using bench = new Bench(`q-${setting}`, await WireClient.connect(url));
    await bench.put({ bindings: [`${bench.name}/#`] });
    const run = CASES[setting];
    if (run === undefined) throw new Error(`${setting} has no case here`);
    await run(bench);
  });
}
