/**
 * kill -9 under full load, at random moments and at named points of a commit: what was confirmed is
 * there, what was acked is not.
 */
import { expect, test } from "bun:test";
import { fuzzSeeds } from "../harness/seeded-random.ts";
import { crash } from "./crashes.ts";

const ROUNDS = 20;
/** What goes on meanwhile, besides: batches, changes, redrives. */
const AMID = "[P-5.9, P-5.13, P-5.14, P-13.10]";
const BOUND_MS = 180_000;

for (const seed of fuzzSeeds(1)) {
  test(
    `[P-5.8, P-3.4, P-3.5, P-3.6, P-3.7] ${ROUNDS} times kill -9 ${AMID}, FUZZ_SEED=${seed}`,
    async () => {
      const report = await crash(ROUNDS, seed);
      const { faults, refusals, messages, deliveries, atPoints } = report;
      expect(faults).toEqual([]);
      expect(refusals).toEqual([]);
      // So that it cannot pass because nothing happened.
      expect(messages).toBeGreaterThan(ROUNDS * 20);
      expect(deliveries).toBeGreaterThan(ROUNDS * 20);
      expect(atPoints).toBe(ROUNDS / 2);
      expect(report.changes).toBeGreaterThan(ROUNDS);
      expect(report.displaced).toBeGreaterThan(ROUNDS);
      expect(report.revived).toBeGreaterThan(ROUNDS);
    },
    BOUND_MS,
  );
}
