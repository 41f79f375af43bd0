/** Where in the history the checker is: position, life of the broker, and the latest time known. */
import type { History, HistoryEvent, QueueRules } from "./history.ts";

export const DEAD = ".dead";
export const isDead = (queue: string) => queue.endsWith(DEAD);
/** The queue whose dead letters these are. */
export const ownerOf = (queue: string) => queue.slice(0, -DEAD.length);

export class Timeline {
  readonly history: History;
  position = 0;
  /** Which life of the broker, counted from 0. */
  life = 0;
  /** The latest time so far: somebody may set the clock back. */
  latest = Number.NEGATIVE_INFINITY;
  /** How often the clock was set. */
  clockSet = 0;
  /** Where the writer was lost last. */
  writerLost = -1;
  /** Where storage refused something or was lost last. */
  storageFailed = -1;
  /** For each life of the broker, where the first consumer left. */
  readonly #firstLeft = new Map<number, number>();

  constructor(history: History) {
    this.history = history;
  }

  take(event: HistoryEvent): void {
    if ("at" in event && event.at !== undefined) this.latest = Math.max(this.latest, event.at);
    if (event.kind === "clock set") this.clockSet++;
    else if (event.kind === "left") this.#someoneLeft();
    else if (event.kind === "failed" && event.code === "storage_unavailable") {
      this.storageFailed = this.position;
    } else if (event.kind === "writer lost") {
      this.writerLost = this.position;
      this.storageFailed = this.position;
      this.#someoneLeft();
    }
  }

  /** To be called after everybody has taken the event. */
  next(event: HistoryEvent): void {
    this.position++;
    if (event.kind === "crashed") this.life++;
  }

  rules(queue: string): QueueRules {
    const name = isDead(queue) ? ownerOf(queue) : queue;
    return this.history.queues[name] ?? { maxDeliveries: 1, ackTimeoutMs: 0 };
  }

  /** Where, in this life of the broker, the first consumer went: what it had comes late to our eyes. */
  inOrderUntil(life: number): number {
    const left = this.history.exact ? undefined : this.#firstLeft.get(life);
    return left ?? Number.POSITIVE_INFINITY;
  }

  /** Whether this answer says for certain that nothing came of what was asked at `position`. */
  isCertain(code: string, position: number): boolean {
    if (code !== "storage_unavailable") return true;
    // Only where the loss of a writer would be in the history.
    return this.history.exact === true && this.writerLost < position;
  }

  #someoneLeft(): void {
    if (!this.#firstLeft.has(this.life)) this.#firstLeft.set(this.life, this.position);
  }
}
