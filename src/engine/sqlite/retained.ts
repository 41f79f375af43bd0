/**
 * What one queue keeps of its acked messages: how much, and until when [P-5.15]. The messages themselves
 * are on disk only.
 */
import type { Entry } from "./entry.ts";
import type { AckedTotals, ControlAnswer } from "./exchange.ts";
import type { QueueHost } from "./host.ts";
import type { SqliteQueue } from "./queue.ts";

/** Messages that one commit lets go of. */
const TRIMMED_AT_ONCE = 1000;
/** Until it is tried again, when it could not be done. */
const RETRY_MS = 1000;

export class Retained {
  readonly #queue: SqliteQueue;
  readonly #host: QueueHost;
  #messages = 0;
  #bytes = 0;
  /** When the oldest was acked. */
  #oldestAt = Number.POSITIVE_INFINITY;
  #trimming = false;

  constructor(queue: SqliteQueue, host: QueueHost) {
    this.#queue = queue;
    this.#host = host;
  }

  get messages(): number {
    return this.#messages;
  }

  /** The totals as the disk has them. */
  recover({ messages, bytes, oldestAt }: AckedTotals): void {
    this.#messages = messages;
    this.#bytes = bytes;
    this.#oldestAt = oldestAt ?? Number.POSITIVE_INFINITY;
  }

  /** These were acked at that time, and are kept. */
  kept(entries: readonly Entry[], ackedAt: number): void {
    this.#messages += entries.length;
    for (const entry of entries) this.#bytes += entry.bytes;
    this.#oldestAt = Math.min(this.#oldestAt, ackedAt);
    if (this.#bytes > this.#queue.settings.retainAckedBytes) this.#trim(this.#host.clock.now());
    else this.#queue.mayExpire(this.nextExpiryAt);
  }

  /** When the oldest is kept no longer. */
  get nextExpiryAt(): number {
    return this.#trimming
      ? Number.POSITIVE_INFINITY
      : this.#oldestAt + this.#queue.settings.retainAckedMs;
  }

  /** Lets go of what is over its time or the bound, some at a time. */
  sweep(now: number): void {
    const { retainAckedBytes } = this.#queue.settings;
    if (this.nextExpiryAt <= now || this.#bytes > retainAckedBytes) this.#trim(now);
  }

  #trim(now: number): void {
    if (this.#trimming) return;
    if (this.#host.storageRefusal() !== undefined) {
      this.#queue.mayExpire(now + RETRY_MS);
      return;
    }
    this.#trimming = true;
    const { storage } = this.#host;
    const { retainAckedMs, retainAckedBytes: maxBytes } = this.#queue.settings;
    const trimAcked = this.#queue.number;
    const before = now - retainAckedMs;
    storage.writer.control({ trimAcked, before, maxBytes, limit: TRIMMED_AT_ONCE });
    storage.add({
      answered: (answer) => this.trimmed(answer),
      committed: () => {
        this.#trimming = false;
        this.sweep(this.#host.clock.now());
        this.#queue.mayExpire(this.nextExpiryAt);
      },
      aborted: () => {
        this.#trimming = false;
        this.#queue.mayExpire(now + RETRY_MS);
      },
    });
  }

  trimmed(answer: ControlAnswer): void {
    if (answer.kind === "trimmed") this.recover(answer);
  }
}
