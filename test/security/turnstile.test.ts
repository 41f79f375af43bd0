/** Many credentials at once [P-14.1]: a bounded part of them in each turn of the event loop, in their order. */
import { describe, expect, test } from "bun:test";
import type { Clock } from "../../src/clock.ts";
import { Turnstile } from "../../src/security/turnstile.ts";

const A_TURN = 32;

/** Turns are taken by hand. */
function house() {
  const turns: (() => void)[] = [];
  const turnstile = new Turnstile({
    endOfTurn: (action: () => void) => void turns.push(action),
  } as Clock);
  const passed: number[] = [];
  let next = 0;
  const come = () => {
    const number = next++;
    const wait = turnstile.pass();
    if (wait === undefined) passed.push(number);
    else void wait.then(() => passed.push(number));
  };
  const turn = async () => {
    turns.shift()?.();
    await Promise.resolve();
  };
  return { turnstile, turns, passed, come, turn };
}

describe("[P-14.1] a thousand signatures at once", () => {
  test("32 are checked in each turn, in the order in which they came", async () => {
    const { passed, come, turn, turns } = house();
    for (let i = 0; i < 1000; i++) come();
    expect(passed).toHaveLength(A_TURN);
    for (let n = 2; passed.length < 1000; n++) {
      await turn();
      expect(passed).toHaveLength(Math.min(1000, n * A_TURN));
    }
    expect(passed).toEqual(Array.from({ length: 1000 }, (_, n) => n));
    await turn();
    expect(turns).toEqual([]);
  });

  test("who comes later does not pass those who wait", async () => {
    const { passed, come, turn } = house();
    for (let i = 0; i < A_TURN + 40; i++) come();
    await turn();
    come();
    expect(passed.at(-1)).toBe(2 * A_TURN - 1);
    await turn();
    expect(passed).toEqual(Array.from({ length: A_TURN + 41 }, (_, n) => n));
  });

  test("more than can wait are refused with `busy`", () => {
    const { turnstile } = house();
    let refused = "";
    for (let i = 0; i < 30_000 && refused === ""; i++) {
      try {
        void turnstile.pass();
      } catch (error) {
        refused = (error as { code: string }).code;
      }
    }
    expect(refused).toBe("busy");
  });
});
