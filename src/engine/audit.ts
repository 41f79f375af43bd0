/**
 * The audit trail: who changed what, and what was refused [P-13.5]. It never stands in the way of what it
 * tells of: an entry is stored with the next commit, and lost where nothing can be stored.
 */

export type AuditOutcome = "done" | "refused" | "failed";

export interface AuditEntry {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** What was done, as `<noun>.<verb>`: `queue.purge`. */
  readonly action: string;
  readonly outcome: AuditOutcome;
  /** Who did it. */
  readonly principal?: string;
  readonly session?: string;
  readonly address?: string;
  /** What it was done to: the name of a queue, a key, a topic. */
  readonly on?: string;
  /** The error code of what was refused or failed. */
  readonly code?: string;
  /** How many things it touched. */
  readonly count?: number;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** Which entries; every field that is there must fit, texts as a whole. */
export interface AuditQuery {
  readonly limit: number;
  /** The `next` of the page before; `invalid_frame` if it is not one. */
  readonly after?: string;
  readonly action?: string;
  readonly principal?: string;
  readonly on?: string;
  readonly outcome?: AuditOutcome;
  /** The first and the last time that count, milliseconds since 1970. */
  readonly from?: number;
  readonly to?: number;
}

export interface AuditPage {
  /** Newest first. */
  readonly entries: readonly AuditEntry[];
  /** Present when there may be more. */
  readonly next?: string;
}

export interface AuditTrail {
  /**
   * Stores the entry with the next commit. Never throws and never delays anything: an entry that cannot
   * be stored, or that comes while too many wait, is dropped and counted (`EngineCounters.auditDropped`).
   * Of more than `limits.auditEntries` the oldest go.
   */
  write(entry: AuditEntry): void;
  /** Stored entries, those whose commit is under way included. `storage_unavailable`. */
  query(query: AuditQuery): Promise<AuditPage>;
}

/** Entries on their way to the store; past them they are dropped. */
export const AUDIT_PENDING_AT_MOST = 4096;
