/** Messages that are published with a time, and what comes of them when it has come. */

import { runJob } from "../generator.ts";
import type { DelayedJob } from "../load/jobs.ts";
import {
  type Bench,
  type Case,
  CPU,
  FILL_CPU,
  FILL_RATE,
  type Figures,
  figures,
  jobBase,
  type Metric,
  RATE,
  type Scenario,
} from "../scenario.ts";
import { QUEUE_CREDIT, QUEUE_PAYLOAD_BYTES, QUEUE_PEERS, QUEUE_WINDOW } from "./durable.ts";

const DUE_IN_MS = 5000;

const LATE_P50: Metric = { name: "deliveryP50Us", title: "late by, p50", unit: "µs" };
const LATE_P99: Metric = { name: "deliveryP99Us", title: "late by, p99", unit: "µs" };

async function measure(bench: Bench, spreadMs: number): Promise<Figures> {
  const server = await bench.start();
  await server.defineQueue();
  const job: DelayedJob = {
    kind: "delayed",
    ...jobBase(bench, server),
    publishers: QUEUE_PEERS,
    consumers: QUEUE_PEERS,
    window: QUEUE_WINDOW,
    credit: QUEUE_CREDIT,
    payloadBytes: QUEUE_PAYLOAD_BYTES,
    count: bench.quick ? 10_000 : 100_000,
    dueInMs: DUE_IN_MS,
    spreadMs,
  };
  return figures(await runJob(job));
}

function delayedCase(name: string, title: string, spreadMs: number): Case {
  return {
    name,
    title,
    metrics: [RATE, CPU, LATE_P50, LATE_P99, FILL_RATE, FILL_CPU],
    goals: [],
    measure: (bench) => measure(bench, spreadMs),
  };
}

export const delayed: Scenario = {
  name: "delayed",
  title: "Scheduled: 100,000 messages (quick: 10,000), then due; 4 consumers, credit 100, acks",
  cases: [
    delayedCase("at-once", "all due at the same time", 0),
    delayedCase("spread", "due over 4 seconds", 4000),
  ],
};
