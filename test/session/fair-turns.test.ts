/** Shares by what input costs [P-11.2], with time and the ends of turns in hand. */
import { expect, test } from "bun:test";
import type { Clock } from "../../src/clock.ts";
import { FairTurns, type Payer, type Waiting } from "../../src/session/fair-turns.ts";

function house(maxHeldBytes = 1000) {
  const ends: (() => void)[] = [];
  let nowMs = 0;
  const clock = {
    elapsedMs: () => nowMs,
    endOfTurn: (action: () => void) => void ends.push(action),
  } as Clock;
  const turns = new FairTurns(clock, maxHeldBytes);
  /** Takes something that costs so much; whether it had to wait instead. */
  const take = (payer: Payer, costMs: number) => {
    if (turns.begin(payer)) return true;
    nowMs += costMs;
    turns.end(payer);
    return false;
  };
  const endTurn = () => {
    for (const action of ends.splice(0)) action();
  };
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { turns, take, endTurn, pass };
}

const payer = (): Payer => ({ paidUntilMs: 0 });

/** Something held of somebody, that costs so much each time it has its turn. */
function waiting(turns: FairTurns, pass: (ms: number) => void, costMs: number, times: number) {
  const seen = { turns: 0 };
  const one: Waiting = {
    takeTurn() {
      turns.begin(who);
      pass(costMs);
      turns.end(who);
      if (++seen.turns < times) turns.join(one);
    },
  };
  const who = payer();
  turns.join(one);
  return seen;
}

test("[P-11.2] one that costs much waits only while the broker is busy, and not for ever", () => {
  const { take, pass } = house();
  const [costly, cheap] = [payer(), payer()];
  expect(take(costly, 5)).toBe(false);
  expect(take(costly, 5)).toBe(true);
  expect(take(cheap, 0.01)).toBe(false);
  pass(20);
  // The broker is at rest again, though it has cost far more than its part.
  expect(take(costly, 0.1)).toBe(false);
  pass(2000);
  expect(take(cheap, 5)).toBe(false);
  expect(take(costly, 0.1)).toBe(false);
});

test("[P-11.2] many that cost little each do not wait, however busy the broker is", () => {
  const { take } = house();
  const crowd = Array.from({ length: 1000 }, payer);
  for (const one of crowd) expect(take(one, 0.05)).toBe(false);
});

test("[P-11.2] those who wait are served one after the other, for a while at a time", () => {
  const { turns, endTurn, pass } = house();
  const seen = [1, 2, 3].map(() => waiting(turns, pass, 0.4, 4));
  const after = () => seen.map((one) => one.turns);
  endTurn();
  expect(after()).toEqual([1, 1, 0]);
  endTurn();
  expect(after()).toEqual([2, 1, 1]);
  for (let n = 0; n < 4; n++) endTurn();
  expect(after()).toEqual([4, 4, 4]);
});

test("[P-11.2] those who wait get as long as those who need not wait", () => {
  const { turns, take, endTurn, pass } = house();
  const seen = waiting(turns, pass, 0.5, 1000);
  for (let n = 0; n < 10; n++) {
    for (let i = 0; i < 100; i++) take(payer(), 0.1);
    endTurn();
  }
  // One by one, since only those are served who waited before.
  expect(seen.turns).toBe(10);
  const others = Array.from({ length: 40 }, () => waiting(turns, pass, 0.5, 1));
  for (let i = 0; i < 100; i++) take(payer(), 0.1);
  endTurn();
  expect(others.filter((one) => one.turns === 1).length).toBe(19);
});

test("[P-11.2] who is read again ends the turn of those who wait", () => {
  const { turns, endTurn } = house();
  const served: number[] = [];
  for (const n of [1, 2, 3]) {
    turns.join({
      takeTurn() {
        served.push(n);
        turns.readsAgain();
      },
    });
  }
  for (const n of [1, 2, 3]) {
    endTurn();
    expect(served.length).toBe(n);
  }
});

test("[P-11.2] where too much waits already nobody has to", () => {
  const { turns, take } = house(1000);
  const costly = payer();
  take(costly, 5);
  turns.heldBytes = 1000;
  expect(take(costly, 5)).toBe(false);
});
