/** One publisher to 1, 10, 100 and 1,000 subscribers: under load, at a low rate, at half load. */

import { runJob } from "../generator.ts";
import type { FanoutJob, Load } from "../load/jobs.ts";
import {
  type Bench,
  type Case,
  CPU,
  type Figures,
  figures,
  type Goal,
  jobBase,
  P50,
  P99,
  RATE,
  type Scenario,
} from "../scenario.ts";

interface Shape {
  readonly subscribers: number;
  readonly payloadBytes: number;
}

async function run(bench: Bench, shape: Shape, load: Load): Promise<Figures> {
  const server = await bench.start();
  const job: FanoutJob = { kind: "fanout", ...jobBase(bench, server), ...shape, load };
  return figures(await runJob(job));
}

const label = ({ subscribers, payloadBytes }: Shape) => `${subscribers}x${payloadBytes}`;

function loadCase(shape: Shape, window: number, goals: Goal[] = []): Case {
  return {
    name: `load-${label(shape)}-w${window}`,
    title: `${shape.subscribers} subscribers, ${shape.payloadBytes} B, window ${window}`,
    metrics: [RATE, CPU],
    goals,
    measure: (bench) => run(bench, shape, { window }),
  };
}

const HUNDRED: Shape = { subscribers: 100, payloadBytes: 128 };
const LOW_PER_SECOND = 500;
const TWICE: Goal = { metric: "rate", of: "ratio", bound: "at least", value: 2 };

const low: Case = {
  name: `low-${label(HUNDRED)}`,
  title: `100 subscribers, 128 B, ${LOW_PER_SECOND} publishes/s`,
  metrics: [RATE, CPU, P50, P99],
  goals: [{ metric: "cpuUs", of: "ratio", bound: "at most", value: 1.15 }],
  measure: (bench) =>
    run({ ...bench, measureMs: bench.measureMs * 2 }, HUNDRED, { perSecond: LOW_PER_SECOND }),
};

/** Half of what the slower side reached under load, in publishes a second: the same for both. */
const halfRate = (bench: Bench): number => {
  const most = bench.lowest("fanout", `load-${label(HUNDRED)}-w512`, "rate") ?? 2_000_000;
  return Math.round(most / 2 / HUNDRED.subscribers);
};

const half: Case = {
  name: `half-${label(HUNDRED)}`,
  title: "100 subscribers, 128 B, half of what the slower side reached under load",
  metrics: [RATE, CPU, P50, P99],
  goals: [{ metric: "p99Us", of: "ratio", bound: "at most", value: 1 }],
  measure: (bench) => run(bench, HUNDRED, { perSecond: halfRate(bench) }),
};

export const fanout: Scenario = {
  name: "fanout",
  title: "Fan-out: one publisher, many subscribers (messages = events received)",
  cases: [
    loadCase({ subscribers: 1, payloadBytes: 128 }, 512),
    loadCase({ subscribers: 10, payloadBytes: 128 }, 512),
    loadCase(HUNDRED, 512, [TWICE]),
    loadCase(HUNDRED, 32),
    loadCase({ subscribers: 1000, payloadBytes: 128 }, 128),
    loadCase({ subscribers: 1, payloadBytes: 1024 }, 512),
    loadCase({ subscribers: 10, payloadBytes: 1024 }, 512),
    loadCase({ subscribers: 100, payloadBytes: 1024 }, 512),
    loadCase({ subscribers: 1000, payloadBytes: 1024 }, 128),
    low,
    half,
  ],
};
