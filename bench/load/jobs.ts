/** What a generator process can be told to do, and what it answers. */
import type { PeerName } from "../peers/names.ts";
import type { LatencySummary } from "./latency.ts";
import type { Window } from "./meter.ts";

/** Closed loop: this many publishes in flight. Open loop: this many publishes a second in all. */
export type Load = { readonly window: number } | { readonly perSecond: number };

interface Target {
  readonly port: number;
  readonly serverPid: number;
  /** Parse every frame and hold the cheap counts against it. */
  readonly verify: boolean;
}

interface Timing {
  readonly warmMs: number;
  readonly measureMs: number;
}

export interface FanoutJob extends Target, Timing {
  readonly kind: "fanout";
  readonly subscribers: number;
  readonly payloadBytes: number;
  readonly load: Load;
}

export interface FaninJob extends Target, Timing {
  readonly kind: "fanin";
  readonly devices: number;
  readonly payloadBytes: number;
  readonly load: Load;
}

export interface EchoJob extends Target, Timing {
  readonly kind: "echo";
  readonly connections: number;
  readonly payloadBytes: number;
  readonly perSecond: number;
}

export interface QueueJob extends Target, Timing {
  readonly kind: "queue";
  readonly publishers: number;
  readonly consumers: number;
  readonly credit: number;
  readonly payloadBytes: number;
  /** `window` is per publisher, `perSecond` for all of them together. */
  readonly load: Load;
  /** Publishers wait while this many messages are published and not delivered. */
  readonly backlog?: number;
  /** Keeps running after `ready` until told to finish, instead of for `measureMs`. */
  readonly untilTold?: boolean;
}

/** The same as a queue job, on somebody else's broker. */
export interface PeerQueueJob extends Omit<QueueJob, "kind" | "untilTold"> {
  readonly kind: "peer-queue";
  readonly peer: PeerName;
}

export interface FillJob extends Target {
  readonly kind: "fill";
  readonly publishers: number;
  readonly window: number;
  readonly payloadBytes: number;
  readonly count: number;
}

export interface DrainJob extends Target {
  readonly kind: "drain";
  readonly consumers: number;
  readonly credit: number;
  readonly count: number;
}

export interface IdleJob extends Target {
  readonly kind: "idle";
  readonly connections: number;
}

export type Job =
  | FanoutJob
  | FaninJob
  | EchoJob
  | QueueJob
  | PeerQueueJob
  | FillJob
  | DrainJob
  | IdleJob;

export interface JobResult {
  /** Events or deliveries received, or publishes confirmed, within the window. */
  readonly messages: number;
  readonly window: Window;
  /** Publish to event, or publish to confirm. */
  readonly latency?: LatencySummary;
  /** Publish to delivery. */
  readonly endToEnd?: LatencySummary;
  /** An open loop could not send at its rate: the figures are not of that rate. */
  readonly late: boolean;
}

export type FromLoad =
  | { readonly kind: "ready" }
  | { readonly kind: "result"; readonly result: JobResult }
  | { readonly kind: "failed"; readonly message: string };

export type ToLoad = { readonly kind: "job"; readonly job: Job } | { readonly kind: "finish" };
