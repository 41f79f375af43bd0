/**
 * Finds, in a history, every promise that was broken. Pure: it knows nothing of sockets or files.
 *
 * What happened in which order is read from the tags: they count up with every delivery, over the
 * end of a broker too, while what two sockets bring may be seen in another order than it was sent.
 */
import type { Delivered, History, HistoryEvent, QueueRules, Sent, Settling } from "./history.ts";

export type FaultKind =
  /** It was confirmed, or seen, and then neither acked nor found dead. */
  | "lost"
  /** One of its queues has it and another one has not [P-3.6]. */
  | "torn"
  | "delivered_after_ack"
  | "delivered_after_death"
  /** Handed out while somebody had it, or stored anew although its id was known. */
  | "stored_twice"
  /** First attempts of a publisher's messages of one priority came in another order. */
  | "order"
  | "early"
  | "over_credit"
  | "too_many_attempts"
  /** The attempt is not the count of those that were counted. */
  | "wrong_attempt"
  /** Dead for a reason that does not hold. */
  | "unexplained_death"
  /** Nobody published it, or not so. */
  | "altered"
  | "tag_reused"
  /** Somebody was told that a delivery was not theirs although it was. */
  | "taken_away";

export interface Fault {
  readonly kind: FaultKind;
  readonly text: string;
}

interface Settlement {
  readonly outcome: Settling;
  readonly delayMs: number;
  readonly at: number;
  answered: boolean;
}

/** One hand-out. */
interface Handout {
  readonly event: Delivered;
  /** Which life of the broker, counted from 0. */
  readonly life: number;
  /** Where in the history. */
  readonly position: number;
  settlement: Settlement | undefined;
  /** The connection ended, and not with the broker, while it was unsettled; or settling failed. */
  returned: boolean;
  /** When it was settled, or its connection ended. */
  overAt: number;
}

interface Holder {
  readonly credit: number;
  readonly held: Set<number>;
}

const DEAD = ".dead";

export function check(history: History): Fault[] {
  return new Checker(history).run();
}

class Checker {
  readonly #history: History;
  readonly #faults: Fault[] = [];
  readonly #sent = new Map<string, Sent>();
  /** Message and queue, to its hand-outs. */
  readonly #copies = new Map<string, Handout[]>();
  readonly #byTag = new Map<number, Handout>();
  readonly #holders = new Map<string, Holder>();
  /** How often a message was confirmed as new. */
  readonly #confirmed = new Map<string, number>();
  /** Where in the history, for each life of the broker, the first consumer left. */
  readonly #firstLeft = new Map<number, number>();
  #life = 0;
  #position = 0;

  constructor(history: History) {
    this.#history = history;
  }

  run(): Fault[] {
    for (const event of this.#history.events) {
      this.#take(event);
      this.#position++;
    }
    for (const handouts of this.#copies.values()) {
      handouts.sort((a, b) => a.event.tag - b.event.tag);
      this.#checkCopy(handouts);
    }
    this.#checkArrivals();
    this.#checkOrder();
    for (const sent of this.#sent.values()) this.#checkFate(sent);
    return this.#faults;
  }

  #fault(kind: FaultKind, text: string): void {
    this.#faults.push({ kind, text });
  }

  #take(event: HistoryEvent): void {
    switch (event.kind) {
      case "sent":
        // Sent again with the same id: the first one counts for time and place.
        if (!this.#sent.has(event.message)) this.#sent.set(event.message, event);
        return;
      case "confirmed":
        this.#confirm(event.message, event.duplicate);
        return;
      case "delivered":
        this.#deliver(event);
        return;
      case "settling":
        this.#settle(event);
        return;
      case "settled": {
        const settlement = this.#byTag.get(event.tag)?.settlement;
        if (settlement !== undefined) settlement.answered = true;
        return;
      }
      case "refused":
        this.#refuse(event.tag, event.code);
        return;
      case "joined":
        this.#holders.set(event.consumer, { credit: event.credit, held: new Set() });
        return;
      case "left":
        if (!this.#firstLeft.has(this.#life)) this.#firstLeft.set(this.#life, this.#position);
        this.#leave(event.consumer, true, event.at);
        return;
      case "crashed":
        for (const consumer of [...this.#holders.keys()]) this.#leave(consumer, false, event.at);
        this.#life++;
    }
  }

  #confirm(message: string, duplicate: boolean): void {
    const before = this.#confirmed.get(message) ?? 0;
    this.#confirmed.set(message, before + (duplicate ? 0 : 1));
    if (before > 0 && !duplicate) {
      this.#fault("stored_twice", `${message} was confirmed as new a second time`);
    }
  }

  #deliver(event: Delivered): void {
    const { consumer, message, queue, tag } = event;
    const what = `${message} of ${queue} (tag ${tag}, attempt ${event.attempt})`;
    if (this.#byTag.has(tag)) this.#fault("tag_reused", `${what} has a tag that was used`);
    if (!event.intact || !this.#sent.has(message)) {
      this.#fault("altered", `${what} is not what was published`);
    }
    const handout: Handout = {
      event,
      life: this.#life,
      position: this.#position,
      settlement: undefined,
      returned: false,
      overAt: Number.POSITIVE_INFINITY,
    };
    this.#byTag.set(tag, handout);
    const key = `${message} ${queue}`;
    const copies = this.#copies.get(key);
    if (copies === undefined) this.#copies.set(key, [handout]);
    else copies.push(handout);
    const holder = this.#holders.get(consumer);
    if (holder === undefined) return;
    holder.held.add(tag);
    if (holder.held.size > holder.credit) {
      this.#fault("over_credit", `${consumer} holds ${holder.held.size} with ${what}`);
    }
  }

  #settle(event: Extract<HistoryEvent, { kind: "settling" }>): void {
    const handout = this.#byTag.get(event.tag);
    if (handout === undefined) return;
    const { outcome, delayMs = 0, at } = event;
    handout.settlement = { outcome, delayMs, at, answered: false };
    handout.overAt = at;
    this.#holders.get(event.consumer)?.held.delete(event.tag);
  }

  #refuse(tag: number, code: string): void {
    const handout = this.#byTag.get(tag);
    if (handout === undefined) return;
    const { event } = handout;
    const inTime = handout.overAt - event.at < this.#rules(event.queue).ackTimeoutMs;
    if (code === "stale_delivery" && inTime) {
      this.#fault("taken_away", `tag ${tag} of ${event.consumer} was called stale`);
    }
    handout.settlement = undefined;
    handout.returned = true;
  }

  #leave(consumer: string, returned: boolean, at: number): void {
    for (const tag of this.#holders.get(consumer)?.held ?? []) {
      const handout = this.#byTag.get(tag);
      if (handout === undefined) continue;
      handout.returned = returned;
      handout.overAt = at;
    }
    this.#holders.delete(consumer);
  }

  /** All hand-outs of one message of one queue, in order. */
  #checkCopy(handouts: readonly Handout[]): void {
    const [{ event }] = handouts as [Handout];
    const { message, queue } = event;
    const rules = this.#rules(queue);
    const what = `${message} of ${queue}`;
    const counted = { least: 1, most: 1 };
    let before: Handout | undefined;
    for (const handout of handouts) {
      const { attempt, tag, at } = handout.event;
      const seen = `${what} (tag ${tag}, attempt ${attempt})`;
      if (before === undefined) this.#checkDelay(handout, seen);
      else this.#checkSuccession(before, handout, rules, seen);
      if (attempt > rules.maxDeliveries && !queue.endsWith(DEAD)) {
        this.#fault("too_many_attempts", `${seen} of at most ${rules.maxDeliveries}`);
      }
      if (attempt < counted.least || attempt > counted.most) {
        const range = `${counted.least} to ${counted.most}`;
        this.#fault("wrong_attempt", `${seen}, expected ${range}`);
      }
      const { settlement, returned } = handout;
      const nacked = settlement?.outcome === "nack";
      if (nacked && settlement.answered) counted.least++;
      // The end of a broker burns no attempt [P-5.5]; a lost connection may, and the time does.
      if (nacked || returned || handout.overAt - at >= rules.ackTimeoutMs) counted.most++;
      before = handout;
    }
    this.#checkDeath(handouts);
  }

  #checkDelay({ event }: Handout, seen: string): void {
    const sent = this.#sent.get(event.message);
    if (sent === undefined || event.queue.endsWith(DEAD)) return;
    const early = sent.at + sent.delayMs - event.at;
    if (early > 0) this.#fault("early", `${seen} came ${early} ms before its time`);
  }

  /** `next` is a hand-out after `before`. */
  #checkSuccession(before: Handout, next: Handout, rules: QueueRules, seen: string): void {
    const { settlement } = before;
    const sameLife = before.life === next.life;
    const heldMs = Math.min(before.overAt, next.event.at) - before.event.at;
    const inTime = sameLife && heldMs < rules.ackTimeoutMs && !before.returned;
    if (settlement === undefined) {
      if (inTime) this.#fault("stored_twice", `${seen} while ${before.event.consumer} had it`);
      return;
    }
    if (!settlement.answered) {
      // A broker that ended may not have read it.
      if (inTime && settlement.outcome === "ack") {
        this.#fault("delivered_after_ack", `${seen} while the answer was on its way`);
      }
      return;
    }
    if (settlement.outcome === "ack") this.#fault("delivered_after_ack", seen);
    if (settlement.outcome === "reject" && !next.event.queue.endsWith(DEAD)) {
      this.#fault("delivered_after_death", `${seen} after it was rejected`);
    }
    const early = settlement.at + settlement.delayMs - next.event.at;
    if (settlement.outcome === "nack" && early > 0) {
      this.#fault("early", `${seen} came ${early} ms before its nack's delay was over`);
    }
  }

  /** `dead` are the hand-outs of a dead letter. */
  #checkDeath(dead: readonly Handout[]): void {
    const [{ event }] = dead as [Handout];
    const { message, queue, tag, death } = event;
    if (!queue.endsWith(DEAD)) return;
    const owner = queue.slice(0, -DEAD.length);
    const before = this.#copies.get(`${message} ${owner}`) ?? [];
    for (const { event: late } of before) {
      if (late.tag < tag) continue;
      this.#fault("delivered_after_death", `${message} of ${owner} (tag ${late.tag})`);
    }
    if (before.some(({ settlement }) => settlement?.outcome === "ack" && settlement.answered)) {
      this.#fault("delivered_after_ack", `${message} of ${owner} is dead although it was acked`);
    }
    const explained = this.#explains(death, before, this.#sent.get(message), event.at);
    if (!explained) {
      const given = death === undefined ? "no record" : JSON.stringify(death);
      this.#fault("unexplained_death", `${message} of ${owner}: ${given}`);
    }
  }

  #explains(
    death: Delivered["death"],
    before: readonly Handout[],
    sent: Sent | undefined,
    seenAt: number,
  ): boolean {
    const was = (outcome: Settling) =>
      before.some(({ settlement }) => settlement?.outcome === outcome);
    const [first] = before;
    switch (death?.reason) {
      case "rejected":
        return was("reject");
      case "max_deliveries":
        return (
          first !== undefined &&
          death.attempts === this.#rules(first.event.queue).maxDeliveries &&
          before.length >= death.attempts
        );
      case "expired":
        return sent?.ttlMs !== undefined && sent.at + sent.ttlMs <= seenAt;
      default:
        return false;
    }
  }

  /** [P-3.7] Within one life of the broker, by a message's first hand-out in it. */
  #checkOrder(): void {
    const inOrder = [...this.#byTag.values()].sort((a, b) => a.event.tag - b.event.tag);
    const last = new Map<string, Sent>();
    const seen = new Set<string>();
    for (const { life, position, event } of inOrder) {
      const { message, queue, attempt } = event;
      const sent = this.#sent.get(message);
      if (sent === undefined || sent.delayMs > 0 || queue.endsWith(DEAD)) continue;
      const once = `${life} ${message} ${queue}`;
      if (seen.has(once)) continue;
      seen.add(once);
      // What a lost connection had not shown yet comes again in its place, so late to our eyes.
      if (attempt !== 1 || position > (this.#firstLeft.get(life) ?? Number.POSITIVE_INFINITY)) {
        continue;
      }
      const lane = `${life} ${queue} ${sent.priority} ${sent.stream}`;
      const before = last.get(lane);
      if (before !== undefined && before.number > sent.number) {
        this.#fault("order", `${message} of ${queue} came after ${before.message}`);
      }
      last.set(lane, sent);
    }
  }

  /** What came to one consumer came in the order of the tags. */
  #checkArrivals(): void {
    const last = new Map<string, number>();
    for (const { event } of this.#byTag.values()) {
      const { consumer, tag, message } = event;
      if (tag < (last.get(consumer) ?? 0)) {
        this.#fault("order", `${message} (tag ${tag}) came to ${consumer} after a later tag`);
      }
      last.set(consumer, tag);
    }
  }

  /** What is known to have been stored ended as an acked message or as a dead letter that was found. */
  #checkFate({ message, queues }: Sent): void {
    const seen = queues.filter((queue) => this.#wasSeen(message, queue));
    const confirmed = this.#confirmed.has(message);
    if (!confirmed && seen.length === 0) return;
    for (const queue of queues) {
      if (this.#endedWell(message, queue)) continue;
      const torn = !confirmed && !seen.includes(queue);
      const how = confirmed ? "was confirmed" : `was seen in ${seen.join(" and ")}`;
      this.#fault(torn ? "torn" : "lost", `${message} ${how} and is not in ${queue}`);
    }
  }

  #wasSeen(message: string, queue: string): boolean {
    return (
      this.#copies.has(`${message} ${queue}`) || this.#copies.has(`${message} ${queue}${DEAD}`)
    );
  }

  #endedWell(message: string, queue: string): boolean {
    const dead = this.#copies.get(`${message} ${queue}${DEAD}`);
    const last = (dead ?? this.#copies.get(`${message} ${queue}`))?.at(-1);
    return last?.settlement?.outcome === "ack";
  }

  #rules(queue: string): QueueRules {
    const name = queue.endsWith(DEAD) ? queue.slice(0, -DEAD.length) : queue;
    return this.#history.queues[name] ?? { maxDeliveries: 1, ackTimeoutMs: 0 };
  }
}
