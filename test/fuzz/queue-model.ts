/**
 * What queues should do, said as naively as possible: lists and scans, one thing at a time. It is told
 * of every call in the order of the calls, predicts the answers, and judges every delivery as it comes.
 */
import { QUEUE_COUNTERS, type QueueCounter, type QueueSettings } from "../../schemas/queue.ts";
import type { Outcome, StoredMessage } from "../../src/engine/engine.ts";
import type { DeathReason, DeathRecord, Delivery } from "../../src/message.ts";

export type Death = Pick<DeathRecord, "queue" | "reason" | "attempts">;

/** One message in one queue. */
export interface Copy {
  /** Tells messages apart that have the same id. */
  readonly serial: number;
  readonly priority: number;
  /** Which of two copies of a priority is older; equal where the contract does not say. */
  readonly rank: number;
  readonly enteredAt: number;
  /** By the message's own time; the queue's comes on top. */
  readonly ownExpiresAt: number;
  readonly deaths: readonly Death[];
  confirmed: boolean;
  /**
   * Whether it must be in its place by now. What returns, dies or becomes due may take its way through
   * storage first, and others may overtake it meanwhile.
   */
  placed: boolean;
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
  peers: ModelPeer[];
  /** How many copies have gone since the engine had done everything. */
  leaving: number;
  /** What the engine should have counted since it was opened [P-5.18]. */
  tally: Tally;
}

export type Tally = Record<QueueCounter, number>;

export interface ModelAppend {
  readonly serial: number;
  readonly seenAs: string;
  readonly queues: readonly string[];
  readonly priority: number | undefined;
  readonly expiresAt: number | undefined;
  readonly dueAt: number | undefined;
  readonly dedupe: boolean;
}

export class QueueModel {
  now: number;
  readonly queues = new Map<string, ModelQueue>();
  /** What went wrong; the driver looks. */
  readonly faults: string[] = [];
  duplicates = 0;
  readonly #graceMs: number;
  readonly #seen = new Map<string, number>();
  readonly #tags = new Set<number>();
  #ages = 0;

  constructor(now: number, graceMs: number) {
    this.now = now;
    this.#graceMs = graceMs;
  }

  define(name: string, settings: QueueSettings): void {
    const { maxInFlight: _1, maxInFlightPerConsumer: _2, ...kept } = settings;
    const deadSettings = { ...kept, ttlMs: settings.deadLetter.ttlMs, paused: false };
    const known = this.queues.get(name);
    if (known?.dead !== undefined) {
      known.settings = settings;
      known.dead.settings = deadSettings;
      return;
    }
    const dead = newQueue(`${name}.dead`, deadSettings, undefined);
    this.queues.set(dead.name, dead);
    this.queues.set(name, newQueue(name, settings, dead));
  }

  /** Whether the room for one more is not that of a message whose end may be on its way to disk. */
  isRoomCertain(names: readonly string[]): boolean {
    return names.every((name) => {
      const { copies, leaving, settings } = this.queues.get(name)!;
      const most = settings.maxMessages ?? Number.POSITIVE_INFINITY;
      if (copies.length + leaving < most) return true;
      return settings.overflow === "reject" && copies.length >= most;
    });
  }

  /** Whether nobody would be handed what may give way to a message meanwhile. */
  isStill(queue: ModelQueue): boolean {
    const wants = ({ onHold, held, credit }: ModelPeer) => !onHold && held.size < credit;
    return !queue.peers.some(wants);
  }

  /** What the append will be answered, and the copies that are there once it is. */
  append(request: ModelAppend): { answer: string; copies: Copy[] } {
    const queues = request.queues.map((name) => this.queues.get(name)!);
    if (request.dedupe && (this.#seen.get(request.seenAs) ?? 0) > this.now) {
      this.duplicates++;
      // Until that is found out on disk it may take up room.
      for (const queue of queues) queue.leaving++;
      return { answer: "duplicate", copies: [] };
    }
    const refused = firstRefusal(queues, this.now);
    if (refused !== undefined) return { answer: refused, copies: [] };
    const going = queues.flatMap((queue) =>
      toGiveWay(queue, this.now)!.map((copy) => ({ queue, copy })),
    );
    for (const { queue, copy } of going) {
      queue.tally.displaced++;
      if (queue.settings.overflow === "dead-letter-oldest") this.#die(queue, copy, "overflow");
      else this.#drop(queue, copy);
    }
    if (request.dedupe) {
      const windowMs = Math.max(...queues.map(({ settings }) => settings.dedupeWindowMs));
      this.#seen.set(request.seenAs, this.now + windowMs);
    }
    const copies = queues.map((queue) => this.#enter(queue, request));
    for (const queue of queues) queue.tally.published++;
    const displaced = going.length > 0 ? ` for ${going.length}` : "";
    return { answer: `stored ${copies.length}${displaced}`, copies };
  }

  consume(name: string): ModelPeer {
    const queue = this.queues.get(name)!;
    const peer = { queue, held: new Map(), credit: 0, onHold: false, gone: false };
    queue.peers.push(peer);
    return peer;
  }

  /** Judges a delivery, and takes note of it. */
  delivered(peer: ModelPeer, delivery: Delivery, serial: number): void {
    const { queue } = peer;
    const where = `${queue.name} #${serial} attempt ${delivery.attempt}`;
    const copy = queue.copies.find((candidate) => candidate.serial === serial);
    const demand = (holds: boolean, what: string) => {
      if (!holds) this.faults.push(`${where}: ${what}`);
    };
    if (copy === undefined) {
      demand(false, "delivered, but it is not in the queue");
      return;
    }
    demand(!peer.gone, "delivered to a consumer that has gone");
    demand(!peer.onHold, "delivered to a consumer on hold");
    demand(peer.held.size < peer.credit, `delivered beyond the credit of ${peer.credit}`);
    demand(!queue.settings.paused, "delivered from a paused queue");
    const { maxInFlight, maxInFlightPerConsumer } = boundsOf(queue);
    demand(inFlightOf(queue) < maxInFlight, `delivered beyond maxInFlight ${maxInFlight}`);
    demand(peer.held.size < maxInFlightPerConsumer, "delivered beyond maxInFlightPerConsumer");
    demand(copy.confirmed, "delivered before its publisher was told");
    demand(copy.lease === undefined, "delivered while somebody holds it");
    demand(copy.dueAt <= this.now, `delivered ${copy.dueAt - this.now} ms early`);
    const expiresAt = expiryOf(queue, copy);
    demand(expiresAt > this.now, "delivered although expired");
    demand(delivery.attempt === copy.attempts + 1, `has ${copy.attempts} counted attempts`);
    demand(delivery.expiresAt === expiresAt, `expires at ${expiresAt}`);
    demand((delivery.deaths?.length ?? 0) === copy.deaths.length, "has other deaths");
    demand(!this.#tags.has(delivery.tag), `has a tag that was used before`);
    const before = queue.copies.find(
      (other) =>
        this.#isInPlace(other) && this.#isFirst(queue, other) && this.#isBefore(queue, other, copy),
    );
    demand(before === undefined, `delivered before #${before?.serial}`);
    this.#tags.add(delivery.tag);
    queue.tally.delivered++;
    if (copy.attempts > 0) queue.tally.redelivered++;
    const deadline = this.now + queue.settings.ackTimeoutMs;
    copy.lease = { peer, tag: delivery.tag, since: this.now, deadline };
    peer.held.set(delivery.tag, copy);
  }

  /** The code of the error that the call will be answered with, if any. */
  settle(peer: ModelPeer, tags: readonly number[], outcome: Outcome): string | undefined {
    const { tally } = peer.queue;
    if (tags.some((tag) => !peer.held.has(tag))) return "stale_delivery";
    for (const tag of new Set(tags)) {
      const copy = peer.held.get(tag)!;
      if (outcome.kind === "extend") {
        copy.lease!.deadline = this.now + (outcome.byMs ?? peer.queue.settings.ackTimeoutMs);
        continue;
      }
      this.#release(copy);
      if (outcome.kind === "ack") {
        tally.acked++;
        this.#drop(peer.queue, copy);
      } else if (outcome.kind === "nack") {
        tally.nacked++;
        this.#return(peer.queue, copy, true, this.now + nackDelayMs(peer.queue, copy, outcome));
      } else {
        tally.rejected++;
        copy.attempts++;
        this.#die(peer.queue, copy, "rejected");
      }
    }
    return undefined;
  }

  leave(peer: ModelPeer, how: "cancel" | "disconnect"): void {
    peer.gone = true;
    peer.queue.peers = peer.queue.peers.filter((other) => other !== peer);
    for (const copy of [...peer.held.values()]) {
      const counts = how === "disconnect" && this.now - copy.lease!.since > this.#graceMs;
      this.#release(copy);
      this.#return(peer.queue, copy, counts, this.now);
    }
  }

  purge(name: string): number {
    const queue = this.queues.get(name)!;
    const before = queue.copies.length;
    queue.copies = queue.copies.filter(({ lease }) => lease !== undefined);
    return before - queue.copies.length;
  }

  /** A new engine on the old store. */
  restart(): void {
    // What then turns out to have expired is counted in the new life.
    this.duplicates = 0;
    for (const queue of this.queues.values()) {
      queue.tally = emptyTally();
      for (const peer of [...queue.peers]) this.leave(peer, "cancel");
    }
  }

  /** When the next thing happens by itself. */
  nextTime(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const queue of this.queues.values()) {
      for (const copy of queue.copies) {
        const times =
          copy.lease === undefined
            ? [copy.dueAt, expiryOf(queue, copy)].filter((time) => time > this.now)
            : [copy.lease.deadline];
        next = Math.min(next, ...times);
      }
    }
    return next;
  }

  /** Time has passed, at most to `nextTime`. */
  pass(now: number): void {
    this.now = now;
    for (const queue of this.queues.values()) {
      for (const copy of [...queue.copies]) {
        if (copy.lease !== undefined && copy.lease.deadline <= now) {
          queue.tally.timedOut++;
          this.#release(copy);
          this.#return(queue, copy, true, now);
        } else if (copy.lease === undefined && expiryOf(queue, copy) <= now) {
          this.#expire(queue, copy);
        }
      }
    }
  }

  /** The engine has done everything that it was going to do. */
  allDone(): void {
    for (const queue of this.queues.values()) {
      queue.leaving = 0;
      for (const copy of queue.copies) copy.placed ||= this.isReady(copy);
    }
  }

  isReady(copy: Copy): boolean {
    return copy.confirmed && copy.lease === undefined && copy.dueAt <= this.now;
  }

  /**
   * Whether the contract says exactly what becomes of the queue's messages under a new `ttlMs`: none
   * waits for its time, and none is expired at once.
   */
  mayChangeTtl(queue: ModelQueue, ttlMs: number): boolean {
    return queue.copies.every(
      (copy) => this.state(copy) !== "delayed" && copy.enteredAt + ttlMs > this.now,
    );
  }

  /** Whether there is a message to hand out and somebody to hand it to. */
  owes(queue: ModelQueue): boolean {
    const { maxInFlight, maxInFlightPerConsumer } = boundsOf(queue);
    const wants = ({ onHold, held, credit }: ModelPeer) =>
      !onHold && held.size < Math.min(credit, maxInFlightPerConsumer);
    return (
      inFlightOf(queue) < maxInFlight &&
      !queue.settings.paused &&
      queue.peers.some(wants) &&
      queue.copies.some((copy) => this.isReady(copy))
    );
  }

  counts(queue: ModelQueue) {
    const of = (state: string) => queue.copies.filter((copy) => this.state(copy) === state).length;
    return {
      ready: of("ready"),
      delayed: of("delayed"),
      inFlight: of("inflight"),
      dead: queue.dead?.copies.length ?? 0,
      consumers: queue.peers.length,
    };
  }

  /** Of all queues together. */
  sum(counter: QueueCounter): number {
    return [...this.queues.values()].reduce((sum, { tally }) => sum + tally[counter], 0);
  }

  state(copy: Copy): StoredMessage["state"] {
    if (copy.lease !== undefined) return "inflight";
    return copy.dueAt > this.now ? "delayed" : "ready";
  }

  /** Whether nothing of its priority that is in place comes before it. */
  #isFirst(queue: ModelQueue, copy: Copy): boolean {
    return !queue.copies.some(
      (other) =>
        other.priority === copy.priority && other.rank < copy.rank && this.#isInPlace(other),
    );
  }

  /** Whether `a` goes first, if both are the first of their priority. */
  #isBefore(queue: ModelQueue, a: Copy, b: Copy): boolean {
    if (a.priority === b.priority) return a.rank < b.rank;
    const [urgencyOfA, urgencyOfB] = [this.#urgencyOf(queue, a), this.#urgencyOf(queue, b)];
    return urgencyOfA > urgencyOfB || (urgencyOfA === urgencyOfB && a.rank < b.rank);
  }

  #urgencyOf({ settings }: ModelQueue, { priority, enteredAt }: Copy): number {
    const { priorityAgeingMs } = settings;
    if (priorityAgeingMs === 0) return priority;
    return Math.min(9, priority + Math.floor((this.now - enteredAt) / priorityAgeingMs));
  }

  #isInPlace(copy: Copy): boolean {
    return copy.placed && this.isReady(copy);
  }

  #enter(queue: ModelQueue, request: ModelAppend): Copy {
    const copy: Copy = {
      serial: request.serial,
      priority: request.priority ?? queue.settings.defaultPriority,
      rank: ++this.#ages,
      enteredAt: this.now,
      ownExpiresAt: request.expiresAt ?? Number.POSITIVE_INFINITY,
      deaths: [],
      confirmed: false,
      placed: request.dueAt === undefined,
      attempts: 0,
      dueAt: request.dueAt ?? 0,
      lease: undefined,
    };
    queue.copies.push(copy);
    return copy;
  }

  #drop(queue: ModelQueue, copy: Copy): void {
    queue.copies = queue.copies.filter((other) => other !== copy);
    queue.leaving++;
  }

  #release(copy: Copy): void {
    copy.lease?.peer.held.delete(copy.lease.tag);
    copy.lease = undefined;
  }

  #return(queue: ModelQueue, copy: Copy, counts: boolean, dueAt: number): void {
    if (counts) copy.attempts++;
    copy.dueAt = dueAt;
    copy.placed = false;
    const isLast = queue.dead !== undefined && copy.attempts >= queue.settings.maxDeliveries;
    if (counts && isLast) this.#die(queue, copy, "max_deliveries");
    else if (expiryOf(queue, copy) <= this.now) this.#expire(queue, copy);
  }

  #expire(queue: ModelQueue, copy: Copy): void {
    queue.tally.expired++;
    this.#die(queue, copy, "expired");
  }

  #die(queue: ModelQueue, copy: Copy, reason: DeathReason): void {
    this.#drop(queue, copy);
    if (queue.dead === undefined) return;
    queue.tally.deadLettered++;
    queue.dead.copies.push({
      ...copy,
      // Of those that die in the same millisecond the contract does not say which comes first.
      rank: this.now,
      enteredAt: this.now,
      ownExpiresAt: Number.POSITIVE_INFINITY,
      deaths: [{ queue: queue.name, reason, attempts: copy.attempts }, ...copy.deaths],
      confirmed: true,
      placed: false,
      attempts: 0,
      dueAt: this.now,
      lease: undefined,
    });
  }
}

function newQueue(name: string, settings: QueueSettings, dead: ModelQueue | undefined): ModelQueue {
  return { name, dead, settings, copies: [], peers: [], leaving: 0, tally: emptyTally() };
}

function firstRefusal(queues: readonly ModelQueue[], now: number): string | undefined {
  for (const queue of queues) {
    if (queue.settings.draining) return "queue_paused";
    if (toGiveWay(queue, now) === undefined) return "queue_full";
  }
  return undefined;
}

function boundsOf({ settings }: ModelQueue) {
  const { maxInFlight = 1e9, maxInFlightPerConsumer = 1e9 } = settings;
  return { maxInFlight, maxInFlightPerConsumer };
}

function inFlightOf({ copies }: ModelQueue): number {
  return copies.filter(({ lease }) => lease !== undefined).length;
}

/** By the settings as they are now. */
export function expiryOf(queue: ModelQueue, { ownExpiresAt, enteredAt }: Copy): number {
  return Math.min(ownExpiresAt, enteredAt + queue.settings.ttlMs);
}

/** Fuzzed queues have no jitter. */
function nackDelayMs(
  queue: ModelQueue,
  copy: Copy,
  outcome: Extract<Outcome, { kind: "nack" }>,
): number {
  const { minMs, maxMs, factor } = queue.settings.backoff;
  return outcome.delayMs ?? Math.min(maxMs, minMs * factor ** copy.attempts);
}

function emptyTally(): Tally {
  return Object.fromEntries(QUEUE_COUNTERS.map((name) => [name, 0])) as Tally;
}

/** Who goes so that there is room for one more; undefined when too few can. */
function toGiveWay(queue: ModelQueue, now: number): Copy[] | undefined {
  const { maxMessages = 1e9, overflow } = queue.settings;
  const over = queue.copies.length + 1 - maxMessages;
  if (over <= 0) return [];
  const able = queue.copies
    .filter((copy) => copy.lease === undefined && copy.dueAt <= now)
    .sort((x, y) => x.priority - y.priority || x.rank - y.rank);
  return overflow === "reject" || able.length < over ? undefined : able.slice(0, over);
}
