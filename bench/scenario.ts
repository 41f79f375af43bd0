/**
 * What a scenario is: cases, each measured on both sides in turn, with the targets it is held to.
 */
import type { Job, JobResult } from "./load/jobs.ts";
import type { ServerProcess, Settings, Side } from "./servers.ts";

/** Figures of one side in one round, by metric. */
export type Figures = Readonly<Record<string, number>>;

export interface Metric {
  readonly name: string;
  /** As the column head in the report. */
  readonly title: string;
  readonly unit: "/s" | "µs" | "ms" | "KB" | "MB" | "s" | "×" | "cores";
}

/** What must hold of the median over the rounds. */
export interface Goal {
  readonly metric: string;
  readonly of: "ratio" | "difference" | "warren";
  readonly bound: "at least" | "at most";
  readonly value: number;
}

/** What a measurement is given. */
export interface Bench {
  readonly side: Side;
  readonly quick: boolean;
  readonly verify: boolean;
  readonly warmMs: number;
  readonly measureMs: number;
  /**
   * Starts the side's server, the first time with an empty data directory, later with what is in
   * it; it is ended after the measurement if it still runs.
   */
  start(settings?: Settings): Promise<ServerProcess>;
  /**
   * The median of a metric over the rounds so far, of the lower side; undefined when not measured.
   */
  lowest(scenario: string, caseName: string, metric: string): number | undefined;
}

export interface Case {
  readonly name: string;
  readonly title: string;
  readonly metrics: readonly Metric[];
  readonly goals: readonly Goal[];
  /** All of them, when absent. */
  readonly sides?: readonly Side[];
  measure(bench: Bench): Promise<Figures>;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly cases: readonly Case[];
}

export const RATE: Metric = { name: "rate", title: "messages", unit: "/s" };
export const CPU: Metric = { name: "cpuUs", title: "server CPU per message", unit: "µs" };
export const P50: Metric = { name: "p50Us", title: "p50", unit: "µs" };
export const P99: Metric = { name: "p99Us", title: "p99", unit: "µs" };

export const FILL_RATE: Metric = { name: "fillRate", title: "filled", unit: "/s" };
export const FILL_CPU: Metric = {
  name: "fillCpuUs",
  title: "CPU per message filled",
  unit: "µs",
};
export const CONFIRM_P50: Metric = { name: "p50Us", title: "confirm p50", unit: "µs" };
export const CONFIRM_P99: Metric = { name: "p99Us", title: "confirm p99", unit: "µs" };

/** The part of a job that every measurement shares. */
export function jobBase(bench: Bench, server: ServerProcess) {
  return {
    port: server.port,
    serverPid: server.pid,
    verify: bench.verify,
    warmMs: bench.warmMs,
    measureMs: bench.measureMs,
  } satisfies Partial<Job>;
}

/** What a job's result says, as figures; `late` is 1 where an open loop did not keep its rate. */
export function figures(result: JobResult): Record<string, number> {
  const { messages, window, latency, endToEnd } = result;
  return {
    rate: messages / window.seconds,
    cpuUs: window.serverCpuUs / Math.max(messages, 1),
    serverCores: window.cores.server,
    generatorCores: window.cores.generator,
    otherCores: window.cores.other,
    late: result.late ? 1 : 0,
    ...(result.filled && {
      fillRate: messages / result.filled.seconds,
      fillCpuUs: result.filled.serverCpuUs / messages,
    }),
    ...(latency && latency.count > 0 ? { p50Us: latency.p50Us, p99Us: latency.p99Us } : {}),
    ...(endToEnd && endToEnd.count > 0
      ? { deliveryP50Us: endToEnd.p50Us, deliveryP99Us: endToEnd.p99Us }
      : {}),
  };
}
