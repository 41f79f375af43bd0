/** What a generator process can be told to do, and what it answers. */
import type { PeerName } from "../peers/names.ts";
import type { LatencySummary } from "./latency.ts";
import type { Window } from "./meter.ts";
import type { Outcome } from "./wire.ts";

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
  /** Ordering keys, or priorities, in turn. */
  readonly keys?: number;
  readonly priorities?: boolean;
  /** Publishers wait while this many messages are published and not delivered. */
  readonly backlog?: number;
  /** So many messages are in the queue before. */
  readonly waiting?: number;
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
  readonly outcome?: Outcome;
}

/** Messages that are due later, and what is delivered when they are. */
export interface DelayedJob extends Target {
  readonly kind: "delayed";
  readonly publishers: number;
  readonly consumers: number;
  readonly window: number;
  readonly credit: number;
  readonly payloadBytes: number;
  readonly count: number;
  /** The first is due so long after the start, the others within `spreadMs` of it. */
  readonly dueInMs: number;
  readonly spreadMs: number;
}

/** Emptying a queue over HTTP: pull, settle, and again. */
export interface PullJob extends Target {
  readonly kind: "pull";
  readonly workers: number;
  /** Messages in one pull, at most. */
  readonly max: number;
  readonly count: number;
}

/** Connecting, being welcomed, leaving: again and again. */
export interface ChurnJob extends Target, Timing {
  readonly kind: "churn";
  readonly atOnce: number;
  /** Tokens or keys for the header of the upgrade, in turn. */
  readonly credentials: readonly string[];
}

/** Publishers of several topics each under one credential, and one subscriber of them all. */
export interface AccessJob extends Target, Timing {
  readonly kind: "access";
  readonly credential: string | undefined;
  readonly topics: readonly string[];
  readonly filter: string;
  readonly connections: number;
  readonly window: number;
  readonly payloadBytes: number;
}

/** Subscribing to one filter after the other, and leaving it again. */
export interface SubscribingJob extends Target, Timing {
  readonly kind: "subscribing";
  readonly credential: string | undefined;
  readonly filters: readonly string[];
  readonly connections: number;
  /** Subscribes of one connection that are not answered yet. */
  readonly window: number;
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
  | DelayedJob
  | PullJob
  | ChurnJob
  | AccessJob
  | SubscribingJob
  | IdleJob;

export interface JobResult {
  /** Events or deliveries received, or publishes confirmed, within the window. */
  readonly messages: number;
  readonly window: Window;
  /** Of what came before the window. */
  readonly filled?: Window;
  /** Publish to event, publish to confirm, or connect to welcome. */
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
