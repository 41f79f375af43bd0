/**
 * Random operations on an engine and on the model of it, in the same order. Delivery by delivery and
 * step by step the two must agree; the seed that leads to a disagreement is in its message.
 */
import { expect, test } from "bun:test";
import type { QueueCounter, QueueDefinition } from "../../schemas/queue.ts";
import type { Random } from "../../src/clock.ts";
import type { Outcome } from "../../src/engine/engine.ts";
import { completeSettings } from "../../src/engine/rules.ts";
import type { Delivery, Message } from "../../src/message.ts";
import {
  type EngineKind,
  type Peer,
  QUIET_MESSAGES,
  Subject,
} from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";
import { type Copy, expiryOf, type ModelPeer, type ModelQueue, QueueModel } from "./queue-model.ts";

export interface FuzzOptions {
  readonly seeds: number;
  readonly steps: number;
}

const ORDINARY = ["a", "b"];
const ALL = ["a", "b", "a.dead", "b.dead"];
const LIMITS = { deliveryGraceMs: 500, queueWindowMessages: 6, queueWindowBytes: 4096 };
const MOMENTS_MS = [0, 1, 10, 100, 499, 500, 501, 1000, 2000, 5000];

/** What was delivered in each step, queue by queue, and what was there in the end. */
export interface FuzzTrace {
  readonly steps: string[][];
  readonly counts: unknown[];
}

interface FuzzedPeer {
  readonly peer: Peer;
  readonly model: ModelPeer;
}

class QueueFuzz {
  readonly trace: FuzzTrace = { steps: [], counts: [] };
  readonly #subject: Subject;
  readonly #kind: EngineKind;
  readonly #random: Random;
  readonly #seed: number;
  /**
   * One consumer a queue, none on dead letters, nothing from within a sink, nothing handed out while
   * anything else is going on: what happens is determined.
   */
  readonly #isPlain: boolean;
  readonly #model: QueueModel;
  #peers: FuzzedPeer[] = [];
  #serials = 0;
  /** What was called and not answered yet; names may repeat. */
  readonly #unanswered: string[] = [];
  #quiets = 0;

  constructor(subject: Subject, kind: EngineKind, seed: number, isPlain: boolean) {
    this.#subject = subject;
    this.#kind = kind;
    this.#seed = seed;
    this.#random = seededRandom(seed);
    this.#isPlain = isPlain;
    this.#model = new QueueModel(subject.clock.now(), LIMITS.deliveryGraceMs);
  }

  async run(steps: number): Promise<void> {
    for (const name of ORDINARY) await this.#define(name);
    for (let step = 0; step < steps; step++) {
      this.trace.steps.push([]);
      await this.#step();
      if (this.#isPlain) await this.#serve();
      if (step % 20 === 19) await this.#inspect();
    }
    await this.#inspect();
    this.trace.counts.push(...ALL.map((name) => this.#model.counts(this.#queue(name))));
  }

  async #step(): Promise<void> {
    const choice = this.#random();
    if (choice < 0.3) return this.#pass(this.#pick(MOMENTS_MS));
    if (choice < 0.34) return this.#define(this.#pick(ORDINARY));
    if (choice < 0.35) return this.#purge(this.#pick(ALL));
    if (choice < 0.36 && this.#kind.durable) return this.#reopen();
    if (choice < 0.46) return this.#flood();
    for (let burst = this.#upTo(6); burst >= 0; burst--) this.#act();
    await this.#agreed();
  }

  /**
   * Lets the consumers have what they are owed, now that everything is in its place. At any other time
   * what is handed out would depend on how long an engine takes to put things there.
   */
  async #serve(): Promise<void> {
    for (const fuzzed of this.#peers) {
      this.#hold(fuzzed, false);
      await this.#agreed();
      this.#hold(fuzzed, true);
    }
  }

  /** Something that is called without waiting for what was called before. */
  #act(): void {
    const choice = this.#random();
    if (choice < 0.5) this.#append();
    else if (choice < 0.55 || this.#peers.length === 0) this.#consumeSome();
    else this.#use(this.#pick(this.#peers), this.#random());
  }

  #consumeSome(): void {
    const names = this.#isPlain ? ORDINARY : ALL;
    const crowd = this.#isPlain ? ORDINARY.length : 6;
    const free = names.filter((name) => !this.#isPlain || this.#queue(name).peers.length === 0);
    if (this.#peers.length < crowd && free.length > 0) this.#consume(this.#pick(free));
  }

  #use(fuzzed: FuzzedPeer, choice: number): void {
    if (choice < 0.04) this.#leave(fuzzed, "cancel");
    else if (choice < 0.08) this.#leave(fuzzed, "disconnect");
    else if (choice < 0.2) this.#credit(fuzzed, this.#upTo(8));
    else if (choice < 0.3 && !this.#isPlain) this.#hold(fuzzed, this.#chance(0.3));
    else this.#settle(fuzzed, this.#someTags(fuzzed.model), this.#outcome());
  }

  /** Appends only, more than there may be room for, while nobody wants what may give way. */
  async #flood(): Promise<void> {
    const still = ORDINARY.filter((name) => this.#model.isStill(this.#queue(name)));
    const choices = still.length === 2 ? [["a"], ["b"], ["a", "b"]] : still.map((name) => [name]);
    if (choices.length === 0) return;
    for (let burst = this.#upTo(40); burst >= 0; burst--) this.#append(this.#pick(choices));
    await this.#agreed();
  }

  #append(chosen?: readonly string[]): void {
    const serial = ++this.#serials;
    const { now } = this.#model;
    const dedupe = this.#chance(0.2);
    const topic = this.#pick(["t/1", "t/2"]);
    const id = dedupe ? `d${this.#upTo(5)}` : `m${serial}`;
    const priority = this.#chance(0.3) ? this.#upTo(9) : undefined;
    const expiresAt = this.#chance(0.2) ? now + 1 + this.#pick(MOMENTS_MS) : undefined;
    const dueAt = this.#chance(0.2) ? now + this.#pick(MOMENTS_MS) - 50 : undefined;
    const queues = chosen ?? this.#pick([["a"], ["b"], ["a", "b"]]);
    const refuses = (name: string) => this.#queue(name).settings.overflow === "reject";
    // In a flood there is nobody whose deeds would decide who gives way; a refusal may still depend on them.
    const unsure = chosen === undefined ? queues : queues.filter(refuses);
    if (!this.#model.isRoomCertain(unsure)) return;
    const fields = { serial, queues, priority, expiresAt, dueAt, dedupe };
    const { answer, copies } = this.#model.append({ ...fields, seenAs: `${topic} ${id}` });
    const message: Message = this.#subject.message({
      id,
      topic,
      headers: { serial: `${serial}` },
      ...(priority !== undefined && { priority }),
      ...(expiresAt !== undefined && { expiresAt }),
    });
    const name = `append #${serial}`;
    this.#unanswered.push(name);
    const check = (given: string) => this.#answered(name, given, answer);
    this.#subject.engine.append({
      message,
      queues,
      dedupe,
      ...(dueAt !== undefined && { dueAt }),
      stored: (receipt) => {
        for (const copy of copies) copy.confirmed = true;
        const displaced = receipt.displaced === undefined ? "" : ` for ${receipt.displaced}`;
        check(receipt.duplicate ? "duplicate" : `stored ${receipt.queues}${displaced}`);
      },
      failed: ({ code }) => check(code),
    });
  }

  #consume(name: string): void {
    const model = this.#model.consume(name);
    const peer = this.#subject.consume(name);
    const fuzzed = { peer, model };
    peer.onDeliver = (delivery) => {
      const serial = Number(delivery.message.headers?.serial);
      this.#model.delivered(model, delivery, serial);
      this.trace.steps.at(-1)?.push(`${name} #${serial} ${delivery.attempt}`);
      if (!this.#isPlain) this.#impulse(fuzzed, delivery, serial);
    };
    this.#peers.push(fuzzed);
    this.#hold(fuzzed, this.#isPlain);
    this.#credit(fuzzed, this.#upTo(8));
  }

  /** What a sink does from within. Drawn from the delivery, not from the order in which they come. */
  #impulse(fuzzed: FuzzedPeer, { tag, attempt }: Delivery, serial: number): void {
    const chance = seededRandom(this.#seed ^ (serial * 31 + attempt))();
    if (chance < 0.1) this.#settle(fuzzed, [tag], { kind: "ack" });
    else if (chance < 0.15) this.#settle(fuzzed, [tag], { kind: "nack", delayMs: 0 });
    else if (chance < 0.17) this.#settle(fuzzed, [tag], { kind: "reject" });
    else if (chance < 0.18) this.#hold(fuzzed, true);
    else if (chance < 0.19) this.#credit(fuzzed, 1);
    else if (chance < 0.2) this.#leave(fuzzed, "cancel");
  }

  #credit({ peer, model }: FuzzedPeer, credit: number): void {
    model.credit = credit;
    peer.consumer.credit(credit);
  }

  #hold({ peer, model }: FuzzedPeer, onHold: boolean): void {
    model.onHold = onHold;
    peer.consumer.hold(onHold);
  }

  #leave(fuzzed: FuzzedPeer, how: "cancel" | "disconnect"): void {
    this.#peers = this.#peers.filter((other) => other !== fuzzed);
    this.#model.leave(fuzzed.model, how);
    fuzzed.peer.consumer[how]();
  }

  #settle({ peer, model }: FuzzedPeer, tags: readonly number[], outcome: Outcome): void {
    const expected = this.#model.settle(model, tags, outcome);
    const name = `${outcome.kind} [${tags}]`;
    this.#unanswered.push(name);
    peer.consumer.settle(tags, outcome, (error) => this.#answered(name, error?.code, expected));
    for (const tag of tags) {
      if (peer.consumer.holds(tag) !== model.held.has(tag)) {
        this.#model.faults.push(`after ${outcome.kind} it is wrong about holding ${tag}`);
      }
    }
  }

  #answered(what: string, given: string | undefined, expected: string | undefined): void {
    const at = this.#unanswered.indexOf(what);
    if (at < 0) this.#model.faults.push(`${what}: answered twice`);
    this.#unanswered.splice(at, 1);
    if (given !== expected) this.#model.faults.push(`${what}: ${given}, expected ${expected}`);
  }

  /** Time passes from one event to the next, so that what each causes is done before the next. */
  async #pass(ms: number): Promise<void> {
    const end = this.#model.now + ms;
    do {
      const now = Math.min(end, this.#model.nextTime());
      this.#subject.clock.advance(now - this.#model.now);
      this.#model.pass(now);
      await this.#agreed();
    } while (this.#model.now < end);
  }

  async #define(name: string): Promise<void> {
    const definition: QueueDefinition = {
      ackTimeoutMs: this.#pick([100, 1000, 3000]),
      maxDeliveries: 1 + this.#upTo(3),
      backoff: { minMs: this.#pick([0, 10, 700]), maxMs: 2000, factor: 3, jitter: 0 },
      ttlMs: this.#ttlMs(name, [1500, 20_000, 1_000_000]),
      deadLetter: { ttlMs: this.#ttlMs(`${name}.dead`, [1000, 30_000]) },
      defaultPriority: this.#upTo(9),
      dedupeWindowMs: this.#pick([0, 600, 10_000]),
      paused: this.#chance(0.15),
      draining: this.#chance(0.1),
      priorityAgeingMs: this.#pick([0, 100, 1000, 60_000]),
      ...(this.#chance(0.2) && { maxInFlight: 1 + this.#upTo(8) }),
      ...(this.#chance(0.2) && { maxInFlightPerConsumer: 1 + this.#upTo(4) }),
      overflow: this.#pick(["reject", "drop-oldest", "dead-letter-oldest"]),
      ...(this.#chance(0.5) && { maxMessages: 1 + this.#upTo(30) }),
    };
    this.#model.define(name, completeSettings(definition));
    await this.#subject.define(name, definition);
    await this.#agreed();
  }

  /** One of the choices, or what it is when the contract does not say what a change would do. */
  #ttlMs(name: string, choices: readonly number[]): number {
    const ttlMs = this.#pick(choices);
    const queue = this.#model.queues.get(name);
    if (queue === undefined || this.#model.mayChangeTtl(queue, ttlMs)) return ttlMs;
    return queue.settings.ttlMs;
  }

  async #purge(name: string): Promise<void> {
    const expected = this.#model.purge(name);
    expect(await this.#subject.engine.queues.purge(name)).toBe(expected);
    await this.#agreed();
  }

  async #reopen(): Promise<void> {
    this.#model.restart();
    this.#peers = [];
    this.#quiets = 0;
    await this.#subject.reopen();
    await this.#agreed();
  }

  /** Waits until the engine has done what the model says it must, and no more than that. */
  async #agreed(): Promise<void> {
    await this.#done();
    await this.#subject.quiet();
    this.#quiets++;
    await this.#done();
    this.#model.allDone();
  }

  async #done(): Promise<void> {
    const { faults } = this.#model;
    const isDone = () =>
      faults.length > 0 || (this.#unanswered.length === 0 && this.#differences().length === 0);
    await eventually(isDone, () => [...this.#unanswered, ...this.#differences()].join("; "));
    expect(faults).toEqual([]);
  }

  #differences(): string[] {
    return ALL.filter((name) => this.#model.queues.has(name)).flatMap((name) => {
      const queue = this.#queue(name);
      if (this.#model.owes(queue)) return [`${name} does not hand out`];
      const report = this.#subject.engine.queues.describe(name);
      const { bytes, retained: _, ...counts } = report.counts;
      if (!Bun.deepEquals(report.counters, queue.tally)) {
        return [`${name} ${JSON.stringify({ counted: report.counters, expected: queue.tally })}`];
      }
      const expected = this.#model.counts(queue);
      const isSame = Bun.deepEquals(counts, expected) && bytes > 0 === queue.copies.length > 0;
      return isSame ? [] : [`${name} ${JSON.stringify({ bytes, counts, expected })}`];
    });
  }

  /** Looks at every single message. */
  async #inspect(): Promise<void> {
    for (const name of ALL) {
      const { messages } = await this.#subject.engine.queues.peek(name, { limit: 100_000 });
      const isOrdered = ORDINARY.includes(name);
      const shown = messages.map(({ message, deaths = [], ...rest }) => ({
        serial: Number(message.headers?.serial),
        deaths: deaths.map(({ queue, reason, attempts }) => ({ queue, reason, attempts })),
        ...rest,
      }));
      const expected = this.#queue(name).copies.toSorted(
        (x, y) => y.priority - x.priority || x.rank - y.rank,
      );
      const order = (x: { serial: number }, y: { serial: number }) => x.serial - y.serial;
      if (!isOrdered) shown.sort(order);
      if (!isOrdered) expected.sort(order);
      expect(shown).toEqual(expected.map((copy) => this.#asStored(this.#queue(name), copy)));
    }
    this.#compareCounters();
  }

  #asStored(queue: ModelQueue, copy: Copy) {
    const state = this.#model.state(copy);
    const { serial, deaths, attempts, dueAt } = copy;
    return {
      serial,
      deaths: [...deaths],
      state,
      attempts,
      expiresAt: expiryOf(queue, copy),
      ...(state === "delayed" && { dueAt }),
    };
  }

  #compareCounters(): void {
    const { counters } = this.#subject.engine;
    const own = this.#quiets * QUIET_MESSAGES;
    const sum = (counter: QueueCounter) => this.#model.sum(counter);
    expect(counters.stored).toBe(sum("published") + own);
    expect(counters.delivered).toBe(sum("delivered") + own);
    expect(counters.acked).toBe(sum("acked") + own);
    expect(counters.deadLettered).toBe(sum("deadLettered"));
    expect(counters.expired).toBe(sum("expired"));
    expect(counters.duplicates).toBe(this.#model.duplicates);
  }

  #queue(name: string): ModelQueue {
    return this.#model.queues.get(name)!;
  }

  #someTags({ held }: ModelPeer): number[] {
    const tags = [...held.keys()].filter(() => this.#chance(0.5));
    if (this.#chance(0.05)) tags.push(this.#upTo(1000));
    if (tags.length > 0 && this.#chance(0.05)) tags.push(tags[0]!);
    return tags;
  }

  #outcome(): Outcome {
    const delayMs = this.#pick(MOMENTS_MS);
    return this.#pick<Outcome>([
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

  #pick<T>(choices: readonly T[]): T {
    return choices[this.#upTo(choices.length - 1)]!;
  }

  #upTo(most: number): number {
    return Math.floor(this.#random() * (most + 1));
  }

  #chance(probability: number): boolean {
    return this.#random() < probability;
  }
}

async function fuzz(
  kind: EngineKind,
  seed: number,
  steps: number,
  isPlain: boolean,
): Promise<FuzzTrace> {
  await using subject = await Subject.open(kind, {
    limits: LIMITS,
    random: seededRandom(seed + 1),
  });
  const run = new QueueFuzz(subject, kind, seed, isPlain);
  try {
    await run.run(steps);
  } catch (thrown) {
    const place = `step ${run.trace.steps.length} on ${kind.name}, FUZZ_SEED=${seed}`;
    throw new Error(`${place}: ${(thrown as Error).message}`, { cause: thrown });
  }
  return run.trace;
}

/** Random operations on this kind of engine, held against the model. */
export function fuzzEngine(kind: EngineKind, { seeds, steps }: FuzzOptions): void {
  test(`[P-5] the ${kind.name} engine does what the model does`, async () => {
    for (const seed of fuzzSeeds(seeds)) await fuzz(kind, seed, steps, false);
  });
}

/** The same operations on two kinds of engine: step by step the same deliveries. */
export function fuzzTwoEngines(one: EngineKind, other: EngineKind, options: FuzzOptions): void {
  test(`[P-5] the ${one.name} and the ${other.name} engine do the same`, async () => {
    for (const seed of fuzzSeeds(options.seeds)) {
      // Only durable engines are reopened: both must draw the same operations.
      const [first, second] = [one, other].map((kind) => ({ ...kind, durable: false }));
      const trace = await fuzz(first!, seed, options.steps, true);
      expect({ seed, ...(await fuzz(second!, seed, options.steps, true)) }).toEqual({
        seed,
        ...trace,
      });
    }
  });
}
