/** The counts of one queue, each message in exactly one of its states at any time. */
import type { QueueCounts, QueueSettings } from "../../../schemas/queue.ts";
import { PRIORITIES } from "./lanes.ts";

export class Totals {
  /** Durable messages in all states, and the bytes of their records. */
  messages = 0;
  bytes = 0;
  /** Accepted and not yet durable. */
  pendingMessages = 0;
  pendingBytes = 0;
  /** Those of them that may turn out to be duplicates, and then leave their room. */
  unsure = 0;
  /** The pending ones by rank. */
  readonly pendingByRank = new Uint32Array(PRIORITIES);
  delayed = 0;
  inFlight = 0;
  /** In no one's hands, with the commit of what becomes of them still to come. */
  settling = 0;
  /** Those of them that go, and their bytes: the room is free at once. */
  leavingMessages = 0;
  leavingBytes = 0;

  counts(): Pick<QueueCounts, "ready" | "delayed" | "inFlight" | "bytes"> {
    const { ready, delayed, inFlight, bytes } = this;
    return { ready, delayed, inFlight, bytes };
  }

  /** How many messages may be handed out, but for those in no one's hands. */
  get ready(): number {
    return this.messages - this.delayed - this.inFlight - this.settling;
  }

  /** How many messages take room, those on their way in included. */
  get present(): number {
    return this.messages + this.pendingMessages - this.leavingMessages;
  }

  /** For how many messages and bytes there is room. */
  room({ maxMessages, maxBytes }: QueueSettings): { messages: number; bytes: number } {
    const bytes = this.bytes + this.pendingBytes - this.leavingBytes;
    return {
      messages: (maxMessages ?? Number.MAX_SAFE_INTEGER) - this.present,
      bytes: (maxBytes ?? Number.MAX_SAFE_INTEGER) - bytes,
    };
  }

  /** Whether one more message is within the bounds; `bytes` is only asked where there is one. */
  hasRoom(settings: QueueSettings, bytes: () => number): boolean {
    const { maxMessages, maxBytes } = settings;
    if (maxMessages === undefined && maxBytes === undefined) return true;
    return this.fits(settings, 1, maxBytes === undefined ? 0 : bytes());
  }

  /** Whether so much more is within the bounds. */
  fits({ maxMessages, maxBytes }: QueueSettings, messages: number, bytes: number): boolean {
    if (maxMessages !== undefined && this.present + messages > maxMessages) return false;
    if (maxBytes === undefined) return true;
    return this.bytes + this.pendingBytes - this.leavingBytes + bytes <= maxBytes;
  }
}
