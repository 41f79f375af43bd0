/** Random publishes, reads, trims and starts on an engine and on the model of what topics keep. */
import { expect, test } from "bun:test";
import type { AppendItem, AppendReceipt } from "../../src/engine/engine.ts";
import type { HistoryBounds, HistoryRequest, KeptTrim } from "../../src/engine/topics.ts";
import { WarrenError } from "../../src/errors.ts";
import { Payload } from "../../src/payload.ts";
import { type EngineKind, Subject } from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";
import { Dice } from "./dice.ts";
import { bytesOfBlocks, KeptModel, type Places } from "./kept-model.ts";

const FILTERS = ["#", "a/#", "a/+", "+/b", "a/b", "+", "b/#", "nobody"];
/** What each topic keeps, always. */
const BOUNDS: Readonly<Record<string, HistoryBounds>> = {
  a: { maxMessages: 3 },
  "a/b": { maxMessages: 12, maxBytes: bytesOfBlocks(4) },
  "a/c": { maxMessages: 12, maxAgeMs: 5000 },
  "b/b": { maxMessages: 5, maxBytes: bytesOfBlocks(2), maxAgeMs: 20_000 },
  b: { maxMessages: 12 },
};
const TOPICS = Object.keys(BOUNDS);
/** Operations that are begun before any is waited for. */
const AT_ONCE = 12;

class KeptFuzz {
  readonly #subject: Subject;
  readonly #dice: Dice;
  readonly #model: KeptModel;
  readonly #places: Places;
  #open = 0;
  #made = 0;

  constructor(subject: Subject, dice: Dice, places: Places) {
    this.#subject = subject;
    this.#dice = dice;
    this.#places = places;
    this.#model = new KeptModel(places);
  }

  async step(): Promise<void> {
    for (let left = this.#dice.upTo(AT_ONCE); left > 0; left--) {
      const chance = this.#dice.random();
      if (chance < 0.5) this.#append([this.#item()]);
      else if (chance < 0.6) this.#append(Array.from({ length: 3 }, () => this.#item()));
      else if (chance < 0.85) this.#read();
      else if (chance < 0.95) await new Promise((resolve) => setImmediate(resolve));
      else this.#readRetained(this.#dice.pick(FILTERS));
    }
    await eventually(
      () => this.#open === 0,
      () => `${this.#open} answers`,
    );
    if (this.#dice.chance(0.3)) await this.#trim();
    if (this.#dice.chance(0.5)) this.#subject.clock.advance(this.#dice.upTo(3000));
    expect(this.#model.faults).toEqual([]);
  }

  async inspect(): Promise<void> {
    const { topics: listed, next } = await this.#subject.engine.topics.list(undefined, 100);
    expect(next).toBeUndefined();
    const { known } = this.#model;
    expect(listed.map(({ topic }) => topic)).toEqual([...known.keys()].sort());
    for (const { topic, offset, changedAt, isRetained, channel } of listed) {
      const { retained, ...expected } = known.get(topic)!;
      expect([topic, offset, changedAt, isRetained, channel]).toEqual([
        topic,
        expected.offset,
        expected.changedAt,
        retained !== undefined,
        expected.channel,
      ]);
    }
    const { channels } = this.#subject.engine.topics;
    const names = [...new Set(listed.map(({ channel }) => channel))].sort();
    expect([...channels.keys()].sort()).toEqual(names);
    for (const name of names) {
      const its = listed.filter(({ channel }) => channel === name);
      const historyBytes = its.reduce((sum, { bytes }) => sum + bytes, 0);
      expect(channels.get(name)).toEqual({ topics: its.length, historyBytes });
    }
    expect(this.#subject.engine.topics.totals).toEqual({
      topics: listed.length,
      historyMessages: listed.reduce((sum, { messages }) => sum + messages, 0),
      historyBytes: listed.reduce((sum, { bytes }) => sum + bytes, 0),
      retainedMessages: listed.filter(({ isRetained }) => isRetained).length,
    });
  }

  #item(): AppendItem {
    const dice = this.#dice;
    const topic = dice.pick(TOPICS);
    const blocks = dice.upTo(2);
    const toQueue = dice.chance(0.3);
    const { clock } = this.#subject;
    const message = {
      id: dice.chance(0.2) ? `again ${dice.upTo(3)}` : `${++this.#made}`,
      topic,
      time: clock.now() - (dice.chance(0.1) ? dice.upTo(4000) : 0),
      payload: Payload.fromValue("x".repeat(bytesOfBlocks(blocks) - bytesOfBlocks(0))),
      headers: { blocks: `${blocks}` },
      // What a full queue does with one whose time is over is not what this is about.
      ...(!toQueue && dice.chance(0.4) && { expiresAt: clock.now() + dice.upTo(8000) }),
    };
    const keeps = dice.pick(["history", "retained", "both"]);
    const name = dice.chance(0.1) ? "moved" : topic.slice(0, 1);
    return {
      message,
      ...(dice.chance(0.9) && { channel: { name, maxTopics: this.#places.ofChannel } }),
      queues: toQueue ? ["q"] : [],
      dedupe: dice.chance(0.5),
      ...(keeps !== "retained" && { history: BOUNDS[topic]! }),
      ...(keeps !== "history" && { retain: dice.chance(0.7) ? "set" : "clear" }),
    };
  }

  #append(items: readonly AppendItem[]): void {
    const { engine, clock } = this.#subject;
    this.#open++;
    const stored = (receipts: readonly AppendReceipt[]) => {
      this.#open--;
      this.#model.admits(items, clock.now(), undefined);
      for (const [at, receipt] of receipts.entries()) {
        const item = items[at]!;
        this.#model.stored(item, receipt, Number(item.message.headers?.blocks), clock.now());
      }
    };
    const failed = ({ code, message, detail }: WarrenError, index = 0) => {
      this.#open--;
      if (code !== "too_many_topics") throw new Error(`${code}: ${message}`);
      this.#model.admits(items, clock.now(), `${index} ${detail?.scope}`);
    };
    const [first, second] = items;
    if (first !== undefined && second === undefined && this.#dice.chance(0.9)) {
      engine.append({ ...first, stored: (receipt) => stored([receipt]), failed });
    } else {
      engine.appendBatch({ items, stored, failed });
    }
  }

  /** At the bounds of the topic, or at narrower ones. */
  #read(): void {
    const dice = this.#dice;
    const topic = dice.pick([...TOPICS, "nobody"]);
    const kept = BOUNDS[topic] ?? { maxMessages: 1 };
    const request: HistoryRequest = {
      topic,
      bounds: dice.chance(0.7) ? kept : this.#narrower(kept),
      limit: 1 + dice.upTo(6),
      bytes: bytesOfBlocks(dice.upTo(8)),
      ...(dice.chance(0.3) && { after: dice.upTo(40) }),
      ...(dice.chance(0.3) && { before: dice.upTo(40) }),
      reverse: dice.chance(0.5),
    };
    const now = this.#subject.clock.now();
    this.#open++;
    this.#subject.engine.topics.history(request, (page) => {
      this.#open--;
      if (page instanceof WarrenError) throw page;
      this.#model.history(request, page, now);
    });
  }

  #readRetained(filter: string): void {
    const now = this.#subject.clock.now();
    const request = { filter, limit: 100, bytes: bytesOfBlocks(100) };
    this.#open++;
    this.#subject.engine.topics.retained(request, (page) => {
      this.#open--;
      if (page instanceof WarrenError) throw page;
      const found = page.messages.map(({ topic, id }) => `${topic}=${id}`);
      this.#model.retained(filter, found, now);
    });
  }

  #narrower({ maxMessages, maxAgeMs, maxBytes }: HistoryBounds): HistoryBounds {
    const dice = this.#dice;
    return {
      maxMessages: 1 + dice.upTo(maxMessages - 1),
      maxAgeMs: Math.min(maxAgeMs ?? Number.POSITIVE_INFINITY, 1 + dice.upTo(10_000)),
      maxBytes: Math.min(maxBytes ?? Number.POSITIVE_INFINITY, bytesOfBlocks(dice.upTo(4))),
    };
  }

  async #trim(): Promise<void> {
    const dice = this.#dice;
    const { clock, engine } = this.#subject;
    const topics = TOPICS.filter(() => dice.chance(0.4)).map((topic): KeptTrim => {
      const kept = BOUNDS[topic]!;
      return {
        topic,
        ...(dice.chance(0.3) && { channel: dice.pick(["a", "b", ""]) }),
        ...(dice.chance(0.6) && { history: dice.chance(0.5) ? kept : this.#narrower(kept) }),
        retained: dice.chance(0.6),
        forgetBefore: clock.now() - 1000 + dice.upTo(2000),
      };
    });
    for (const one of topics) this.#model.trim(one, clock.now());
    await engine.topics.trim(topics);
  }
}

export function fuzzKept(kind: EngineKind, options: { seeds: number; steps: number }): void {
  for (const seed of fuzzSeeds(options.seeds)) {
    test(`[P-4.3, P-4.4, P-8.1, P-14.9] ${kind.name}: what topics keep, FUZZ_SEED=${seed}`, async () => {
      const dice = new Dice(seededRandom(seed));
      const places = { overall: 2 + dice.upTo(4), ofChannel: 1 + dice.upTo(3) };
      const limits = { keptTopics: places.overall };
      await using subject = await Subject.open(kind, { limits });
      await subject.define("q", { maxMessages: 3, overflow: "drop-oldest" });
      const fuzz = new KeptFuzz(subject, dice, places);
      for (let step = 0; step < options.steps; step++) {
        await fuzz.step();
        if (!dice.chance(0.1)) continue;
        await fuzz.inspect();
        if (kind.durable && dice.chance(0.3)) await subject.reopen();
      }
      await fuzz.inspect();
    }, 60_000);
  }
}
