/**
 * Finds, in a history, every promise that was broken. Pure: it knows nothing of sockets or files.
 *
 * What happened in which order is read from the tags: they count up with every delivery, over the
 * end of a broker too, while what two sockets bring may be seen in another order than it was sent.
 */
import type { Delivered, History, HistoryEvent, QueueRules, Sent, Settling } from "./history.ts";
import { checkOrder, type Handout, type Knowledge } from "./order.ts";

export type FaultKind =
  /** It was confirmed, or seen, and then neither acked nor found dead. */
  | "lost"
  /** One of its queues, or one of its batch, was stored and another one was not [P-3.6]. */
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
  | "taken_away"
  /** A settling was accepted although its delivery was over. */
  | "late_settled"
  /** Two messages of one key were out at the same time. */
  | "key_overlap";

/**
 * How long after the end of a lease the broker may notice it: on a slow machine, and in a history that is
 * exact, where only a disk in trouble puts it off.
 */
const NOTICED_MS = { slow: 10_000, exact: 1000 };

export interface Fault {
  readonly kind: FaultKind;
  readonly text: string;
}

type Confirmed = Extract<HistoryEvent, { kind: "confirmed" }>;

interface Holder {
  readonly credit: number;
  readonly held: Set<number>;
  /** Settlings that were not answered yet. */
  readonly settling: Set<number>;
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
  /** Publishes that were refused: sent again, they come later than their number says. */
  readonly #failed = new Set<string>();
  #life = 0;
  #position = 0;
  /** The latest time so far: somebody may set the clock back. */
  #latest = Number.NEGATIVE_INFINITY;
  #clockSet = 0;
  /** Where in the history the writer was lost last. */
  #writerLost = -1;
  /** How many gave way, as publishers were told; and publishes of which nobody knows. */
  #told = 0;
  #unsure = 0;
  /** How many gave way, as far as consumers see. */
  #gaveWay = 0;

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
    this.#faults.push(...checkOrder([...this.#byTag.values()], this.#knowledge));
    for (const sent of this.#sent.values()) this.#checkFate(sent);
    this.#checkBatches();
    if (this.#gaveWay > this.#told + this.#unsure) {
      const text = `${this.#gaveWay} gave way, ${this.#told} were told, ${this.#unsure} not known`;
      this.#fault("lost", text);
    }
    return this.#faults;
  }

  get #knowledge(): Knowledge {
    return {
      rules: (queue) => this.#rules(queue),
      sent: (message) => this.#sent.get(message),
      failed: this.#failed,
      inOrderUntil: (life) =>
        (this.#history.exact ? undefined : this.#firstLeft.get(life)) ?? Number.POSITIVE_INFINITY,
    };
  }

  #fault(kind: FaultKind, text: string): void {
    this.#faults.push({ kind, text });
  }

  #take(event: HistoryEvent): void {
    if ("at" in event && event.at !== undefined) this.#latest = Math.max(this.#latest, event.at);
    switch (event.kind) {
      case "sent":
        this.#send(event);
        return;
      case "confirmed":
        this.#confirm(event);
        return;
      case "clock set":
        this.#clockSet++;
        return;
      case "failed":
        this.#failed.add(event.message);
        if (event.code !== "storage_unavailable") this.#unsure--;
        return;
      case "delivered":
        this.#deliver(event);
        return;
      case "settling":
        this.#settle(event);
        return;
      case "settled":
        this.#answer(event.tag);
        return;
      case "refused":
        this.#refuse(event.tag, event.code);
        return;
      case "joined":
        this.#holders.set(event.consumer, {
          credit: event.credit,
          held: new Set(),
          settling: new Set(),
        });
        return;
      case "left":
        if (!this.#firstLeft.has(this.#life)) this.#firstLeft.set(this.#life, this.#position);
        this.#leave(event.consumer, true);
        return;
      case "writer lost":
        this.#writerLost = this.#position;
        if (!this.#firstLeft.has(this.#life)) this.#firstLeft.set(this.#life, this.#position);
        for (const consumer of [...this.#holders.keys()]) this.#leave(consumer, true);
        return;
      case "crashed":
        for (const consumer of [...this.#holders.keys()]) this.#leave(consumer, false);
        this.#life++;
    }
  }

  /** Sent again with the same id: the first counts for its place, and for its time the earliest. */
  #send(event: Sent): void {
    const before = this.#sent.get(event.message);
    this.#unsure++;
    const at = Math.min(event.at, before?.at ?? event.at);
    this.#sent.set(event.message, { ...(before ?? event), at });
  }

  #confirm({ message, duplicate, displaced = 0 }: Confirmed): void {
    const before = this.#confirmed.get(message) ?? 0;
    this.#told += displaced;
    this.#unsure--;
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
      takenBack: false,
      clockSet: this.#clockSet,
      overAt: Number.POSITIVE_INFINITY,
      latest: this.#latest,
    };
    this.#byTag.set(tag, handout);
    const key = `${message} ${queue}`;
    const copies = this.#copies.get(key);
    if (copies === undefined) this.#copies.set(key, [handout]);
    else copies.push(handout);
    const holder = this.#holders.get(consumer);
    if (holder === undefined) return;
    holder.held.add(tag);
    const count = [...holder.held].filter((each) => !this.#isOver(each)).length;
    if (count > holder.credit)
      this.#fault("over_credit", `${consumer} holds ${count} with ${what}`);
  }

  /** Whether the lease of a delivery may have run out. */
  #isOver(tag: number): boolean {
    const event = this.#byTag.get(tag)?.event;
    return event !== undefined && this.#latest - event.at >= this.#rules(event.queue).ackTimeoutMs;
  }

  #settle(event: Extract<HistoryEvent, { kind: "settling" }>): void {
    const handout = this.#byTag.get(event.tag);
    if (handout === undefined) return;
    const { outcome, delayMs = 0, at } = event;
    const position = this.#position;
    // Of what was taken back before, nothing can come.
    if (!handout.takenBack) {
      handout.settlement = { outcome, delayMs, at, position, answered: false };
      handout.overAt = this.#latest;
    }
    const holder = this.#holders.get(event.consumer);
    holder?.held.delete(event.tag);
    holder?.settling.add(event.tag);
  }

  #answer(tag: number): void {
    const handout = this.#byTag.get(tag);
    if (handout === undefined) return;
    const { settlement, event, clockSet } = handout;
    if (settlement === undefined) {
      this.#fault("late_settled", `tag ${tag} of ${event.consumer} had been taken back`);
      return;
    }
    settlement.answered = true;
    const lateMs = settlement.at - event.at - this.#rules(event.queue).ackTimeoutMs;
    const noticedMs = this.#history.exact ? NOTICED_MS.exact : NOTICED_MS.slow;
    if (lateMs > noticedMs && clockSet === this.#clockSet) {
      this.#fault("late_settled", `tag ${tag} of ${event.consumer}, ${lateMs} ms too late`);
    }
  }

  #refuse(tag: number, code: string): void {
    const handout = this.#byTag.get(tag);
    if (handout === undefined) return;
    const { event, returned, settlement } = handout;
    const inTime = handout.overAt - event.at < this.#rules(event.queue).ackTimeoutMs;
    if (code === "stale_delivery" && inTime && !returned) {
      this.#fault("taken_away", `tag ${tag} of ${event.consumer} was called stale`);
    }
    // The answer was lost with the writer, and with it whether it was written.
    const isUnknown = code === "storage_unavailable" && settlement !== undefined;
    if (isUnknown && settlement.position < this.#writerLost) handout.perhaps = settlement.outcome;
    handout.settlement = undefined;
    handout.returned = true;
  }

  #leave(consumer: string, returned: boolean): void {
    const holder = this.#holders.get(consumer);
    for (const tag of holder?.settling ?? []) {
      // If it fails on its way, nobody is there to be told.
      const handout = this.#byTag.get(tag);
      if (handout?.settlement?.answered === false) handout.returned ||= returned;
    }
    for (const tag of holder?.held ?? []) {
      const handout = this.#byTag.get(tag);
      if (handout === undefined) continue;
      handout.returned = returned;
      handout.takenBack = true;
      handout.overAt = this.#latest;
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

  #checkDelay({ event, latest }: Handout, seen: string): void {
    const sent = this.#sent.get(event.message);
    if (sent === undefined || event.queue.endsWith(DEAD)) return;
    const early = sent.at + sent.delayMs - latest;
    if (early > 0) this.#fault("early", `${seen} came ${early} ms before its time`);
  }

  /** `next` is a hand-out after `before`. */
  #checkSuccession(before: Handout, next: Handout, rules: QueueRules, seen: string): void {
    const { settlement } = before;
    const sameLife = before.life === next.life;
    const heldMs = Math.min(before.overAt, next.latest) - before.event.at;
    const inTime = sameLife && heldMs < rules.ackTimeoutMs && !before.returned;
    if (settlement === undefined) {
      if (inTime) this.#fault("stored_twice", `${seen} while ${before.event.consumer} had it`);
      return;
    }
    const { position } = next;
    if (settlement.answered && before.position < position && position < settlement.position) {
      this.#fault("late_settled", `${seen} before tag ${before.event.tag} was settled`);
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
    const early = settlement.at + settlement.delayMs - next.latest;
    if (settlement.outcome === "nack" && early > 0) {
      this.#fault("early", `${seen} came ${early} ms before its nack's delay was over`);
    }
  }

  /** `dead` are the hand-outs of a dead letter. */
  #checkDeath(dead: readonly Handout[]): void {
    const [{ event, latest, life }] = dead as [Handout];
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
    const explained = this.#explains(death, before, this.#sent.get(message), {
      event,
      latest,
      life,
    });
    if (!explained) {
      const given = death === undefined ? "no record" : JSON.stringify(death);
      this.#fault("unexplained_death", `${message} of ${owner}: ${given}`);
    }
  }

  #explains(
    death: Delivered["death"],
    before: readonly Handout[],
    sent: Sent | undefined,
    { event, latest, life }: Pick<Handout, "event" | "latest" | "life">,
  ): boolean {
    const was = (outcome: Settling) =>
      before.some(({ settlement, perhaps }) => (settlement?.outcome ?? perhaps) === outcome);
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
      case "overflow":
        return (
          this.#rules(event.queue).overflow === "dead" && this.#gaveWayRightly(before, latest, life)
        );
      case "expired":
        return sent?.ttlMs !== undefined && sent.at + sent.ttlMs <= latest;
      default:
        return false;
    }
  }

  /** [P-5.9] Never while somebody had it. */
  #gaveWayRightly(before: readonly Handout[], seenAt: number, seenIn: number): boolean {
    this.#gaveWay++;
    const last = before.at(-1);
    if (last === undefined) return true;
    const { life, returned, settlement, event } = last;
    const isOver = seenAt - event.at >= this.#rules(event.queue).ackTimeoutMs;
    return life < seenIn || returned || settlement !== undefined || isOver;
  }

  /** [P-5.14] Of the messages of a batch all or none are known to have been stored. */
  #checkBatches(): void {
    const batches = Map.groupBy(
      [...this.#sent.values()].filter(({ batch }) => batch !== undefined),
      ({ batch }) => batch,
    );
    const stored = ({ message, queues }: Sent) =>
      this.#confirmed.has(message) || queues.some((queue) => this.#wasSeen(message, queue));
    // Of what may be dropped unseen nobody knows.
    const isKnown = (sent: Sent) =>
      stored(sent) || !sent.queues.some((queue) => this.#rules(queue).overflow === "drop");
    for (const [batch, all] of batches) {
      const known = all.filter(isKnown);
      const count = known.filter(stored).length;
      if (count === 0 || count === known.length) continue;
      this.#fault("torn", `${count} of ${known.length} of the batch ${batch} were stored`);
    }
  }

  /** What is known to have been stored ended as an acked message or as a dead letter that was found. */
  #checkFate({ message, queues }: Sent): void {
    const seen = queues.filter((queue) => this.#wasSeen(message, queue));
    const confirmed = this.#confirmed.has(message);
    if (!confirmed && seen.length === 0) return;
    for (const queue of queues) {
      if (this.#endedWell(message, queue)) continue;
      if (this.#mayBeDropped(message, queue)) {
        if (confirmed) this.#gaveWay++;
        continue;
      }
      const torn = !confirmed && !seen.includes(queue);
      const how = confirmed ? "was confirmed" : `was seen in ${seen.join(" and ")}`;
      this.#fault(torn ? "torn" : "lost", `${message} ${how} and is not in ${queue}`);
    }
  }

  /** Where others give way without a trace, it may be gone; not after it was rejected. */
  #mayBeDropped(message: string, queue: string): boolean {
    if (this.#rules(queue).overflow !== "drop") return false;
    if (this.#copies.has(`${message} ${queue}${DEAD}`)) return false;
    const settlement = this.#copies.get(`${message} ${queue}`)?.at(-1)?.settlement;
    return settlement?.outcome !== "reject" || !settlement.answered;
  }

  #wasSeen(message: string, queue: string): boolean {
    return (
      this.#copies.has(`${message} ${queue}`) || this.#copies.has(`${message} ${queue}${DEAD}`)
    );
  }

  #endedWell(message: string, queue: string): boolean {
    const dead = this.#copies.get(`${message} ${queue}${DEAD}`);
    const last = (dead ?? this.#copies.get(`${message} ${queue}`))?.at(-1);
    return (last?.settlement?.outcome ?? last?.perhaps) === "ack";
  }

  #rules(queue: string): QueueRules {
    const name = queue.endsWith(DEAD) ? queue.slice(0, -DEAD.length) : queue;
    return this.#history.queues[name] ?? { maxDeliveries: 1, ackTimeoutMs: 0 };
  }
}
