/**
 * The event loop's side of what topics keep: nothing of it but the totals. The writer gives the offsets,
 * and reads are answered in order with commits.
 */
import { WarrenError } from "../../errors.ts";
import type { AppendReceipt, AppendRequest } from "../engine.ts";
import type {
  Answered,
  HistoryBounds,
  HistoryPage,
  HistoryRequest,
  KeptPage,
  KeptTotals,
  KeptTrim,
  Position,
  RetainedPage,
  RetainedRequest,
  Topics,
} from "../topics.ts";
import { unpackRows } from "./batch.ts";
import type { QueueHost } from "./host.ts";
import { decodeRecord, type EncodedRecord } from "./record.ts";
import {
  ENTERS,
  type KeptAnswer,
  type KeptRead,
  type KeptResult,
  type KeptState,
} from "./topic-exchange.ts";

const PAGE_BYTES = 1024 * 1024;
const KEPT_BUFFERS = 2;
/** Messages of histories that one commit lets go of, so that it stays short. */
const TRIMMED_AT_ONCE = 4096;
const UNBOUNDED: HistoryBounds = { maxMessages: 0 };

type Answer<Kind extends KeptAnswer["kind"]> = Extract<KeptAnswer, { kind: Kind }>;

export class SqliteTopics implements Topics {
  totals: KeptTotals = { topics: 0, historyMessages: 0, historyBytes: 0, retainedMessages: 0 };
  readonly #host: QueueHost;
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
  recover({ store, totals }: KeptState): void {
    this.#store = store;
    this.totals = totals;
    this.#generation = -1;
  }

  /** A batch is durable; those that were given a position learn it next, in their order. */
  changed({ positions, totals }: KeptResult): void {
    this.totals = totals;
    this.#positions = positions;
    this.#at = 0;
  }

  /** Writes what the topic keeps of the message; returns who is to be told of its end in place of the request. */
  enter(request: AppendRequest, record: EncodedRecord): AppendRequest {
    const { history, retain, message } = request;
    const does = (history === undefined ? 0 : ENTERS.history) + (retain ? ENTERS[retain] : 0);
    this.#host.storage.writer.topic(does, message, history ?? UNBOUNDED, record);
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
    return new Promise((resolve, reject) => {
      this.#ask<Answer<"list">, KeptPage>(
        { kind: "list", after, limit },
        (answer) => (answer instanceof WarrenError ? reject(answer) : resolve(answer)),
        ({ topics: listed, next }) => {
          const topics = listed.map(({ generation, ...topic }) => ({
            ...topic,
            epoch: this.#epochOf(generation),
          }));
          return next === undefined ? { topics } : { topics, next };
        },
      );
    });
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
      storage.writer.control({ trimTopics, limit: TRIMMED_AT_ONCE });
      storage.add({
        answered: (answer) => {
          if (answer.kind === "topicsTrimmed") done = answer.done;
        },
        committed: () => resolve(done),
        aborted: reject,
      });
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
