/** What the checker knows of hand-outs: who has what, how it was settled, and whether in time. */
import type { Report } from "./fault.ts";
import type { Delivered, HistoryEvent, Settling } from "./history.ts";
import type { Publications } from "./publications.ts";
import { isDead, type Timeline } from "./timeline.ts";

/**
 * How long after the end of a lease the broker may notice it: on a slow machine, and in a history that is
 * exact, where only a disk in trouble puts it off.
 */
const NOTICED_MS = { slow: 10_000, exact: 1000 };

export interface Settlement {
  readonly outcome: Settling;
  readonly delayMs: number;
  readonly at: number;
  /** Where in the history. */
  readonly position: number;
  answered: boolean;
}

/** One hand-out. */
export interface Handout {
  readonly event: Delivered;
  /** Which life of the broker, counted from 0. */
  readonly life: number;
  /** Where in the history. */
  readonly position: number;
  settlement: Settlement | undefined;
  /** How it was settled, or not: nobody knows. */
  perhaps?: Settling;
  /** The connection ended, and not with the broker, while it was unsettled; or settling failed. */
  returned: boolean;
  /** Its consumer left in order: no attempt was burnt. */
  inOrder: boolean;
  /** Its consumer ended while it was unsettled: nothing can come of a settling after that. */
  takenBack: boolean;
  /** How often the clock had been set when it was handed out. */
  readonly clockSet: number;
  /** When it was settled, or its connection ended, by the latest time known then. */
  overAt: number;
  /** The latest time known when it was handed out. */
  readonly latest: number;
  /** Where, before it was handed out, storage had failed last. */
  readonly storageFailed: number;
}

interface Holder {
  readonly credit: number;
  readonly held: Set<number>;
  /** Settlings that were not answered yet. */
  readonly settling: Set<number>;
}

/** What becomes of what a consumer held. */
type Leaving = Pick<Handout, "returned" | "inOrder">;

type Event<Kind extends HistoryEvent["kind"]> = Extract<HistoryEvent, { kind: Kind }>;

/** How often the message had been brought back when this copy of it came to be. */
export function generationOf({ queue, deaths }: Delivered): number {
  const least = isDead(queue) ? 1 : 0;
  return (deaths ?? least) - least;
}

export class Handouts {
  readonly #timeline: Timeline;
  readonly #publications: Publications;
  readonly #report: Report;
  readonly #byTag = new Map<number, Handout>();
  readonly #holders = new Map<string, Holder>();

  constructor(timeline: Timeline, publications: Publications, report: Report) {
    this.#timeline = timeline;
    this.#publications = publications;
    this.#report = report;
  }

  /** As they were seen. */
  get all(): readonly Handout[] {
    return [...this.#byTag.values()];
  }

  take(event: HistoryEvent): void {
    switch (event.kind) {
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
      case "joined": {
        const { consumer, credit } = event;
        this.#holders.set(consumer, { credit, held: new Set(), settling: new Set() });
        return;
      }
      case "left":
        this.#leave(event.consumer, { returned: true, inOrder: event.inOrder === true });
        return;
      case "writer lost":
        // What they held is ready again, and no attempt is burnt [P-5.2].
        this.#leaveAll({ returned: true, inOrder: true });
        return;
      case "crashed":
        this.#leaveAll({ returned: false, inOrder: false });
    }
  }

  #deliver(event: Delivered): void {
    const { consumer, message, queue, tag } = event;
    const { life, position, clockSet, latest, storageFailed } = this.#timeline;
    const what = `${message} of ${queue} (tag ${tag}, attempt ${event.attempt})`;
    if (this.#byTag.has(tag)) this.#report("tag_reused", `${what} has a tag that was used`);
    if (!event.intact || this.#publications.of(message) === undefined) {
      this.#report("altered", `${what} is not what was published`);
    }
    this.#byTag.set(tag, {
      event,
      life,
      position,
      settlement: undefined,
      returned: false,
      inOrder: false,
      takenBack: false,
      clockSet,
      overAt: Number.POSITIVE_INFINITY,
      latest,
      storageFailed,
    });
    const holder = this.#holders.get(consumer);
    if (holder === undefined) return;
    holder.held.add(tag);
    const count = [...holder.held].filter((each) => !this.#isOver(each)).length;
    if (count > holder.credit) {
      this.#report("over_credit", `${consumer} holds ${count} with ${what}`);
    }
  }

  /** Whether the lease of a delivery may have run out. */
  #isOver(tag: number): boolean {
    const event = this.#byTag.get(tag)?.event;
    if (event === undefined) return false;
    return this.#timeline.latest - event.at >= this.#timeline.rules(event.queue).ackTimeoutMs;
  }

  #settle(event: Event<"settling">): void {
    const handout = this.#byTag.get(event.tag);
    if (handout === undefined) return;
    const { outcome, delayMs = 0, at } = event;
    const { position, latest } = this.#timeline;
    // Of what was taken back before, nothing can come.
    if (!handout.takenBack) {
      handout.settlement = { outcome, delayMs, at, position, answered: false };
      handout.overAt = latest;
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
      this.#report("late_settled", `tag ${tag} of ${event.consumer} had been taken back`);
      return;
    }
    settlement.answered = true;
    const lateMs = settlement.at - event.at - this.#timeline.rules(event.queue).ackTimeoutMs;
    const noticedMs = this.#timeline.history.exact ? NOTICED_MS.exact : NOTICED_MS.slow;
    if (lateMs > noticedMs && clockSet === this.#timeline.clockSet) {
      this.#report("late_settled", `tag ${tag} of ${event.consumer}, ${lateMs} ms too late`);
    }
  }

  #refuse(tag: number, code: string): void {
    const handout = this.#byTag.get(tag);
    if (handout === undefined) return;
    const { event, life, settlement } = handout;
    // Over HTTP it may be asked of a broker that comes after: to that one it is stale.
    const returned = handout.returned || life !== this.#timeline.life;
    const inTime = handout.overAt - event.at < this.#timeline.rules(event.queue).ackTimeoutMs;
    if (code === "stale_delivery" && inTime && !returned) {
      this.#report("taken_away", `tag ${tag} of ${event.consumer} was called stale`);
    }
    // The answer was lost with the writer, and with it whether it was written.
    const isUnknown = code === "storage_unavailable" && settlement !== undefined;
    if (isUnknown && settlement.position < this.#timeline.writerLost) {
      handout.perhaps = settlement.outcome;
    }
    handout.settlement = undefined;
    handout.returned = true;
  }

  #leaveAll(how: Leaving): void {
    for (const consumer of [...this.#holders.keys()]) this.#leave(consumer, how);
  }

  #leave(consumer: string, how: Leaving): void {
    const holder = this.#holders.get(consumer);
    for (const tag of holder?.settling ?? []) {
      // If it fails on its way, nobody is there to be told.
      const handout = this.#byTag.get(tag);
      if (handout?.settlement?.answered === false) handout.returned ||= how.returned;
    }
    for (const tag of holder?.held ?? []) {
      const handout = this.#byTag.get(tag);
      if (handout === undefined) continue;
      handout.returned = how.returned;
      handout.inOrder = how.inOrder;
      handout.takenBack = true;
      handout.overAt = this.#timeline.latest;
    }
    this.#holders.delete(consumer);
  }
}
