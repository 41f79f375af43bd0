/**
 * Finds, in a history, every promise that was broken. Pure: it knows nothing of sockets or files.
 *
 * What happened in which order is read from the tags: they count up with every delivery, over the
 * end of a broker too, while what two sockets bring may be seen in another order than it was sent.
 */
import { Copies, Successions } from "./copies.ts";
import { Deaths } from "./deaths.ts";
import { Fates } from "./fates.ts";
import type { Fault, Report } from "./fault.ts";
import { Handouts } from "./handouts.ts";
import type { History } from "./history.ts";
import { checkOrder } from "./order.ts";
import { Publications } from "./publications.ts";
import { Timeline } from "./timeline.ts";

export type { Fault, FaultKind } from "./fault.ts";

export function check(history: History): Fault[] {
  const faults: Fault[] = [];
  const report: Report = (kind, text) => faults.push({ kind, text });
  const timeline = new Timeline(history);
  const publications = new Publications(timeline, report);
  const handouts = new Handouts(timeline, publications, report);
  for (const event of history.events) {
    timeline.take(event);
    publications.take(event);
    handouts.take(event);
    timeline.next(event);
  }

  const copies = new Copies(handouts.all);
  const successions = new Successions(timeline, publications, report);
  const deaths = new Deaths(timeline, publications, copies, report);
  for (const generation of copies.all()) {
    successions.check(generation);
    deaths.check(generation);
  }
  checkOrder(handouts.all, timeline, publications, report);
  const fates = new Fates(timeline, publications, copies, report);
  fates.check();

  const gaveWay = deaths.gaveWay + fates.gaveWay;
  const { displaced, unsure } = publications;
  if (gaveWay > displaced + unsure) {
    const text = `${gaveWay} gave way, ${displaced} were told, ${unsure} not known`;
    report("lost", text);
  }
  return faults;
}
