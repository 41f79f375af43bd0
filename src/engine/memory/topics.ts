/** What topics keep besides the queues, in memory: see src/engine/topics.ts. */
import type { WarrenError } from "../../errors.ts";
import type { Message } from "../../message.ts";
import { filterMatches } from "../../topic.ts";
import type { AppendItem } from "../engine.ts";
import { makesKnown, tooManyTopics } from "../rules.ts";
import type {
  Answered,
  ChannelTotals,
  HistoryBounds,
  HistoryPage,
  HistoryRequest,
  KeptPage,
  KeptTopic,
  KeptTotals,
  KeptTrim,
  Position,
  RetainedPage,
  RetainedRequest,
  Topics,
} from "../topics.ts";
import type { Pulse } from "./pulse.ts";

interface Kept {
  readonly message: Message;
  readonly bytes: number;
  readonly offset: number;
  /** Never before that of an older one, however the clock was set. */
  readonly time: number;
}

/** What is known of a topic. */
interface Known {
  readonly topic: string;
  readonly epoch: string;
  offset: number;
  changedAt: number;
  /** That it counts for; empty for none. */
  channel: string;
  /** What was said of its history last. */
  bounds: HistoryBounds | undefined;
  /** The oldest first, without gaps. */
  history: readonly Kept[];
  retained: Kept | undefined;
}

export class MemoryTopics implements Topics {
  readonly #pulse: Pulse;
  readonly #store: string;
  readonly #known = new Map<string, Known>();
  /** Rises when offsets are forgotten. */
  #generation = 1;

  constructor(pulse: Pulse) {
    this.#pulse = pulse;
    const started = pulse.clock.now().toString(36);
    this.#store = `${started}${Math.floor(pulse.random() * 2 ** 40).toString(36)}`;
  }

  get totals(): KeptTotals {
    const all = [...this.#known.values()];
    return {
      topics: all.length,
      historyMessages: all.reduce((sum, { history }) => sum + history.length, 0),
      historyBytes: all.reduce((sum, { history }) => sum + bytesOf(history), 0),
      retainedMessages: all.filter(({ retained }) => retained !== undefined).length,
    };
  }

  get channels(): ReadonlyMap<string, ChannelTotals> {
    const names = new Set([...this.#known.values()].map(({ channel }) => channel));
    return new Map(
      [...names].map((name) => {
        const known = [...this.#known.values()].filter(({ channel }) => channel === name);
        const historyBytes = known.reduce((sum, { history }) => sum + bytesOf(history), 0);
        return [name, { topics: known.length, historyBytes }];
      }),
    );
  }

  /** Throws `too_many_topics`. `coming` are topics that will be known, with their channels; this may be one more. */
  assertRoom(item: AppendItem, coming: Map<string, string>): void {
    const { message, channel } = item;
    const { topic } = message;
    if (!makesKnown(item) || this.#known.has(topic) || coming.has(topic)) return;
    const name = channel?.name ?? "";
    const all = [...[...this.#known.values()].map((known) => known.channel), ...coming.values()];
    if (channel !== undefined && all.filter((one) => one === name).length >= channel.maxTopics) {
      throw tooManyTopics(topic, channel.maxTopics, name);
    }
    const { keptTopics } = this.#pulse.limits;
    if (all.length >= keptTopics) throw tooManyTopics(topic, keptTopics);
    coming.set(topic, name);
  }

  /** What the topic keeps of a message whose append succeeds; where it stands in the history. */
  enter(item: AppendItem, bytes: number): Position | undefined {
    const { message, history, retain, channel } = item;
    if (retain === "clear") {
      const known = this.#known.get(message.topic);
      if (known !== undefined) known.retained = undefined;
    }
    if (history === undefined && retain !== "set") return undefined;
    const known = this.#of(message.topic);
    known.changedAt = Math.max(known.changedAt, message.time);
    known.channel = channel?.name ?? "";
    if (history !== undefined) known.offset++;
    const kept = { message, bytes, offset: known.offset, time: known.changedAt };
    if (retain === "set") known.retained = kept;
    if (history === undefined) return undefined;
    known.bounds = history;
    known.history = within([...known.history, kept], history, this.#pulse.clock.now());
    return { epoch: known.epoch, offset: known.offset };
  }

  history(request: HistoryRequest, answered: Answered<HistoryPage>): void {
    this.#answer(() => this.#historyPage(request), answered);
  }

  retained(request: RetainedRequest, answered: Answered<RetainedPage>): void {
    this.#answer(() => this.#retainedPage(request), answered);
  }

  async list(after: string | undefined, limit: number): Promise<KeptPage> {
    if (this.#pulse.refusal !== undefined) throw this.#pulse.refusal;
    const wanted = this.#inOrder(after);
    const topics = wanted.slice(0, limit).map(report);
    return wanted.length > limit ? { topics, next: topics.at(-1)!.topic } : { topics };
  }

  async due(by: number, limit: number): Promise<readonly KeptTopic[]> {
    if (this.#pulse.refusal !== undefined) throw this.#pulse.refusal;
    const due = [...this.#known.values()].filter((known) => dueAtOf(known) <= by);
    due.sort((a, b) => dueAtOf(a) - dueAtOf(b));
    return due.slice(0, limit).map(report);
  }

  async idle(channel: string, before: number, limit: number): Promise<readonly KeptTopic[]> {
    if (this.#pulse.refusal !== undefined) throw this.#pulse.refusal;
    const idle = [...this.#known.values()].filter(
      (known) => known.channel === channel && isEmpty(known) && known.changedAt < before,
    );
    idle.sort((a, b) => a.changedAt - b.changedAt);
    return idle.slice(0, limit).map(report);
  }

  async trim(topics: readonly KeptTrim[]): Promise<void> {
    if (this.#pulse.refusal !== undefined) throw this.#pulse.refusal;
    for (const one of topics) this.#trimOne(one);
    await new Promise<void>((resolve) => this.#pulse.answer(resolve));
  }

  /** Appends take effect when they are called and are answered in the order of asking, and so are these. */
  #answer<Page>(look: () => Page, answered: Answered<Page>): void {
    const answer: Page | WarrenError = this.#pulse.refusal ?? look();
    this.#pulse.answer(() => answered(answer));
  }

  #of(topic: string): Known {
    let known = this.#known.get(topic);
    if (known === undefined) {
      known = this.#unknown(topic);
      this.#known.set(topic, known);
    }
    return known;
  }

  /** What a topic begins with. */
  #unknown(topic: string): Known {
    const epoch = `${this.#store}.${this.#generation}`;
    return {
      topic,
      epoch,
      offset: 0,
      changedAt: 0,
      channel: "",
      bounds: undefined,
      history: [],
      retained: undefined,
    };
  }

  #historyPage({ topic, bounds, ...range }: HistoryRequest): HistoryPage {
    const { after = 0, before = Number.POSITIVE_INFINITY, reverse = false, limit, bytes } = range;
    const { epoch, offset, history } = this.#known.get(topic) ?? this.#unknown(topic);
    const visible = within(history, bounds, this.#pulse.clock.now());
    const wanted = visible.filter((kept) => kept.offset > after && kept.offset < before);
    if (reverse) wanted.reverse();
    const page = fitting(wanted, limit, bytes);
    return {
      epoch,
      offset,
      first: visible[0]?.offset ?? offset + 1,
      messages: page.map((kept) => ({ message: kept.message, offset: kept.offset })),
      complete: page.length === wanted.length,
    };
  }

  #retainedPage({ filter, after, limit, bytes }: RetainedRequest): RetainedPage {
    const now = this.#pulse.clock.now();
    const wanted = this.#inOrder(after).flatMap(({ topic, retained }) =>
      retained !== undefined && filterMatches(filter, topic) && !hasExpired(retained, now)
        ? [retained]
        : [],
    );
    const messages = fitting(wanted, limit, bytes).map(({ message }) => message);
    return wanted.length > messages.length
      ? { messages, next: messages.at(-1)!.topic }
      : { messages };
  }

  #inOrder(after: string | undefined): Known[] {
    return [...this.#known.values()]
      .filter(({ topic }) => after === undefined || compareBytes(topic, after) > 0)
      .sort((a, b) => compareBytes(a.topic, b.topic));
  }

  #trimOne({ topic, channel, history, retained, forgetBefore }: KeptTrim): void {
    const known = this.#known.get(topic);
    if (known === undefined) return;
    if (channel !== undefined) known.channel = channel;
    known.bounds = history;
    const now = this.#pulse.clock.now();
    known.history = history === undefined ? [] : within(known.history, history, now);
    if (known.retained !== undefined && (!retained || hasExpired(known.retained, now))) {
      known.retained = undefined;
    }
    if (!isEmpty(known) || known.changedAt >= forgetBefore) return;
    this.#known.delete(topic);
    // Where no offset was given, none can be given again.
    if (known.offset > 0) this.#generation++;
  }
}

/** The newest of them, as many as the bounds allow. */
function within(history: readonly Kept[], bounds: HistoryBounds, now: number): readonly Kept[] {
  const { maxMessages, maxAgeMs = Number.POSITIVE_INFINITY } = bounds;
  const { maxBytes = Number.POSITIVE_INFINITY } = bounds;
  let bytes = 0;
  let first = history.length;
  for (const kept of history.toReversed()) {
    bytes += kept.bytes;
    const messages = history.length - first + 1;
    if (messages > maxMessages || bytes > maxBytes || kept.time + maxAgeMs <= now) break;
    first--;
  }
  return history.slice(first);
}

/** The first of them that are a page: at least one, however large it is. */
function fitting(all: readonly Kept[], limit: number, bytes: number): readonly Kept[] {
  let count = 0;
  let sum = 0;
  for (const kept of all) {
    sum += kept.bytes;
    if (count === limit || (count > 0 && sum > bytes)) break;
    count++;
  }
  return all.slice(0, count);
}

function isEmpty({ history, retained }: Known): boolean {
  return history.length === 0 && retained === undefined;
}

/** When something of it goes by its age. */
function dueAtOf({ history, bounds, retained }: Known): number {
  const historyAt =
    (history[0]?.time ?? Number.POSITIVE_INFINITY) + (bounds?.maxAgeMs ?? Number.POSITIVE_INFINITY);
  return Math.min(historyAt, retained?.message.expiresAt ?? Number.POSITIVE_INFINITY);
}

function report(known: Known): KeptTopic {
  const { topic, epoch, offset, history, retained, changedAt, channel } = known;
  return {
    topic,
    epoch,
    offset,
    messages: history.length,
    bytes: bytesOf(history),
    isRetained: retained !== undefined,
    changedAt,
    channel,
  };
}

function hasExpired({ message: { expiresAt } }: Kept, now: number): boolean {
  return expiresAt !== undefined && expiresAt <= now;
}

function bytesOf(history: readonly Kept[]): number {
  return history.reduce((sum, { bytes }) => sum + bytes, 0);
}

function compareBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}
