/** Dead letters by the thousand, and their way back to work. */

import { runJob } from "../generator.ts";
import { expectDepth } from "../load/backlog.ts";
import { DEAD_LETTERS } from "../load/settlement.ts";
import { sleep } from "../load/timing.ts";
import { type Bench, CPU, type Figures, type Metric, RATE, type Scenario } from "../scenario.ts";
import { drainJob, fillJob } from "./drain.ts";

const BURY_RATE: Metric = { name: "buryRate", title: "rejected and dead-lettered", unit: "/s" };
const BURY_CPU: Metric = { name: "buryCpuUs", title: "CPU per message rejected", unit: "µs" };

interface Task {
  readonly id: string;
  readonly state: string;
  readonly moved: number;
}

async function measure(bench: Bench): Promise<Figures> {
  const count = bench.quick ? 10_000 : 100_000;
  const server = await bench.start();
  await server.defineQueue();
  await runJob(fillJob(bench, server, count));
  const buried = await runJob({ ...drainJob(bench, server, count), outcome: "reject" });
  const cpu = server.cpuUs();
  const at = performance.now();
  const post = server.request("POST", `/admin/v1/queues/${DEAD_LETTERS}/redrive`, {});
  let task = (await post) as Task;
  while (task.state === "running") {
    await sleep(10);
    task = (await server.request("GET", `/admin/v1/tasks/${task.id}`)) as Task;
  }
  const seconds = (performance.now() - at) / 1000;
  const cpuUs = (server.cpuUs() - cpu) / count;
  if (task.state !== "done" || task.moved !== count) throw new Error(JSON.stringify(task));
  await expectDepth(server.port, count);
  return {
    rate: count / seconds,
    cpuUs,
    buryRate: count / buried.window.seconds,
    buryCpuUs: buried.window.serverCpuUs / count,
  };
}

export const redrive: Scenario = {
  name: "redrive",
  title: "Redrive: 100,000 dead letters (quick: 10,000) back to their queue by a task",
  cases: [
    {
      name: "redrive",
      title: "all of them, 256 in a transaction, nobody consumes",
      metrics: [RATE, CPU, BURY_RATE, BURY_CPU],
      goals: [],
      measure,
    },
  ],
};
