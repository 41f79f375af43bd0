/** Filling a queue without consumers, then emptying it. */

import { runJob } from "../generator.ts";
import type { DrainJob, FillJob } from "../load/jobs.ts";
import { type Bench, CPU, FILL_CPU, FILL_RATE, jobBase, RATE, type Scenario } from "../scenario.ts";
import type { ServerProcess } from "../servers.ts";
import { QUEUE_CREDIT, QUEUE_PAYLOAD_BYTES, QUEUE_PEERS, QUEUE_WINDOW } from "./durable.ts";

export function fillJob(bench: Bench, server: ServerProcess, count: number): FillJob {
  return {
    kind: "fill",
    ...jobBase(bench, server),
    publishers: QUEUE_PEERS,
    window: QUEUE_WINDOW,
    payloadBytes: QUEUE_PAYLOAD_BYTES,
    count,
  };
}

export function drainJob(bench: Bench, server: ServerProcess, count: number): DrainJob {
  return {
    kind: "drain",
    ...jobBase(bench, server),
    consumers: QUEUE_PEERS,
    credit: QUEUE_CREDIT,
    count,
  };
}

export const drain: Scenario = {
  name: "drain",
  title: "Drain: 200,000 waiting messages (quick: 20,000), then 4 consumers with credit 100",
  cases: [
    {
      name: "drain",
      title: "first consume to last delivery, everything acked",
      metrics: [RATE, CPU, FILL_RATE, FILL_CPU],
      goals: [{ metric: "rate", of: "ratio", bound: "at least", value: 0.8 }],
      measure: async (bench) => {
        const server = await bench.start();
        await server.defineQueue();
        const count = bench.quick ? 20_000 : 200_000;
        const filled = await runJob(fillJob(bench, server, count));
        const { window } = await runJob(drainJob(bench, server, count));
        return {
          rate: count / window.seconds,
          cpuUs: window.serverCpuUs / count,
          serverCores: window.cores.server,
          generatorCores: window.cores.generator,
          otherCores: window.cores.other,
          fillRate: count / filled.window.seconds,
          fillCpuUs: filled.window.serverCpuUs / count,
        };
      },
    },
  ],
};
