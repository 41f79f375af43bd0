/**
 * Moving dead letters back to work, and acked messages to work once more: the primitive under redrive,
 * replay, edit and delete, one page at a time [P-13.9], [P-13.10].
 */
import type { Message } from "../message.ts";
import type { Payload } from "../payload.ts";
import type { Collection } from "./records.ts";
import type { Selection } from "./selection.ts";

/** What of a message is changed on its way; null takes the field away. */
export interface MessageEdit {
  readonly id?: string;
  readonly topic?: string;
  readonly payload?: Payload;
  readonly headers?: Readonly<Record<string, string>> | null;
  readonly key?: string | null;
  readonly priority?: number | null;
  /** Who it is from then, since he has written it. */
  readonly from?: string | null;
}

/**
 * One page of messages on their way from one queue to another, in one commit.
 *
 * - `waiting` ones are moved: those in flight stay. Only from a dead-letter queue, unless `to` is null.
 * - `acked` ones are copied, and stay to be replayed again.
 *
 * On arrival a message is ready, with no attempts, its own deaths and id, and its time to live anew (an
 * `expiresAt` of its own is dropped if it has passed). It takes room in the queue it comes to.
 *
 * A waiting message that died in the target `maxRedrives` times or more is **held**: it stays, and is
 * counted, unless it is named in `select.ids`.
 */
export interface TransferRequest {
  readonly state: "waiting" | "acked";
  readonly select: Selection;
  /** Absent: the queue whose dead letters they are, or that acked them. Null: nowhere, for good. */
  readonly to?: string | null;
  /** Most messages that are moved; 0 asks for the `next` from which the pages begin. */
  readonly limit: number;
  /** The `next` of the page before. What came after the first page was asked for is in no page. */
  readonly after?: string;
  /** Nothing is touched; the answer is what would have been done. */
  readonly dryRun?: boolean;
  readonly edit?: MessageEdit;
  /** Written in the same commit, with the answer as the field `page` of its value. */
  readonly record?: {
    readonly collection: Collection;
    readonly key: string;
    readonly value: Readonly<Record<string, unknown>>;
  };
}

export interface TransferPage {
  readonly moved: number;
  readonly held: number;
  /** Messages that could never be stored in the target: larger than all of it. */
  readonly failed: number;
  /** Present when there may be more. A page may be short of its limit and still have a next. */
  readonly next?: string;
}

/** The message as it arrives. */
export function arriving(message: Message, edit: MessageEdit | undefined, now: number): Message {
  const { id, topic, payload, headers, key, priority, from } = edit ?? {};
  const changed: Record<string, unknown> = { ...message };
  const set = (name: string, value: unknown) => {
    if (value === null) delete changed[name];
    else if (value !== undefined) changed[name] = value;
  };
  set("id", id);
  set("topic", topic);
  set("payload", payload);
  set("headers", headers);
  set("key", key);
  set("priority", priority);
  set("from", from);
  if (message.expiresAt !== undefined && message.expiresAt <= now) delete changed.expiresAt;
  return changed as unknown as Message;
}
