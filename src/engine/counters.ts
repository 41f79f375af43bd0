/** What an engine counts: for each queue, and for itself [P-5.18]. */
import type { QueueCounter, QueueCounters } from "../../schemas/queue.ts";

/** Plain counters since the start, for metrics. */
export interface EngineCounters {
  /** Copies stored by `append`: a message in two queues counts twice. */
  readonly stored: number;
  /** Deliveries handed out, and those among them that were not a first attempt. */
  readonly delivered: number;
  readonly redelivered: number;
  readonly acked: number;
  readonly nacked: number;
  readonly rejected: number;
  /** Messages that entered a dead-letter queue, for whatever reason. */
  readonly deadLettered: number;
  /**
   * Messages that expired, in a dead-letter queue (for good) or before (so dead-lettered as well).
   */
  readonly expired: number;
  /** Deliveries whose ack timeout passed. */
  readonly timedOut: number;
  /** Messages that gave way to others. */
  readonly displaced: number;
  /** Messages that a transfer brought to a queue. */
  readonly redriven: number;
  /** Appends answered as duplicates. */
  readonly duplicates: number;
  /** Entries of the audit trail that could not be stored. */
  readonly auditDropped: number;
  /** Transactions, the operations in them, and the time they took; 0 in an engine without any. */
  readonly commits: number;
  readonly commitOperations: number;
  readonly commitMs: number;
}

/**
 * The counters of one queue. Deliveries and timeouts count when they happen, all else when it is durable:
 * what failed has not been. A dead letter that expires or is rejected goes for good, so it is `expired` or
 * `rejected` and not `deadLettered`. `redriven` counts what a redrive, a replay or a resend brought here.
 */
export class QueueTally implements Record<QueueCounter, number>, QueueCounters {
  published = 0;
  delivered = 0;
  redelivered = 0;
  acked = 0;
  nacked = 0;
  rejected = 0;
  timedOut = 0;
  expired = 0;
  deadLettered = 0;
  displaced = 0;
  redriven = 0;
}

/** The counters of an engine: those of its queues added up, those that are gone included, and its own. */
export class EngineTally implements EngineCounters {
  duplicates = 0;
  auditDropped = 0;
  commits = 0;
  commitOperations = 0;
  commitMs = 0;
  readonly #present: () => Iterable<QueueTally>;
  readonly #gone = new QueueTally();

  /** `present` are the counters of the queues that there are. */
  constructor(present: () => Iterable<QueueTally>) {
    this.#present = present;
  }

  get stored(): number {
    return this.#sum("published");
  }

  get delivered(): number {
    return this.#sum("delivered");
  }

  get redelivered(): number {
    return this.#sum("redelivered");
  }

  get acked(): number {
    return this.#sum("acked");
  }

  get nacked(): number {
    return this.#sum("nacked");
  }

  get rejected(): number {
    return this.#sum("rejected");
  }

  get deadLettered(): number {
    return this.#sum("deadLettered");
  }

  get expired(): number {
    return this.#sum("expired");
  }

  get timedOut(): number {
    return this.#sum("timedOut");
  }

  get displaced(): number {
    return this.#sum("displaced");
  }

  get redriven(): number {
    return this.#sum("redriven");
  }

  /** A queue is gone: what was counted there stays in the sums. */
  retire(tally: QueueTally): void {
    for (const name of Object.keys(tally) as QueueCounter[]) this.#gone[name] += tally[name];
  }

  #sum(name: QueueCounter): number {
    let sum = this.#gone[name];
    for (const tally of this.#present()) sum += tally[name];
    return sum;
  }
}
