/** A planned stop under full load: exit code 0, and the next start has everything that was confirmed. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fuzzSeeds } from "../harness/seeded-random.ts";
import { serve } from "../harness/served.ts";
import { LOAD_ENVIRONMENT, Load } from "./load.ts";

const ROUNDS = 4;
const BOUND_MS = 120_000;
/** Publishes that come while it drains are refused with this, and with nothing else. */
const DRAINING = "draining";

for (const seed of fuzzSeeds(1)) {
  test(
    `[P-5.8, P-9.3] ${ROUNDS} times SIGTERM under load, FUZZ_SEED=${seed}`,
    async () => {
      const dataDir = await mkdtemp(join(tmpdir(), "warren-restart-"));
      const load = new Load(seed);
      try {
        for (let round = 0; round < ROUNDS; round++) {
          await using broker = await serve(dataDir, [], LOAD_ENVIRONMENT);
          await load.define(broker.url);
          await load.start(broker.url, 5000);
          await load.progress(Math.ceil(load.random() * 1000));
          broker.child.kill("SIGTERM");
          expect(await broker.child.exited).toBe(0);
          await load.crashed();
        }
        await using last = await serve(dataDir, [], LOAD_ENVIRONMENT);
        await load.drain(last.url);
        expect(load.faults()).toEqual([]);
        const refusals = new Set(load.refusals.filter((code) => code !== DRAINING));
        expect([...refusals]).toEqual([]);
        expect(load.messages).toBeGreaterThan(ROUNDS * 20);
      } finally {
        await rm(dataDir, { recursive: true, force: true });
      }
    },
    BOUND_MS,
  );
}
