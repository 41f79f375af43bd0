/** What a run of publishers and consumers against one store looked like from their side, in order. */

export type Settling = "ack" | "nack" | "reject";

/** A message is named `<stream>/<number>`: one publisher counts up in each of its streams. */
export interface Sent {
  readonly kind: "sent";
  readonly message: string;
  readonly stream: string;
  readonly number: number;
  /** Every queue that is bound to its topic: all or none of them get it [P-3.6]. */
  readonly queues: readonly string[];
  readonly priority: number;
  /** Not to be handed out for so long after `at`. */
  readonly delayMs: number;
  readonly ttlMs?: number;
  /** Those of one batch are stored together or not at all [P-5.14]. */
  readonly batch?: string;
  /** Its ordering key, where its queues go by keys. */
  readonly key?: string;
  /** Just before it was sent. */
  readonly at: number;
}

export interface Delivered {
  readonly kind: "delivered";
  readonly consumer: string;
  readonly queue: string;
  readonly message: string;
  readonly tag: number;
  readonly attempt: number;
  /** When it was seen. */
  readonly at: number;
  /** The payload was the one that was published. */
  readonly intact: boolean;
  /** The newest of its deaths: there for the deliveries of a dead-letter queue. */
  readonly death?: { readonly reason: string; readonly attempts: number };
  /** How often it has died: of an ordinary queue, how often it was brought back. Absent: as seldom as may be. */
  readonly deaths?: number;
  /** The number of the change that it shows, 0 for none [P-5.13]. Absent: nobody looked. */
  readonly change?: number;
}

/** Somebody asks for another time of a message that waits for its first, or for its end [P-5.13]. */
export interface Changing {
  readonly kind: "changing";
  readonly message: string;
  /** Counts up from 1 for each message. */
  readonly change: number;
  /** Null: it goes. */
  readonly dueAt: number | null;
}

export type HistoryEvent =
  | Sent
  | {
      readonly kind: "confirmed";
      readonly message: string;
      readonly duplicate: boolean;
      /** How many gave way to it. */
      readonly displaced?: number;
    }
  /**
   * The publish was refused: nothing of it was stored, unless the code is `storage_unavailable` and the
   * writer was lost before it could say what became of it.
   */
  | { readonly kind: "failed"; readonly message: string; readonly code: string }
  | Changing
  /** So many copies were changed. */
  | {
      readonly kind: "changed";
      readonly message: string;
      readonly change: number;
      readonly copies: number;
    }
  /** The change was refused, as a publish is. */
  | {
      readonly kind: "unchanged";
      readonly message: string;
      readonly change: number;
      readonly code: string;
    }
  /** From here on dead letters may come back to this queue [P-13.10]. */
  | { readonly kind: "redriving"; readonly queue: string }
  | Delivered
  | {
      readonly kind: "settling";
      readonly consumer: string;
      readonly tag: number;
      readonly outcome: Settling;
      readonly delayMs?: number;
      /** Just before it was sent. */
      readonly at: number;
    }
  /** The answer to a settling was `ok`. */
  | {
      readonly kind: "settled";
      readonly consumer: string;
      readonly tag: number;
      /** When it was seen; absent where nobody looked. */
      readonly at?: number;
    }
  /** The answer to a settling was an error: nothing came of it. */
  | {
      readonly kind: "refused";
      readonly consumer: string;
      readonly tag: number;
      readonly code: string;
    }
  | { readonly kind: "joined"; readonly consumer: string; readonly credit: number }
  /** Its connection ended while the broker lived on; in order: what it held burns no attempt [P-5.12]. */
  | {
      readonly kind: "left";
      readonly consumer: string;
      readonly at: number;
      readonly inOrder?: boolean;
    }
  /** The broker lost its writer and ended every consumer; the connections live on [P-5.2]. */
  | { readonly kind: "writer lost"; readonly at: number }
  /** Somebody is about to set the clock. */
  | { readonly kind: "clock set"; readonly at: number }
  /** The broker ended, and every connection with it. */
  | { readonly kind: "crashed"; readonly at: number };

export interface QueueRules {
  readonly maxDeliveries: number;
  readonly ackTimeoutMs: number;
  /** At most one message of a key is out at a time. */
  readonly byKey?: boolean;
  /** What becomes of the oldest that waits when the queue is full [P-5.9]; absent: nothing. */
  readonly overflow?: "dead" | "drop";
}

/** Everything that the checker is told. At its end all queues were drained by consumers that ack. */
export interface History {
  /** Ordinary queues by name; `<name>.dead` keeps what each gave up on. */
  readonly queues: Readonly<Record<string, QueueRules>>;
  readonly events: readonly HistoryEvent[];
  /**
   * Noted at the broker's end of each connection: all that was handed out is here, at its very time.
   * Otherwise at the peers' end, where what a lost connection brought was not seen.
   */
  readonly exact?: boolean;
}
