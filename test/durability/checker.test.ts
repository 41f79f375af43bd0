/** The checker finds every kind of broken promise, and nothing wrong in a history that is right. */
import { describe, expect, test } from "bun:test";
import { check, type FaultKind } from "./checker.ts";
import type { HistoryEvent } from "./history.ts";
import {
  acked,
  came,
  confirmed,
  done,
  failed,
  joined,
  left,
  QUEUES,
  sent,
  writerLost,
} from "./history-words.ts";
import { RIGHT } from "./right-histories.ts";
import { WRONG } from "./wrong-histories.ts";

function kinds(events: readonly HistoryEvent[]): FaultKind[] {
  return check({ queues: QUEUES, events }).map(({ kind }) => kind);
}

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

describe("[P-3.6] what storage could not keep, where the loss of a writer would show", () => {
  const refused = [sent(1), failed(1), ...acked(1, 1)];
  const unsure = [sent(1), writerLost, failed(1), ...acked(1, 1)];
  const exactly = (events: readonly HistoryEvent[]) =>
    check({ queues: QUEUES, events, exact: true }).map(({ kind }) => kind);

  test("is nowhere", () => {
    expect(kinds(refused)).toEqual([]);
    expect(exactly(refused)).toEqual(["delivered_though_refused"]);
  });

  test("may be there when the writer was lost meanwhile", () =>
    expect(exactly(unsure)).toEqual([]));
});

test("[P-5.8] a fault says which message of which queue", () => {
  const faults = check({ queues: QUEUES, events: [sent(7), confirmed(7)] });
  expect(faults).toEqual([{ kind: "lost", text: "p/7 was confirmed and is not in jobs" }]);
});
