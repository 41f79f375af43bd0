/** Operations of the fuzzer on what is stored already: transfers, and changes of what is scheduled. */
import { expect } from "bun:test";
import type { ScheduleChange } from "../../src/engine/schedule.ts";
import { Payload } from "../../src/payload.ts";
import type { Subject } from "../contracts/engine/subject.ts";
import type { Dice } from "./dice.ts";
import { change, isCertain, type ModelChange, waits } from "./model-changes.ts";
import { BLOCK_BYTES, type Copy, type ModelQueue } from "./model-queue.ts";
import { transfer } from "./model-transfers.ts";
import { hasTies } from "./queue-inspection.ts";
import type { QueueModel } from "./queue-model.ts";

export const MOMENTS_MS = [0, 1, 10, 100, 499, 500, 501, 1000, 2000, 5000];

/** What the fuzzer lends. */
export interface FuzzParts {
  readonly subject: Subject;
  readonly model: QueueModel;
  readonly dice: Dice;
  /** Two engines must do the same, so nothing may be left open. */
  readonly isPlain: boolean;
  expect(name: string, answer: string): (given: string) => void;
  agreed(): Promise<void>;
}

export function payloadOf(blocks: number): Payload {
  return Payload.fromValue("x".repeat(blocks * BLOCK_BYTES));
}

export class QueueMoves {
  readonly #parts: FuzzParts;
  #asked = 0;

  constructor(parts: FuzzParts) {
    this.#parts = parts;
  }

  /** Redrive, resend, replay or delete, in pages as small as may be. */
  async transfer(name: string): Promise<void> {
    const { model, dice, isPlain, agreed } = this.#parts;
    const queue = this.#queue(name);
    const dead = this.#queue(`${name}.dead`);
    const kind = dice.pick(["redrive", "redrive", "resend", "replay", "delete"]);
    const isOfQueue = kind === "replay" || (kind === "delete" && dice.chance(0.5));
    const source = isOfQueue ? queue : dead;
    const state = kind === "replay" ? "acked" : "waiting";
    const one = (copies: readonly Copy[]) =>
      copies.length === 0 ? undefined : [dice.pick(copies).id];
    const ids =
      kind === "redrive" ? undefined : one(state === "acked" ? queue.acked : source.copies);
    const limit = 1 + dice.upTo(6);
    const priority = kind === "resend" ? dice.upTo(9) : undefined;
    if (kind !== "redrive" && ids === undefined) return;
    // Which of two goes first has to be certain where two engines must do the same.
    if (isPlain && hasTies(source.copies)) return;
    const target = kind === "delete" ? undefined : queue;
    const expected = transfer(model, source, { state, ids, target, priority });
    if (expected === undefined) return;
    const request = {
      state,
      select: ids === undefined ? {} : { ids },
      ...(kind === "delete" && { to: null }),
      ...(priority !== undefined && { edit: { priority } }),
      limit,
    } as const;
    const sum = await this.#pages(source.name, request);
    expect({ kind, ...sum }).toEqual({ kind, ...expected, failed: 0 });
    await agreed();
  }

  async #pages(
    name: string,
    request: Parameters<Subject["engine"]["queues"]["transfer"]>[1],
  ): Promise<{ moved: number; held: number; failed: number }> {
    const sum = { moved: 0, held: 0, failed: 0 };
    let after: string | undefined;
    do {
      const page = await this.#parts.subject.engine.queues.transfer(name, {
        ...request,
        ...(after !== undefined && { after }),
      });
      sum.moved += page.moved;
      sum.held += page.held;
      sum.failed += page.failed;
      after = page.next;
    } while (after !== undefined);
    return sum;
  }

  /** Changes a scheduled message in whatever way, and waits until that is done. */
  async change(): Promise<void> {
    const { model, dice, agreed } = this.#parts;
    const { topic, id } = this.#scheduled();
    if (!isCertain(model, topic, id)) return;
    this.#ask(topic, id, {
      ...(dice.chance(0.7) && { dueAt: model.now + dice.pick(MOMENTS_MS) }),
      ...(dice.chance(0.4) && { expiresAt: model.now + 1 + dice.pick(MOMENTS_MS) }),
      blocks: dice.upTo(3),
    });
    await agreed();
  }

  /** Puts off a scheduled message or takes it back, amid whatever else is going on. */
  putOff(): void {
    const { model, dice } = this.#parts;
    const { topic, id } = this.#scheduled();
    if (dice.chance(0.3)) this.#ask(topic, id, null);
    else this.#ask(topic, id, { dueAt: model.now + dice.pick(MOMENTS_MS) });
  }

  /** One that waits for its first time; now and then one that may not be there. */
  #scheduled(): { readonly topic: string; readonly id: string } {
    const { model, dice } = this.#parts;
    const waiting = [...model.queues.values()].flatMap(({ copies }) =>
      copies.filter((copy) => waits(model, copy)),
    );
    if (waiting.length > 0 && dice.chance(0.9)) return dice.pick(waiting);
    return { topic: dice.pick(["t/1", "t/2"]), id: `d${dice.upTo(5)}` };
  }

  #ask(topic: string, id: string, to: ModelChange | null): void {
    const { model, subject } = this.#parts;
    const answer = change(model, topic, id, to);
    const check = this.#parts.expect(`change ${++this.#asked} of ${topic} ${id}`, answer);
    const { blocks, ...times } = to ?? {};
    const changed: ScheduleChange = {
      ...times,
      ...(blocks !== undefined && { payload: payloadOf(blocks) }),
    };
    subject.engine.reschedule({
      topic,
      messageId: id,
      change: to === null ? null : changed,
      done: (copies) => check(`changed ${copies}`),
      failed: ({ code }) => check(code),
    });
  }

  #queue(name: string): ModelQueue {
    return this.#parts.model.queues.get(name)!;
  }
}
