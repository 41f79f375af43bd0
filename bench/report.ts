/** The result of a run as files: JSON with every round, and Markdown to read. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Machine, machineSlug } from "./machine.ts";
import type { CaseResult, Options, Verdict } from "./measure.ts";
import type { Case, Figures, Metric, Scenario } from "./scenario.ts";

export interface Run {
  readonly date: string;
  readonly machine: Machine;
  readonly options: Options;
  /** Names given on the command line; empty when everything ran. */
  readonly selection: readonly string[];
  readonly seconds: number;
  readonly results: readonly CaseResult[];
}

function scaled(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (size >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  if (size >= 100) return value.toFixed(0);
  return size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const REACHED = { true: "yes", false: "**no**" };

function verdictText(verdict: Verdict, unit: string): string {
  const what = { ratio: "ratio", difference: "warren − bare", warren: "warren" }[verdict.of];
  const valueUnit = verdict.of === "ratio" || unit === "×" ? "" : ` ${unit}`;
  const goal = `${what} ${verdict.bound} ${verdict.value}${valueUnit}`;
  if (verdict.holds === undefined) return `${goal}: not measured`;
  return `${goal}: ${scaled(verdict.reached!)}, reached: ${REACHED[`${verdict.holds}`]}`;
}

/** `low–high` over the rounds' own ratios. */
function spread(result: CaseResult, metric: string): string {
  const ratios = result.rounds.flatMap(({ bare, warren }) =>
    bare?.[metric] && warren?.[metric] ? [warren[metric] / bare[metric]] : [],
  );
  if (ratios.length < 2) return "";
  return ` (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`;
}

function coresText(figures: Figures | undefined): string {
  if (figures?.serverCores === undefined) return "";
  const { serverCores, generatorCores, otherCores } = figures;
  return [serverCores, generatorCores, otherCores].map((c) => (c ?? 0).toFixed(2)).join("/");
}

function row(item: Case, result: CaseResult, metric: Metric, first: boolean): string {
  const { bare, warren } = result.medians;
  const cell = (figures: Figures | undefined) =>
    figures?.[metric.name] === undefined ? "–" : scaled(figures[metric.name]!);
  const ratio = result.ratios[metric.name];
  const verdict = result.verdicts.find((v) => v.metric === metric.name);
  const cells = [
    first ? item.title : "",
    `${metric.title}, ${metric.unit}`,
    cell(bare),
    cell(warren),
    ratio === undefined ? "–" : `${ratio.toFixed(2)}${spread(result, metric.name)}`,
    verdict === undefined ? "" : verdictText(verdict, metric.unit),
    first ? `${coresText(bare) || "–"} · ${coresText(warren) || "–"}` : "",
  ];
  return `| ${cells.join(" | ")} |`;
}

function scenarioText(scenario: Scenario, results: readonly CaseResult[]): string[] {
  const lines = [
    "",
    `## ${scenario.title}`,
    "",
    "| case | figure | bare | warren | ratio (spread) | target | cores: bare · warren |",
    "|---|---|---|---|---|---|---|",
  ];
  const notes: string[] = [];
  for (const item of scenario.cases) {
    const result = results.find((r) => r.scenario === scenario.name && r.name === item.name);
    if (result === undefined) continue;
    for (const [index, metric] of item.metrics.entries()) {
      lines.push(row(item, result, metric, index === 0));
    }
    for (const [side, figures] of Object.entries(result.medians)) {
      if (figures.late) notes.push(`- ${item.title}: ${side} did not keep the rate (late).`);
    }
    for (const fault of result.faults) notes.push(`- ${item.title}: ${fault.split("\n")[0]}`);
  }
  return notes.length === 0 ? lines : [...lines, "", ...notes];
}

function markdown(run: Run, scenarios: readonly Scenario[]): string {
  const { machine, options } = run;
  const goals = run.results.flatMap((result) => result.verdicts);
  const reached = goals.filter((goal) => goal.holds === true).length;
  const lines = [
    `# Benchmark, ${run.date}`,
    "",
    `${machine.cores} cores, ${machine.cpu}, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, ` +
      `Bun ${machine.bun}, ${machine.fileSystem}, 4 KiB append + fdatasync p50 ` +
      `${machine.fdatasyncP50Us} µs, p99 ${machine.fdatasyncP99Us} µs.`,
    "",
    `${options.rounds} round(s), sides in turn (${options.sides.join(", ")}); figures are medians, ` +
      "ratios are medians of each round's warren / bare. Cores are server/generator/other. " +
      "How to read them: `bench/README.md`.",
    "",
    `Targets reached: ${reached} of ${goals.length}.`,
  ];
  if (machine.fileSystem === "tmpfs") {
    lines.push("", "**The data directory was on tmpfs: an fsync costs nothing there.**");
  }
  if (options.quick) lines.push("", "**A quick run: it shows that things work, not how fast.**");
  if (options.verify) lines.push("", "**A verify run: the generator parsed everything.**");
  for (const scenario of scenarios) lines.push(...scenarioText(scenario, run.results));
  return `${lines.join("\n")}\n`;
}

/** Writes both files; returns their names within `bench/`. */
export async function writeReport(run: Run, scenarios: readonly Scenario[]): Promise<string[]> {
  const parts = [run.date, machineSlug(run.machine), ...run.selection];
  if (run.options.quick) parts.push("quick");
  if (run.options.verify) parts.push("verify");
  const name = `results/${parts.join("-").replaceAll("/", "-")}`;
  mkdirSync(join(import.meta.dir, "results"), { recursive: true });
  await Bun.write(join(import.meta.dir, `${name}.json`), `${JSON.stringify(run, null, 1)}\n`);
  await Bun.write(join(import.meta.dir, `${name}.md`), markdown(run, scenarios));
  return [`${name}.json`, `${name}.md`];
}
