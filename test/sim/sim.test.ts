/**
 * The broker in a simulation, from seeds: connections are cut, commits fail or are slow, the writer and
 * the process are lost, the clock is set; then all is healed. `FUZZ_SEED` repeats one run exactly.
 */
import { describe, expect, test } from "bun:test";
import { fuzzSeeds } from "../harness/seeded-random.ts";
import { SABOTAGES } from "./sabotage.ts";
import { simulate } from "./world.ts";

const SEEDS = 80;
/** Seeds that a broken engine may pass before it is caught. */
const PATIENCE = 20;
const BOUND_MS = 240_000;

test(
  "[P-5.8, P-3.4, P-3.5, P-3.6, P-3.7, P-5.5, P-7.1, P-7.2, P-7.3, P-7.4] whatever happens, all ends well",
  async () => {
    let events = 0;
    let told = 0;
    const done = new Set<string>();
    for (const seed of fuzzSeeds(SEEDS)) {
      const report = await simulate(seed);
      expect({ FUZZ_SEED: seed, faults: report.faults }).toEqual({ FUZZ_SEED: seed, faults: [] });
      events += report.events;
      told += report.told;
      for (const what of Object.keys(report.done)) done.add(what);
    }
    // So that it cannot pass because nothing happened.
    expect(events).toBeGreaterThan(200);
    expect(told).toBeGreaterThan(100);
    if (Bun.env.FUZZ_SEED === undefined) expect(done.size).toBeGreaterThanOrEqual(8);
  },
  BOUND_MS,
);

test("[P-5.8] the same seed is the same run, to the last event", async () => {
  const first = await simulate(7);
  const second = await simulate(7);
  const other = await simulate(8);
  expect(first.events).toBeGreaterThan(200);
  expect(second).toEqual(first);
  expect(other.hash).not.toBe(first.hash);
});

describe("[P-5.8, P-7.2] an engine, or presence, that is broken on purpose is caught", () => {
  for (const [name, sabotage] of Object.entries(SABOTAGES)) {
    test(
      name,
      async () => {
        for (let seed = 1; seed <= PATIENCE; seed++) {
          const { faults } = await simulate(seed, sabotage);
          if (faults.length > 0) return;
        }
        throw new Error(`${PATIENCE} seeds found nothing`);
      },
      BOUND_MS,
    );
  }
});
