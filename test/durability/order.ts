/** The part of the checker that looks at hand-outs side by side: which came before which, and of one key. */
import type { Fault } from "./checker.ts";
import type { Delivered, QueueRules, Sent, Settling } from "./history.ts";

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
  /** Its consumer ended while it was unsettled: nothing can come of a settling after that. */
  takenBack: boolean;
  /** How often the clock had been set when it was handed out. */
  readonly clockSet: number;
  /** When it was settled, or its connection ended, by the latest time known then. */
  overAt: number;
  /** The latest time known when it was handed out. */
  readonly latest: number;
}

/** What the rest of the checker found out. */
export interface Knowledge {
  rules(queue: string): QueueRules;
  sent(message: string): Sent | undefined;
  /** Publishes that were refused, and sent again perhaps: they come later than their number says. */
  readonly failed: ReadonlySet<string>;
  /** Where, in this life of the broker, the first consumer went: what it had comes late to our eyes. */
  inOrderUntil(life: number): number;
}

const isDead = (queue: string) => queue.endsWith(".dead");

/** `handouts` as they were seen. */
export function checkOrder(handouts: readonly Handout[], known: Knowledge): Fault[] {
  const byTag = handouts.toSorted((a, b) => a.event.tag - b.event.tag);
  return [
    ...outOfArrivalOrder(handouts),
    ...outOfStreamOrder(byTag, known),
    ...overlapsOfKeys(byTag, known),
  ];
}

/** What came to one consumer came in the order of the tags. */
function outOfArrivalOrder(handouts: readonly Handout[]): Fault[] {
  const faults: Fault[] = [];
  const last = new Map<string, number>();
  for (const { event } of handouts) {
    const { consumer, tag, message } = event;
    if (tag < (last.get(consumer) ?? 0)) {
      const text = `${message} (tag ${tag}) came to ${consumer} after a later tag`;
      faults.push({ kind: "order", text });
    }
    last.set(consumer, tag);
  }
  return faults;
}

/** [P-3.7] Within one life of the broker, by a message's first hand-out in it. */
function outOfStreamOrder(byTag: readonly Handout[], known: Knowledge): Fault[] {
  const faults: Fault[] = [];
  const last = new Map<string, Sent>();
  const seen = new Set<string>();
  for (const { life, position, event } of byTag) {
    const { message, queue, attempt } = event;
    const sent = known.sent(message);
    if (sent === undefined || sent.delayMs > 0 || isDead(queue)) continue;
    if (known.failed.has(message)) continue;
    const once = `${life} ${message} ${queue}`;
    if (seen.has(once)) continue;
    seen.add(once);
    if (attempt !== 1 || position > known.inOrderUntil(life)) continue;
    // By keys, a message waits for those of its own only.
    const key = known.rules(queue).byKey ? (sent.key ?? message) : "";
    const lane = `${life} ${queue} ${sent.priority} ${sent.stream} ${key}`;
    const before = last.get(lane);
    if (before !== undefined && before.number > sent.number) {
      faults.push({ kind: "order", text: `${message} of ${queue} came after ${before.message}` });
    }
    last.set(lane, sent);
  }
  return faults;
}

/** While one of a key is out, in a queue that goes by keys, no other of it is. */
function overlapsOfKeys(byTag: readonly Handout[], known: Knowledge): Fault[] {
  const faults: Fault[] = [];
  const out = new Map<string, Handout>();
  for (const handout of byTag) {
    const { queue, message, tag } = handout.event;
    const key = known.sent(message)?.key;
    const { byKey, ackTimeoutMs } = known.rules(queue);
    if (key === undefined || byKey !== true || isDead(queue)) continue;
    const place = `${queue} ${key}`;
    const before = out.get(place);
    out.set(place, handout);
    if (before === undefined || before.life !== handout.life || before.returned) continue;
    const settledAt = before.settlement?.position ?? Number.POSITIVE_INFINITY;
    const timedOut = handout.latest - before.event.at >= ackTimeoutMs;
    if (settledAt < handout.position || timedOut) continue;
    const text = `${message} of ${queue} (tag ${tag}) while ${before.event.message} was out`;
    faults.push({ kind: "key_overlap", text: `${text}, both of key ${key}` });
  }
  return faults;
}
