/** What the operations on queues are made of, drawn at random within what the model can tell. */
import type { QueueDefinition } from "../../schemas/queue.ts";
import type { Outcome } from "../../src/engine/engine.ts";
import type { Dice } from "./dice.ts";
import { BLOCK_BYTES, type ModelAppend, type ModelPeer } from "./model-queue.ts";
import type { QueueModel } from "./queue-model.ts";
import { MOMENTS_MS } from "./queue-moves.ts";

/** No run lasts as long. */
const FOR_EVER_MS = 100 * 24 * 3_600_000;

export class QueueDraws {
  readonly #dice: Dice;
  readonly #model: QueueModel;
  #serials = 0;

  constructor(dice: Dice, model: QueueModel) {
    this.#dice = dice;
    this.#model = model;
  }

  /** A message for these queues, or for some. */
  draft(chosen: readonly string[] | undefined): ModelAppend {
    const dice = this.#dice;
    const serial = ++this.#serials;
    const { now } = this.#model;
    const dedupe = dice.chance(0.2);
    return {
      serial,
      dedupe,
      topic: dice.pick(["t/1", "t/2"]),
      id: dedupe ? `d${dice.upTo(5)}` : `m${serial}`,
      priority: dice.chance(0.3) ? dice.upTo(9) : undefined,
      expiresAt: dice.chance(0.2) ? now + 1 + dice.pick(MOMENTS_MS) : undefined,
      dueAt: dice.chance(0.25) ? now + dice.pick(MOMENTS_MS) - 50 : undefined,
      blocks: dice.chance(0.15) ? 1 + dice.upTo(2) : 0,
      queues: chosen ?? dice.pick([["a"], ["b"], ["a", "b"]]),
      key: dice.chance(0.6) ? dice.pick(["x", "x", "x", "y", "z"]) : undefined,
    };
  }

  /** New settings of the queue. */
  definition(name: string): QueueDefinition {
    const drawn = this.#dice.pick(["none", "key", "key"] as const);
    const overflow = this.#dice.pick(["reject", "drop-oldest", "dead-letter-oldest"] as const);
    const before = this.#model.queues.get(name);
    // What holds messages keeps its ordering [P-5.10].
    const ordering = before && before.copies.length > 0 ? before.settings.ordering : drawn;
    return {
      ackTimeoutMs: this.#dice.pick([100, 1000, 3000]),
      maxDeliveries: 1 + this.#dice.upTo(3),
      backoff: { minMs: this.#dice.pick([0, 10, 700]), maxMs: 2000, factor: 3, jitter: 0 },
      ttlMs: this.#ttlMs(name, [1500, 20_000, 1_000_000]),
      deadLetter: { ttlMs: this.#ttlMs(`${name}.dead`, [1000, 30_000]) },
      defaultPriority: this.#dice.upTo(9),
      dedupeWindowMs: this.#dice.pick([0, 600, 10_000]),
      paused: this.#dice.chance(0.15),
      draining: this.#dice.chance(0.1),
      ordering,
      keyRetry: this.#dice.pick(["block", "step-aside"]),
      priorityAgeingMs: this.#dice.pick([0, 100, 1000, 60_000]),
      ...(this.#dice.chance(0.2) && { maxInFlight: 1 + this.#dice.upTo(8) }),
      ...(this.#dice.chance(0.2) && { maxInFlightPerConsumer: 1 + this.#dice.upTo(4) }),
      overflow: ordering === "key" ? "reject" : overflow,
      ...this.#room(),
      maxRedrives: 1 + this.#dice.upTo(2),
      ...(name === "a" && { retainAckedMs: FOR_EVER_MS }),
    };
  }

  /** Bytes are bounded only where messages are, or what is stored beside payloads would count. */
  #room(): Pick<QueueDefinition, "maxMessages" | "maxBytes"> {
    const dice = this.#dice;
    if (dice.chance(0.4)) return {};
    if (dice.chance(0.5)) return { maxMessages: 1 + dice.upTo(30) };
    const maxBytes = (1 + dice.upTo(6)) * BLOCK_BYTES + BLOCK_BYTES / 2;
    return { maxMessages: 1 + dice.upTo(9), maxBytes };
  }

  /** One of the choices, or what it is when the contract does not say what a change would do. */
  #ttlMs(name: string, choices: readonly number[]): number {
    const ttlMs = this.#dice.pick(choices);
    const queue = this.#model.queues.get(name);
    if (queue === undefined || this.#model.mayChangeTtl(queue, ttlMs)) return ttlMs;
    return queue.settings.ttlMs;
  }

  /** Some of what it holds, and now and then what it does not. */
  tags({ held }: ModelPeer): number[] {
    const tags = [...held.keys()].filter(() => this.#dice.chance(0.5));
    if (this.#dice.chance(0.05)) tags.push(this.#dice.upTo(1000));
    if (tags.length > 0 && this.#dice.chance(0.05)) tags.push(tags[0]!);
    return tags;
  }

  outcome(): Outcome {
    const delayMs = this.#dice.pick(MOMENTS_MS);
    return this.#dice.pick<Outcome>([
      { kind: "ack" },
      { kind: "ack" },
      { kind: "nack" },
      { kind: "nack", delayMs },
      { kind: "nack", delayMs: 0 },
      { kind: "reject", reason: "fuzz" },
      { kind: "extend" },
      { kind: "extend", byMs: delayMs + 1 },
    ]);
  }
}
