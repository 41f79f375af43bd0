/** What passes between the event loop and the writer thread. */
import type { AuditQuery } from "../audit.ts";
import type { Collection } from "../records.ts";
import type { ScheduleChange } from "../schedule.ts";
import type { Selection } from "../selection.ts";
import type { MessageEdit } from "../transfer.ts";
import type { Durability } from "./database.ts";
import type {
  KeptAnswer,
  KeptRead,
  KeptResult,
  KeptState,
  RefusedTopic,
  TopicsTrimmed,
  TrimTopics,
} from "./topic-exchange.ts";

export type WriterRequest =
  | { readonly kind: "open"; readonly dataDir: string; readonly durability: Durability }
  | {
      readonly kind: "batch";
      readonly buffer: SharedArrayBuffer;
      readonly bytes: number;
      readonly now: number;
      /** How many times the sender knew a commit to have failed: see `Storage`. */
      readonly era: number;
      /** The number under which the ring will name this buffer from now on. */
      readonly remember?: number;
    }
  /** `buffer` takes the rows: as many as fit, or one that is larger in another buffer. */
  | { readonly kind: "read"; readonly read: Read; readonly buffer: SharedArrayBuffer }
  | { readonly kind: "audit"; readonly read: AuditRead }
  | { readonly kind: "kept"; readonly read: KeptRead; readonly buffer: SharedArrayBuffer }
  | { readonly kind: "close" };

export interface Reached {
  readonly lane: number;
  readonly after: number;
}

export interface WriterFault {
  /** It does not pass by itself: what is damaged must not be written to. */
  readonly lasting: boolean;
  readonly reason: string;
  readonly advice: string;
}

export type WriterReply =
  | {
      readonly kind: "opened";
      readonly queues: readonly QueueState[];
      /** How often the store has been opened, this time included. */
      readonly openings: number;
      readonly records: readonly RecordRow[];
      readonly kept: KeptState;
    }
  /** The batch is durable, and its buffer free to be used again. */
  | { readonly kind: "committed"; readonly result: BatchResult }
  | {
      readonly kind: "rows";
      readonly buffer: SharedArrayBuffer;
      readonly bytes: number;
      /** There are no more behind these. */
      readonly complete: boolean;
      /** The last row that was looked at. */
      readonly reached: Reached | undefined;
    }
  | { readonly kind: "audit"; readonly rows: AuditRows }
  | { readonly kind: "kept"; readonly answer: KeptAnswer }
  | { readonly kind: "closed" }
  /** Nothing of the request took effect. */
  | { readonly kind: "failed"; readonly fault: WriterFault };

export interface QueueRow {
  readonly number: number;
  readonly name: string;
  /** JSON of QueueSettings. */
  readonly settings: string;
  /** JSON of an array of filters. */
  readonly bindings: string;
  readonly createdAt: number;
  readonly deadLetterOf: string | null;
}

/** Rare operations, carried as JSON in a batch. */
export type Control =
  | { readonly define: readonly QueueRow[] }
  | { readonly remove: readonly number[] }
  /** At most `limit` messages of these lanes below the sequences, except what is in flight. */
  | {
      readonly purge: number;
      readonly below: number;
      readonly keep: readonly string[];
      readonly limit: number;
    }
  | { readonly records: readonly RecordRow[] }
  /** JSON of an AuditEntry, and how many entries are kept. */
  | { readonly audit: string; readonly limit: number }
  /**
   * Lets go of at most `limit` of the queue's acked messages, the oldest first: those acked at `before`
   * or earlier, and as many as it takes to `maxBytes`.
   */
  | {
      readonly trimAcked: number;
      readonly before: number;
      readonly maxBytes: number;
      readonly limit: number;
    }
  | { readonly move: Move }
  | Reschedule
  | TrimTopics
  /** At most `limit` ids whose window was over by then. */
  | { readonly forgetIdsBefore: number; readonly limit: number }
  | { readonly probe: number };

export interface Purged {
  readonly kind: "purged";
  readonly messages: number;
  /** Those of them that waited for a time. */
  readonly delayed: number;
  readonly bytes: number;
}

/** What a queue keeps of its acked messages. */
export interface AckedTotals {
  readonly messages: number;
  readonly bytes: number;
  /** When the oldest of them was acked; null when there is none. */
  readonly oldestAt: number | null;
}

/** What is left after a trim. */
export interface Trimmed {
  readonly kind: "trimmed";
  /** How many went. */
  readonly went: number;
  readonly oldestAt: number | null;
  readonly bytes: number;
  readonly messages: number;
}

/** What a control tells of its doing. */
export type ControlAnswer = Purged | Trimmed | Moved | Rescheduled | Forgotten | TopicsTrimmed;

export interface Forgotten {
  readonly kind: "forgotten";
  readonly went: number;
}

/** A page of messages that goes from one queue to another (src/engine/transfer.ts). */
export interface Move {
  readonly state: "waiting" | "acked";
  readonly queue: number;
  /** The page begins after this place, and goes no further in any lane than `through`; null: the last. */
  readonly lane: number;
  readonly after: number;
  readonly through: number | null;
  /** Rows looked at, messages and bytes moved, at most. */
  readonly scan: number;
  readonly limit: number;
  readonly bytes: number;
  /** What is in flight, as `lane.sequence`: it stays. */
  readonly keep: readonly string[];
  readonly select: Selection;
  /** Messages that died so often in this queue are held; null: none is. */
  readonly heldQueue: string;
  readonly heldFrom: number | null;
  /** Null: nowhere. */
  readonly target: MoveTarget | null;
  readonly edit: PackedEdit | null;
  readonly dryRun: boolean;
  readonly record: {
    readonly collection: Collection;
    readonly key: string;
    readonly value: Readonly<Record<string, unknown>>;
  } | null;
}

export interface MoveTarget {
  readonly queue: number;
  readonly defaultPriority: number;
  /** So many sequences from here on are reserved as the move may take. */
  readonly firstSequence: number;
  /** A larger record never fits; more than `roomBytes` do not fit now. */
  readonly maxBytes: number;
  readonly roomBytes: number;
  /** Whether its messages are written with what orders them. */
  readonly isIndexed: boolean;
}

export interface PackedEdit extends Omit<MessageEdit, "payload"> {
  readonly payload?: { readonly format: number; readonly base64: string };
}

export interface Moved {
  readonly kind: "moved";
  readonly moved: number;
  readonly held: number;
  readonly failed: number;
  /** It ended before the next message because the target has no room for that one now. */
  readonly isFull: boolean;
  /** Where the next page begins; null when there is none. */
  readonly next: string | null;
  /** What left the source: all between two places, bytes, and how many of them waited for a time. */
  readonly gone: readonly (readonly [lane: number, first: number, last: number])[];
  readonly bytes: number;
  readonly delayed: number;
  /** What came to the target: bytes, lanes, and the earliest expiry of its own. */
  readonly arrivedBytes: number;
  readonly lanes: readonly number[];
  readonly ownExpiry: number | null;
}

/** A change of the rows that wait for their first due time under a key [P-5.13]. */
export interface Reschedule {
  readonly reschedule: string;
  /** Null: they go. */
  readonly change: PackedScheduleChange | null;
  /** Only these places, as `lane.sequence`; null: all of the key. */
  readonly only: readonly string[] | null;
  /** With more rows than this nothing is changed. */
  readonly limit: number;
  readonly dryRun: boolean;
}

export interface PackedScheduleChange extends Omit<ScheduleChange, "payload"> {
  readonly payload?: { readonly format: number; readonly base64: string };
}

export interface ScheduledCopy {
  readonly lane: number;
  readonly sequence: number;
  readonly dueAt: number;
  /** By how many bytes its record becomes longer. */
  readonly growth: number;
}

export interface Rescheduled {
  readonly kind: "rescheduled";
  readonly copies: readonly ScheduledCopy[];
  /** Why nothing was changed. */
  readonly refused: "too early" | "too many" | null;
  /** The earliest expiry of its own of any copy. */
  readonly ownExpiry: number | null;
}

/** What a queue holds on disk. */
export interface Recounted {
  readonly number: number;
  readonly messages: number;
  readonly bytes: number;
  readonly delayed: number;
  readonly acked: AckedTotals;
}

export interface BatchResult {
  /** Indexes, among the conditional operations of the batch, of those that changed nothing. */
  readonly void: readonly number[];
  /** Of those controls of the batch that tell something, in their order. */
  readonly answers: readonly ControlAnswer[];
  /** Queues in which something to be deleted was gone already, after this batch. */
  readonly recounted: readonly Recounted[];
  /** Present where something entered what topics keep, or left it. */
  readonly kept?: KeptResult;
  /** Present where there was no room for a topic: what its question guarded was left out. */
  readonly refused?: readonly RefusedTopic[];
}

/** A read of rows, in the order of delivery unless said otherwise. */
export type Read =
  /** Rows after (lane, sequence) to the end of `lastLane`: those that wait for no time, or all. */
  | {
      readonly kind: "page" | "all";
      readonly lane: number;
      readonly after: number;
      readonly lastLane: number;
      readonly limit: number;
      /** Only those that fit come back. */
      readonly select?: Selection;
    }
  /**
   * As a page, but only rows without a key that orders them and those of which no other of their key
   * is before them. The last row may have an empty record: so far was looked. With `block` one that
   * waits for its retry is before the others too.
   */
  | {
      readonly kind: "heads";
      readonly lane: number;
      readonly after: number;
      readonly lastLane: number;
      readonly limit: number;
      readonly block: boolean;
    }
  /** The first row of each of these keys. One that waits has a due time. */
  | { readonly kind: "keys"; readonly keys: readonly string[]; readonly block: boolean }
  /** Rows with a due time, without records, after (dueAt, lane, sequence) in this order. */
  | {
      readonly kind: "due";
      readonly dueAt: number;
      readonly lane: number;
      readonly after: number;
      readonly limit: number;
    }
  /** Rows that expire by a time of their own, without records, after (expiresAt, lane, sequence). */
  | {
      readonly kind: "expiring";
      readonly expiresAt: number;
      readonly lane: number;
      readonly after: number;
      readonly limit: number;
    }
  /** Acked messages of a queue in the order of acking, after `after`; the ack time is in `dueAt`. */
  | {
      readonly kind: "acked";
      readonly lane: number;
      readonly after: number;
      readonly limit: number;
      readonly select?: Selection;
    }
  /**
   * The row of a message with this id, if it is among the next so many after the place; `acked` ones have
   * their ack time in `dueAt`. Without one the answer says how far the look has come.
   */
  | {
      readonly kind: "named";
      readonly table: "messages" | "acked";
      readonly id: string;
      readonly lane: number;
      readonly after: number;
      readonly lastLane: number;
    }
  /** The rows of these ids, as a list of decimal numbers. */
  | { readonly kind: "ids"; readonly ids: string; readonly limit: number };

/** A small record; `value` is JSON, null where it is removed. */
export interface RecordRow {
  readonly collection: string;
  readonly key: string;
  readonly value: string | null;
}

/** The newest `stretch` entries of the audit trail that are numbered below `before`. */
export interface AuditRead {
  readonly before: number;
  readonly stretch: number;
  readonly query: AuditQuery;
}

export interface AuditRows {
  /** Those of the stretch that fit, newest first; `entry` is JSON. */
  readonly found: readonly { readonly number: number; readonly entry: string }[];
  /** The last number of the stretch; 0 when there is nothing behind it. */
  readonly end: number;
}

/** A queue as it was when the store was opened. */
export interface QueueState extends QueueRow {
  readonly messages: number;
  readonly bytes: number;
  readonly delayed: number;
  readonly acked: AckedTotals;
  /** The highest sequence in use in any of its lanes. */
  readonly sequence: number;
  /** For each lane that holds messages, when its first one came into the queue. */
  readonly heads: readonly { readonly lane: number; readonly enteredAt: number }[];
}
