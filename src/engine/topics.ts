/**
 * What topics keep besides the queues: the history of their messages [P-8] and a retained value [P-4.4].
 * Which topic keeps what is the broker's to say, by channel, with every append and every read; the engine
 * holds to the bounds it is given.
 *
 * - A message enters with its append (`AppendItem.history`, `AppendItem.retain`): in the same commit as its
 *   copies for queues, all or none [P-3.6]; a duplicate enters nothing, nor does one that is `invalid`.
 * - Offsets are given in the order of the appends of a topic, without gaps, from 1 on. `position` of the
 *   receipt is where the message stands.
 * - The epoch of a topic changes only when its offsets could be given a second time or its history was lost:
 *   when the engine forgot the topic or the store is another one. A topic of which nothing is known has the
 *   epoch it would begin with, and offset 0.
 * - A topic is known from the first message that it keeps something of until it is forgotten, and counts for
 *   the channel that was named last (`AppendItem.channel`, `KeptTrim.channel`). What would make one more known
 *   than `limits.keptTopics`, or than its channel has room for, is refused (`too_many_topics`); who is known
 *   goes on, also beyond a bound that was lowered. Counts are exact, in the order of the calls.
 * - Answers of `history` and `retained` come in one order with those of appends: when one is called, `stored`
 *   was called for everything it shows, and for nothing else that it does not show. So who joins the live
 *   subscribers from within misses nothing and sees nothing twice.
 */
import type { WarrenError } from "../errors.ts";
import type { Message } from "../message.ts";

/** How much history a topic keeps: whatever is reached first. */
export interface HistoryBounds {
  readonly maxMessages: number;
  readonly maxAgeMs?: number;
  /** Of the records as they are stored. */
  readonly maxBytes?: number;
}

/** The channel that a topic counts for, and how many topics may keep something there [P-14.9]. */
export interface KeepingChannel {
  readonly name: string;
  readonly maxTopics: number;
}

/** A place in the history of a topic. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

export interface KeptMessage {
  readonly message: Message;
  readonly offset: number;
}

export interface HistoryRequest {
  readonly topic: string;
  /** What holds for the topic now: what lies beyond is not shown, though it may still be stored. */
  readonly bounds: HistoryBounds;
  /** Only offsets above and below these. */
  readonly after?: number;
  readonly before?: number;
  /** The newest first, and so the newest of those that fit. */
  readonly reverse?: boolean;
  /** Most messages, and bytes of records; at least one message comes however large it is. */
  readonly limit: number;
  readonly bytes: number;
}

export interface HistoryPage {
  readonly epoch: string;
  /** The newest offset that was given; 0 when none was. */
  readonly offset: number;
  /** The oldest offset within the bounds; `offset + 1` when there is none. */
  readonly first: number;
  readonly messages: readonly KeptMessage[];
  /** There is nothing more that was asked for behind these. */
  readonly complete: boolean;
}

export interface RetainedRequest {
  /** Topics that match this filter, in the order of their bytes. */
  readonly filter: string;
  /** The last topic of the page before. */
  readonly after?: string;
  readonly limit: number;
  readonly bytes: number;
}

export interface RetainedPage {
  /** Those whose `expiresAt` has passed are left out. A page may be short of its limit and have a `next`. */
  readonly messages: readonly Message[];
  /** `after` of the next page, when there may be more. */
  readonly next?: string;
}

/** A topic of which something is kept. */
export interface KeptTopic {
  readonly topic: string;
  readonly epoch: string;
  readonly offset: number;
  /** Of its history as it is stored, which may be more than its bounds. */
  readonly messages: number;
  readonly bytes: number;
  readonly isRetained: boolean;
  /** When something last entered. */
  readonly changedAt: number;
  /** That it counts for; empty for none. */
  readonly channel: string;
}

export interface KeptPage {
  readonly topics: readonly KeptTopic[];
  /** `after` of the next page, when there may be more. */
  readonly next?: string;
}

/** What is to be left of a topic. */
export interface KeptTrim {
  readonly topic: string;
  /** That it counts for from now on; absent: as before. */
  readonly channel?: string;
  /** Absent: no history. */
  readonly history?: HistoryBounds;
  /** Whether its retained value stays, unless it has expired. */
  readonly retained: boolean;
  /** Nothing is known of the topic afterwards if nothing of it is left and nothing entered since then. */
  readonly forgetBefore: number;
}

export interface KeptTotals {
  readonly topics: number;
  readonly historyMessages: number;
  readonly historyBytes: number;
  readonly retainedMessages: number;
}

/** What counts for one channel. */
export interface ChannelTotals {
  readonly topics: number;
  readonly historyBytes: number;
}

/** Called once, and never from inside the call that asked. */
export type Answered<Page> = (answer: Page | WarrenError) => void;

export interface Topics {
  /** `storage_unavailable`. */
  history(request: HistoryRequest, answered: Answered<HistoryPage>): void;
  /** `storage_unavailable`. */
  retained(request: RetainedRequest, answered: Answered<RetainedPage>): void;
  /** Topics of which something is kept, in the order of their bytes, `limit` of them. */
  list(after: string | undefined, limit: number): Promise<KeptPage>;
  /**
   * Topics of which something may have gone beyond its age by then, by what was said of them last, in the order
   * of that. A trim that says the same of them leaves none of these due by then.
   */
  due(by: number, limit: number): Promise<readonly KeptTopic[]>;
  /**
   * Topics that count for the channel, of which nothing is left, and nothing entered at `before` or later; the
   * one for which that was so longest comes first.
   */
  idle(channel: string, before: number, limit: number): Promise<readonly KeptTopic[]>;
  /** Lets go of what lies beyond, of at most so many topics as `limits` allow in a batch; when durable. */
  trim(topics: readonly KeptTrim[]): Promise<void>;
  readonly totals: KeptTotals;
  /** Of each channel that topics count for. */
  readonly channels: ReadonlyMap<string, ChannelTotals>;
}
