/** Many who connect at once [P-14.11]: a bounded part of them in each turn of the event loop, in their order. */
import { describe, expect, test } from "bun:test";
import type { Clock } from "../../src/clock.ts";
import { Turnstile } from "../../src/security/turnstile.ts";

const MOST_A_TURN = 8;
const LEAST_A_TURN = 2;
const LONG_MS = 10;

/** Turns are taken by hand, and take as long as is said. */
function house(most = 1000) {
  const turns: (() => void)[] = [];
  let now = 0;
  let isShut = false;
  const clock = {
    elapsedMs: () => now,
    endOfTurn: (action: () => void) => void turns.push(action),
  } as Clock;
  const turnstile = new Turnstile(clock, most, () => isShut);
  const passed: number[] = [];
  let next = 0;
  const come = () => {
    const number = next++;
    const wait = turnstile.pass();
    if (wait === undefined) passed.push(number);
    else void wait.then(() => passed.push(number));
  };
  /** How many passed in it. */
  const turn = async (tookMs = 0) => {
    const before = passed.length;
    now += tookMs;
    turns.shift()?.();
    await Promise.resolve();
    return passed.length - before;
  };
  const shut = (shut: boolean) => {
    isShut = shut;
  };
  return { turnstile, turns, passed, come, turn, shut };
}

const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);

describe("[P-14.11] a thousand at once", () => {
  test("8 pass in each turn, in the order in which they came", async () => {
    const { passed, come, turn, turns } = house();
    for (let i = 0; i < 1000; i++) come();
    expect(passed).toHaveLength(MOST_A_TURN);
    for (let n = 2; passed.length < 1000; n++) {
      await turn();
      expect(passed).toHaveLength(Math.min(1000, n * MOST_A_TURN));
    }
    expect(passed).toEqual(upTo(1000));
    await turn();
    expect(turns).toEqual([]);
  });

  test("who comes later does not pass those who wait", async () => {
    const { passed, come, turn } = house();
    for (let i = 0; i < MOST_A_TURN + 12; i++) come();
    await turn();
    come();
    expect(passed.at(-1)).toBe(2 * MOST_A_TURN - 1);
    await turn();
    expect(passed).toEqual(upTo(MOST_A_TURN + 13));
  });

  test("turns that take long have fewer, but some; then it is more again, to 8", async () => {
    const { passed, come, turn } = house();
    for (let i = 0; i < 1000; i++) come();
    const long: number[] = [];
    for (let i = 0; i < 6; i++) long.push(await turn(LONG_MS));
    expect(long).toEqual([4, ...new Array(5).fill(LEAST_A_TURN)]);
    let before = LEAST_A_TURN;
    for (let i = 0; i < 20; i++) {
      const now = await turn(1);
      expect(now).toBe(Math.min(before + 1, MOST_A_TURN));
      before = now;
    }
    expect(before).toBe(MOST_A_TURN);
    expect(passed).toEqual(upTo(passed.length));
  });

  test("nobody passes while it is shut, and then all in their order", async () => {
    const { passed, come, turn, shut } = house();
    come();
    shut(true);
    for (let i = 0; i < 6; i++) come();
    expect([await turn(), await turn()]).toEqual([0, 0]);
    shut(false);
    // Those who wait come first.
    come();
    expect(passed).toEqual([0]);
    await turn();
    expect(passed).toEqual(upTo(8));
  });

  test("more than can wait are refused with `busy`", () => {
    const { turnstile, passed, come } = house(100);
    for (let i = 0; i < MOST_A_TURN + 100; i++) come();
    expect(passed).toHaveLength(MOST_A_TURN);
    expect(() => turnstile.pass()).toThrow(expect.objectContaining({ code: "busy" }));
  });
});
