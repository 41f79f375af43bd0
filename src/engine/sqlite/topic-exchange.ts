/** What passes between the event loop and the writer thread about topics and what they keep. */
import type {
  ChannelTotals,
  HistoryRequest,
  KeptTotals,
  KeptTrim,
  RetainedRequest,
} from "../topics.ts";

/** What a message does to what its topic keeps, added up. */
export const ENTERS = { history: 1, set: 2, clear: 4 } as const;

/** Whether there is room for the topics that these messages, in this order, would make known. */
export interface TopicQuestion {
  readonly keptTopics: number;
  readonly candidates: readonly TopicCandidate[];
}

export interface TopicCandidate {
  readonly topic: string;
  readonly makesKnown: boolean;
  readonly channel: string;
  readonly maxTopics: number;
  /** What its id is remembered by, empty where it is by nothing; and whether it will be, once it is stored. */
  readonly id: string;
  readonly isRemembered: boolean;
}

/** For a message there was no room: its place among those of its question, and which of the bounds it was. */
export interface RefusedTopic {
  /** The place of the question among those of the batch. */
  readonly question: number;
  readonly message: number;
  readonly isOverall: boolean;
}

export interface CountedChannel extends ChannelTotals {
  readonly name: string;
}

/** What the event loop must know of the store to name epochs, and the totals. */
export interface KeptState {
  readonly store: string;
  readonly totals: KeptTotals;
  readonly channels: readonly CountedChannel[];
}

/** What a batch changed. */
export interface KeptResult {
  /** Offset and generation of each message that entered a history, in the order of the batch. */
  readonly positions: Float64Array;
  readonly totals: KeptTotals;
  /** Those channels for which it counts differently than before. */
  readonly channels: readonly CountedChannel[];
}

/** A read; times are judged as of `now`. */
export type KeptRead =
  | { readonly kind: "history"; readonly request: HistoryRequest; readonly now: number }
  | { readonly kind: "retained"; readonly request: RetainedRequest; readonly now: number }
  | { readonly kind: "list"; readonly after: string | undefined; readonly limit: number }
  | { readonly kind: "due"; readonly by: number; readonly limit: number }
  | {
      readonly kind: "idle";
      readonly channel: string;
      readonly before: number;
      readonly limit: number;
    };

export type KeptAnswer =
  | {
      readonly kind: "history";
      readonly generation: number;
      readonly offset: number;
      readonly first: number;
      readonly complete: boolean;
      /** The rows have their offsets as their sequences. */
      readonly rows: PackedMessages;
    }
  | {
      readonly kind: "retained";
      readonly next: string | undefined;
      readonly rows: PackedMessages;
    }
  | {
      readonly kind: "list" | "due" | "idle";
      readonly topics: readonly ListedTopic[];
      /** Of a list, when there are more. */
      readonly next: string | undefined;
    };

/** Rows as `unpackRows` reads them. */
export interface PackedMessages {
  readonly buffer: SharedArrayBuffer;
  readonly bytes: number;
}

export interface ListedTopic {
  readonly topic: string;
  readonly generation: number;
  readonly offset: number;
  readonly messages: number;
  readonly bytes: number;
  readonly changedAt: number;
  readonly channel: string;
  readonly isRetained: boolean;
}

/** Takes away what is too much of these topics, one after the other, and at most so many messages of history. */
export interface TrimTopics {
  readonly trimTopics: readonly KeptTrim[];
  readonly limit: number;
}

export interface TopicsTrimmed {
  readonly kind: "topicsTrimmed";
  /** How many of the topics, from the first on, there is nothing more to be done with. */
  readonly done: number;
}
