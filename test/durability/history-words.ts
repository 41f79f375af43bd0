/** Words of which the histories are made that the checker is tested with. */
import type { Delivered, HistoryEvent, Sent, Settling } from "./history.ts";

const RULES = { maxDeliveries: 3, ackTimeoutMs: 30_000 };
export const QUEUES = {
  jobs: RULES,
  audit: RULES,
  keyed: { ...RULES, byKey: true },
  few: { ...RULES, overflow: "dead" },
  newest: { ...RULES, overflow: "drop" },
} as const;

/** Message `p/<number>` of stream `p`. */
export function sent(number: number, fields: Partial<Sent> = {}): Sent {
  return {
    kind: "sent",
    message: `p/${number}`,
    stream: "p",
    number,
    queues: ["jobs"],
    priority: 4,
    delayMs: 0,
    at: 1000,
    ...fields,
  };
}

export function came(number: number, tag: number, fields: Partial<Delivered> = {}): Delivered {
  return {
    kind: "delivered",
    consumer: "c",
    queue: "jobs",
    message: `p/${number}`,
    tag,
    attempt: 1,
    at: 2000,
    intact: true,
    ...fields,
  };
}

export const dead = (number: number, tag: number, reason: string, attempts = 1, deaths = 1) =>
  came(number, tag, { queue: "jobs.dead", death: { reason, attempts }, deaths });
export const confirmed = (number: number, duplicate = false): HistoryEvent => ({
  kind: "confirmed",
  message: `p/${number}`,
  duplicate,
});
export const settling = (tag: number, outcome: Settling, delayMs = 0): HistoryEvent => ({
  kind: "settling",
  consumer: "c",
  tag,
  outcome,
  delayMs,
  at: 2000,
});
export const settled = (tag: number): HistoryEvent => ({ kind: "settled", consumer: "c", tag });
export const refused = (tag: number, code: string): HistoryEvent => ({
  kind: "refused",
  consumer: "c",
  tag,
  code,
});
/** Settled and answered. */
export const done = (tag: number, outcome: Settling, delayMs = 0) => [
  settling(tag, outcome, delayMs),
  settled(tag),
];
export const acked = (number: number, tag: number, fields: Partial<Delivered> = {}) => [
  came(number, tag, fields),
  ...done(tag, "ack"),
];
export const joined = (credit: number): HistoryEvent => ({ kind: "joined", consumer: "c", credit });
export const left: HistoryEvent = { kind: "left", consumer: "c", at: 2000 };
export const writerLost: HistoryEvent = { kind: "writer lost", at: 2000 };
export const failed = (number: number, code = "storage_unavailable"): HistoryEvent => ({
  kind: "failed",
  message: `p/${number}`,
  code,
});
/** It left in order, and what it held burns no attempt. */
export const leftInOrder: HistoryEvent = { kind: "left", consumer: "c", at: 2000, inOrder: true };
/** Dead letters of the queue may come back from here on. */
export const redriving: HistoryEvent = { kind: "redriving", queue: "jobs" };
/** The message, asked to be due at another time, or (null) to go. */
export const changing = (number: number, change: number, dueAt: number | null): HistoryEvent => ({
  kind: "changing",
  message: `p/${number}`,
  change,
  dueAt,
});
export const changed = (number: number, change: number, copies = 1): HistoryEvent => ({
  kind: "changed",
  message: `p/${number}`,
  change,
  copies,
});
export const unchanged = (number: number, change: number, code: string): HistoryEvent => ({
  kind: "unchanged",
  message: `p/${number}`,
  change,
  code,
});
/** Of one key, in a queue that goes by keys. */
export const keyed = (number: number) => sent(number, { key: "k", queues: ["keyed"] });
export const cameKeyed = (number: number, tag: number) => came(number, tag, { queue: "keyed" });
export const crashed: HistoryEvent = { kind: "crashed", at: 2000 };

export const gaveWay = (displaced: number, number: number): HistoryEvent => ({
  kind: "confirmed",
  message: `p/${number}`,
  duplicate: false,
  displaced,
});
export const few = (number: number) => sent(number, { queues: ["few"] });
export const newest = (number: number) => sent(number, { queues: ["newest"] });
export const overflowed = (number: number, tag: number) =>
  came(number, tag, { queue: "few.dead", death: { reason: "overflow", attempts: 0 } });
export const together = (number: number) => sent(number, { batch: "b" });

export type Histories = Readonly<Record<string, readonly HistoryEvent[]>>;
