/**
 * The event loop's side of what topics keep: nothing of it but totals, of all and of each channel. The
 * writer gives the offsets, and reads are answered in order with commits.
 */
import { WarrenError } from "../../errors.ts";
import type { AppendItem, AppendReceipt, AppendRequest } from "../engine.ts";
import { makesKnown } from "../rules.ts";
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
import { Admission } from "./admission.ts";
import { unpackRows } from "./batch.ts";
import type { QueueHost } from "./host.ts";
import { decodeRecord, type EncodedRecord } from "./record.ts";
import {
  type CountedChannel,
  ENTERS,
  type KeptAnswer,
  type KeptRead,
  type KeptResult,
  type KeptState,
  type ListedTopic,
} from "./topic-exchange.ts";

const PAGE_BYTES = 1024 * 1024;
const KEPT_BUFFERS = 2;
/** Messages of histories that one commit lets go of, so that it stays short. */
const TRIMMED_AT_ONCE = 4096;
const UNBOUNDED: HistoryBounds = { maxMessages: 0 };

type Answer<Kind extends "history" | "retained"> = Extract<KeptAnswer, { kind: Kind }>;
type Listed = Extract<KeptAnswer, { topics: unknown }>;

export class SqliteTopics implements Topics {
  totals: KeptTotals = { topics: 0, historyMessages: 0, historyBytes: 0, retainedMessages: 0 };
  readonly channels = new Map<string, ChannelTotals>();
  readonly #host: QueueHost;
  /** Topics that may come to count for another channel by what is on its way. */
  #moving = 0;
  readonly #buffers: SharedArrayBuffer[] = [];
  #store = "";
  /** The last epoch that was named, which most are. */
  #generation = -1;
  #epoch = "";
  /** Of the batch whose items are being told. */
  #positions: Float64Array = new Float64Array();
  #at = 0;

  constructor(host: QueueHost) {
    this.#host = host;
  }

  /** What the store found at its opening. */
  recover({ store, totals, channels }: KeptState): void {
    this.#store = store;
    this.totals = totals;
    this.channels.clear();
    this.#count(channels);
    this.#generation = -1;
  }

  /** A batch is durable; those that were given a position learn it next, in their order. */
  changed({ positions, totals, channels }: KeptResult): void {
    this.totals = totals;
    this.#count(channels);
    this.#positions = positions;
    this.#at = 0;
  }

  /**
   * What is to be asked before these messages are written, where some bound may be reached by all that is on its
   * way; undefined where there is room in any case. `idOf` is what an id is remembered by, empty for none, and
   * whether it will be. `refused` is told which of them there is no room for.
   */
  admissionOf<Item extends AppendItem>(
    items: readonly Item[],
    idOf: (item: Item) => readonly [id: string, isRemembered: boolean],
    answered: (refused: number | undefined) => void = () => undefined,
  ): Admission | undefined {
    if (!this.#mayBeFull(items)) return undefined;
    const candidates = items.map((item) => {
      const { message, channel } = item;
      const [id, isRemembered] = idOf(item);
      return {
        topic: message.topic,
        makesKnown: makesKnown(item),
        channel: channel?.name ?? "",
        maxTopics: channel?.maxTopics ?? Number.POSITIVE_INFINITY,
        id,
        isRemembered,
      };
    });
    const { keptTopics } = this.#host.limits;
    return new Admission({ keptTopics, candidates }, answered);
  }

  /** Writes what the topic keeps of the message; returns who is to be told of its end in place of the request. */
  enter(request: AppendRequest, record: EncodedRecord): AppendRequest {
    const { history, retain, message } = request;
    const does = (history === undefined ? 0 : ENTERS.history) + (retain ? ENTERS[retain] : 0);
    const channel = request.channel?.name ?? "";
    this.#host.storage.writer.topic(does, message, history ?? UNBOUNDED, channel, record);
    return history === undefined ? request : new Positioned(request, () => this.#nextPosition());
  }

  history(request: HistoryRequest, answered: Answered<HistoryPage>): void {
    const read = { kind: "history", request, now: this.#host.clock.now() } as const;
    this.#ask(read, answered, (answer: Answer<"history">) => {
      const { offset, first, complete, rows } = answer;
      const messages = unpackRows(rows.buffer, rows.bytes).map(({ sequence, record }) => ({
        offset: sequence,
        message: decodeRecord(record).message,
      }));
      return { epoch: this.#epochOf(answer.generation), offset, first, messages, complete };
    });
  }

  retained(request: RetainedRequest, answered: Answered<RetainedPage>): void {
    const read = { kind: "retained", request, now: this.#host.clock.now() } as const;
    this.#ask(read, answered, ({ rows, next }: Answer<"retained">) => {
      const messages = unpackRows(rows.buffer, rows.bytes).map(
        ({ record }) => decodeRecord(record).message,
      );
      return next === undefined ? { messages } : { messages, next };
    });
  }

  list(after: string | undefined, limit: number): Promise<KeptPage> {
    return this.#look({ kind: "list", after, limit });
  }

  async due(by: number, limit: number): Promise<readonly KeptTopic[]> {
    return (await this.#look({ kind: "due", by, limit })).topics;
  }

  async idle(channel: string, before: number, limit: number): Promise<readonly KeptTopic[]> {
    return (await this.#look({ kind: "idle", channel, before, limit })).topics;
  }

  async trim(topics: readonly KeptTrim[]): Promise<void> {
    for (let left = topics; ; ) {
      const refusal = this.#host.storageRefusal();
      if (refusal !== undefined) throw refusal;
      if (left.length === 0) return;
      left = left.slice(await this.#trimSome(left));
    }
  }

  /** Resolves to how many of the topics, from the first on, are done with. */
  #trimSome(trimTopics: readonly KeptTrim[]): Promise<number> {
    const { storage } = this.#host;
    return new Promise((resolve, reject) => {
      let done = 0;
      this.#moving += trimTopics.length;
      const over = () => {
        this.#moving -= trimTopics.length;
      };
      storage.writer.control({ trimTopics, limit: TRIMMED_AT_ONCE });
      storage.add({
        answered: (answer) => {
          if (answer.kind === "topicsTrimmed") done = answer.done;
        },
        committed: () => {
          over();
          resolve(done);
        },
        aborted: (error) => {
          over();
          reject(error);
        },
      });
    });
  }

  #look(read: Extract<KeptRead, { kind: "list" | "due" | "idle" }>): Promise<KeptPage> {
    return new Promise((resolve, reject) => {
      this.#ask<Listed, KeptPage>(
        read,
        (answer) => (answer instanceof WarrenError ? reject(answer) : resolve(answer)),
        ({ topics: listed, next }) => {
          const topics = listed.map((topic) => this.#named(topic));
          return next === undefined ? { topics } : { topics, next };
        },
      );
    });
  }

  #named({ generation, ...topic }: ListedTopic): KeptTopic {
    return { ...topic, epoch: this.#epochOf(generation) };
  }

  #count(channels: readonly CountedChannel[]): void {
    for (const { name, topics, historyBytes } of channels) {
      if (topics > 0) this.channels.set(name, { topics, historyBytes });
      else this.channels.delete(name);
    }
  }

  /** Whether a bound could be reached if everything on its way, these with it, made another topic known. */
  #mayBeFull(items: readonly AppendItem[]): boolean {
    const coming = this.#host.storage.waiting + this.#moving + items.length;
    const isFull = this.totals.topics + coming > this.#host.limits.keptTopics;
    return items.some((item) => {
      if (!makesKnown(item)) return false;
      if (isFull || item.channel === undefined) return isFull;
      const { name, maxTopics } = item.channel;
      return (this.channels.get(name)?.topics ?? 0) + coming > maxTopics;
    });
  }

  /** The answer is made use of, and its buffer again, before anything else is told. */
  #ask<Found extends KeptAnswer, Page>(
    read: KeptRead,
    answered: Answered<Page>,
    pageOf: (answer: Found) => Page,
  ): void {
    const { storage } = this.#host;
    let isInside = true;
    const refuse = (error: WarrenError) => {
      if (isInside) this.#host.later(() => answered(error));
      else answered(error);
    };
    const refusal = this.#host.storageRefusal();
    if (refusal?.code === "draining") {
      refuse(refusal);
      return;
    }
    const buffer = this.#buffers.pop() ?? new SharedArrayBuffer(PAGE_BYTES);
    storage.ask({ kind: "kept", read, buffer }, (reply) => {
      const isAnswer = reply.kind === "kept" && reply.answer.kind === read.kind;
      const page = isAnswer
        ? pageOf(reply.answer as Found)
        : new WarrenError("storage_unavailable");
      if (this.#buffers.length < KEPT_BUFFERS) this.#buffers.push(buffer);
      if (page instanceof WarrenError) refuse(page);
      else answered(page);
    });
    isInside = false;
  }

  #nextPosition(): Position {
    const offset = this.#positions[this.#at++] ?? 0;
    const generation = this.#positions[this.#at++] ?? 0;
    return { epoch: this.#epochOf(generation), offset };
  }

  #epochOf(generation: number): string {
    if (generation !== this.#generation) {
      this.#generation = generation;
      this.#epoch = `${this.#store}.${generation}`;
    }
    return this.#epoch;
  }
}

/** A request whose receipt tells where its message stands in the history. */
class Positioned implements AppendRequest {
  readonly message;
  readonly queues;
  readonly dedupe;
  declare readonly invalid?: string;
  readonly #request: AppendRequest;
  readonly #position: () => Position;

  constructor(request: AppendRequest, position: () => Position) {
    this.message = request.message;
    this.queues = request.queues;
    this.dedupe = request.dedupe;
    this.#request = request;
    this.#position = position;
  }

  stored(receipt: AppendReceipt): void {
    const isStored = !receipt.duplicate;
    this.#request.stored(isStored ? { ...receipt, position: this.#position() } : receipt);
  }

  failed(error: WarrenError): void {
    this.#request.failed(error);
  }
}
