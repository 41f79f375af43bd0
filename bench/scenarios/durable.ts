/**
 * A durable queue in use: publish, confirm after fsync, deliver, ack; and one message at a time.
 */

import { runJob } from "../generator.ts";
import type { Load, QueueJob } from "../load/jobs.ts";
import {
  type Bench,
  type Case,
  CONFIRM_P50,
  CONFIRM_P99,
  CPU,
  type Figures,
  figures,
  type Goal,
  jobBase,
  type Metric,
  RATE,
  type Scenario,
} from "../scenario.ts";

export const QUEUE_PAYLOAD_BYTES = 256;
export const QUEUE_WINDOW = 256;
export const QUEUE_CREDIT = 100;
export const QUEUE_PEERS = 4;
export const BACKLOG = 20_000;

const DELIVERY_P50: Metric = { name: "deliveryP50Us", title: "delivery p50", unit: "µs" };
const DELIVERY_P99: Metric = { name: "deliveryP99Us", title: "delivery p99", unit: "µs" };

interface Shape {
  readonly publishers: number;
  readonly consumers: number;
  readonly keys?: number;
  readonly priorities?: boolean;
}

export async function runQueue(
  bench: Bench,
  shape: Shape,
  load: Load,
  settings: object = {},
): Promise<Figures> {
  const server = await bench.start();
  await server.defineQueue(settings);
  const job: QueueJob = {
    kind: "queue",
    ...jobBase(bench, server),
    ...shape,
    credit: QUEUE_CREDIT,
    payloadBytes: QUEUE_PAYLOAD_BYTES,
    load,
    ...(shape.consumers > 0 ? { backlog: BACKLOG } : {}),
  };
  return figures(await runJob(job));
}

const rateGoal = (value: number): Goal[] => [
  { metric: "rate", of: "ratio", bound: "at least", value },
];

function loadCase(publishers: number): Case {
  return {
    name: `load-${publishers}`,
    title: `${publishers} publisher${publishers > 1 ? "s" : ""}, ${QUEUE_WINDOW} in flight each`,
    metrics: [RATE, CPU, CONFIRM_P50, CONFIRM_P99],
    goals: rateGoal(0.8),
    measure: (bench) =>
      runQueue(bench, { publishers, consumers: QUEUE_PEERS }, { window: QUEUE_WINDOW }),
  };
}

/** Half of what the slower side reached under load: the same for both. */
export const halfDurableRate = (bench: Bench): number =>
  Math.round((bench.lowest("durable", `load-${QUEUE_PEERS}`, "rate") ?? 80_000) / 2);

const half: Case = {
  name: "half",
  title: "4 publishers at half of what the slower side reached under load",
  metrics: [RATE, CPU, CONFIRM_P50, CONFIRM_P99, DELIVERY_P50, DELIVERY_P99],
  goals: [{ metric: "deliveryP99Us", of: "warren", bound: "at most", value: 3000 }],
  measure: (bench) =>
    runQueue(
      bench,
      { publishers: QUEUE_PEERS, consumers: QUEUE_PEERS },
      { perSecond: halfDurableRate(bench) },
    ),
};

export const durable: Scenario = {
  name: "durable",
  title: "Durable queue end to end: confirmed publishes, 4 consumers, credit 100, acks (256 B)",
  cases: [loadCase(1), loadCase(QUEUE_PEERS), half],
};

export const serial: Scenario = {
  name: "serial",
  title: "One confirmed publish at a time (256 B, nobody consumes)",
  cases: [
    {
      name: "serial",
      title: "1 publisher, 1 in flight",
      metrics: [RATE, CPU, CONFIRM_P50, CONFIRM_P99],
      goals: rateGoal(0.9),
      measure: (bench) => runQueue(bench, { publishers: 1, consumers: 0 }, { window: 1 }),
    },
  ],
};
