/** The part of the checker that asks of each message what became of it in the end. */
import type { Copies } from "./copies.ts";
import type { Report } from "./fault.ts";
import { type Publication, type Publications, versionsOf } from "./publications.ts";
import { DEAD, type Timeline } from "./timeline.ts";

export class Fates {
  readonly #timeline: Timeline;
  readonly #publications: Publications;
  readonly #copies: Copies;
  readonly #report: Report;
  /** How many gave way without a trace. */
  gaveWay = 0;

  constructor(timeline: Timeline, publications: Publications, copies: Copies, report: Report) {
    this.#timeline = timeline;
    this.#publications = publications;
    this.#copies = copies;
    this.#report = report;
  }

  check(): void {
    for (const publication of this.#publications.all()) {
      this.#checkFate(publication);
      this.#checkRefused(publication);
    }
    this.#checkBatches();
  }

  /** What is known to have been stored ended as an acked message or as a dead letter that was found. */
  #checkFate(publication: Publication): void {
    const { message, queues } = publication.sent;
    const seen = queues.filter((queue) => this.#wasSeen(message, queue));
    const confirmed = publication.confirmed !== undefined;
    const { certainlyGone, perhapsGone } = versionsOf(publication);
    if (seen.length > queues.length - certainlyGone) {
      const text = `${message} was taken back from ${certainlyGone} queues, seen in ${seen}`;
      this.#report("change_ignored", text);
    }
    if (!confirmed && seen.length === 0) return;
    let gone = perhapsGone;
    for (const queue of queues) {
      if (this.#endedWell(message, queue)) continue;
      if (!seen.includes(queue) && gone-- > 0) continue;
      if (this.#mayBeDropped(message, queue)) {
        if (confirmed) this.gaveWay++;
        continue;
      }
      const torn = !confirmed && !seen.includes(queue);
      const how = confirmed ? "was confirmed" : `was seen in ${seen.join(" and ")}`;
      this.#report(torn ? "torn" : "lost", `${message} ${how} and is not in ${queue}`);
    }
  }

  /** [P-3.6] What was refused each time that it was sent is nowhere; what was not answered may be. */
  #checkRefused({ sent, sends, confirmed }: Publication): void {
    if (sends.length > 0 || confirmed !== undefined) return;
    const { message, queues } = sent;
    for (const queue of queues) {
      if (!this.#wasSeen(message, queue)) continue;
      this.#report("delivered_though_refused", `${message} of ${queue}`);
    }
  }

  /** [P-5.14] Of the messages of a batch all or none are known to have been stored. */
  #checkBatches(): void {
    const all = [...this.#publications.all()].filter(({ sent }) => sent.batch !== undefined);
    const stored = ({ sent, confirmed }: Publication) =>
      confirmed !== undefined || sent.queues.some((queue) => this.#wasSeen(sent.message, queue));
    // Of what may be dropped unseen nobody knows.
    const isKnown = (one: Publication) =>
      stored(one) ||
      !one.sent.queues.some((queue) => this.#timeline.rules(queue).overflow === "drop");
    for (const [batch, members] of Map.groupBy(all, ({ sent }) => sent.batch)) {
      const known = members.filter(isKnown);
      const count = known.filter(stored).length;
      if (count === 0 || count === known.length) continue;
      this.#report("torn", `${count} of ${known.length} of the batch ${batch} were stored`);
    }
  }

  /** Where others give way without a trace, it may be gone; not after it was rejected. */
  #mayBeDropped(message: string, queue: string): boolean {
    if (this.#timeline.rules(queue).overflow !== "drop") return false;
    if (this.#copies.has(message, queue + DEAD)) return false;
    const settlement = this.#copies.of(message, queue).at(-1)?.settlement;
    return settlement?.outcome !== "reject" || !settlement.answered;
  }

  #wasSeen(message: string, queue: string): boolean {
    return this.#copies.has(message, queue) || this.#copies.has(message, queue + DEAD);
  }

  /** By the last that was seen of it, alive or dead. */
  #endedWell(message: string, queue: string): boolean {
    const alive = this.#copies.of(message, queue).at(-1);
    const dead = this.#copies.of(message, queue + DEAD).at(-1);
    const isBack = alive !== undefined && dead !== undefined && alive.event.tag > dead.event.tag;
    const last = isBack ? alive : (dead ?? alive);
    return (last?.settlement?.outcome ?? last?.perhaps) === "ack";
  }
}
