/** Working off a backlog while more comes in. */

import { runJob } from "../generator.ts";
import type { QueueJob } from "../load/jobs.ts";
import {
  CONFIRM_P50,
  CONFIRM_P99,
  CPU,
  figures,
  jobBase,
  RATE,
  type Scenario,
} from "../scenario.ts";
import { fillJob } from "./drain.ts";
import { QUEUE_CREDIT, QUEUE_PAYLOAD_BYTES, QUEUE_PEERS } from "./durable.ts";

const PER_SECOND = 20_000;
const WARM_MS = 500;

export const sustain: Scenario = {
  name: "sustain",
  title:
    "Sustained: 400,000 waiting messages (quick: 40,000) are drained while others are published",
  cases: [
    {
      name: "sustain",
      title: `4 publishers at ${PER_SECOND}/s in all, 4 consumers with credit 100, acks`,
      metrics: [RATE, CPU, CONFIRM_P50, CONFIRM_P99],
      goals: [{ metric: "rate", of: "ratio", bound: "at least", value: 0.8 }],
      measure: async (bench) => {
        const waiting = bench.quick ? 40_000 : 400_000;
        const server = await bench.start();
        await server.defineQueue();
        await runJob(fillJob(bench, server, waiting));
        const job: QueueJob = {
          kind: "queue",
          ...jobBase(bench, server),
          warmMs: WARM_MS,
          // Both sides have a backlog to the end of it.
          measureMs: bench.quick ? 100 : 1500,
          publishers: QUEUE_PEERS,
          consumers: QUEUE_PEERS,
          credit: QUEUE_CREDIT,
          payloadBytes: QUEUE_PAYLOAD_BYTES,
          load: { perSecond: PER_SECOND },
          waiting,
        };
        return figures(await runJob(job));
      },
    },
  ],
};
