/** A generator process: takes one job over IPC, does it, answers and ends. */
import { peerQueue } from "../peers/load.ts";
import { access } from "./access.ts";
import { drain, fill } from "./backlog.ts";
import { churn } from "./churn.ts";
import { delayed } from "./delayed.ts";
import { echo } from "./echo.ts";
import { fanin } from "./fanin.ts";
import { fanout } from "./fanout.ts";
import { idle } from "./idle.ts";
import type { FromLoad, Job, JobResult, ToLoad } from "./jobs.ts";
import { pull } from "./pull.ts";
import { queue } from "./queue.ts";
import { subscribing } from "./subscribing.ts";
import type { JobContext } from "./timing.ts";

const say = (message: FromLoad) => process.send!(message);

function fail(error: Error): never {
  say({ kind: "failed", message: error.message });
  process.exit(1);
}

let toldToFinish: () => void = () => {};
const context: JobContext = {
  fail,
  ready: () => say({ kind: "ready" }),
  finish: new Promise<void>((resolve) => {
    toldToFinish = resolve;
  }),
};

function run(job: Job): Promise<JobResult> {
  switch (job.kind) {
    case "fanout":
      return fanout(job, context);
    case "fanin":
      return fanin(job, context);
    case "echo":
      return echo(job, context);
    case "queue":
      return queue(job, context);
    case "peer-queue":
      return peerQueue(job, context);
    case "fill":
      return fill(job, context);
    case "drain":
      return drain(job, context);
    case "delayed":
      return delayed(job, context);
    case "pull":
      return pull(job);
    case "churn":
      return churn(job, context);
    case "access":
      return access(job, context);
    case "subscribing":
      return subscribing(job, context);
    case "idle":
      return idle(job, context);
  }
}

process.on("message", (message: ToLoad) => {
  if (message.kind === "finish") {
    toldToFinish();
    return;
  }
  run(message.job)
    .then((result) => say({ kind: "result", result }))
    .then(() => process.exit(0))
    .catch(fail);
});
// Nobody is left to answer to.
process.on("disconnect", () => process.exit(1));
