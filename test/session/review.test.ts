/** The review of what sessions hold after rights have changed [P-4.6]: bounded work a turn, nobody left out. */
import { describe, expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { RightsReview } from "../../src/session/review.ts";
import type { Session } from "../../src/session/session.ts";

/** Sessions that count how often they were looked at, and turns that are taken by hand. */
function house(size: number, subscriptions: number, lookMs = 0) {
  const looks = Array.from({ length: size }, () => 0);
  const turns: (() => void)[] = [];
  let now = 0;
  const list = looks.map((_, at) => ({
    review() {
      looks[at]!++;
      now += lookMs;
      return subscriptions;
    },
  })) as unknown as Session[];
  const sessions = {
    get size() {
      return list.length;
    },
    at: (place: number) => list[place],
  };
  const clock = {
    now: () => now,
    elapsedMs: () => now,
    endOfTurn: (action: () => void) => void turns.push(action),
  };
  const review = new RightsReview(sessions, { clock } as unknown as Broker);
  const turn = () => {
    const before = looks.reduce((sum, count) => sum + count, 0);
    turns.shift()?.();
    return looks.reduce((sum, count) => sum + count, 0) - before;
  };
  return { looks, list, review, turn };
}

describe("[P-4.6] after a change of rights", () => {
  test("10,000 sessions are looked at once each, a bounded part in each turn", () => {
    const { looks, review, turn } = house(10_000, 5);
    review.start();
    let turns = 0;
    for (; review.running; turns++) expect(turn()).toBeLessThanOrEqual(334);
    expect(looks.every((count) => count === 1)).toBe(true);
    expect(turns).toBe(30);
  });

  test("one session with very many subscriptions is a turn of its own", () => {
    const { review, turn } = house(3, 5000);
    review.start();
    for (let i = 0; i < 3; i++) expect(turn()).toBe(1);
    expect(review.running).toBe(false);
  });

  test("looks that take long make the turns short, and leave none out", () => {
    const { looks, review, turn } = house(100, 1, 0.5);
    review.start();
    for (let i = 0; i < 50; i++) expect(turn()).toBe(2);
    expect(review.running).toBe(false);
    expect(looks.every((count) => count === 1)).toBe(true);
  });

  test("a change in the midst is for those already looked at too", () => {
    const { looks, review, turn } = house(2500, 1);
    review.start();
    turn();
    review.start();
    review.start();
    while (review.running) turn();
    expect(looks.every((count) => count === 2)).toBe(true);
  });

  test("sessions that go meanwhile leave none out", () => {
    const { looks, list, review, turn } = house(3000, 1);
    review.start();
    turn();
    // One that was not looked at goes: the last, which was, takes its place.
    list[10] = list.pop()!;
    while (review.running) turn();
    for (let at = 0; at < 2999; at++) if (at !== 10) expect(looks[at]).toBeGreaterThanOrEqual(1);
  });

  test("with nobody there it is over at once", () => {
    const { review, turn } = house(0, 0);
    review.start();
    turn();
    expect(review.running).toBe(false);
  });
});
