/** The part of the checker that looks at the hand-outs of one message of one queue, one after the other. */
import type { Report } from "./fault.ts";
import { generationOf, type Handout } from "./handouts.ts";
import type { QueueRules } from "./history.ts";
import { type Publications, versionsOf } from "./publications.ts";
import { isDead, type Timeline } from "./timeline.ts";

/**
 * All hand-outs by message and queue, in the order of their tags; and by generation: each time that it is
 * brought back from the dead, a message begins anew.
 */
export class Copies {
  readonly #byPlace = new Map<string, Handout[]>();
  readonly #generations = new Map<string, Handout[]>();

  constructor(handouts: readonly Handout[]) {
    for (const handout of handouts.toSorted((a, b) => a.event.tag - b.event.tag)) {
      const { message, queue } = handout.event;
      const place = `${message} ${queue}`;
      collect(this.#byPlace, place, handout);
      collect(this.#generations, `${place} ${generationOf(handout.event)}`, handout);
    }
  }

  has(message: string, queue: string): boolean {
    return this.#byPlace.has(`${message} ${queue}`);
  }

  /** All of them, whatever their generation. */
  of(message: string, queue: string): readonly Handout[] {
    return this.#byPlace.get(`${message} ${queue}`) ?? [];
  }

  ofGeneration(message: string, queue: string, generation: number): readonly Handout[] {
    return this.#generations.get(`${message} ${queue} ${generation}`) ?? [];
  }

  all(): Iterable<readonly Handout[]> {
    return this.#generations.values();
  }
}

function collect(map: Map<string, Handout[]>, key: string, handout: Handout): void {
  const known = map.get(key);
  if (known === undefined) map.set(key, [handout]);
  else known.push(handout);
}

export class Successions {
  readonly #timeline: Timeline;
  readonly #publications: Publications;
  readonly #report: Report;

  constructor(timeline: Timeline, publications: Publications, report: Report) {
    this.#timeline = timeline;
    this.#publications = publications;
    this.#report = report;
  }

  /** `handouts` are of one generation, in order. */
  check(handouts: readonly Handout[]): void {
    const [{ event }] = handouts as [Handout];
    const { message, queue } = event;
    const rules = this.#timeline.rules(queue);
    const what = `${message} of ${queue}`;
    const counted = { least: 1, most: 1 };
    let before: Handout | undefined;
    for (const handout of handouts) {
      const { attempt, tag, at } = handout.event;
      const seen = `${what} (tag ${tag}, attempt ${attempt})`;
      this.#checkVersion(handout, before === undefined, seen);
      if (before !== undefined) this.#checkSuccession(before, handout, rules, seen);
      if (attempt > rules.maxDeliveries && !isDead(queue)) {
        this.#report("too_many_attempts", `${seen} of at most ${rules.maxDeliveries}`);
      }
      if (attempt < counted.least || attempt > counted.most) {
        const range = `${counted.least} to ${counted.most}`;
        this.#report("wrong_attempt", `${seen}, expected ${range}`);
      }
      const { settlement, returned, inOrder } = handout;
      const nacked = settlement?.outcome === "nack";
      if (nacked && settlement.answered) counted.least++;
      // The end of a broker, and one in order, burn no attempt [P-5.5]; a lost connection may, and the time does.
      const isBurnt = returned && !inOrder;
      if (nacked || isBurnt || handout.overAt - at >= rules.ackTimeoutMs) counted.most++;
      before = handout;
    }
  }

  /** That it did not come before its time, and as it was changed to be [P-5.13]. */
  #checkVersion({ event, latest }: Handout, isFirst: boolean, seen: string): void {
    const publication = this.#publications.of(event.message);
    if (publication === undefined || isDead(event.queue) || generationOf(event) > 0) return;
    const { versions } = versionsOf(publication);
    const fitting = versions.filter(
      ({ change }) => event.change === undefined || event.change === change,
    );
    if (fitting.length === 0) {
      const known = versions.map(({ change }) => change).join(" or ");
      this.#report("change_ignored", `${seen} shows change ${event.change}, not ${known}`);
      return;
    }
    const early = Math.min(...fitting.map(({ dueAt }) => dueAt)) - latest;
    if (isFirst && early > 0) this.#report("early", `${seen} came ${early} ms before its time`);
  }

  /** `next` is a hand-out after `before`. */
  #checkSuccession(before: Handout, next: Handout, rules: QueueRules, seen: string): void {
    const { settlement } = before;
    const sameLife = before.life === next.life;
    const heldMs = Math.min(before.overAt, next.latest) - before.event.at;
    const inTime = sameLife && heldMs < rules.ackTimeoutMs && !before.returned;
    if (settlement === undefined) {
      if (inTime) this.#report("stored_twice", `${seen} while ${before.event.consumer} had it`);
      return;
    }
    const { position } = next;
    if (settlement.answered && before.position < position && position < settlement.position) {
      this.#report("late_settled", `${seen} before tag ${before.event.tag} was settled`);
    }
    if (!settlement.answered) {
      // A broker that ended may not have read it.
      if (inTime && settlement.outcome === "ack") {
        this.#report("delivered_after_ack", `${seen} while the answer was on its way`);
      }
      return;
    }
    if (settlement.outcome === "ack") this.#report("delivered_after_ack", seen);
    if (settlement.outcome === "reject" && !isDead(next.event.queue)) {
      this.#report("delivered_after_death", `${seen} after it was rejected`);
    }
    const early = settlement.at + settlement.delayMs - next.latest;
    if (settlement.outcome === "nack" && early > 0) {
      this.#report("early", `${seen} came ${early} ms before its nack's delay was over`);
    }
  }
}
