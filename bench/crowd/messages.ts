/** What a crowd of clients, in a process of its own, can be told to do, and what it answers. */
import type { LatencySummary } from "../load/latency.ts";

/** Milliseconds of the machine's own clock, the same in every process; `hrtime` begins anew in each. */
export const machineMs = (): number => performance.timeOrigin + performance.now();

export interface Join {
  readonly kind: "join";
  readonly port: number;
  readonly count: number;
  /** The first member's number; `{n}` in a filter stands for it. */
  readonly from: number;
  /** In turn. */
  readonly credentials: readonly string[];
  readonly filters: readonly string[];
}

/** Tells when everyone who is here has met it: the end of its connection, or that of all its subscriptions. */
export interface Watch {
  readonly kind: "watch";
  readonly what: "end" | "unsubscribed";
}

/**
 * Everyone who is here comes back as soon as his connection has ended, as a plain client does: after what the
 * broker says, where it says something, else after a while that doubles and is spread. With `cut` they end their
 * connections themselves. Tells when all are back.
 */
export interface ComeBack {
  readonly kind: "come back";
  readonly cut: boolean;
}

export interface Returns {
  readonly backAtMs: readonly number[];
  readonly attempts: number;
  /** How often each answer to a handshake came; `none` is no answer. */
  readonly refusals: Readonly<Record<string, number>>;
}

/** Begins to publish to itself, at this rate, for as long as the process lives. */
export interface EchoStart {
  readonly kind: "echo";
  readonly port: number;
  readonly connections: number;
  readonly perSecond: number;
  readonly credential: string;
}

/** Asks for the echoes of what was published in this time. */
export interface EchoSummary {
  readonly kind: "echoes";
  readonly fromMs: number;
  readonly toMs: number;
}

export type Order = Join | Watch | ComeBack | EchoStart | EchoSummary;

export interface Seen {
  /** When each member met it, in their order. */
  readonly atMs: readonly number[];
  /** How often each close code came. */
  readonly codes: Readonly<Record<string, number>>;
}

export interface Echoes extends LatencySummary {
  readonly mostUs: number;
}

export type Answer = { readonly done: unknown } | { readonly failed: string };
