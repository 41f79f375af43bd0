/**
 * Changing or taking back messages that were published for later, while they wait for their first due
 * time [P-5.13].
 */
import { WarrenError } from "../errors.ts";
import type { Message } from "../message.ts";
import type { Payload } from "../payload.ts";

/** What of a scheduled message is changed; what is absent stays. Its place in the line stays, too. */
export interface ScheduleChange {
  /** When it is to be handed out at the earliest; a time that has come is now. */
  readonly dueAt?: number;
  readonly payload?: Payload;
  readonly headers?: Readonly<Record<string, string>>;
  readonly contentType?: string;
  /** Who it is from then, since he has written it; null for nobody by name. */
  readonly from?: string | null;
  /** Its own time to live, as of then. */
  readonly expiresAt?: number;
}

/**
 * All copies of the message with this topic and id that have never been due, in whatever queues, change
 * in one commit or none does. Whether a copy is due by then is decided once: either it is changed, or it
 * is handed out as it was. Those published after the call are not meant.
 *
 * Exactly one of `done` and `failed` is called. `not_found`: no copy waits any more; `conflict`: one would
 * expire before it is due; `queue_full`: it has grown and a queue's `maxBytes` has no room for that.
 */
export interface ScheduleRequest {
  readonly topic: string;
  readonly messageId: string;
  /** Null: it goes, for good. */
  readonly change: ScheduleChange | null;
  /** With how many copies there were. */
  done(copies: number): void;
  failed(error: WarrenError): void;
}

/** Whether the change may make the stored message longer. */
export function changesContent({ dueAt: _, ...content }: ScheduleChange): boolean {
  return Object.keys(content).length > 0;
}

/** The message as it will be handed out. */
export function changedMessage(message: Message, change: ScheduleChange): Message {
  const { dueAt: _, from, ...content } = change;
  const { from: before, ...rest } = message;
  const author = from === undefined ? before : (from ?? undefined);
  return { ...rest, ...content, ...(author !== undefined && { from: author }) };
}

export function expiresTooEarly(message: Message, dueAt: number): boolean {
  return message.expiresAt !== undefined && message.expiresAt <= dueAt;
}

export function tooEarly(): WarrenError {
  return new WarrenError("conflict", "The message would expire before it is due.");
}

export function notScheduled(): WarrenError {
  return new WarrenError("not_found", "No queue has it waiting for its time.");
}
