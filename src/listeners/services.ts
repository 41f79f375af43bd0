/** What the handlers of HTTP requests have at hand; put together by the composition root. */
import type { Server } from "bun";
import type { OperationBody, OperationName, OperationQuery } from "../../schemas/http.ts";
import type { Principal } from "../broker/access.ts";
import type { Broker } from "../broker/broker.ts";
import type { ChannelBook } from "../broker/channels.ts";
import type { RoleBook } from "../broker/roles.ts";
import type { Tasks } from "../broker/tasks.ts";
import type { Clock } from "../clock.ts";
import type { Turns } from "../collections/turns.ts";
import type { Config } from "../config.ts";
import type { Engine } from "../engine/engine.ts";
import type { Logger } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { Admission } from "../security/admission.ts";
import type { ApiKeys } from "../security/api-keys.ts";
import type { Authenticator } from "../security/authenticator.ts";
import type { KeyUse } from "../security/key-use.ts";
import type { Meter } from "../security/meter.ts";
import type { Revocations } from "../security/revocations.ts";
import type { Standing } from "../security/standing.ts";
import type { Sessions } from "../session/sessions.ts";
import type { Webhooks } from "../webhooks/webhooks.ts";
import type { ExpiringRecords } from "./expiring-records.ts";
import type { Leases } from "./leases.ts";
import type { Waits } from "./waits.ts";

/** Figures for operators: what is now, and what has happened since the start. */
export interface Figures {
  gauges(): Readonly<Record<string, number>>;
  counters(): Readonly<Record<string, number>>;
}

export interface Services {
  readonly config: Config;
  readonly broker: Broker;
  readonly engine: Engine;
  readonly authenticator: Authenticator;
  readonly admission: Admission;
  readonly standing: Standing;
  readonly waits: Waits;
  readonly sessions: Sessions;
  readonly roles: RoleBook;
  readonly channels: ChannelBook;
  readonly keys: ApiKeys;
  readonly keyUse: KeyUse;
  readonly revocations: Revocations;
  readonly expiring: Readonly<Record<"bans" | "revocations", ExpiringRecords>>;
  readonly leases: Leases;
  readonly tasks: Tasks;
  /** Changes that begin from how things are take turns, or one would undo another. */
  readonly turns: Readonly<Record<"queues" | "channels" | "roles", Turns>>;
  readonly webhooks: Webhooks;
  readonly metrics: Metrics;
  readonly figures: Figures;
  readonly clock: Clock;
  readonly log: Logger;
  readonly version: string;
  /** The name of this node. */
  readonly node: string;
  readonly startedAt: number;
  /** Whether new work is taken. */
  phase(): "starting" | "running" | "draining";
}

/** One request, its rights checked and its input as the table of operations says. */
export interface Call<N extends OperationName = OperationName> {
  readonly request: Request;
  readonly params: Readonly<Record<string, string>>;
  readonly principal: Principal;
  /** The client's, as far as trusted proxies say it [P-14.12]; empty where the system does not say. */
  readonly address: string;
  readonly query: OperationQuery<N>;
  readonly body: OperationBody<N>;
  readonly server: Pick<Server<unknown>, "timeout">;
  /** What it may send; undefined when nothing of it is limited [P-14.11]. */
  readonly meter: Meter | undefined;
}

/** A value is encoded as the client accepts it; nothing is 204; a Response is itself. */
export type Answer = object | undefined;

/** The handlers of some operations. */
export type Handlers<N extends OperationName> = {
  readonly [K in N]: (call: Call<K>, services: Services) => Answer | Promise<Answer>;
};

/** A path parameter, which the router made sure is there. */
export function param(call: Pick<Call, "params">, name: string): string {
  return call.params[name] as string;
}
