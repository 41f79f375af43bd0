/**
 * Deliveries in the hands of HTTP clients, which have no connection to hold them by [P-12.7]. Each pull
 * is a consumer of its own: it can give back what a vanished client never got without burning an attempt,
 * and lives on while any of its deliveries is unsettled. They belong to a principal and a queue, so
 * that any request of that principal may settle them.
 */
import type { Clock, Timer } from "../clock.ts";
import type { Consumer, ConsumerHolder, DeliverySink, Engine, Outcome } from "../engine/engine.ts";
import { WarrenError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Delivery } from "../message.ts";
import { type Pull, type PullConsumer, PullConsumers } from "./pull-consumers.ts";

/** How often leases that timed out are looked for. */
const SWEEP_MS = 1000;
/** Most that a pull whose time is up is held up by an engine that is still looking for what is ready. */
const LOOKING_MS = 5000;

export interface PullRequest {
  readonly principal: string;
  readonly queue: string;
  /** At least one delivery, at most so many. */
  readonly max: number;
  /** How long to wait for the first. */
  readonly waitMs: number;
  /** Aborted when the client went away. */
  readonly signal: AbortSignal;
  /** Who pulls, and how long it may be silent: absent, only the ack timeout ends what it holds. */
  readonly consumer?: { readonly name: string; readonly livenessMs: number | undefined };
}

export interface Pulled {
  readonly deliveries: readonly Delivery[];
  /** What is unsettled is ready again and burns no attempt. */
  giveBack(): void;
  /** The same, as from a lost connection [P-5.5]. */
  lose(): void;
  /** Calls `action` when nothing of it is held any more. */
  whenOver(action: () => void): void;
}

/** What became of the delivery at one place of a list of tags. */
export type SettledAt = (place: number, error: WarrenError | undefined) => void;

/** The unsettled deliveries of one principal in one queue. */
interface Holder {
  readonly leases: Set<Lease>;
  readonly byTag: Map<number, Lease>;
}

export class Leases {
  readonly #engine: Engine;
  readonly #clock: Clock;
  /** Most deliveries that one principal may hold and wait for in one queue. */
  readonly #most: number;
  readonly consumers: PullConsumers;
  readonly #holders = new Map<string, Holder>();
  #sweep: Timer | undefined;
  #stopped = false;

  constructor(engine: Engine, clock: Clock, limits: Pick<Limits, "credit" | "pullConsumers">) {
    this.#engine = engine;
    this.#clock = clock;
    this.#most = limits.credit;
    this.consumers = new PullConsumers(clock, limits.pullConsumers);
  }

  /**
   * Resolves with what was ready, or came within `waitMs`; with nothing otherwise. Rejects with
   * `unknown_queue`, `rate_limited` (too much is unsettled) or `draining`.
   */
  async pull(request: PullRequest): Promise<Pulled> {
    if (this.#stopped) throw new WarrenError("draining");
    this.#engine.queues.describe(request.queue);
    const holder = this.#holder(request.principal, request.queue);
    const held = holder.byTag.size + waitedFor(holder);
    if (held + request.max > this.#most) {
      throw new WarrenError(
        "rate_limited",
        `${held} deliveries of this queue are unsettled or waited for; ${this.#most} may be.`,
        { unsettled: held, limit: this.#most },
      );
    }
    const { principal, queue, consumer } = request;
    const named =
      consumer &&
      this.consumers.heard({ principal, queue, name: consumer.name }, consumer.livenessMs);
    const who = consumer === undefined ? { principal } : { principal, consumer: consumer.name };
    const lease = new Lease(who, holder, named, request.max, this.#clock);
    const waiting = lease.wait(this.#engine.consume(queue, lease), request.waitMs);
    this.#sweepLater();
    const gone = () => lease.giveBack();
    request.signal.addEventListener("abort", gone);
    try {
      const deliveries = await waiting;
      return {
        deliveries,
        giveBack: gone,
        lose: () => lease.lose(),
        whenOver: (action) => lease.whenOver(action),
      };
    } finally {
      request.signal.removeEventListener("abort", gone);
    }
  }

  /**
   * Settles deliveries, each for itself; `done` is called once for each place in `tags`, when that is on
   * disk or with the error: `stale_delivery` when the principal does not hold it.
   */
  settle(
    principal: string,
    queue: string,
    tags: readonly number[],
    outcome: Outcome,
    done: SettledAt,
  ): void {
    const byTag = this.#holders.get(keyOf(principal, queue))?.byTag;
    let at = 0;
    while (at < tags.length) {
      const lease = byTag?.get(tags[at]!);
      const from = at++;
      if (lease === undefined) {
        done(from, new WarrenError("stale_delivery", undefined, { tag: tags[from]! }));
        continue;
      }
      // Neighbours that came with one pull go together.
      while (at < tags.length && byTag?.get(tags[at]!) === lease) at++;
      lease.settle(tags, from, at, outcome, done);
    }
  }

  /** Answers all that wait with what they have; nothing can be pulled any more. */
  stop(): void {
    this.#stopped = true;
    this.#sweep?.cancel();
    this.consumers.stop();
    for (const holder of this.#holders.values()) {
      for (const lease of holder.leases) lease.finish();
    }
  }

  #holder(principal: string, queue: string): Holder {
    const key = keyOf(principal, queue);
    let holder = this.#holders.get(key);
    if (holder === undefined) {
      holder = { leases: new Set(), byTag: new Map() };
      this.#holders.set(key, holder);
    }
    for (const lease of holder.leases) lease.tidy();
    return holder;
  }

  #sweepLater(): void {
    if (this.#sweep !== undefined) return;
    this.#sweep = this.#clock.after(SWEEP_MS, () => {
      this.#sweep = undefined;
      for (const [key, holder] of this.#holders) {
        for (const lease of holder.leases) lease.tidy();
        if (holder.leases.size === 0) this.#holders.delete(key);
      }
      if (this.#holders.size > 0 && !this.#stopped) this.#sweepLater();
    });
  }
}

/** One pull and what it brought. */
class Lease implements DeliverySink, Pull {
  readonly holder: ConsumerHolder;
  readonly #holder: Holder;
  readonly #named: PullConsumer | undefined;
  readonly #max: number;
  readonly #clock: Clock;
  readonly #deliveries: Delivery[] = [];
  #consumer: Consumer | undefined;
  #timer: Timer | undefined;
  #answer: PromiseWithResolvers<readonly Delivery[]> | undefined;
  #over: () => void = () => {};

  constructor(
    who: ConsumerHolder,
    holder: Holder,
    named: PullConsumer | undefined,
    max: number,
    clock: Clock,
  ) {
    this.holder = who;
    this.#holder = holder;
    this.#named = named;
    this.#max = max;
    this.#clock = clock;
  }

  /** How many deliveries it still waits for. */
  get wanted(): number {
    return this.#answer === undefined ? 0 : this.#max - this.#deliveries.length;
  }

  get isWaiting(): boolean {
    return this.#answer !== undefined;
  }

  get unsettled(): number {
    return this.#deliveries.filter(({ tag }) => this.#consumer?.holds(tag) === true).length;
  }

  wait(consumer: Consumer, waitMs: number): Promise<readonly Delivery[]> {
    this.#consumer = consumer;
    this.#answer = Promise.withResolvers();
    this.#holder.leases.add(this);
    this.#named?.pulls.add(this);
    const { promise } = this.#answer;
    consumer.credit(this.#max);
    if (waitMs === 0) this.#timeIsUp();
    else this.#timer = this.#clock.after(waitMs, () => this.#timeIsUp());
    return promise;
  }

  /** It waits for nothing new any more, only for what is ready and may have to be read first. */
  #timeIsUp(): void {
    this.#timer = this.#clock.after(LOOKING_MS, () => this.finish());
    this.#consumer?.atRest(() => this.finish());
  }

  deliver(delivery: Delivery): void {
    this.#deliveries.push(delivery);
    this.#holder.byTag.set(delivery.tag, this);
    if (this.#deliveries.length === this.#max) this.finish();
    // What else is handed out in this turn goes along.
    else if (this.#deliveries.length === 1) this.#clock.endOfTurn(() => this.finish());
  }

  ended(error: WarrenError): void {
    const answer = this.#answer;
    this.#end();
    answer?.reject(error);
  }

  /** Answers with what there is. Safe to call twice. */
  finish(): void {
    const answer = this.#answer;
    if (answer === undefined) return;
    this.#answer = undefined;
    this.#timer?.cancel();
    this.#consumer?.credit(0);
    this.#named?.renew();
    this.tidy();
    answer.resolve(this.#deliveries);
  }

  giveBack(): void {
    const answer = this.#answer;
    this.#end();
    answer?.resolve([]);
  }

  lose(): void {
    this.#consumer?.disconnect();
    this.giveBack();
  }

  whenOver(action: () => void): void {
    this.#over = action;
    if (this.#consumer === undefined) action();
  }

  /** Those of `tags` from one place up to another. */
  settle(
    tags: readonly number[],
    from: number,
    to: number,
    outcome: Outcome,
    done: SettledAt,
  ): void {
    this.#named?.renew();
    if (outcome.kind === "ack") {
      this.#ack(tags, from, to, done);
      return;
    }
    // Each is an operation of its own, and may fail by itself.
    for (let at = from; at < to; at++) {
      const tag = tags[at]!;
      if (this.#consumer?.holds(tag) === true) {
        this.#consumer.settle([tag], outcome, (error) => {
          done(at, error);
          this.tidy();
        });
      } else {
        done(at, new WarrenError("stale_delivery", undefined, { tag }));
      }
    }
  }

  /** One operation for all, which are on disk together or not at all; a tag named again is stale. */
  #ack(tags: readonly number[], from: number, to: number, done: SettledAt): void {
    const places = new Map<number, number>();
    for (let at = from; at < to; at++) {
      const tag = tags[at]!;
      if (this.#consumer?.holds(tag) === true && !places.has(tag)) places.set(tag, at);
      else done(at, new WarrenError("stale_delivery", undefined, { tag }));
    }
    if (places.size === 0) return;
    this.#consumer?.settle([...places.keys()], { kind: "ack" }, (error) => {
      for (const at of places.values()) done(at, error);
      this.tidy();
    });
  }

  /** Forgets what was settled or timed out, and ends when nothing is left to hold or to wait for. */
  tidy(): void {
    let holding = false;
    for (const { tag } of this.#deliveries) {
      if (this.#holder.byTag.get(tag) !== this) continue;
      if (this.#consumer?.holds(tag) === true) holding = true;
      else this.#holder.byTag.delete(tag);
    }
    if (!holding && this.#answer === undefined) this.#end();
  }

  /** Whatever is still unsettled is ready again. */
  #end(): void {
    // However a wait ends, its client is silent from then on only [P-5.12].
    if (this.isWaiting) this.#named?.renew();
    this.#answer = undefined;
    this.#timer?.cancel();
    for (const { tag } of this.#deliveries) this.#holder.byTag.delete(tag);
    this.#holder.leases.delete(this);
    this.#named?.pulls.delete(this);
    this.#consumer?.cancel();
    this.#consumer = undefined;
    this.#over();
  }
}

function waitedFor(holder: Holder): number {
  let wanted = 0;
  for (const lease of holder.leases) wanted += lease.wanted;
  return wanted;
}

/** Queue names hold no line break, so no two pairs make the same key. */
function keyOf(principal: string, queue: string): string {
  return `${queue}\n${principal}`;
}
