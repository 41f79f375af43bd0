/**
 * Messages on their way in that stand and fall together, one or several, and what may have to wait with them:
 * they keep the order of their topics and queues.
 */
import type { WarrenError } from "../../errors.ts";
import type { Message } from "../../message.ts";
import type { AppendItem, AppendReceipt, AppendRequest, BatchRequest } from "../engine.ts";
import { isRefusedEntry } from "../rules.ts";
import type { HistoryBounds, KeepingChannel } from "../topics.ts";
import type { QueueHost } from "./host.ts";
import { type EncodedRecord, encodeRecord, messageKey } from "./record.ts";

/** What is to be done behind messages that wait. */
export class Follower {
  readonly keys: ReadonlySet<string>;
  readonly ids: ReadonlySet<string> = new Set();
  readonly size = 1;
  readonly action: () => void;

  constructor(key: string, action: () => void) {
    this.keys = new Set([key]);
    this.action = action;
  }
}

/** What has been written and may yet be refused: nothing that counts on it goes before that is known. */
export class Doubt {
  readonly keys: ReadonlySet<string>;
  readonly ids: ReadonlySet<string> = new Set();
  readonly size = 0;
  isOver = false;

  constructor(keys: ReadonlySet<string>) {
    this.keys = keys;
  }
}

/** One message of a group, on its way. */
export class Member implements AppendRequest {
  readonly message: Message;
  readonly queues: readonly string[];
  readonly dedupe: boolean;
  declare readonly dueAt?: number;
  declare readonly invalid?: string;
  declare readonly history?: HistoryBounds;
  declare readonly retain?: "set" | "clear";
  declare readonly channel?: KeepingChannel;
  readonly index: number;
  readonly record: EncodedRecord;
  isDuplicate = false;
  displaced = 0;
  receipt: AppendReceipt = { queues: 0, duplicate: true };
  readonly #group: Group;

  constructor(group: Group, item: AppendItem, index: number) {
    this.message = item.message;
    this.queues = item.queues;
    this.dedupe = item.dedupe;
    if (item.dueAt !== undefined) this.dueAt = item.dueAt;
    if (item.invalid !== undefined) this.invalid = item.invalid;
    if (item.history !== undefined) this.history = item.history;
    if (item.retain !== undefined) this.retain = item.retain;
    if (item.channel !== undefined) this.channel = item.channel;
    this.index = index;
    this.record = encodeRecord(item.message, item.message.time, undefined);
    this.#group = group;
  }

  stored(receipt: AppendReceipt): void {
    this.receipt = receipt;
    this.#group.settled(undefined);
  }

  failed(error: WarrenError): void {
    this.#group.settled(error);
  }
}

/** Messages that are stored together or not at all. */
export class Group {
  readonly members: readonly Member[];
  /** The topics and queues that keep their order. */
  readonly keys = new Set<string>();
  /** Its ids that will count as seen. */
  readonly ids = new Set<string>();
  /** Whether it was asked which of its ids were seen, and how many answers are still to come. */
  isAsked: boolean;
  lookups = 0;
  /** An id in it occurs twice. */
  readonly hasRepeats: boolean;
  /** The message that is being looked at. */
  at = 0;
  readonly #request: BatchRequest;
  #open = 0;

  constructor(request: BatchRequest) {
    this.#request = request;
    this.members = request.items.map((item, index) => new Member(this, item, index));
    this.isAsked = !this.members.some(({ dedupe }) => dedupe);
    for (const { message, queues, dedupe } of this.members) {
      this.keys.add(topicKey(message.topic));
      for (const queue of queues) this.keys.add(queueKey(queue));
      if (dedupe) this.ids.add(recentKey(message));
    }
    this.hasRepeats = this.ids.size < this.members.filter(({ dedupe }) => dedupe).length;
  }

  get size(): number {
    return this.members.length;
  }

  get isLookedUp(): boolean {
    return this.isAsked && this.lookups === 0;
  }

  fail(error: WarrenError, host: QueueHost): void {
    const isOfOne = isRefusedEntry(error) || error.code === "unknown_queue";
    const index = isOfOne ? this.at : undefined;
    host.later(() => this.#request.failed(error, index));
  }

  /** One of the messages that were written is stored, or all fail. */
  settled(error: WarrenError | undefined): void {
    this.#open++;
    const written = this.members.filter(({ isDuplicate }) => !isDuplicate).length;
    if (this.#open < written) return;
    if (error === undefined) this.finish();
    else this.#request.failed(error, error.code === "too_many_topics" ? this.at : undefined);
  }

  finish(): void {
    this.#request.stored(this.members.map(({ receipt }) => receipt));
  }
}

/** One message as a batch of one. */
export function ofOne(request: AppendRequest): BatchRequest {
  return {
    items: [request],
    stored: ([receipt]) => request.stored(receipt as AppendReceipt),
    failed: (error) => request.failed(error),
  };
}

// Neither begins like the other, nor like a message's: those begin with a topic, and no topic with a
// control character.

export function topicKey(topic: string): string {
  return `\x01${topic}`;
}

export function queueKey(queue: string): string {
  return `\x02${queue}`;
}

/** What an id is remembered by. */
export function recentKey({ topic, id }: Message): string {
  return messageKey(topic, id);
}
