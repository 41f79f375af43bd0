/** Chance that can be repeated: the same seed gives the same numbers. */
import type { Random } from "../../src/clock.ts";

/** Mulberry32: small, and good enough for tests. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** The seeds to run: `FUZZ_SEED` alone when it is set, else `count` that differ from run to run. */
export function fuzzSeeds(count: number): number[] {
  const given = Bun.env.FUZZ_SEED;
  if (given !== undefined) return [Number(given)];
  return Array.from({ length: count }, () => Math.floor(Math.random() * 2 ** 31));
}
