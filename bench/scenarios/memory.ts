/** What idle connections and waiting messages cost in resident memory, and how fast a start is. */

import { runJob, startGenerator } from "../generator.ts";
import { expectDepth } from "../load/backlog.ts";
import type { IdleJob } from "../load/jobs.ts";
import { sleep } from "../load/timing.ts";
import { type Bench, type Figures, jobBase, type Metric, type Scenario } from "../scenario.ts";
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

async function backlog(bench: Bench): Promise<Figures> {
  const count = bench.quick ? 100_000 : 1_000_000;
  const first = await bench.start();
  await first.defineQueue();
  const empty = await first.settledBytes(bench.quick);
  const filled = await runJob(fillJob(bench, first, count));
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
    {
      name: "backlog",
      title: "1,000,000 waiting messages of 256 B (quick: 100,000)",
      metrics: BACKLOG_METRICS,
      goals: [{ metric: "growthMb", of: "warren", bound: "at most", value: 64 }],
      measure: backlog,
    },
  ],
};
