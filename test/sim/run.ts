/**
 * Thousands of seeds: bun test/sim/run.ts [--seeds 2000] [--from 1]
 * A seed that fails is run again by FUZZ_SEED=<seed> bun test test/sim.
 */
import { parseArgs } from "node:util";
import { simulate } from "./world.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "2000" },
    from: { type: "string", default: "1" },
  },
});
const from = Number(values.from);
const seeds = Number(values.seeds);
let events = 0;
let broken = 0;
const startedAt = performance.now();
for (let seed = from; seed < from + seeds; seed++) {
  const report = await simulate(seed);
  events += report.events;
  if (report.faults.length > 0) broken++;
  for (const { kind, text } of report.faults) console.log(`seed ${seed}: ${kind}: ${text}`);
}
const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
console.log(`${seeds} seeds from ${from}, ${events} events, ${seconds} s; ${broken} seeds failed`);
process.exit(broken === 0 ? 0 : 1);
