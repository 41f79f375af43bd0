/**
 * Long runs of the same, for a night or a weekend:
 *   npm run soak -- --rounds 200 [--seed 7]
 */
import { parseArgs } from "node:util";
import { crash } from "./crashes.ts";

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "200" }, seed: { type: "string" } },
});
const rounds = Number(values.rounds);
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
console.log(`${rounds} rounds, seed ${seed}`);
const { faults, refusals, messages, deliveries, atPoints } = await crash(rounds, seed, console.log);
for (const { kind, text } of faults) console.log(`${kind}: ${text}`);
console.log(`${messages} confirmed, ${deliveries} delivered; refused: ${refusals.length}`);
console.log(`${rounds} rounds, ${atPoints} of them at a named point of a commit`);
console.log(`${faults.length} promises broken`);
process.exitCode = faults.length === 0 && refusals.length === 0 ? 0 : 1;
