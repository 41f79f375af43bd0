/**
 * The benchmark's command line: `bun bench/run.ts [--quick] [--verify] [--rounds N] [scenario…]`
 * and `bun bench/run.ts profile <scenario>[/<case>]`. A scenario may be narrowed to a case,
 * `fanout/load-1x128-w512`.
 */
import { parseArgs } from "node:util";
import { describeMachine } from "./machine.ts";
import { type CaseResult, measureCase, type Options } from "./measure.ts";
import { profile } from "./profile.ts";
import { type Run, writeReport } from "./report.ts";
import type { Case, Scenario } from "./scenario.ts";
import { SCENARIOS } from "./scenarios/index.ts";
import { abandonServers, type Side, warrenExists } from "./servers.ts";

const WRONG_USAGE = 2;

function usage(problem: string): never {
  const names = SCENARIOS.flatMap((s) => s.cases.map((c) => `  ${s.name}/${c.name}`));
  console.error(`${problem}\nScenarios and their cases:\n${names.join("\n")}`);
  process.exit(WRONG_USAGE);
}

/** Scenarios with only the cases that the names select; all of them for no names. */
function select(names: readonly string[]): Scenario[] {
  if (names.length === 0) return [...SCENARIOS];
  const known = (name: string) =>
    SCENARIOS.some((s) => s.name === name || s.cases.some((c) => `${s.name}/${c.name}` === name));
  for (const name of names) if (!known(name)) usage(`There is no scenario ${name}.`);
  const wanted = (scenario: Scenario, item: Case) =>
    names.includes(scenario.name) || names.includes(`${scenario.name}/${item.name}`);
  return SCENARIOS.map((s) => ({ ...s, cases: s.cases.filter((item) => wanted(s, item)) })).filter(
    (s) => s.cases.length > 0,
  );
}

function summary(result: CaseResult): string {
  const figures = Object.entries(result.ratios)
    .filter(([name]) => !name.endsWith("Cores") && name !== "late")
    .map(([name, ratio]) => `${name} ${ratio.toFixed(2)}`);
  const verdicts = result.verdicts.map(
    (v) => `${v.metric} ${v.bound} ${v.value}: ${v.holds ?? "not measured"}`,
  );
  const parts = [`ratios: ${figures.join(", ") || "none"}`, ...verdicts];
  return `= ${result.scenario}/${result.name}  ${parts.join("; ")}`;
}

async function bench(names: readonly string[], options: Options): Promise<number> {
  const started = performance.now();
  const scenarios = select(names);
  const machine = describeMachine();
  const results: CaseResult[] = [];
  for (const scenario of scenarios) {
    for (const item of scenario.cases) {
      const result = await measureCase(scenario, item, options, results, console.log);
      results.push(result);
      console.log(summary(result));
    }
  }
  const run: Run = {
    date: new Date().toISOString().slice(0, 10),
    machine,
    options,
    selection: names,
    seconds: Math.round((performance.now() - started) / 1000),
    results,
  };
  for (const file of await writeReport(run, scenarios)) console.log(`bench/${file}`);
  return results.some((result) => result.faults.length > 0) ? 1 : 0;
}

async function profileCommand(name: string | undefined): Promise<number> {
  const item = name === undefined ? undefined : select([name])[0]?.cases[0];
  if (name === undefined || item === undefined) usage("profile needs a scenario.");
  if (!warrenExists()) usage("There is no broker to profile.");
  for (const file of await profile(name, item, "warren")) console.log(file);
  return 0;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void abandonServers().then(() => process.exit(130)));
}
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    verify: { type: "boolean", default: false },
    rounds: { type: "string" },
  },
});
if (positionals[0] === "profile") {
  process.exit(await profileCommand(positionals[1]));
}
const rounds = Number(values.rounds ?? (values.quick ? 1 : 5));
if (!Number.isInteger(rounds) || rounds < 1) usage("--rounds takes a whole number from 1 on.");
const sides: Side[] = warrenExists() ? ["bare", "warren"] : ["bare"];
if (sides.length === 1) console.log("There is no broker at src/cli/main.ts: the bare side only.");
const { quick, verify } = values;
process.exit(await bench(positionals, { rounds, quick, verify, sides }));
