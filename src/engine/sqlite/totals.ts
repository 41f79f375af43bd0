/** The counts of one queue, each message in exactly one of its states at any time. */
import type { QueueCounts, QueueSettings } from "../../../schemas/queue.ts";

export class Totals {
  /** Durable messages in all states, and the bytes of their records. */
  messages = 0;
  bytes = 0;
  /** Accepted and not yet durable. */
  pendingMessages = 0;
  pendingBytes = 0;
  delayed = 0;
  inFlight = 0;
  /** In no one's hands, with the commit of what becomes of them still to come. */
  settling = 0;
  /** Those of them that go, and their bytes: the room is free at once. */
  leavingMessages = 0;
  leavingBytes = 0;

  counts(): Omit<QueueCounts, "consumers" | "retained"> {
    const { messages, delayed, inFlight, settling, bytes } = this;
    return { ready: messages - delayed - inFlight - settling, delayed, inFlight, bytes };
  }

  /** Whether one more message is within the bounds; `bytes` is only asked where there is one. */
  hasRoom({ maxMessages, maxBytes }: QueueSettings, bytes: () => number): boolean {
    const count = this.messages + this.pendingMessages - this.leavingMessages;
    if (maxMessages !== undefined && count >= maxMessages) return false;
    if (maxBytes === undefined) return true;
    return this.bytes + this.pendingBytes - this.leavingBytes + bytes() <= maxBytes;
  }
}
