/** The part of the checker that looks at dead letters: why they died, and how some came back. */
import type { Copies } from "./copies.ts";
import type { Report } from "./fault.ts";
import { generationOf, type Handout } from "./handouts.ts";
import type { HistoryEvent, Settling } from "./history.ts";
import type { Publications } from "./publications.ts";
import { DEAD, isDead, ownerOf, type Timeline } from "./timeline.ts";

export class Deaths {
  readonly #timeline: Timeline;
  readonly #publications: Publications;
  readonly #copies: Copies;
  readonly #report: Report;
  /** Where a redrive was asked for first, by queue. */
  readonly #redriving = new Map<string, number>();
  /** How many gave way, as far as consumers see. */
  gaveWay = 0;

  constructor(timeline: Timeline, publications: Publications, copies: Copies, report: Report) {
    this.#timeline = timeline;
    this.#publications = publications;
    this.#copies = copies;
    this.#report = report;
    for (const [position, event] of timeline.history.events.entries()) this.#note(event, position);
  }

  #note(event: HistoryEvent, position: number): void {
    if (event.kind !== "redriving" || this.#redriving.has(event.queue)) return;
    this.#redriving.set(event.queue, position);
  }

  /** `handouts` are of one generation, in order. */
  check(handouts: readonly Handout[]): void {
    const [first] = handouts as [Handout];
    if (isDead(first.event.queue)) this.#checkDeath(first);
    else if (generationOf(first.event) > 0) this.#checkReturn(first);
  }

  /** What was brought back was dead before, and is so no more. */
  #checkReturn(first: Handout): void {
    const { message, queue, tag } = first.event;
    const generation = generationOf(first.event);
    const what = `${message} of ${queue} (tag ${tag})`;
    const asked = this.#redriving.get(queue) ?? Number.POSITIVE_INFINITY;
    if (asked > first.position) this.#report("revived", `${what}: nobody had asked for it`);
    const dead = this.#copies.ofGeneration(message, queue + DEAD, generation - 1);
    const before = this.#copies.ofGeneration(message, queue, generation - 1);
    for (const { event } of [...before, ...dead]) {
      if (event.tag < tag) continue;
      this.#report("delivered_after_death", `${message} of ${event.queue} (tag ${event.tag})`);
    }
    if (dead.some(wasAcked) || before.some(wasAcked)) {
      this.#report("delivered_after_ack", `${what} came back although it was acked`);
    }
  }

  /** `first` is the first hand-out of a dead letter. */
  #checkDeath(first: Handout): void {
    const { message, queue, tag, death } = first.event;
    const owner = ownerOf(queue);
    const before = this.#copies.ofGeneration(message, owner, generationOf(first.event));
    for (const { event: late } of before) {
      if (late.tag < tag) continue;
      this.#report("delivered_after_death", `${message} of ${owner} (tag ${late.tag})`);
    }
    if (before.some(wasAcked)) {
      this.#report("delivered_after_ack", `${message} of ${owner} is dead although it was acked`);
    }
    if (this.#explains(first, before)) return;
    const given = death === undefined ? "no record" : JSON.stringify(death);
    this.#report("unexplained_death", `${message} of ${owner}: ${given}`);
  }

  #explains({ event, latest, life }: Handout, before: readonly Handout[]): boolean {
    const { death, message, queue } = event;
    const was = (outcome: Settling) =>
      before.some(({ settlement, perhaps }) => (settlement?.outcome ?? perhaps) === outcome);
    const rules = this.#timeline.rules(queue);
    switch (death?.reason) {
      case "rejected":
        return was("reject");
      case "max_deliveries":
        return death.attempts === rules.maxDeliveries && before.length >= death.attempts;
      case "overflow":
        return rules.overflow === "dead" && this.#gaveWayRightly(before, latest, life);
      case "expired": {
        const sent = this.#publications.of(message)?.sent;
        return sent?.ttlMs !== undefined && sent.at + sent.ttlMs <= latest;
      }
      default:
        return false;
    }
  }

  /** [P-5.9] Never while somebody had it. */
  #gaveWayRightly(before: readonly Handout[], seenAt: number, seenIn: number): boolean {
    this.gaveWay++;
    const last = before.at(-1);
    if (last === undefined) return true;
    const { life, returned, settlement, event } = last;
    const isOver = seenAt - event.at >= this.#timeline.rules(event.queue).ackTimeoutMs;
    return life < seenIn || returned || settlement !== undefined || isOver;
  }
}

export function wasAcked({ settlement }: Handout): boolean {
  return settlement?.outcome === "ack" && settlement.answered;
}
