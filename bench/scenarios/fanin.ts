/** Telemetry: thousands of connections with a topic each, one wildcard subscriber. */

import { runJob } from "../generator.ts";
import type { FaninJob, Load } from "../load/jobs.ts";
import type { Scenario } from "../scenario.ts";
import { type Case, CPU, figures, type Goal, jobBase, P50, P99, RATE } from "../scenario.ts";

const PAYLOAD_BYTES = 128;
const WINDOW = 2000;
const PER_SECOND = 5000;
const GOALS: Goal[] = [{ metric: "cpuUs", of: "ratio", bound: "at most", value: 1.3 }];

function faninCase(devices: number, load: Load): Case {
  const closed = "window" in load;
  return {
    name: `${closed ? "load" : "fixed"}-${devices}`,
    title: `${devices} devices, ${closed ? `${load.window} in flight` : `${load.perSecond}/s`}`,
    metrics: closed ? [RATE, CPU] : [RATE, CPU, P50, P99],
    goals: GOALS,
    measure: async (bench) => {
      const server = await bench.start();
      const base = jobBase(bench, server);
      const job: FaninJob = {
        kind: "fanin",
        ...base,
        // CPU time is read in steps of 10 ms: little load needs a long window. It also brings the compiler
        // late to what is hot: its work belongs to the first seconds, not to a message.
        warmMs: closed ? base.warmMs : base.warmMs * 4,
        measureMs: closed ? base.measureMs : base.measureMs * 3,
        devices,
        payloadBytes: PAYLOAD_BYTES,
        load,
      };
      return figures(await runJob(job));
    },
  };
}

export const fanin: Scenario = {
  name: "fanin",
  title: "Fan-in: a topic per connection, one subscriber of devices/+/telemetry (128 B)",
  cases: [
    faninCase(1000, { window: WINDOW }),
    faninCase(1000, { perSecond: PER_SECOND }),
    faninCase(5000, { window: WINDOW }),
    faninCase(5000, { perSecond: PER_SECOND }),
  ],
};
