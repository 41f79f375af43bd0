/** One queue as the model of queues has it, and what follows from its settings. */
import { QUEUE_COUNTERS, type QueueCounter, type QueueSettings } from "../../schemas/queue.ts";
import type { Outcome } from "../../src/engine/engine.ts";
import type { DeathRecord } from "../../src/message.ts";

/**
 * Room is counted in blocks, so large that it does not matter what an engine stores beside a payload: a bound
 * of so many blocks is set half a block higher.
 */
export const BLOCK_BYTES = 16_384;

export type Death = Pick<DeathRecord, "queue" | "reason" | "attempts">;

/** One message in one queue. */
export interface Copy {
  /** Tells messages apart that have the same id. */
  readonly serial: number;
  readonly topic: string;
  readonly id: string;
  readonly key: string | undefined;
  readonly priority: number;
  /** What the message itself says of its priority. */
  readonly ownPriority: number | undefined;
  /** How much room it takes. */
  blocks: number;
  /** Which of two copies of a priority is older; equal where the contract does not say. */
  readonly rank: number;
  readonly enteredAt: number;
  /** By the message's own time; the queue's comes on top. */
  ownExpiresAt: number;
  /** The own time that it would have outside a dead-letter queue, where it does not count. */
  keptExpiresAt: number;
  /** Published for later: until it is due for the first time it may be changed. */
  scheduled: boolean;
  readonly deaths: readonly Death[];
  confirmed: boolean;
  /**
   * Whether it must be in its place by now. What returns, dies or becomes due may take its way through
   * storage first, and others may overtake it meanwhile.
   */
  placed: boolean;
  /** Whether it has been in its place since it came, came back or became due: then it holds its key. */
  settled: boolean;
  attempts: number;
  dueAt: number;
  lease: { peer: ModelPeer; tag: number; since: number; deadline: number } | undefined;
}

export interface ModelPeer {
  readonly queue: ModelQueue;
  readonly held: Map<number, Copy>;
  credit: number;
  onHold: boolean;
  gone: boolean;
}

export interface ModelQueue {
  readonly name: string;
  readonly dead: ModelQueue | undefined;
  settings: QueueSettings;
  copies: Copy[];
  /** What is kept of acked messages: for ever, or not at all. */
  acked: Copy[];
  peers: ModelPeer[];
  /** How many copies have gone since the engine had done everything, and their blocks. */
  leaving: number;
  leavingBlocks: number;
  /** What the engine should have counted since it was opened [P-5.18]. */
  tally: Tally;
  /** When each key had its last turn, on the scale of ranks. */
  readonly turns: Map<string, number>;
  /** When they begin anew, unless somebody comes again. */
  turnsUntil: number;
}

export type Tally = Record<QueueCounter, number>;

export interface ModelAppend {
  readonly serial: number;
  readonly topic: string;
  readonly id: string;
  readonly blocks: number;
  readonly queues: readonly string[];
  readonly key: string | undefined;
  readonly priority: number | undefined;
  readonly expiresAt: number | undefined;
  readonly dueAt: number | undefined;
  readonly dedupe: boolean;
}

export function newQueue(
  name: string,
  settings: QueueSettings,
  dead: ModelQueue | undefined,
): ModelQueue {
  const counts = { leaving: 0, leavingBlocks: 0, tally: emptyTally() };
  const turns = { turns: new Map(), turnsUntil: Number.POSITIVE_INFINITY };
  return { name, dead, settings, copies: [], acked: [], peers: [], ...counts, ...turns };
}

/** For how many messages and blocks it has room at most. */
export function boundsOfRoom({ settings }: ModelQueue): { messages: number; blocks: number } {
  const { maxMessages = 1e9, maxBytes } = settings;
  const blocks = maxBytes === undefined ? 1e9 : Math.floor(maxBytes / BLOCK_BYTES);
  return { messages: maxMessages, blocks };
}

export function blocksOf(copies: readonly Copy[]): number {
  return copies.reduce((sum, { blocks }) => sum + blocks, 0);
}

/** What is to come into a queue. */
export interface Load {
  readonly messages: number;
  readonly blocks: number;
}

/** Whether it fits whatever becomes of those whose end may be on its way to disk. */
export function surelyFits(queue: ModelQueue, load: Load): boolean {
  const { messages, blocks } = boundsOfRoom(queue);
  const { copies, leaving, leavingBlocks } = queue;
  const present = copies.length + leaving;
  const isRoom = present + load.messages <= messages;
  return isRoom && blocksOf(copies) + leavingBlocks + load.blocks <= blocks;
}

/** Who goes so that there is room for so much; undefined when too little can. */
export function toGiveWay(queue: ModelQueue, now: number, load: Load): Copy[] | undefined {
  const bounds = boundsOfRoom(queue);
  let messages = queue.copies.length + load.messages;
  let blocks = blocksOf(queue.copies) + load.blocks;
  const able = queue.copies
    .filter((copy) => copy.lease === undefined && copy.dueAt <= now)
    .sort((x, y) => x.priority - y.priority || x.rank - y.rank);
  const going: Copy[] = [];
  while (messages > bounds.messages || blocks > bounds.blocks) {
    const copy = queue.settings.overflow === "reject" ? undefined : able.shift();
    if (copy === undefined) return undefined;
    going.push(copy);
    messages--;
    blocks -= copy.blocks;
  }
  return going;
}

export function boundsOf({ settings }: ModelQueue) {
  const { maxInFlight = 1e9, maxInFlightPerConsumer = 1e9 } = settings;
  return { maxInFlight, maxInFlightPerConsumer };
}

export function inFlightOf({ copies }: ModelQueue): number {
  return copies.filter(({ lease }) => lease !== undefined).length;
}

/** By the settings as they are now. */
export function expiryOf(queue: ModelQueue, { ownExpiresAt, enteredAt }: Copy): number {
  return Math.min(ownExpiresAt, enteredAt + queue.settings.ttlMs);
}

/** Fuzzed queues have no jitter. */
export function nackDelayMs(
  queue: ModelQueue,
  copy: Copy,
  outcome: Extract<Outcome, { kind: "nack" }>,
): number {
  const { minMs, maxMs, factor } = queue.settings.backoff;
  return outcome.delayMs ?? Math.min(maxMs, minMs * factor ** copy.attempts);
}

export function emptyTally(): Tally {
  return Object.fromEntries(QUEUE_COUNTERS.map((name) => [name, 0])) as Tally;
}

/** How many give way to it beside those before, or why it is refused. */
export function planRoom(
  queues: readonly ModelQueue[],
  { blocks }: ModelAppend,
  now: number,
  { loads, going }: { loads: Map<ModelQueue, Load>; going: Map<ModelQueue, Copy[]> },
): number | string {
  let displaced = 0;
  for (const queue of queues) {
    if (queue.settings.draining) return "queue_paused";
    const before = loads.get(queue) ?? { messages: 0, blocks: 0 };
    const load = { messages: before.messages + 1, blocks: before.blocks + blocks };
    const needed = toGiveWay(queue, now, load);
    if (needed === undefined) return "queue_full";
    displaced += needed.length - (going.get(queue)?.length ?? 0);
    loads.set(queue, load);
    going.set(queue, needed);
  }
  return displaced;
}
