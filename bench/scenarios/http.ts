/** Queues over HTTP: workers that pull, and an endpoint that is pushed to. */

import { startEndpoint } from "../endpoint.ts";
import { runJob } from "../generator.ts";
import { expectDepth } from "../load/backlog.ts";
import { startMeter } from "../load/meter.ts";
import {
  type Bench,
  type Case,
  CPU,
  type Figures,
  figures,
  jobBase,
  RATE,
  type Scenario,
} from "../scenario.ts";
import { fillJob } from "./drain.ts";
import { QUEUE_PEERS } from "./durable.ts";

function pullCase(max: number, full: number): Case {
  return {
    name: `pull-${max}`,
    title: `${QUEUE_PEERS} workers, up to ${max} a pull, one settle for each pull`,
    metrics: [RATE, CPU],
    goals: [],
    measure: async (bench) => {
      const count = bench.quick ? full / 10 : full;
      const server = await bench.start();
      await server.defineQueue();
      await runJob(fillJob(bench, server, count));
      const base = jobBase(bench, server);
      return figures(await runJob({ kind: "pull", ...base, workers: QUEUE_PEERS, max, count }));
    },
  };
}

/** The setting's default. */
const MAX_IN_FLIGHT = 8;

async function pushed(bench: Bench): Promise<Figures> {
  const count = bench.quick ? 2000 : 20_000;
  const server = await bench.start();
  const endpoint = await startEndpoint();
  try {
    await server.defineQueue();
    await runJob(fillJob(bench, server, count));
    const end = startMeter(server.pid);
    await server.defineQueue({ webhook: { url: endpoint.url, maxInFlight: MAX_IN_FLIGHT } });
    await endpoint.received(count);
    const window = end();
    await expectDepth(server.port, 0);
    return {
      rate: count / window.seconds,
      cpuUs: window.serverCpuUs / count,
      serverCores: window.cores.server,
      generatorCores: window.cores.generator,
      otherCores: window.cores.other,
    };
  } finally {
    await endpoint.stop();
  }
}

export const http: Scenario = {
  name: "http",
  title: "Queues over HTTP (256 B, waiting already)",
  cases: [
    pullCase(100, 100_000),
    pullCase(1, 10_000),
    {
      name: "webhook",
      title: `pushed to an endpoint that answers 204, ${MAX_IN_FLIGHT} at a time`,
      metrics: [RATE, CPU],
      goals: [],
      measure: pushed,
    },
  ],
};
