/** Waiting, pacing and the measured window, the same for every job. */
import type { Fail } from "./connection.ts";
import type { LatencyRecorder } from "./latency.ts";
import { startMeter, type Window } from "./meter.ts";

/** What a job may say to, and hear from, the process that started it. */
export interface JobContext {
  readonly fail: Fail;
  /** Set-up is done, or the load is on. */
  ready(): void;
  /** Resolves when the job is told to finish. */
  readonly finish: Promise<void>;
}

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Resolves when `holds` does; fails with what `state` says when it does not within `limitMs`. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  state: () => string,
  limitMs: number,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${state()}`);
    await sleep(2);
  }
}

/** Calls `send` on a 1 ms grid with how many are due, never more than `most` at once. */
export function pace(perSecond: number, most: number, send: (count: number) => number) {
  const start = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - start) * perSecond) / 1000) - sent;
    if (due > 0) sent += send(Math.min(due, most));
  }, 1);
  return {
    stop: () => clearInterval(timer),
    /** Whether less was sent than the rate asks for. */
    late: () => sent < (((performance.now() - start) * perSecond) / 1000) * 0.97 - most,
  };
}

/** Warms up, then counts and meters for a while. */
export async function measure(
  job: { readonly warmMs: number; readonly measureMs: number; readonly serverPid: number },
  count: () => number,
  latencies: readonly LatencyRecorder[],
): Promise<{ messages: number; window: Window }> {
  await sleep(job.warmMs);
  for (const recorder of latencies) recorder.active = true;
  const end = startMeter(job.serverPid);
  const before = count();
  await sleep(job.measureMs);
  const messages = count() - before;
  const window = end();
  for (const recorder of latencies) recorder.active = false;
  return { messages, window };
}
