/**
 * Every bound of the broker in one place, with the relations between them asserted. What a client must
 * respect is stated in `welcome.limits` [P-11.1]; the rest bounds our own queues, maps and buffers.
 */

import { NESTING_MAX } from "./nesting.ts";

/** Bounds that clients see and operators may set. */
export interface ClientLimits {
  frameBytes: number;
  batch: number;
  topicBytes: number;
  topicLevels: number;
  subscriptions: number;
  consumers: number;
  credit: number;
  pendingPublishes: number;
  outboundBytes: number;
  headers: number;
  headerBytes: number;
  presenceInfoBytes: number;
  presenceListed: number;
  /** Messages of the history that one `history` or `last` may ask for. */
  historyMessages: number;
}

export interface Limits extends ClientLimits {
  /** What one connection is read of, until others have their turn [P-11.2]; each message counts as 64 bytes more. */
  turnBytes: number;
  /** What was read of all connections and waits for its turn; past it turns are not kept. */
  heldInputBytes: number;
  /** Depth of nesting in a payload; deeper ones would overflow the stack of an encoder. */
  payloadDepth: number;
  /** Frames that do not fit their schema, in a row, until the connection is closed [P-2.4]. */
  badFramesInARow: number;
  handshakeTimeoutMs: number;
  heartbeatMs: number;
  connections: number;
  /** Principals and addresses without a connection whose rates are remembered; the oldest goes first. */
  rateAccounts: number;
  /** Bans made by rules [P-14.5]; the oldest goes first. */
  automaticBans: number;
  /** Verified tokens that are remembered [P-14.1]; the one unused longest goes first. */
  verifiedTokens: number;
  /** Handshakes that wait for their turn, and signatures that do; past it `busy` [P-1.4]. */
  pendingHandshakes: number;
  queues: number;
  /** Topics whose routes are remembered; the oldest goes first. */
  topicCache: number;
  /** Events of one route that leave as one message. */
  coalescedFrames: number;
  coalescedBytes: number;
  /** Message ids of messages that no queue stores, remembered for duplicates [P-3.5]. */
  recentMessageIds: number;
  dedupeWindowMs: number;
  /** Waiting messages of one queue held in memory, and delayed ones; the rest waits on disk. */
  queueWindowMessages: number;
  queueWindowBytes: number;
  /** Places of delayed messages held in memory, the nearest ones. */
  delayedWindow: number;
  /** Messages whose expiry is looked for on disk at a time. */
  expiryPageMessages: number;
  /** Operations in one storage transaction, and bytes of one batch to the writer. */
  commitOperations: number;
  commitBytes: number;
  /** Operations waiting for the writer; past it publishers get `busy`. */
  pendingOperations: number;
  /** A consumer that had a delivery for less than this when its connection ended burns no attempt [P-5.5]. */
  deliveryGraceMs: number;
  /** Members of a topic that are told one by one as they come and go [P-7.4]. */
  presenceAnnounced: number;
  /** A lost connection that is back within this time was never away [P-7.2]. */
  presenceGraceMs: number;
  /** Members whose connection was lost, all together; past it those lost first have left. */
  presenceAbsent: number;
  /** Records of one collection: roles, keys, tasks and so on. */
  records: number;
  /** Names of HTTP consumers of one principal, while they are alive. */
  pullConsumers: number;
  /** Entries of the audit trail; the oldest go. */
  auditEntries: number;
  /** Topics that keep something, of all channels. */
  keptTopics: number;
  /** What one connection reads at a time of what topics keep: bytes, and retained values. */
  replayBytes: number;
  retainedMessages: number;
  /** Such reads of one connection that are not over; past it what would begin another has to wait. */
  pendingReads: number;
  /** Reads of all connections that are being answered at once; the others wait for their turn. */
  readsAtOnce: number;
  drainMs: number;
}

export const DEFAULT_LIMITS: Readonly<Limits> = {
  frameBytes: 256 * 1024,
  batch: 256,
  topicBytes: 256,
  topicLevels: 16,
  subscriptions: 512,
  consumers: 32,
  credit: 1000,
  pendingPublishes: 1024,
  outboundBytes: 1024 * 1024,
  headers: 32,
  headerBytes: 4096,
  presenceInfoBytes: 1024,
  presenceListed: 1000,
  historyMessages: 1000,
  turnBytes: 64 * 1024,
  heldInputBytes: 64 * 1024 * 1024,
  payloadDepth: 64,
  badFramesInARow: 20,
  handshakeTimeoutMs: 10_000,
  heartbeatMs: 25_000,
  connections: 100_000,
  rateAccounts: 100_000,
  automaticBans: 10_000,
  verifiedTokens: 20_000,
  pendingHandshakes: 20_000,
  queues: 10_000,
  topicCache: 65_536,
  coalescedFrames: 256,
  coalescedBytes: 64 * 1024,
  recentMessageIds: 100_000,
  dedupeWindowMs: 300_000,
  queueWindowMessages: 16_384,
  queueWindowBytes: 8 * 1024 * 1024,
  delayedWindow: 65_536,
  expiryPageMessages: 256,
  commitOperations: 4096,
  commitBytes: 8 * 1024 * 1024,
  pendingOperations: 200_000,
  deliveryGraceMs: 1000,
  presenceAnnounced: 1000,
  presenceGraceMs: 5000,
  presenceAbsent: 100_000,
  records: 200_000,
  pullConsumers: 1000,
  auditEntries: 100_000,
  keptTopics: 1_000_000,
  replayBytes: 256 * 1024,
  retainedMessages: 1024,
  pendingReads: 64,
  readsAtOnce: 4,
  drainMs: 10_000,
};

/** Half of the queue numbers that there are (src/engine/sqlite/lanes.ts): each queue has a dead-letter queue. */
export const QUEUES_MAX = 16_383;

/** A payload lies up to four levels deep in what it comes in. */
const PAYLOAD_DEPTH_MAX = NESTING_MAX - 4;

/** The numbers that there are for topics that keep something (src/engine/sqlite/topic-rows.ts). */
export const KEPT_TOPICS_MAX = 2 ** 27 - 1;

/** The relations that must hold between bounds; each fault is a sentence for the operator. */
export function limitFaults(limits: Limits): string[] {
  const faults: string[] = [];
  const demand = (holds: boolean, sentence: string) => {
    if (!holds) faults.push(sentence);
  };
  demand(
    limits.outboundBytes >= 2 * limits.frameBytes,
    "limits.outboundBytes must be at least twice limits.frameBytes, or one large frame would make a reader slow",
  );
  demand(
    limits.coalescedFrames <= limits.batch,
    "limits.coalescedFrames must not exceed limits.batch, which clients rely on",
  );
  demand(
    limits.payloadDepth <= PAYLOAD_DEPTH_MAX,
    `limits.payloadDepth must be at most ${PAYLOAD_DEPTH_MAX}; what a frame holds deeper is not read`,
  );
  demand(
    limits.topicBytes < 4096,
    "limits.topicBytes must be below 4096, the scratch space of its check",
  );
  demand(
    limits.commitBytes >= 4 * limits.frameBytes,
    "limits.commitBytes must be at least four times limits.frameBytes",
  );
  demand(
    limits.presenceListed * 2 >= limits.presenceAnnounced,
    "limits.presenceListed must be at least half of limits.presenceAnnounced, or few would be too many to list",
  );
  demand(
    limits.queues <= QUEUES_MAX,
    `limits.queues must be at most ${QUEUES_MAX}; storage has no numbers for more`,
  );
  demand(
    limits.keptTopics <= KEPT_TOPICS_MAX,
    `limits.keptTopics must be at most ${KEPT_TOPICS_MAX}; storage has no numbers for more`,
  );
  return faults;
}

const CLIENT_KEYS = [
  "frameBytes",
  "batch",
  "topicBytes",
  "topicLevels",
  "subscriptions",
  "consumers",
  "credit",
  "pendingPublishes",
  "outboundBytes",
  "headers",
  "headerBytes",
  "presenceInfoBytes",
  "presenceListed",
  "historyMessages",
] as const satisfies readonly (keyof ClientLimits)[];

/** The part of the limits that `welcome` states. */
export function clientLimits(limits: Limits): ClientLimits {
  return Object.fromEntries(
    CLIENT_KEYS.map((key) => [key, limits[key]]),
  ) as unknown as ClientLimits;
}
