/** Subscribers that come, go and recover while others publish, at the sockets of a whole broker. */
import { describe, expect, test } from "bun:test";
import { systemClock as clock, systemRandom as random } from "../../src/clock.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import type { WarrenDeps } from "../../src/main.ts";
import { filterMatches } from "../../src/topic.ts";
import { eventually } from "../harness/eventually.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";
import { startTestWarren } from "../harness/warren.ts";
import { type Frame, WireClient } from "../harness/wire-client.ts";
import { Dice } from "./dice.ts";
import { KEPT, RecoveryReader } from "./recovery-reader.ts";

const CHANNELS = {
  history: { filter: "h/#", history: { maxMessages: KEPT } },
  values: { filter: "v/#", retained: true },
  both: { filter: "b/#", history: { maxMessages: KEPT }, retained: true },
};
/** Small, so that much is read in several parts and some of it waits. */
const LIMITS = { replayBytes: 2048, retainedMessages: 7, pendingReads: 5 };
const TOPICS = ["h", "v", "b"].flatMap((kind) =>
  Array.from({ length: kind === "v" ? 20 : 3 }, (_, n) => `${kind}/${n}`),
);
const FILTERS = [...TOPICS.filter((topic) => !/^v\/1?[1-9]/.test(topic)), "#", "v/#", "+/1", "b/+"];
const STEPS = 600;

/** Publishes at random, and knows what was published. */
class Author {
  readonly #client: WireClient;
  readonly #dice: Dice;
  /** By topic: the number of the message at each offset, and the value. */
  readonly at = new Map<string, Map<number, number>>(TOPICS.map((topic) => [topic, new Map()]));
  readonly values = new Map<string, number>();
  #open: Promise<void>[] = [];
  #n = 0;

  constructor(client: WireClient, dice: Dice) {
    this.#client = client;
    this.#dice = dice;
  }

  publish(): void {
    const publish = Array.from({ length: 1 + this.#dice.upTo(4) }, () => this.#message());
    if (this.#dice.chance(0.3)) this.#send({ type: "batch", publish }, publish);
    else for (const one of publish) this.#send({ type: "publish", ...one }, [one]);
  }

  async settled(): Promise<void> {
    await Promise.all(this.#open);
    this.#open = [];
  }

  #message(): Frame {
    const topic = this.#dice.pick(TOPICS);
    const isValue = !topic.startsWith("h") && this.#dice.chance(0.5);
    const payload = { n: ++this.#n, value: isValue, text: "x".repeat(this.#dice.upTo(200)) };
    return { topic, payload, ...(isValue && { retain: true }) };
  }

  #send(frame: Frame, messages: readonly Frame[]): void {
    const note = (ok: Frame) => {
      if (ok.type !== "ok") throw new Error(`${frame.type}: ${ok.code}`);
      for (const [index, { topic, payload, retain }] of messages.entries()) {
        const { offset } = (ok.results ?? [ok])[index];
        if (offset !== undefined) this.at.get(topic)?.set(offset, payload.n);
        const before = this.values.get(topic) ?? 0;
        if (retain) this.values.set(topic, Math.max(before, payload.n));
      }
    };
    this.#open.push(this.#client.request(frame).then(note));
  }
}

async function step(reader: RecoveryReader, dice: Dice): Promise<void> {
  const filter = dice.pick(FILTERS);
  const what = dice.upTo(20);
  if (what === 0) {
    reader.lose();
    await reader.connect();
  } else if (what < 5) reader.unsubscribe(filter);
  else if (what < 7) reader.history(`h/${dice.upTo(2)}`);
  else reader.subscribe(filter, dice);
}

/** What each subscription that is open at the end has to have seen by then. */
function missing(reader: RecoveryReader, author: Author): string[] {
  const lacking: string[] = [];
  for (const [filter, { next, values, isWhole }] of reader.subscriptions) {
    for (const [topic, after] of next) {
      const newest = author.at.get(topic)?.size ?? 0;
      if (after <= newest) lacking.push(`${filter}: ${topic} from ${after} to ${newest}`);
    }
    for (const [topic, n] of isWhole ? author.values : []) {
      if (!filterMatches(filter, topic) || (values.get(topic) ?? 0) >= n) continue;
      lacking.push(`${filter}: the value ${n} of ${topic}, not ${values.get(topic)}`);
    }
  }
  return lacking;
}

async function run(seed: number, deps: Partial<WarrenDeps>): Promise<number> {
  const dice = new Dice(seededRandom(seed));
  await using warren = await startTestWarren({ channels: CHANNELS, limits: LIMITS }, deps);
  const url = `${warren.url.replace("http", "ws")}/ws`;
  using client = await WireClient.connect(url);
  const author = new Author(client, dice);
  const readers = (["json", "msgpack", "json"] as const).map((one) => new RecoveryReader(url, one));
  for (const reader of readers) await reader.connect();
  for (let at = 0; at < STEPS; at++) {
    author.publish();
    await step(dice.pick(readers), dice);
    if (dice.chance(0.2)) await author.settled();
    if (dice.chance(0.3)) await new Promise((resolve) => setImmediate(resolve));
  }
  await author.settled();
  for (const reader of readers) {
    await eventually(
      () => reader.faults.length > 0 || (reader.open === 0 && missing(reader, author).length === 0),
      () => `${reader.open} answers, and ${missing(reader, author)}`,
    );
    expect(reader.faults).toEqual([]);
    for (const [topic, offset, n] of reader.seen) {
      const published = author.at.get(topic)?.get(offset);
      if (published !== n) throw new Error(`${topic} ${offset}: ${published} and not ${n}`);
    }
    reader.lose();
  }
  return readers.reduce((sum, { recoveries }) => sum + recoveries, 0);
}

describe("[P-4.3, P-4.4, P-4.8] nothing is missed and nothing comes twice", () => {
  for (const seed of fuzzSeeds(2)) {
    test(`in memory (FUZZ_SEED=${seed})`, async () => {
      const limits = { ...DEFAULT_LIMITS, ...LIMITS };
      const engine = new MemoryEngine({ clock, random, limits });
      expect(await run(seed, { engine })).toBeGreaterThan(0);
    }, 60_000);

    test(`on disk (FUZZ_SEED=${seed})`, async () => {
      expect(await run(seed, {})).toBeGreaterThan(0);
    }, 60_000);
  }
});
