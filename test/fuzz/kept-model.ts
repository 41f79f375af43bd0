/**
 * What a topic keeps, said as simply as can be: everything that ever entered, and how much of it is to be
 * seen. Learns of messages when the engine says that they are stored.
 */
import type { AppendItem, AppendReceipt } from "../../src/engine/engine.ts";
import type {
  HistoryBounds,
  HistoryPage,
  HistoryRequest,
  KeptTrim,
} from "../../src/engine/topics.ts";
import type { Message } from "../../src/message.ts";
import { filterMatches } from "../../src/topic.ts";

/** Payloads come in blocks, and bounds lie in the middle of one: what else is in a record does not count. */
export const BLOCK_BYTES = 4000;
export const bytesOfBlocks = (blocks: number) => (blocks + 0.5) * BLOCK_BYTES;

interface Entered {
  readonly id: string;
  readonly offset: number;
  readonly time: number;
  readonly blocks: number;
}

/** How many topics may be known, of all channels and of each. */
export interface Places {
  readonly overall: number;
  readonly ofChannel: number;
}

interface Known {
  channel: string;
  epoch: string | undefined;
  offset: number;
  changedAt: number;
  entered: readonly Entered[];
  retained: { readonly message: Message; readonly blocks: number } | undefined;
}

export class KeptModel {
  readonly known = new Map<string, Known>();
  readonly faults: string[] = [];
  readonly #of: Places;
  /** By topic and id. */
  readonly #seenUntil = new Map<string, number>();
  /** What each place was ever given to. */
  readonly #places = new Map<string, string>();
  /** The epoch of topics that are not known, since the last forgetting. */
  #unknownEpoch: string | undefined;

  constructor(places: Places) {
    this.#of = places;
  }

  /** Whether there is room for all of it, and if not, for which there is none. */
  admits(items: readonly AppendItem[], now: number, refused: string | undefined): void {
    const ids = new Set<string>();
    const channels = new Map([...this.known].map(([topic, { channel }]) => [topic, channel]));
    let expected: string | undefined;
    for (const [index, { message, dedupe, history, retain, channel }] of items.entries()) {
      const key = `${message.topic}\n${message.id}`;
      if (dedupe && (ids.has(key) || (this.#seenUntil.get(key) ?? 0) > now)) continue;
      if (dedupe) ids.add(key);
      if (channels.has(message.topic) || (history === undefined && retain !== "set")) continue;
      const name = channel?.name ?? "";
      const taken = [...channels.values()];
      const inChannel = taken.filter((one) => one === name).length;
      if (channel !== undefined && inChannel >= this.#of.ofChannel) expected = `${index} channel`;
      else if (taken.length >= this.#of.overall) expected = `${index} overall`;
      if (expected !== undefined) break;
      channels.set(message.topic, name);
    }
    this.#check(expected === refused, `refused was ${refused}, not ${expected}`);
  }

  stored(item: AppendItem, { duplicate, position }: AppendReceipt, blocks: number, now: number) {
    const { message, history, retain } = item;
    const { topic, id } = message;
    const key = `${topic}\n${id}`;
    const isDuplicate = item.dedupe && (this.#seenUntil.get(key) ?? 0) > now;
    this.#check(duplicate === isDuplicate, `${topic} ${id} is ${duplicate ? "a" : "no"} duplicate`);
    if (duplicate) return;
    if (item.dedupe) this.#seenUntil.set(key, now + 300_000);
    const before = this.known.get(topic);
    if (history === undefined && retain !== "set") {
      if (before !== undefined) before.retained = undefined;
      return;
    }
    const known = before ?? this.#unknown();
    this.known.set(topic, known);
    known.changedAt = Math.max(known.changedAt, message.time);
    known.channel = item.channel?.name ?? "";
    if (retain !== undefined) {
      known.retained = retain === "set" ? { message, blocks } : undefined;
    }
    if (history === undefined) return;
    known.offset++;
    const { offset, changedAt: time } = known;
    known.entered = [...known.entered, { id, offset, time, blocks }];
    this.#check(
      position?.offset === offset,
      `${topic} ${id} at ${position?.offset}, not ${offset}`,
    );
    this.#hasEpoch(topic, known, position?.epoch ?? "");
    const place = `${topic} ${position?.epoch} ${offset}`;
    this.#check(!this.#places.has(place), `${place} was given to ${this.#places.get(place)} too`);
    this.#places.set(place, id);
  }

  /** `bounds` are the narrowest that were ever said of the topic. */
  history(request: HistoryRequest, page: HistoryPage, now: number): void {
    const { topic, bounds, after = 0, before = Number.POSITIVE_INFINITY } = request;
    const known = this.known.get(topic) ?? this.#unknown();
    if (this.known.has(topic)) this.#hasEpoch(topic, known, page.epoch);
    else this.#isUnknownEpoch(page.epoch);
    const visible = within(known.entered, bounds, now);
    const wanted = visible.filter(({ offset }) => offset > after && offset < before);
    if (request.reverse) wanted.reverse();
    const expected = fitting(wanted, request);
    this.#same(
      `history of ${JSON.stringify(request)}`,
      {
        found: page.messages.map(({ offset, message }) => `${offset}:${message.id}`),
        complete: page.complete,
        offset: page.offset,
        first: page.first,
      },
      {
        found: expected.map(({ offset, id }) => `${offset}:${id}`),
        complete: expected.length === wanted.length,
        offset: known.offset,
        first: visible[0]?.offset ?? known.offset + 1,
      },
    );
  }

  /** All that the filter matches. */
  retained(filter: string, found: readonly string[], now: number): void {
    const expected = [...this.known.keys()].sort().flatMap((topic) => {
      const { message } = this.known.get(topic)?.retained ?? {};
      if (message === undefined || !filterMatches(filter, topic)) return [];
      const { expiresAt = Number.POSITIVE_INFINITY } = message;
      return expiresAt > now ? [`${topic}=${message.id}`] : [];
    });
    this.#same(`retained of ${filter}`, found, expected);
  }

  trim({ topic, channel, history, retained, forgetBefore }: KeptTrim, now: number): void {
    const known = this.known.get(topic);
    if (known === undefined) return;
    known.channel = channel ?? known.channel;
    known.entered = history === undefined ? [] : within(known.entered, history, now);
    const expiresAt = known.retained?.message.expiresAt ?? Number.POSITIVE_INFINITY;
    if (!retained || expiresAt <= now) known.retained = undefined;
    const isEmpty = known.entered.length === 0 && known.retained === undefined;
    if (!isEmpty || known.changedAt >= forgetBefore) return;
    this.known.delete(topic);
    if (known.offset > 0) this.#unknownEpoch = undefined;
  }

  #unknown(): Known {
    const epoch = this.#unknownEpoch;
    return { channel: "", epoch, offset: 0, changedAt: 0, entered: [], retained: undefined };
  }

  #hasEpoch(topic: string, known: Known, epoch: string): void {
    known.epoch ??= epoch;
    this.#check(known.epoch === epoch, `${topic} has the epoch ${epoch}, not ${known.epoch}`);
  }

  #isUnknownEpoch(epoch: string): void {
    this.#unknownEpoch ??= epoch;
    this.#check(epoch === this.#unknownEpoch, `the epoch ${epoch}, not ${this.#unknownEpoch}`);
  }

  #same(what: string, found: unknown, expected: unknown): void {
    const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
    this.#check(one === other, `${what} is ${one}, not ${other}`);
  }

  #check(holds: boolean, sentence: string): void {
    if (!holds) this.faults.push(sentence);
  }
}

function within(entered: readonly Entered[], bounds: HistoryBounds, now: number): Entered[] {
  const { maxMessages, maxAgeMs = Number.POSITIVE_INFINITY } = bounds;
  const { maxBytes = Number.POSITIVE_INFINITY } = bounds;
  return entered.filter((one, at) => {
    const newer = entered.slice(at);
    const bytes = newer.reduce((sum, { blocks }) => sum + blocks, 0) * BLOCK_BYTES;
    return newer.length <= maxMessages && bytes <= maxBytes && one.time + maxAgeMs > now;
  });
}

function fitting(all: readonly Entered[], { limit, bytes }: HistoryRequest): readonly Entered[] {
  return all.filter((_, at) => {
    const sum = all.slice(0, at + 1).reduce((blocks, one) => blocks + one.blocks, 0);
    return at < limit && (at === 0 || sum * BLOCK_BYTES <= bytes);
  });
}
