/** The part of the checker that looks at hand-outs side by side: which came before which, and of one key. */
import type { Report } from "./fault.ts";
import { generationOf, type Handout } from "./handouts.ts";
import type { Publication, Publications } from "./publications.ts";
import { isDead, type Timeline } from "./timeline.ts";

/** `handouts` as they were seen. */
export function checkOrder(
  handouts: readonly Handout[],
  timeline: Timeline,
  publications: Publications,
  report: Report,
): void {
  const byTag = handouts.toSorted((a, b) => a.event.tag - b.event.tag);
  checkArrivals(handouts, report);
  checkStreams(byTag, timeline, publications, report);
  checkKeys(byTag, timeline, publications, report);
}

/** What came to one consumer came in the order of the tags. */
function checkArrivals(handouts: readonly Handout[], report: Report): void {
  const last = new Map<string, number>();
  for (const { event } of handouts) {
    const { consumer, tag, message } = event;
    if (tag < (last.get(consumer) ?? 0)) {
      report("order", `${message} (tag ${tag}) came to ${consumer} after a later tag`);
    }
    last.set(consumer, tag);
  }
}

/** What came out of one lane so far. */
interface Lane {
  /** The last that was never refused: such come in the order of their numbers. */
  last: Publication | undefined;
  /** The one that was sent latest: nothing may come after it that was sent earlier for certain. */
  latest: Publication;
}

/** [P-3.7] Within one life of the broker, by a message's first hand-out in it. */
function checkStreams(
  byTag: readonly Handout[],
  timeline: Timeline,
  publications: Publications,
  report: Report,
): void {
  const lanes = new Map<string, Lane>();
  const seen = new Set<string>();
  for (const { life, position, event, storageFailed } of byTag) {
    const { message, queue, attempt } = event;
    const publication = publications.of(message);
    if (publication === undefined || publication.delayed || isDead(queue)) continue;
    if (generationOf(event) > 0) continue;
    const once = `${life} ${message} ${queue}`;
    if (seen.has(once)) continue;
    seen.add(once);
    if (attempt !== 1 || position > timeline.inOrderUntil(life)) continue;
    const { priority, stream, key: own } = publication.sent;
    // By keys, a message waits for those of its own only.
    const rules = timeline.rules(queue);
    const key = rules.byKey ? (own ?? message) : "";
    const place = `${life} ${queue} ${priority} ${stream} ${key}`;
    const lane = lanes.get(place);
    // What was to give way and did not, since storage failed, may have been overtaken [P-5.9].
    const isSpared = rules.overflow !== undefined && storageFailed > earliestOf(publication);
    const before = lane && !isSpared ? cameTooEarly(lane, publication) : undefined;
    if (before !== undefined) {
      report("order", `${message} of ${queue} came after ${before.sent.message}`);
    }
    lanes.set(place, laneAfter(lane, publication));
  }
}

/** The message that came before this one and should not have. */
function cameTooEarly({ last, latest }: Lane, next: Publication): Publication | undefined {
  if (!next.refused && last !== undefined && last.sent.number > next.sent.number) return last;
  // Where one was sent several times it may be any of them that was stored.
  return earliestOf(latest) > latestOf(next) ? latest : undefined;
}

function laneAfter(lane: Lane | undefined, publication: Publication): Lane {
  const isLatest = lane === undefined || earliestOf(publication) > earliestOf(lane.latest);
  return {
    last: publication.refused ? lane?.last : publication,
    latest: isLatest ? publication : lane.latest,
  };
}

function earliestOf({ sends }: Publication): number {
  return sends[0] ?? Number.NEGATIVE_INFINITY;
}

function latestOf({ sends }: Publication): number {
  return sends.at(-1) ?? Number.POSITIVE_INFINITY;
}

/** While one of a key is out, in a queue that goes by keys, no other of it is. */
function checkKeys(
  byTag: readonly Handout[],
  timeline: Timeline,
  publications: Publications,
  report: Report,
): void {
  const out = new Map<string, Handout>();
  for (const handout of byTag) {
    const { queue, message, tag } = handout.event;
    const key = publications.of(message)?.sent.key;
    const { byKey, ackTimeoutMs } = timeline.rules(queue);
    if (key === undefined || byKey !== true || isDead(queue)) continue;
    const place = `${queue} ${key}`;
    const before = out.get(place);
    out.set(place, handout);
    if (before === undefined || before.life !== handout.life || before.returned) continue;
    const settledAt = before.settlement?.position ?? Number.POSITIVE_INFINITY;
    const timedOut = handout.latest - before.event.at >= ackTimeoutMs;
    if (settledAt < handout.position || timedOut) continue;
    const text = `${message} of ${queue} (tag ${tag}) while ${before.event.message} was out`;
    report("key_overlap", `${text}, both of key ${key}`);
  }
}
