/** What idle connections and waiting messages cost in resident memory, and how fast a start is. */

import { runJob, startGenerator } from "../generator.ts";
import { expectDepth } from "../load/backlog.ts";
import type { IdleJob } from "../load/jobs.ts";
import { sleep } from "../load/timing.ts";
import {
  type Bench,
  type Case,
  type Figures,
  type Goal,
  jobBase,
  type Metric,
  type Scenario,
} from "../scenario.ts";
import { fillJob } from "./drain.ts";

const MB = 1024 * 1024;

async function idle(bench: Bench): Promise<Figures> {
  const connections = bench.quick ? 1000 : 5000;
  const server = await bench.start();
  const empty = await server.settledBytes(bench.quick);
  const job: IdleJob = { kind: "idle", ...jobBase(bench, server), connections };
  const generator = startGenerator(job);
  await generator.ready;
  const full = await server.settledBytes(bench.quick);
  generator.finish();
  await generator.result;
  return {
    emptyMb: empty / MB,
    fullMb: full / MB,
    perConnectionKb: (full - empty) / connections / 1024,
  };
}

const MILLION = 1_000_000;
/** As many as a connection may have unanswered, nearly: large commits. */
const FILL_WINDOW = 1000;

async function backlog(bench: Bench, millions: number): Promise<Figures> {
  const count = (millions * MILLION) / (bench.quick ? 10 : 1);
  const first = await bench.start();
  await first.defineQueue();
  const empty = await first.settledBytes(bench.quick);
  const filled = await runJob({ ...fillJob(bench, first, count), window: FILL_WINDOW });
  const peak = first.residentBytes().peak;
  const full = await first.settledBytes(bench.quick);
  await first.stop();
  const startedAt = performance.now();
  const again = await bench.start();
  // The bare thing reads its messages only when its queue is named again.
  await again.defineQueue();
  const startMs = performance.now() - startedAt;
  await expectDepth(again.port, count);
  await sleep(bench.quick ? 500 : 2000);
  const restarted = await again.settledBytes(bench.quick);
  return {
    emptyMb: empty / MB,
    growthMb: (full - empty) / MB,
    peakGrowthMb: (peak - empty) / MB,
    emptyStartS: first.readyMs / 1000,
    startS: startMs / 1000,
    restartGrowthMb: (restarted - empty) / MB,
    fillRate: count / filled.window.seconds,
  };
}

const IDLE_METRICS: Metric[] = [
  { name: "emptyMb", title: "RSS empty", unit: "MB" },
  { name: "fullMb", title: "RSS with connections", unit: "MB" },
  { name: "perConnectionKb", title: "per connection", unit: "KB" },
];

const BACKLOG_METRICS: Metric[] = [
  { name: "emptyMb", title: "RSS empty", unit: "MB" },
  { name: "growthMb", title: "growth, settled", unit: "MB" },
  { name: "peakGrowthMb", title: "growth, peak while publishing", unit: "MB" },
  { name: "restartGrowthMb", title: "growth after a restart with them", unit: "MB" },
  { name: "emptyStartS", title: "start, empty", unit: "s" },
  { name: "startS", title: "start with them", unit: "s" },
  { name: "fillRate", title: "filled", unit: "/s" },
];

function backlogCase(millions: number, goals: readonly Goal[] = []): Case {
  return {
    name: millions === 1 ? "backlog" : `backlog-${millions}`,
    title: `${millions} million waiting messages of 256 B (quick: a tenth)`,
    metrics: BACKLOG_METRICS,
    goals,
    measure: (bench) => backlog(bench, millions),
  };
}

export const memory: Scenario = {
  name: "memory",
  title: "Memory and start-up",
  cases: [
    {
      name: "idle",
      title: "5,000 idle connections with a subscription each (quick: 1,000)",
      metrics: IDLE_METRICS,
      goals: [{ metric: "perConnectionKb", of: "difference", bound: "at most", value: 2 }],
      measure: idle,
    },
    backlogCase(1, [{ metric: "growthMb", of: "warren", bound: "at most", value: 64 }]),
    // The bare thing keeps them all in memory: there is nothing to compare with.
    { ...backlogCase(5), sides: ["warren"] },
    { ...backlogCase(10), sides: ["warren"] },
  ],
};
