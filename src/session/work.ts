/**
 * The consumers of one session [P-5.2] and the settling of what they were handed [P-5.4]. Tags are
 * unique in the broker's life, so a frame names tags only and the session finds whose they are.
 */
import type { ClientFrameOf } from "../../schemas/frames.ts";
import type { Broker } from "../broker/broker.ts";
import type { Consumer, ConsumerHolder, DeliverySink, Outcome, Settled } from "../engine/engine.ts";
import { WarrenError } from "../errors.ts";
import type { Delivery } from "../message.ts";
import { notConsumed } from "./refusals.ts";
import type { Session } from "./session.ts";

export class Work {
  readonly #broker: Broker;
  readonly #session: Session;
  readonly #consumers = new Map<string, QueueConsumer>();
  #held = false;

  constructor(session: Session, broker: Broker) {
    this.#session = session;
    this.#broker = broker;
  }

  get size(): number {
    return this.#consumers.size;
  }

  get queues(): string[] {
    return [...this.#consumers.keys()];
  }

  /** Throws `forbidden`, `unknown_queue`, `conflict`, `too_many_subscriptions`, `invalid_frame` (the credit). */
  consume({ queue, credit, id }: ClientFrameOf<"consume">): void {
    this.#session.credentials.assertMayConsume(queue, this.#broker);
    if (this.#consumers.has(queue)) {
      throw new WarrenError("conflict", "This connection already consumes the queue.", { queue });
    }
    const limit = this.#broker.limits.consumers;
    if (this.#consumers.size >= limit) {
      throw new WarrenError("too_many_subscriptions", undefined, { limit });
    }
    this.#assertCredit(credit);
    const consumer = new QueueConsumer(queue, this.#session, this.#consumers);
    consumer.start(this.#broker);
    this.#consumers.set(queue, consumer);
    if (this.#held) consumer.hold(true);
    consumer.credit(credit);
    this.#session.ok(id);
  }

  /** Throws `unknown_queue` when the queue is not consumed here, `invalid_frame`. */
  credit({ queue, credit, id }: ClientFrameOf<"credit">): void {
    const consumer = this.#consumer(queue);
    this.#assertCredit(credit);
    consumer.credit(credit);
    this.#session.ok(id);
  }

  /** Throws `unknown_queue` when the queue is not consumed here. */
  cancel({ queue, id }: ClientFrameOf<"cancel">): void {
    this.#cancel(queue);
    this.#session.ok(id);
  }

  /** Cancels the consumers that `allowed` is false for; returns their queues. */
  retain(allowed: (queue: string) => boolean): string[] {
    const ended = [...this.#consumers.keys()].filter((queue) => !allowed(queue));
    for (const queue of ended) this.#cancel(queue);
    return ended;
  }

  /** The connection was ended in order: nothing that is unsettled burns an attempt [P-5.12]. */
  cancelAll(): void {
    for (const consumer of this.#consumers.values()) consumer.cancel();
    this.#consumers.clear();
  }

  /** The connection is gone [P-5.5]. */
  disconnect(): void {
    for (const consumer of this.#consumers.values()) consumer.disconnect();
    this.#consumers.clear();
  }

  /** While held, nothing more is handed out: the way to the peer is full. */
  hold(held: boolean): void {
    if (this.#held === held) return;
    this.#held = held;
    for (const consumer of this.#consumers.values()) consumer.hold(held);
  }

  /** All tags or none. Throws `stale_delivery` when one is not held here; other failures are answered later. */
  settle(frame: ClientFrameOf<"ack" | "nack" | "reject" | "extend">, outcome: Outcome): void {
    const { id, type, tags } = frame;
    if (this.#consumers.size === 0) throw new WarrenError("stale_delivery", undefined, { tags });
    this.#settle(tags, outcome, (error) => {
      if (error === undefined) this.#session.ok(id);
      else this.#session.refuse(id, type, error);
    });
  }

  /** `stale_delivery` is thrown or comes through `settled`, which is called once. */
  #settle(tags: readonly number[], outcome: Outcome, settled: Settled): void {
    if (this.#consumers.size === 1) {
      for (const only of this.#consumers.values()) only.settle(tags, outcome, settled);
      return;
    }
    const byConsumer = new Map<QueueConsumer, number[]>();
    for (const tag of tags) {
      const holder = this.#holder(tag);
      const its = byConsumer.get(holder);
      if (its === undefined) byConsumer.set(holder, [tag]);
      else its.push(tag);
    }
    if (byConsumer.size === 1) {
      for (const holder of byConsumer.keys()) holder.settle(tags, outcome, settled);
      return;
    }
    const joint = jointly(byConsumer.size, settled);
    for (const [holder, its] of byConsumer) holder.settle(its, outcome, joint);
  }

  #cancel(queue: string): void {
    this.#consumer(queue).cancel();
    this.#consumers.delete(queue);
  }

  #holder(tag: number): QueueConsumer {
    for (const consumer of this.#consumers.values()) if (consumer.holds(tag)) return consumer;
    throw new WarrenError("stale_delivery", undefined, { tags: [tag] });
  }

  #consumer(queue: string): QueueConsumer {
    const consumer = this.#consumers.get(queue);
    if (consumer !== undefined) return consumer;
    throw notConsumed(queue);
  }

  #assertCredit(credit: number): void {
    const limit = this.#broker.limits.credit;
    if (credit <= limit) return;
    throw new WarrenError("invalid_frame", `The credit is over ${limit}.`, {
      pointer: "/credit",
      limit,
    });
  }
}

/** Calls `settled` after `parts` answers, with the first error among them. */
function jointly(parts: number, settled: Settled): Settled {
  let open = parts;
  let first: WarrenError | undefined;
  return (error) => {
    first ??= error;
    if (--open === 0) settled(first);
  };
}

class QueueConsumer implements DeliverySink {
  readonly #queue: string;
  readonly #session: Session;
  readonly #siblings: Map<string, QueueConsumer>;
  #consumer!: Consumer;

  constructor(queue: string, session: Session, siblings: Map<string, QueueConsumer>) {
    this.#queue = queue;
    this.#session = session;
    this.#siblings = siblings;
  }

  start(broker: Broker): void {
    this.#consumer = broker.consume(this.#queue, this);
  }

  get holder(): ConsumerHolder {
    const { id: session, principal } = this.#session;
    return principal === undefined ? { session } : { session, principal: principal.name };
  }

  deliver(delivery: Delivery): void {
    const session = this.#session;
    if (!session.over) session.reply(session.protocol.encoder.delivery(delivery));
  }

  ended(error: WarrenError): void {
    this.#siblings.delete(this.#queue);
    const ended = { type: "notice", code: "consumer_ended", queue: this.#queue } as const;
    this.#session.tell({ ...ended, reason: error.code });
  }

  credit(credit: number): void {
    this.#consumer.credit(credit);
  }

  hold(held: boolean): void {
    this.#consumer.hold(held);
  }

  holds(tag: number): boolean {
    return this.#consumer.holds(tag);
  }

  settle(tags: readonly number[], outcome: Outcome, settled: Settled): void {
    this.#consumer.settle(tags, outcome, settled);
  }

  cancel(): void {
    this.#consumer.cancel();
  }

  disconnect(): void {
    this.#consumer.disconnect();
  }
}
