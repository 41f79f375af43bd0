/** The broker's nouns: plain readonly data, shared by every layer. */
import type { Payload } from "./payload.ts";

/** One published message [P-3.2]. */
export interface Message {
  readonly id: string;
  readonly topic: string;
  /** When the broker took it, milliseconds since 1970 UTC. */
  readonly time: number;
  readonly payload: Payload;
  readonly headers?: Readonly<Record<string, string>>;
  /** The ordering key, for queues with `ordering: "key"`. */
  readonly key?: string;
  /** 0 (last) to 9 (first); absent means the queue's default. */
  readonly priority?: number;
  /** When no queue may hand it out any more; absent means the queue's own `ttlMs` rules. */
  readonly expiresAt?: number;
  /** The principal that published it; absent for anonymous publishers. */
  readonly from?: string;
  readonly replyTo?: string;
  readonly correlationId?: string;
  readonly contentType?: string;
}

/** Why a queue gave up on a message [P-5.6]. */
export type DeathReason = "rejected" | "max_deliveries" | "expired" | "overflow" | "invalid";

export interface DeathRecord {
  readonly queue: string;
  readonly reason: DeathReason;
  readonly attempts: number;
  /** When the message came into that queue, and when it died there. */
  readonly firstAt: number;
  readonly lastAt: number;
  readonly detail?: string;
}

/** A message of a queue in the hands of one consumer [P-5.3]. */
export interface Delivery {
  /** Unique in this broker's life and not reused by the next one. */
  readonly tag: number;
  readonly queue: string;
  readonly message: Message;
  /** 1 for the first. */
  readonly attempt: number;
  readonly expiresAt?: number;
  readonly deaths?: readonly DeathRecord[];
}
