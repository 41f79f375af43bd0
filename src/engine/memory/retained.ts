/** The acked messages that a queue in memory keeps [P-5.15]. */
import type { StoredMessage } from "../engine.ts";
import type { Pulse } from "./pulse.ts";
import type { Entry, MemoryQueue } from "./queue.ts";

/** An acked message that is kept. */
export interface Acked {
  readonly entry: Entry;
  readonly ackedAt: number;
  /** Counts up within the queue. */
  readonly number: number;
}

export class MemoryRetained {
  /** The oldest ack first. */
  readonly all: Acked[] = [];
  readonly #pulse: Pulse;
  readonly #queue: MemoryQueue;
  #soFar = 0;

  constructor(pulse: Pulse, queue: MemoryQueue) {
    this.#pulse = pulse;
    this.#queue = queue;
  }

  /** Keeps a message that was just acked, if the queue keeps such messages. */
  keep(entry: Entry): void {
    if (this.#queue.settings.retainAckedMs === 0) return;
    const ackedAt = this.#pulse.clock.now();
    this.all.push({ entry, ackedAt, number: ++this.#soFar });
    this.trim();
  }

  /** Lets go of what was kept for long enough, or is too much. */
  trim(): void {
    const { retainAckedMs, retainAckedBytes } = this.#queue.settings;
    let bytes = this.all.reduce((sum, { entry }) => sum + entry.bytes, 0);
    for (let first = this.all[0]; first !== undefined; first = this.all[0]) {
      const until = first.ackedAt + retainAckedMs;
      if (until > this.#pulse.clock.now() && bytes <= retainAckedBytes) {
        this.#pulse.at(until);
        return;
      }
      bytes -= first.entry.bytes;
      this.all.shift();
    }
  }

  stored({ entry, ackedAt }: Acked): StoredMessage {
    const { message, attempts, deaths } = entry;
    const expiresAt = ackedAt + this.#queue.settings.retainAckedMs;
    const stored = { message, state: "acked", attempts, ackedAt, expiresAt } as const;
    return deaths === undefined ? stored : { ...stored, deaths };
  }
}
