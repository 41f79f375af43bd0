/** The checker finds every kind of broken promise, and nothing wrong in a history that is right. */
import { describe, expect, test } from "bun:test";
import { check, type FaultKind } from "./checker.ts";
import type { Delivered, HistoryEvent, Sent, Settling } from "./history.ts";

const RULES = { maxDeliveries: 3, ackTimeoutMs: 30_000 };
const QUEUES = {
  jobs: RULES,
  audit: RULES,
  keyed: { ...RULES, byKey: true },
  few: { ...RULES, overflow: "dead" },
  newest: { ...RULES, overflow: "drop" },
} as const;

/** Message `p/<number>` of stream `p`. */
function sent(number: number, fields: Partial<Sent> = {}): Sent {
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

function came(number: number, tag: number, fields: Partial<Delivered> = {}): Delivered {
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

const dead = (number: number, tag: number, reason: string, attempts = 1) =>
  came(number, tag, { queue: "jobs.dead", death: { reason, attempts } });
const confirmed = (number: number, duplicate = false): HistoryEvent => ({
  kind: "confirmed",
  message: `p/${number}`,
  duplicate,
});
const settling = (tag: number, outcome: Settling, delayMs = 0): HistoryEvent => ({
  kind: "settling",
  consumer: "c",
  tag,
  outcome,
  delayMs,
  at: 2000,
});
const settled = (tag: number): HistoryEvent => ({ kind: "settled", consumer: "c", tag });
const refused = (tag: number, code: string): HistoryEvent => ({
  kind: "refused",
  consumer: "c",
  tag,
  code,
});
/** Settled and answered. */
const done = (tag: number, outcome: Settling, delayMs = 0) => [
  settling(tag, outcome, delayMs),
  settled(tag),
];
const acked = (number: number, tag: number, fields: Partial<Delivered> = {}) => [
  came(number, tag, fields),
  ...done(tag, "ack"),
];
const joined = (credit: number): HistoryEvent => ({ kind: "joined", consumer: "c", credit });
const left: HistoryEvent = { kind: "left", consumer: "c", at: 2000 };
const writerLost: HistoryEvent = { kind: "writer lost", at: 2000 };
const failed = (number: number): HistoryEvent => ({
  kind: "failed",
  message: `p/${number}`,
  code: "storage_unavailable",
});
/** Of one key, in a queue that goes by keys. */
const keyed = (number: number) => sent(number, { key: "k", queues: ["keyed"] });
const cameKeyed = (number: number, tag: number) => came(number, tag, { queue: "keyed" });
const crashed: HistoryEvent = { kind: "crashed", at: 2000 };

function kinds(events: readonly HistoryEvent[]): FaultKind[] {
  return check({ queues: QUEUES, events }).map(({ kind }) => kind);
}

const gaveWay = (displaced: number, number: number): HistoryEvent => ({
  kind: "confirmed",
  message: `p/${number}`,
  duplicate: false,
  displaced,
});
const few = (number: number) => sent(number, { queues: ["few"] });
const newest = (number: number) => sent(number, { queues: ["newest"] });
const overflowed = (number: number, tag: number) =>
  came(number, tag, { queue: "few.dead", death: { reason: "overflow", attempts: 0 } });
const together = (number: number) => sent(number, { batch: "b" });

type Histories = Readonly<Record<string, readonly HistoryEvent[]>>;

const RIGHT: Histories = {
  "an empty one": [],
  "confirmed, delivered, acked": [sent(1), confirmed(1), ...acked(1, 1)],
  "refused and never seen": [sent(1)],
  "not confirmed, yet stored": [sent(1), crashed, ...acked(1, 1)],
  "nacked, and again": [sent(1), came(1, 1), ...done(1, "nack"), ...acked(1, 2, { attempt: 2 })],
  "a nack that the end of the broker overtook": [
    sent(1),
    came(1, 1),
    settling(1, "nack"),
    crashed,
    ...acked(1, 2),
  ],
  "a nack that was written and not answered": [
    sent(1),
    came(1, 1),
    settling(1, "nack"),
    crashed,
    ...acked(1, 2, { attempt: 2 }),
  ],
  "an ack that was written and not answered": [
    sent(1),
    confirmed(1),
    came(1, 1),
    settling(1, "ack"),
    crashed,
  ],
  "an ack that was not written": [
    sent(1),
    confirmed(1),
    came(1, 1),
    settling(1, "ack"),
    crashed,
    ...acked(1, 2),
  ],
  "an ack that was refused": [
    sent(1),
    came(1, 1),
    settling(1, "ack"),
    refused(1, "storage_unavailable"),
    ...acked(1, 2),
  ],
  "in flight at the end of a broker": [
    joined(2),
    sent(1),
    sent(2),
    came(1, 1),
    came(2, 2),
    crashed,
    joined(2),
    ...acked(1, 3),
    ...acked(2, 4),
  ],
  "returned by a consumer that left": [
    joined(1),
    sent(1),
    came(1, 1),
    left,
    joined(1),
    ...acked(1, 2, { attempt: 2 }),
  ],
  "seen by two, told in the wrong order": [
    sent(1),
    came(1, 2, { consumer: "d", attempt: 2 }),
    came(1, 1),
    ...done(1, "nack"),
    ...done(2, "ack"),
  ],
  "timed out": [sent(1), came(1, 1), ...acked(1, 2, { attempt: 2, at: 40_000 })],
  "timed out, and settled too late": [
    sent(1, { at: -50_000 }),
    came(1, 1, { at: -40_000 }),
    settling(1, "ack"),
    refused(1, "stale_delivery"),
    ...acked(1, 2, { attempt: 2 }),
  ],
  rejected: [sent(1), came(1, 1), ...done(1, "reject"), dead(1, 2, "rejected"), ...done(2, "ack")],
  exhausted: [
    sent(1),
    came(1, 1),
    ...done(1, "nack"),
    came(1, 2, { attempt: 2 }),
    ...done(2, "nack"),
    came(1, 3, { attempt: 3 }),
    ...done(3, "nack"),
    dead(1, 4, "max_deliveries", 3),
    ...done(4, "ack"),
  ],
  expired: [sent(1, { ttlMs: 10 }), confirmed(1), dead(1, 1, "expired", 0), ...done(1, "ack")],
  "of other priorities and streams in any order": [
    sent(1, { priority: 1 }),
    sent(2),
    sent(3, { stream: "q", message: "q/3" }),
    ...acked(3, 1, { message: "q/3" }),
    ...acked(2, 2),
    ...acked(1, 3),
  ],
  "an ack whose answer was lost with the writer, written": [
    joined(1),
    sent(1),
    confirmed(1),
    came(1, 1),
    settling(1, "ack"),
    writerLost,
    refused(1, "storage_unavailable"),
  ],
  "an ack whose answer was lost with the writer, not written": [
    joined(1),
    sent(1),
    came(1, 1),
    settling(1, "ack"),
    writerLost,
    refused(1, "storage_unavailable"),
    ...acked(1, 2),
  ],
  "refused, and sent again behind others": [
    sent(1),
    failed(1),
    sent(2),
    sent(1),
    confirmed(1),
    ...acked(2, 1),
    ...acked(1, 2),
  ],
  "one of a key after the other": [
    keyed(1),
    keyed(2),
    cameKeyed(1, 1),
    ...done(1, "ack"),
    cameKeyed(2, 2),
    ...done(2, "ack"),
  ],
  "delayed, and the clock set back meanwhile": [
    sent(1, { delayMs: 1000 }),
    { kind: "clock set", at: 2000 },
    ...acked(1, 1, { at: 500 }),
  ],
  "sent again after the end of the broker": [
    sent(1),
    crashed,
    sent(1),
    confirmed(1, true),
    ...acked(1, 1),
  ],
  "gave way, and is dead": [
    few(1),
    confirmed(1),
    few(2),
    gaveWay(1, 2),
    ...acked(2, 1, { queue: "few" }),
    overflowed(1, 2),
    ...done(2, "ack"),
  ],
  "gave way without a trace": [
    newest(1),
    confirmed(1),
    newest(2),
    gaveWay(1, 2),
    ...acked(2, 1, { queue: "newest" }),
  ],
  "a batch, all of it": [together(1), together(2), ...acked(1, 1), ...acked(2, 2)],
  "a batch of which nothing is known": [together(1), together(2), crashed],
  "in two queues": [
    sent(1, { queues: ["jobs", "audit"] }),
    confirmed(1),
    ...acked(1, 1),
    ...acked(1, 2, { queue: "audit" }),
  ],
};

const WRONG: Readonly<Record<FaultKind, Histories>> = {
  lost: {
    "never delivered": [sent(1), confirmed(1)],
    "delivered once, gone with the broker": [sent(1), confirmed(1), came(1, 1), crashed],
    "gone after a nack": [sent(1), came(1, 1), ...done(1, "nack")],
    "rejected, and not among the dead": [sent(1), came(1, 1), ...done(1, "reject")],
    "gave way although nobody was told": [newest(1), confirmed(1)],
    "gave way where nothing may": [sent(1), confirmed(1), newest(2), gaveWay(1, 2)],
    "rejected, and gone with what gives way": [
      newest(1),
      confirmed(1),
      came(1, 1, { queue: "newest" }),
      ...done(1, "reject"),
      newest(2),
      gaveWay(1, 2),
      ...acked(2, 2, { queue: "newest" }),
    ],
    "an ack that was called stale, after the writer was lost": [
      joined(1),
      sent(1),
      confirmed(1),
      came(1, 1),
      settling(1, "ack"),
      writerLost,
      refused(1, "stale_delivery"),
    ],
    "called a duplicate of nothing": [sent(1), confirmed(1, true)],
    "dead, and gone from there": [
      sent(1),
      came(1, 1),
      ...done(1, "reject"),
      dead(1, 2, "rejected"),
      crashed,
    ],
  },
  torn: {
    "half a batch": [together(1), together(2), ...acked(1, 1)],
    "a batch of which half was confirmed": [together(1), together(2), confirmed(1), ...acked(1, 1)],
    "in one queue of two": [sent(1, { queues: ["jobs", "audit"] }), ...acked(1, 1)],
  },
  delivered_after_ack: {
    "in the same life": [sent(1), ...acked(1, 1), ...acked(1, 2)],
    "after the end of the broker": [sent(1), ...acked(1, 1), crashed, ...acked(1, 2)],
    "while the ack was on its way": [sent(1), came(1, 1), settling(1, "ack"), ...acked(1, 2)],
    "as a dead letter": [
      sent(1, { ttlMs: 5 }),
      ...acked(1, 1),
      dead(1, 2, "expired"),
      ...done(2, "ack"),
    ],
  },
  delivered_after_death: {
    "after a reject": [sent(1), came(1, 1), ...done(1, "reject"), ...acked(1, 2)],
    "after it was found dead": [
      sent(1, { ttlMs: 5 }),
      dead(1, 1, "expired"),
      ...done(1, "ack"),
      ...acked(1, 2),
    ],
  },
  stored_twice: {
    "two have it": [sent(1), came(1, 1), came(1, 2, { consumer: "d" }), ...done(2, "ack")],
    "new twice": [sent(1), confirmed(1), sent(1), confirmed(1), ...acked(1, 1)],
  },
  order: {
    "of one stream": [sent(1), sent(2), ...acked(2, 1), ...acked(1, 2)],
    "after the end of a broker": [sent(1), sent(2), crashed, ...acked(2, 1), ...acked(1, 2)],
    "at one consumer": [sent(1), sent(2), ...acked(2, 2), ...acked(1, 1)],
  },
  early: {
    "before its delay": [sent(1, { delayMs: 1001 }), ...acked(1, 1)],
    "before the delay of its nack": [
      sent(1),
      came(1, 1),
      ...done(1, "nack", 50),
      ...acked(1, 2, { attempt: 2, at: 2049 }),
    ],
  },
  over_credit: {
    "one too many": [
      joined(1),
      sent(1),
      sent(2),
      came(1, 1),
      came(2, 2),
      ...done(1, "ack"),
      ...done(2, "ack"),
    ],
  },
  too_many_attempts: {
    "a fourth of three": [
      sent(1),
      came(1, 1),
      ...done(1, "nack"),
      came(1, 2, { attempt: 2 }),
      ...done(2, "nack"),
      came(1, 3, { attempt: 3 }),
      ...done(3, "nack"),
      ...acked(1, 4, { attempt: 4 }),
    ],
  },
  wrong_attempt: {
    "a nack was forgotten": [sent(1), came(1, 1), ...done(1, "nack"), ...acked(1, 2)],
    "the end of a broker was counted": [
      joined(1),
      sent(1),
      came(1, 1),
      crashed,
      ...acked(1, 2, { attempt: 2 }),
    ],
  },
  unexplained_death: {
    "nobody rejected it": [sent(1), dead(1, 1, "rejected"), ...done(1, "ack")],
    "too few attempts": [
      sent(1),
      came(1, 1),
      ...done(1, "nack"),
      dead(1, 2, "max_deliveries", 1),
      ...done(2, "ack"),
    ],
    "gave way while somebody had it": [
      few(1),
      confirmed(1),
      came(1, 1, { queue: "few" }),
      few(2),
      gaveWay(1, 2),
      overflowed(1, 2),
      ...done(2, "ack"),
      ...acked(2, 3, { queue: "few" }),
    ],
    "gave way in a queue where nothing does": [
      sent(1),
      dead(1, 1, "overflow", 0),
      ...done(1, "ack"),
    ],
    "before its time": [sent(1, { ttlMs: 1001 }), dead(1, 1, "expired"), ...done(1, "ack")],
    "without a record": [sent(1), came(1, 1, { queue: "jobs.dead" }), ...done(1, "ack")],
  },
  altered: {
    "another payload": [sent(1), ...acked(1, 1, { intact: false })],
    "from nowhere": [...acked(1, 1)],
  },
  tag_reused: {
    "in another life": [sent(1), sent(2), ...acked(1, 1), crashed, ...acked(2, 1)],
  },
  late_settled: {
    "after its time": [sent(1), came(1, 1, { at: -60_000 }), ...done(1, "ack")],
    "after it was handed to somebody else": [
      sent(1),
      came(1, 1),
      came(1, 2, { consumer: "d", attempt: 2, at: 40_000 }),
      ...done(1, "ack"),
      ...done(2, "ack"),
    ],
    "after its consumer had ended": [joined(1), sent(1), came(1, 1), writerLost, ...done(1, "ack")],
  },
  key_overlap: {
    "two at once": [
      keyed(1),
      keyed(2),
      cameKeyed(1, 1),
      cameKeyed(2, 2),
      ...done(1, "ack"),
      ...done(2, "ack"),
    ],
  },
  taken_away: {
    "a settling in time was called stale": [
      sent(1),
      came(1, 1),
      settling(1, "ack"),
      refused(1, "stale_delivery"),
      ...acked(1, 2),
    ],
  },
};

describe("[P-5.8] nothing is wrong with a message", () => {
  for (const [name, events] of Object.entries(RIGHT)) {
    test(name, () => expect(check({ queues: QUEUES, events })).toEqual([]));
  }
});

for (const [kind, histories] of Object.entries(WRONG)) {
  describe(`[P-5.8] found: ${kind}`, () => {
    for (const [name, events] of Object.entries(histories)) {
      test(name, () => expect(kinds(events)).toContain(kind as FaultKind));
    }
  });
}

describe("[P-5.8] what the broker's end alone can know", () => {
  const outOfOrder = [sent(1), sent(2), joined(1), left, ...acked(2, 1), ...acked(1, 2)];
  const late = [sent(1), came(1, 1, { at: -30_000 }), ...done(1, "ack")];

  test("[P-3.7] order, after a connection was lost", () => {
    expect(kinds(outOfOrder)).toEqual([]);
    const exact = check({ queues: QUEUES, events: outOfOrder, exact: true });
    expect(exact.map(({ kind }) => kind)).toEqual(["order"]);
  });

  test("[P-5.5] a settling two seconds too late", () => {
    expect(kinds(late)).toEqual([]);
    const exact = check({ queues: QUEUES, events: late, exact: true });
    expect(exact.map(({ kind }) => kind)).toEqual(["late_settled"]);
  });
});

test("[P-5.8] a fault says which message of which queue", () => {
  const faults = check({ queues: QUEUES, events: [sent(7), confirmed(7)] });
  expect(faults).toEqual([{ kind: "lost", text: "p/7 was confirmed and is not in jobs" }]);
});
