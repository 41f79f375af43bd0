/** Measuring cases: both sides in turn, round after round, and what comes of it. */
import type { Bench, Case, Figures, Goal, Scenario } from "./scenario.ts";
import { ServerProcess, type Side, withDataDir } from "./servers.ts";

export interface Options {
  readonly rounds: number;
  readonly quick: boolean;
  readonly verify: boolean;
  readonly sides: readonly Side[];
}

export interface Verdict extends Goal {
  /** What was reached; absent when a side was not measured. */
  readonly reached: number | undefined;
  readonly holds: boolean | undefined;
}

export interface CaseResult {
  readonly scenario: string;
  readonly name: string;
  readonly title: string;
  readonly rounds: Partial<Record<Side, Figures>>[];
  readonly medians: Partial<Record<Side, Figures>>;
  /** Medians of the rounds' own ratios, warren / bare. */
  readonly ratios: Figures;
  readonly verdicts: Verdict[];
  /** Why a side has no figures, or fewer than it should. */
  readonly faults: string[];
}

const WARM_MS = { full: 1500, quick: 300 };
const MEASURE_MS = { full: 2500, quick: 700 };

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The median of every metric that all of them have. */
function medians(figures: readonly Figures[]): Figures {
  const names = Object.keys(figures[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, median(figures.map((f) => f[name]!))]));
}

function ratiosOf(rounds: CaseResult["rounds"]): Figures {
  const pairs = rounds.flatMap(({ bare, warren }) => (bare && warren ? [{ bare, warren }] : []));
  return medians(
    pairs.map(({ bare, warren }) =>
      Object.fromEntries(
        Object.keys(warren).map((name) => [name, warren[name]! / (bare[name] || Number.NaN)]),
      ),
    ),
  );
}

function judge(goal: Goal, result: Pick<CaseResult, "medians" | "ratios">): Verdict {
  const warren = result.medians.warren?.[goal.metric];
  const bare = result.medians.bare?.[goal.metric];
  const both = warren !== undefined && bare !== undefined;
  const reached =
    goal.of === "warren"
      ? warren
      : goal.of === "ratio"
        ? result.ratios[goal.metric]
        : both
          ? warren - bare
          : undefined;
  if (reached === undefined) return { ...goal, reached, holds: undefined };
  const holds = goal.bound === "at least" ? reached >= goal.value : reached <= goal.value;
  return { ...goal, reached, holds };
}

/** Finds rates that later cases build on among what was measured before. */
function lowestOf(results: readonly CaseResult[]): Bench["lowest"] {
  return (scenario, caseName, metric) => {
    const result = results.find((r) => r.scenario === scenario && r.name === caseName);
    const values = Object.values(result?.medians ?? {}).flatMap((f) => f[metric] ?? []);
    return values.length === 0 ? undefined : Math.min(...values);
  };
}

/** One case on one side, once, with a server of its own in a directory of its own. */
export function measureOnce(
  item: Case,
  side: Side,
  options: Pick<Options, "quick" | "verify">,
  before: readonly CaseResult[],
  profileDir?: string,
): Promise<Figures> {
  const length = options.quick ? "quick" : "full";
  return withDataDir(async (dir) => {
    const servers: ServerProcess[] = [];
    const bench: Bench = {
      side,
      quick: options.quick,
      verify: options.verify,
      warmMs: WARM_MS[length],
      measureMs: MEASURE_MS[length],
      lowest: lowestOf(before),
      start: async (settings) => {
        const server = await ServerProcess.start(side, dir, settings, profileDir);
        servers.push(server);
        return server;
      },
    };
    try {
      return await item.measure(bench);
    } catch (error) {
      const log = servers.at(-1)?.logTail().trim();
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(log ? `${reason}; the server's log ends:\n${log}` : reason);
    } finally {
      for (const server of servers) await server.stop();
    }
  });
}

/** The figures of one measurement on one line. */
function inShort(item: Case, figures: Figures): string {
  const parts = item.metrics.map(
    ({ name, title, unit }) => `${title} ${Number(figures[name]?.toPrecision(4))} ${unit}`,
  );
  return parts.join(", ");
}

export async function measureCase(
  scenario: Scenario,
  item: Case,
  options: Options,
  before: readonly CaseResult[],
  progress: (line: string) => void,
): Promise<CaseResult> {
  const rounds: CaseResult["rounds"] = [];
  const faults: string[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    const figures: Partial<Record<Side, Figures>> = {};
    for (const side of options.sides) {
      if (item.sides?.includes(side) === false) continue;
      try {
        figures[side] = await measureOnce(item, side, options, before);
        progress(`${scenario.name}/${item.name} ${round} ${side}: ${inShort(item, figures[side])}`);
      } catch (error) {
        faults.push(`round ${round}, ${side}: ${(error as Error).message}`);
        progress(`${scenario.name}/${item.name} ${round} ${side}: ${faults.at(-1)}`);
      }
    }
    rounds.push(figures);
  }
  const of = (side: Side) => rounds.map((round) => round[side]).filter((f) => f !== undefined);
  const result = {
    medians: Object.fromEntries(
      options.sides.filter((side) => of(side).length > 0).map((side) => [side, medians(of(side))]),
    ),
    ratios: ratiosOf(rounds),
  };
  return {
    scenario: scenario.name,
    name: item.name,
    title: item.title,
    rounds,
    ...result,
    verdicts: item.goals.map((goal) => judge(goal, result)),
    faults,
  };
}
