/** Letting go of what topics keep and no longer should [P-14.9]. */
import { expect, test } from "bun:test";
import { systemRandom as random } from "../../src/clock.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import type { Limits } from "../../src/limits.ts";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { WireClient } from "../harness/wire-client.ts";

const DAY_MS = 86_400_000;
const ROUND_MS = 60_000;

interface Counted {
  readonly broker: TestBroker;
  readonly engine: MemoryEngine;
  readonly clock: ManualClock;
  /** Pages of all topics, and topics that were trimmed. */
  readonly calls: { lists: number; trimmed: number; largest: number };
  /** Lets rounds begin until this holds. */
  until(holds: () => boolean): Promise<void>;
}

async function started(channels: object): Promise<Counted> {
  const clock = new ManualClock();
  const calls = { lists: 0, trimmed: 0, largest: 0 };
  let engine!: MemoryEngine;
  const broker = await startBroker({
    access: { channels },
    deps: { clock, random },
    engine: (limits: Limits) => {
      engine = new MemoryEngine({ clock, random, limits });
      const { topics } = engine;
      const { list, trim } = topics;
      topics.list = (after, limit) => {
        calls.lists++;
        return list.call(topics, after, limit);
      };
      topics.trim = (some) => {
        calls.trimmed += some.length;
        calls.largest = Math.max(calls.largest, some.length);
        return trim.call(topics, some);
      };
      return engine;
    },
  });
  const until = (holds: () => boolean) =>
    eventually(
      () => {
        if (!holds()) clock.advance(ROUND_MS);
        return holds();
      },
      () => `upkeep; there is ${JSON.stringify(engine.topics.totals)}`,
    );
  return { broker, engine, clock, calls, until };
}

async function put({ httpUrl }: TestBroker, definition: object): Promise<void> {
  const url = `${httpUrl}/admin/v1/channels/c`;
  const body = JSON.stringify({ filter: "a/#", ...definition });
  expect((await fetch(url, { method: "PUT", body })).status).toBe(200);
}

test("[P-14.9] what is too old, has expired or is kept no more gives back its room", async () => {
  const { broker, engine, until } = await started({});
  await using _ = broker;
  using client = await WireClient.connect(broker.wsUrl);
  await put(broker, { history: { maxAgeMs: 10 * ROUND_MS }, retained: true });
  const publish = (topic: string, more: object) =>
    client.ok({ type: "publish", topic, payload: 1, retain: true, ...more });
  await publish("a/1", { ttlMs: 2 * ROUND_MS });
  await publish("a/2", {});
  const { totals } = engine.topics;
  expect(totals).toMatchObject({ topics: 2, historyMessages: 2, retainedMessages: 2 });
  await until(() => engine.topics.totals.retainedMessages === 1);
  expect(engine.topics.totals.historyMessages).toBe(2);
  await until(() => engine.topics.totals.historyMessages === 0);
  expect(engine.topics.totals).toMatchObject({ topics: 2, retainedMessages: 1 });
  await put(broker, { retained: false });
  await until(() => engine.topics.totals.retainedMessages === 0);
  // Where history stood is known for another while.
  expect(engine.topics.totals.topics).toBe(2);
});

test("[P-4.3, P-14.9] of a topic with nothing left nothing is known after a day", async () => {
  const { broker, engine, clock, until } = await started({});
  await using _ = broker;
  await put(broker, { history: { maxAgeMs: ROUND_MS } });
  const published = await fetch(`${broker.httpUrl}/v1/topics/a/1`, { method: "POST" });
  const { epoch } = (await published.json()) as { epoch: string };
  await until(() => engine.topics.totals.historyMessages === 0);
  const place = async () => {
    const answer = await fetch(`${broker.httpUrl}/v1/history/a/1`);
    return (await answer.json()) as { epoch: string; offset: number };
  };
  expect(await place()).toMatchObject({ epoch, offset: 1 });
  clock.advance(DAY_MS - 10 * ROUND_MS);
  expect(await place()).toMatchObject({ epoch, offset: 1 });
  clock.advance(10 * ROUND_MS);
  await until(() => engine.topics.totals.topics === 0);
  const later = await place();
  expect(later.offset).toBe(0);
  expect(later.epoch).not.toBe(epoch);
  using client = await WireClient.connect(broker.wsUrl);
  const recover = { epoch, offset: 1 };
  const ok = await client.ok({ type: "subscribe", filter: "a/1", recover });
  expect(ok.recovered).toBe(false);
});

test("[P-14.9] many topics are gone through in bounded parts; with none nothing is asked", async () => {
  const { broker, engine, clock, calls, until } = await started({});
  await using _ = broker;
  clock.advance(10 * ROUND_MS);
  expect(calls.lists).toBe(0);
  await put(broker, { retained: true });
  using client = await WireClient.connect(broker.wsUrl);
  for (let from = 0; from < 600; from += 200) {
    const publish = Array.from({ length: 200 }, (_, i) => ({
      topic: `a/${from + i}`,
      payload: 1,
      retain: true,
    }));
    await client.ok({ type: "batch", publish });
  }
  await put(broker, {});
  await until(() => engine.topics.totals.retainedMessages === 0);
  expect(calls.largest).toBe(256);
});

test("[P-14.9] a round goes through what is due, and through all when channels were changed", async () => {
  const { broker, engine, clock, calls, until } = await started({});
  await using _ = broker;
  const maxAgeMs = 20 * ROUND_MS;
  await put(broker, { retained: true, history: { maxAgeMs } });
  using client = await WireClient.connect(broker.wsUrl);
  for (let from = 0; from < 400; from += 200) {
    const publish = Array.from({ length: 200 }, (_, i) => ({
      ...{ topic: `a/${from + i}`, payload: 1, retain: true },
      ...(from + i < 3 && { ttlMs: 5 * ROUND_MS }),
    }));
    await client.ok({ type: "batch", publish });
    clock.advance(ROUND_MS / 2);
  }
  await until(() => calls.lists === 2);
  const before = calls.trimmed;
  await until(() => engine.topics.totals.retainedMessages === 397);
  expect([calls.lists, calls.trimmed - before]).toEqual([2, 3]);
  await until(() => engine.topics.totals.historyMessages === 0);
  expect([calls.lists, calls.trimmed - before]).toEqual([2, 403]);
  await put(broker, { retained: true, history: {} });
  await until(() => calls.lists === 4);
});

test("[P-14.9] where places are short topics with nothing left are forgotten at once, the oldest first", async () => {
  const { broker, engine, clock, until } = await started({});
  await using _ = broker;
  const history = { maxAgeMs: 10 * ROUND_MS };
  await put(broker, { history, maxTopics: 16 });
  const publish = async (topic: string) => {
    const answer = await fetch(`${broker.httpUrl}/v1/topics/${topic}`, { method: "POST" });
    return answer.status;
  };
  for (let n = 0; n < 16; n++) {
    await publish(`a/${n}`);
    clock.advance(1);
  }
  expect(await publish("a/x")).toBe(507);
  await until(() => engine.topics.totals.topics < 16);
  const { topics } = await engine.topics.list(undefined, 100);
  expect(topics.map(({ topic }) => topic)).not.toContain("a/0");
  expect(topics.length).toBe(14);
  expect(await publish("a/x")).toBe(200);
});
