/**
 * Random operations on an engine and on the model of it, in the same order. Delivery by delivery and
 * step by step the two must agree; the seed that leads to a disagreement is in its message.
 */
import { expect, test } from "bun:test";
import type { AppendItem, AppendReceipt, Outcome } from "../../src/engine/engine.ts";
import { completeSettings } from "../../src/engine/rules.ts";
import type { WarrenError } from "../../src/errors.ts";
import type { Delivery, Message } from "../../src/message.ts";
import { type EngineKind, type Peer, Subject } from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";
import { Dice } from "./dice.ts";
import { type ModelAppend, type ModelPeer, type ModelQueue, surelyFits } from "./model-queue.ts";
import { QueueDraws } from "./queue-draws.ts";
import { inspect } from "./queue-inspection.ts";
import { QueueModel } from "./queue-model.ts";
import { MOMENTS_MS, payloadOf, QueueMoves } from "./queue-moves.ts";

export interface FuzzOptions {
  readonly seeds: number;
  readonly steps: number;
}

const ORDINARY = ["a", "b"];
const ALL = ["a", "b", "a.dead", "b.dead"];
const LIMITS = { deliveryGraceMs: 500, queueWindowMessages: 6, queueWindowBytes: 4096 };

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
  readonly #dice: Dice;
  readonly #seed: number;
  /**
   * One consumer a queue, none on dead letters, nothing from within a sink, nothing handed out while
   * anything else is going on: what happens is determined.
   */
  readonly #isPlain: boolean;
  readonly #model: QueueModel;
  readonly #draws: QueueDraws;
  readonly #moves: QueueMoves;
  #peers: FuzzedPeer[] = [];
  /** What was called and not answered yet; names may repeat. */
  readonly #unanswered: string[] = [];
  #quiets = 0;

  constructor(subject: Subject, kind: EngineKind, seed: number, isPlain: boolean) {
    this.#subject = subject;
    this.#kind = kind;
    this.#seed = seed;
    this.#dice = new Dice(seededRandom(seed));
    this.#isPlain = isPlain;
    this.#model = new QueueModel(subject.clock.now(), LIMITS.deliveryGraceMs);
    this.#draws = new QueueDraws(this.#dice, this.#model);
    this.#moves = new QueueMoves({
      subject,
      isPlain,
      model: this.#model,
      dice: this.#dice,
      expect: (name, answer) => this.#expect(name, answer),
      agreed: () => this.#agreed(),
    });
  }

  async run(steps: number): Promise<void> {
    for (const name of ORDINARY) await this.#define(name);
    for (let step = 0; step < steps; step++) {
      this.trace.steps.push([]);
      await this.#step();
      if (this.#isPlain) await this.#serve();
      if (step % 20 === 19) await inspect(this.#subject, this.#model, ALL, this.#quiets);
    }
    await inspect(this.#subject, this.#model, ALL, this.#quiets);
    this.trace.counts.push(...ALL.map((name) => this.#model.counts(this.#queue(name))));
  }

  async #step(): Promise<void> {
    const choice = this.#dice.random();
    if (choice < 0.3) return this.#pass(this.#dice.pick(MOMENTS_MS));
    if (choice < 0.34) return this.#define(this.#dice.pick(ORDINARY));
    if (choice < 0.35) return this.#purge(this.#dice.pick(ALL));
    if (choice < 0.36 && this.#kind.durable) return this.#reopen();
    if (choice < 0.4) return this.#moves.transfer(this.#dice.pick(ORDINARY));
    if (choice < 0.43) return this.#moves.change();
    if (choice < 0.53) return this.#flood();
    for (let burst = this.#dice.upTo(6); burst >= 0; burst--) this.#act();
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
    const choice = this.#dice.random();
    if (choice < 0.45) this.#append();
    else if (choice < 0.5) this.#moves.putOff();
    else if (choice < 0.55 || this.#peers.length === 0) this.#consumeSome();
    else this.#use(this.#dice.pick(this.#peers), this.#dice.random());
  }

  #consumeSome(): void {
    const names = this.#isPlain ? ORDINARY : ALL;
    const crowd = this.#isPlain ? ORDINARY.length : 6;
    const free = names.filter((name) => !this.#isPlain || this.#queue(name).peers.length === 0);
    if (this.#peers.length < crowd && free.length > 0) this.#consume(this.#dice.pick(free));
  }

  #use(fuzzed: FuzzedPeer, choice: number): void {
    if (choice < 0.04) this.#leave(fuzzed, "cancel");
    else if (choice < 0.08) this.#leave(fuzzed, "disconnect");
    else if (choice < 0.2) this.#credit(fuzzed, this.#dice.upTo(8));
    else if (choice < 0.3 && !this.#isPlain) this.#hold(fuzzed, this.#dice.chance(0.3));
    else this.#settle(fuzzed, this.#draws.tags(fuzzed.model), this.#draws.outcome());
  }

  /** Appends only, more than there may be room for, while nobody wants what may give way. */
  async #flood(): Promise<void> {
    const still = ORDINARY.filter((name) => this.#model.isStill(this.#queue(name)));
    const choices = still.length === 2 ? [["a"], ["b"], ["a", "b"]] : still.map((name) => [name]);
    if (choices.length === 0) return;
    for (let burst = this.#dice.upTo(40); burst >= 0; burst--)
      this.#append(this.#dice.pick(choices));
    await this.#agreed();
  }

  /** One message, or several that are stored together or not at all. */
  #append(chosen?: readonly string[]): void {
    const size = this.#dice.chance(0.15) ? 2 + this.#dice.upTo(3) : 1;
    const drafts = Array.from({ length: size }, () => this.#draws.draft(chosen));
    const queues = [...new Set(drafts.flatMap((draft) => draft.queues))];
    const blocks = drafts.reduce((sum, draft) => sum + draft.blocks, 0);
    const refuses = (name: string) => this.#queue(name).settings.overflow === "reject";
    // In a flood there is nobody whose deeds would decide who gives way; a refusal may still depend on them.
    const unsure = chosen === undefined ? queues : queues.filter(refuses);
    const load = { messages: size, blocks };
    if (!this.#model.isRoomCertain(unsure, load)) return;
    // Several that may hold duplicates are looked at again when that is known, with the room of then.
    const isAsked = size > 1 && drafts.some(({ dedupe }) => dedupe);
    const fits = (name: string) => surelyFits(this.#queue(name), load);
    if (chosen === undefined && isAsked && !queues.every(fits)) return;
    const { answer, copies } = this.#model.append(drafts);
    const check = this.#expect(`append #${drafts.map(({ serial }) => serial)}`, answer);
    const stored = (receipts: readonly AppendReceipt[]) => {
      for (const copy of copies) copy.confirmed = true;
      check(receipts.map(textOf).join(", "));
    };
    const { engine } = this.#subject;
    const [first] = drafts.map((draft) => this.#item(draft)) as [AppendItem];
    if (size === 1) {
      const failed = ({ code }: WarrenError) => check(`${code} of 0`);
      engine.append({ ...first, stored: (receipt) => stored([receipt]), failed });
    } else {
      const failed = ({ code }: WarrenError, index?: number) => check(`${code} of ${index}`);
      const items = drafts.map((draft) => this.#item(draft));
      engine.appendBatch({ items, stored, failed });
    }
  }

  #item({
    serial,
    id,
    topic,
    key,
    priority,
    expiresAt,
    dueAt,
    blocks,
    queues,
    dedupe,
  }: ModelAppend) {
    const message: Message = this.#subject.message({
      id,
      topic,
      headers: { serial: `${serial}` },
      payload: payloadOf(blocks),
      ...(key !== undefined && { key }),
      ...(priority !== undefined && { priority }),
      ...(expiresAt !== undefined && { expiresAt }),
    });
    return { message, queues, dedupe, ...(dueAt !== undefined && { dueAt }) };
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
    this.#credit(fuzzed, this.#dice.upTo(8));
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

  /** What is to be called with the answer, once. */
  #expect(name: string, answer: string): (given: string) => void {
    this.#unanswered.push(name);
    return (given) => this.#answered(name, given, answer);
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
    const definition = this.#draws.definition(name);
    this.#model.define(name, completeSettings(definition));
    await this.#subject.define(name, definition);
    await this.#agreed();
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

  #queue(name: string): ModelQueue {
    return this.#model.queues.get(name)!;
  }
}

function textOf({ duplicate, queues, displaced }: AppendReceipt): string {
  if (duplicate) return "duplicate";
  return `stored ${queues}${displaced === undefined ? "" : ` for ${displaced}`}`;
}

async function fuzz(
  kind: EngineKind,
  seed: number,
  steps: number,
  isPlain: boolean,
): Promise<FuzzTrace> {
  await using subject = await Subject.open(kind, {
    // Which keys fit into memory must not make a difference between two engines.
    limits: isPlain ? { ...LIMITS, queueWindowBytes: 2 ** 30 } : LIMITS,
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
