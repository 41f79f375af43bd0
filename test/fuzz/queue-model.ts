/**
 * What queues should do, said as naively as possible: lists and scans, one thing at a time. It is told
 * of every call in the order of the calls, predicts the answers, and judges every delivery as it comes.
 */
import type { QueueCounter, QueueSettings } from "../../schemas/queue.ts";
import type { Outcome, StoredMessage } from "../../src/engine/engine.ts";
import { LINGER_MS } from "../../src/engine/rules.ts";
import type { DeathReason, Delivery } from "../../src/message.ts";
import { whichOf, wrongWith } from "./model-delivery.ts";
import { isReady, ModelOrder } from "./model-order.ts";
import {
  boundsOf,
  type Copy,
  emptyTally,
  expiryOf,
  inFlightOf,
  type Load,
  type ModelAppend,
  type ModelPeer,
  type ModelQueue,
  nackDelayMs,
  newQueue,
  planRoom,
  surelyFits,
} from "./model-queue.ts";

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
    const { ttlMs } = settings.deadLetter;
    const own = { ttlMs, paused: false, retainAckedMs: 0, ordering: "none" } as const;
    const deadSettings: QueueSettings = { ...kept, ...own };
    const known = this.queues.get(name);
    if (known?.dead !== undefined) {
      const { ordering, keyRetry } = known.settings;
      if (ordering !== settings.ordering || keyRetry !== settings.keyRetry) {
        known.turns.clear();
        for (const copy of known.copies) copy.placed = false;
      }
      known.settings = settings;
      known.dead.settings = deadSettings;
      return;
    }
    const dead = newQueue(`${name}.dead`, deadSettings, undefined);
    this.queues.set(dead.name, dead);
    this.queues.set(name, newQueue(name, settings, dead));
  }

  /** Whether the room for so much is not that of a message whose end may be on its way to disk. */
  isRoomCertain(names: readonly string[], load: Load): boolean {
    return names.every((name) => {
      const queue = this.queues.get(name)!;
      if (surelyFits(queue, load)) return true;
      return queue.settings.overflow === "reject" && queue.leaving === 0;
    });
  }

  /** Whether nobody would be handed what may give way to a message meanwhile. */
  isStill(queue: ModelQueue): boolean {
    return !queue.peers.some(({ onHold, held, credit }) => !onHold && held.size < credit);
  }

  /**
   * What the appends will be answered that are made together, all or none, and the copies that are there
   * once they are.
   */
  append(requests: readonly ModelAppend[]): { answer: string; copies: Copy[] } {
    const loads = new Map<ModelQueue, Load>();
    const going = new Map<ModelQueue, Copy[]>();
    const ids = new Map<string, number>();
    const answers: string[] = [];
    const fresh: ModelAppend[] = [];
    for (const [index, request] of requests.entries()) {
      const queues = request.queues.map((name) => this.queues.get(name)!);
      const key = `${request.topic} ${request.id}`;
      if (request.dedupe && (ids.get(key) ?? this.#seen.get(key) ?? 0) > this.now) {
        answers.push("duplicate");
        continue;
      }
      const planned = planRoom(queues, request, this.now, { loads, going });
      if (typeof planned === "string") return { answer: `${planned} of ${index}`, copies: [] };
      const windowMs = Math.max(...queues.map(({ settings }) => settings.dedupeWindowMs));
      if (request.dedupe) ids.set(key, this.now + windowMs);
      answers.push(`stored ${queues.length}${planned > 0 ? ` for ${planned}` : ""}`);
      fresh.push(request);
    }
    for (const [queue, copies] of going) for (const copy of copies) this.#displace(queue, copy);
    for (const [key, until] of ids) this.#seen.set(key, until);
    this.#countDuplicates(requests, fresh);
    const copies = fresh.flatMap((request) =>
      request.queues.map((name) => this.#enter(this.queues.get(name)!, request)),
    );
    return { answer: answers.join(", "), copies };
  }

  #displace(queue: ModelQueue, copy: Copy): void {
    queue.tally.displaced++;
    if (queue.settings.overflow === "dead-letter-oldest") this.#die(queue, copy, "overflow");
    else this.#drop(queue, copy);
  }

  #countDuplicates(requests: readonly ModelAppend[], fresh: readonly ModelAppend[]): void {
    for (const request of requests) {
      if (fresh.includes(request)) continue;
      this.duplicates++;
      // Until that is found out on disk they may take up room.
      for (const queue of request.queues.map((name) => this.queues.get(name)!)) {
        queue.leaving++;
        queue.leavingBlocks += request.blocks;
      }
    }
  }

  consume(name: string): ModelPeer {
    const queue = this.queues.get(name)!;
    const peer = { queue, held: new Map(), credit: 0, onHold: false, gone: false };
    if (this.now >= queue.turnsUntil) queue.turns.clear();
    queue.turnsUntil = Number.POSITIVE_INFINITY;
    queue.peers.push(peer);
    return peer;
  }

  /** Judges a delivery, and takes note of it. */
  delivered(peer: ModelPeer, delivery: Delivery, serial: number): void {
    const { queue } = peer;
    const copy = whichOf(queue, this.now, delivery, serial);
    const where = `${queue.name} #${serial} attempt ${delivery.attempt}`;
    const isNewTag = !this.#tags.has(delivery.tag);
    for (const fault of wrongWith(peer, copy, delivery, this.now, isNewTag)) {
      this.faults.push(`${where}: ${fault}`);
    }
    if (copy === undefined) return;
    this.#tags.add(delivery.tag);
    queue.tally.delivered++;
    if (copy.attempts > 0) queue.tally.redelivered++;
    const deadline = this.now + queue.settings.ackTimeoutMs;
    copy.lease = { peer, tag: delivery.tag, since: this.now, deadline };
    if (copy.key !== undefined) queue.turns.set(copy.key, ++this.#ages);
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
        if (peer.queue.settings.retainAckedMs > 0) peer.queue.acked.push(copy);
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
    if (peer.queue.peers.length === 0) peer.queue.turnsUntil = this.now + LINGER_MS;
  }

  /** It goes for good, before it was due. */
  takeBack(queue: ModelQueue, copy: Copy): void {
    this.#drop(queue, copy);
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
      queue.turns.clear();
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
    const before = this.now;
    this.now = now;
    for (const queue of this.queues.values()) {
      for (const copy of [...queue.copies]) {
        if (copy.dueAt > before && copy.dueAt <= now) this.freed(queue, copy);
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
      queue.leavingBlocks = 0;
      for (const copy of queue.copies) {
        copy.placed ||= isReady(copy, this.now);
        copy.settled ||= isReady(copy, this.now);
      }
    }
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
    const order = new ModelOrder(queue, this.now);
    const wants = ({ onHold, held, credit }: ModelPeer) =>
      !onHold && held.size < Math.min(credit, maxInFlightPerConsumer);
    return (
      inFlightOf(queue) < maxInFlight &&
      !queue.settings.paused &&
      queue.peers.some(wants) &&
      queue.copies.some((copy) => isReady(copy, this.now) && order.isFree(copy))
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

  /** That of what comes now. */
  nextRank(): number {
    return ++this.#ages;
  }

  #enter(queue: ModelQueue, request: ModelAppend): Copy {
    const ownExpiresAt = request.expiresAt ?? Number.POSITIVE_INFINITY;
    const copy: Copy = {
      serial: request.serial,
      topic: request.topic,
      id: request.id,
      key: request.key,
      priority: request.priority ?? queue.settings.defaultPriority,
      ownPriority: request.priority,
      blocks: request.blocks,
      rank: this.nextRank(),
      enteredAt: this.now,
      ownExpiresAt,
      keptExpiresAt: ownExpiresAt,
      scheduled: request.dueAt !== undefined && request.dueAt > this.now,
      deaths: [],
      confirmed: false,
      // Whether it is the first of its key may have to be looked up.
      placed:
        request.dueAt === undefined &&
        (request.key === undefined || queue.settings.ordering === "none"),
      settled: request.dueAt === undefined,
      attempts: 0,
      dueAt: request.dueAt ?? 0,
      lease: undefined,
    };
    queue.tally.published++;
    queue.copies.push(copy);
    this.freed(queue, copy);
    return copy;
  }

  #drop(queue: ModelQueue, copy: Copy): void {
    queue.copies = queue.copies.filter((other) => other !== copy);
    queue.leaving++;
    queue.leavingBlocks += copy.blocks;
    this.freed(queue, copy);
  }

  /** The first of its key is looked for on disk: until it is found others may overtake it. */
  freed(queue: ModelQueue, { key }: Copy): void {
    if (key === undefined || queue.settings.ordering === "none") return;
    for (const copy of queue.copies) if (copy.key === key) copy.placed = false;
  }

  #release(copy: Copy): void {
    copy.lease?.peer.held.delete(copy.lease.tag);
    copy.lease = undefined;
  }

  #return(queue: ModelQueue, copy: Copy, counts: boolean, dueAt: number): void {
    if (counts) copy.attempts++;
    copy.dueAt = dueAt;
    copy.placed = false;
    // What returns at once is never overtaken by others of its key.
    copy.settled = dueAt <= this.now;
    this.freed(queue, copy);
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
      scheduled: false,
      deaths: [{ queue: queue.name, reason, attempts: copy.attempts }, ...copy.deaths],
      confirmed: true,
      placed: false,
      settled: true,
      attempts: 0,
      dueAt: this.now,
      lease: undefined,
    });
  }
}
