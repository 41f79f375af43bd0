/** Live round trips, alone and while the same server does durable work. */

import { burn, runJob, startGenerator } from "../generator.ts";
import type { EchoJob, QueueJob } from "../load/jobs.ts";
import type { Scenario } from "../scenario.ts";
import { type Bench, type Figures, figures, jobBase, type Metric } from "../scenario.ts";
import type { ServerProcess } from "../servers.ts";
import { halfDurableRate, QUEUE_CREDIT, QUEUE_PAYLOAD_BYTES, QUEUE_PEERS } from "./durable.ts";

const METRICS: Metric[] = [
  { name: "aloneP50Us", title: "p50 alone", unit: "µs" },
  { name: "aloneP99Us", title: "p99 alone", unit: "µs" },
  { name: "loadedP50Us", title: "p50 under durable load", unit: "µs" },
  { name: "loadedP99Us", title: "p99 under durable load", unit: "µs" },
  { name: "p99Growth", title: "p99 with / without", unit: "×" },
  { name: "burnedP50Us", title: "p50 beside mere use of the CPU", unit: "µs" },
  { name: "burnedP99Us", title: "p99 beside mere use of the CPU", unit: "µs" },
  { name: "p99OverBurned", title: "p99 with durable load / with mere use of the CPU", unit: "×" },
  { name: "durableRate", title: "durable messages", unit: "/s" },
];

function echoJob(bench: Bench, server: ServerProcess): EchoJob {
  return {
    kind: "echo",
    ...jobBase(bench, server),
    // A p99 of a few thousand samples needs its time.
    measureMs: bench.measureMs * 2,
    connections: 20,
    payloadBytes: 128,
    perSecond: 2000,
  };
}

function durableJob(bench: Bench, server: ServerProcess): QueueJob {
  return {
    kind: "queue",
    ...jobBase(bench, server),
    publishers: QUEUE_PEERS,
    consumers: QUEUE_PEERS,
    credit: QUEUE_CREDIT,
    payloadBytes: QUEUE_PAYLOAD_BYTES,
    load: { perSecond: halfDurableRate(bench) },
    untilTold: true,
  };
}

async function measure(bench: Bench): Promise<Figures> {
  const server = await bench.start();
  await server.defineQueue();
  const alone = figures(await runJob(echoJob(bench, server)));
  const background = startGenerator(durableJob(bench, server));
  await background.ready;
  const loaded = figures(await runJob(echoJob(bench, server)));
  background.finish();
  const durable = figures(await background.result);
  // What is left of the growth when the cores are as busy, but with work that the server knows nothing of.
  const stopBurning = burn(loaded.serverCores! + durable.generatorCores! - alone.serverCores!);
  const burned = figures(await runJob(echoJob(bench, server)));
  await stopBurning();
  return {
    aloneP50Us: alone.p50Us!,
    aloneP99Us: alone.p99Us!,
    loadedP50Us: loaded.p50Us!,
    loadedP99Us: loaded.p99Us!,
    p99Growth: loaded.p99Us! / alone.p99Us!,
    burnedP50Us: burned.p50Us!,
    burnedP99Us: burned.p99Us!,
    p99OverBurned: loaded.p99Us! / burned.p99Us!,
    durableRate: durable.rate!,
    serverCores: loaded.serverCores!,
    generatorCores: loaded.generatorCores! + durable.generatorCores!,
    otherCores: Math.max(0, loaded.otherCores! - durable.generatorCores!),
    late: Math.max(alone.late!, loaded.late!, durable.late!),
  };
}

export const echo: Scenario = {
  name: "echo",
  title: "Live echo: 20 connections, 2,000 messages/s, without and with durable load at half rate",
  cases: [
    {
      name: "echo",
      title: "publish to own event",
      metrics: METRICS,
      goals: [{ metric: "p99Growth", of: "warren", bound: "at most", value: 1.5 }],
      measure,
    },
  ],
};
