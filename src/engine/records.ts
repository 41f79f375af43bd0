/**
 * Small durable records beside the queues: what operators define and what must outlive a restart. Few,
 * written rarely, all of them in memory; the code that owns a collection gives its values their meaning.
 */

/** What kinds of records there are; the name of a collection is part of the stored file. */
export const COLLECTIONS = ["roles", "keys", "channels", "revocations", "bans", "tasks"] as const;

export type Collection = (typeof COLLECTIONS)[number];

export interface RecordChange {
  readonly collection: Collection;
  readonly key: string;
  /** Anything that JSON carries; undefined removes the record. */
  readonly value: unknown;
}

export interface Records {
  /** All durable records of a collection by key, in the order of their first writing. In memory. */
  all(collection: Collection): ReadonlyMap<string, unknown>;
  /**
   * All or none. Resolves when durable, after `recordChanged` for each, in their order. Rejects with
   * `storage_unavailable`, or with `conflict` (detail `collection`, `limit`) where a collection would
   * hold more than `limits.records`; then nothing has changed.
   */
  write(changes: readonly RecordChange[]): Promise<void>;
}
