/** Every single message of an engine against the model, and what it has counted. */
import { expect } from "bun:test";
import type { QueueCounter } from "../../schemas/queue.ts";
import { QUIET_MESSAGES, type Subject } from "../contracts/engine/subject.ts";
import { BLOCK_BYTES, type Copy, expiryOf, type ModelQueue } from "./model-queue.ts";
import type { QueueModel } from "./queue-model.ts";

type Numbered = { readonly serial: number };
const bySerial = (x: Numbered, y: Numbered) => x.serial - y.serial;

/** `quiets`: how often the subject waited with messages of its own. */
export async function inspect(
  subject: Subject,
  model: QueueModel,
  names: readonly string[],
  quiets: number,
): Promise<void> {
  for (const name of names) {
    const queue = model.queues.get(name)!;
    const { messages } = await subject.engine.queues.peek(name, { limit: 100_000 });
    const shown = messages.map(({ message, deaths = [], held: _, ...rest }) => ({
      serial: Number(message.headers?.serial),
      blocks: Math.floor(message.payload.json().length / BLOCK_BYTES),
      deaths: deaths.map(({ queue: died, reason, attempts }) => ({
        queue: died,
        reason,
        attempts,
      })),
      ...rest,
    }));
    const expected = queue.copies
      .toSorted((x, y) => y.priority - x.priority || x.rank - y.rank)
      .map((copy) => asStored(model, queue, copy));
    if (hasTies(queue.copies)) {
      shown.sort(bySerial);
      expected.sort(bySerial);
    }
    expect({ name, shown }).toEqual({ name, shown: expected as never });
    await inspectAcked(subject, queue);
  }
  compareCounters(subject, model, quiets);
}

/** Whether the contract leaves open which of two messages of one priority comes first. */
export function hasTies(copies: readonly Copy[]): boolean {
  return new Set(copies.map(({ priority, rank }) => `${priority} ${rank}`)).size < copies.length;
}

async function inspectAcked(subject: Subject, { name, acked }: ModelQueue): Promise<void> {
  const options = { state: "acked", limit: 100_000 } as const;
  const { messages } = await subject.engine.queues.peek(name, options);
  const shown = messages.map(({ message }) => Number(message.headers?.serial));
  const order = (x: number, y: number) => x - y;
  const expected = acked.map(({ serial }) => serial).sort(order);
  expect({ name, acked: shown.sort(order) }).toEqual({ name, acked: expected });
  expect(subject.counts(name).retained).toBe(expected.length);
}

function asStored(model: QueueModel, queue: ModelQueue, copy: Copy) {
  const state = model.state(copy);
  const { serial, blocks, deaths, attempts, dueAt } = copy;
  return {
    serial,
    blocks,
    deaths: [...deaths],
    state,
    attempts,
    expiresAt: expiryOf(queue, copy),
    ...(state === "delayed" && { dueAt }),
  };
}

function compareCounters({ engine: { counters } }: Subject, model: QueueModel, quiets: number) {
  const own = quiets * QUIET_MESSAGES;
  const sum = (counter: QueueCounter) => model.sum(counter);
  expect(counters.stored).toBe(sum("published") + own);
  expect(counters.delivered).toBe(sum("delivered") + own);
  expect(counters.acked).toBe(sum("acked") + own);
  expect(counters.deadLettered).toBe(sum("deadLettered"));
  expect(counters.expired).toBe(sum("expired"));
  expect(counters.duplicates).toBe(model.duplicates);
}
