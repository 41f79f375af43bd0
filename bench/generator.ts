/** Starting generator processes and hearing what they measured. */
import { join } from "node:path";
import type { FromLoad, Job, JobResult, ToLoad } from "./load/jobs.ts";

const SCRIPT = join(import.meta.dir, "load/main.ts");
const BURNER = join(import.meta.dir, "load/burner.ts");
const BURNERS = 2;
/** No job takes longer; past it the generator is ended and the measurement fails. */
const LIMIT_MS = 300_000;

export interface Generator {
  /** The job has set up, or its load is on; only jobs that wait to be told to finish say so. */
  readonly ready: Promise<void>;
  readonly result: Promise<JobResult>;
  finish(): void;
}

export function startGenerator(job: Job): Generator {
  const ready = Promise.withResolvers<void>();
  const result = Promise.withResolvers<JobResult>();
  const fault = (message: string) => {
    const error = new Error(`${job.kind}: ${message}`);
    ready.reject(error);
    result.reject(error);
  };
  // Whoever waits for one of the two need not wait for the other.
  ready.promise.catch(() => {});
  result.promise.catch(() => {});
  const child = Bun.spawn([process.execPath, SCRIPT], {
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    ipc(message: FromLoad) {
      if (message.kind === "ready") ready.resolve();
      else if (message.kind === "result") result.resolve(message.result);
      else fault(message.message);
    },
  });
  const limit = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  void child.exited.then((code) => {
    clearTimeout(limit);
    fault(`the generator ended with ${code} and no result`);
  });
  const say = (message: ToLoad) => child.send(message);
  say({ kind: "job", job });
  return {
    ready: ready.promise,
    result: result.promise,
    finish: () => say({ kind: "finish" }),
  };
}

export const runJob = (job: Job): Promise<JobResult> => startGenerator(job).result;

/** Uses so many cores, in processes that share nothing with the server; call the result to end it. */
export function burn(cores: number): () => Promise<unknown> {
  const share = String(Math.min(1, cores / BURNERS));
  const burners = Array.from({ length: BURNERS }, () =>
    Bun.spawn([process.execPath, BURNER, share], {
      stdio: ["ignore", "inherit", "inherit"],
      ipc() {},
    }),
  );
  return () => {
    for (const burner of burners) burner.kill();
    return Promise.all(burners.map((burner) => burner.exited));
  };
}
