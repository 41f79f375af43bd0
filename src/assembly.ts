/**
 * Puts the parts of the broker together, from the settings: who is given what, and nothing of how any of
 * them works.
 */

import type { Revocation } from "../schemas/revocations.ts";
import type { Fault } from "./broker/access.ts";
import { Broker } from "./broker/broker.ts";
import { ChannelBook } from "./broker/channels.ts";
import { RoleBook } from "./broker/roles.ts";
import type { Bytes, RoutePublisher, Socket } from "./broker/route.ts";
import { learnChannel, learnRole } from "./broker/stored-rules.ts";
import { Tasks } from "./broker/tasks.ts";
import { type Clock, type Random, systemClock, systemRandom } from "./clock.ts";
import { Turns } from "./collections/turns.ts";
import { type Config, configSecrets } from "./config.ts";
import type { Engine, EngineHealth } from "./engine/engine.ts";
import { SqliteEngine } from "./engine/sqlite/engine.ts";
import { ExpiringRecords } from "./listeners/expiring-records.ts";
import { channelGauges, createFigures, queueGauges } from "./listeners/figures.ts";
import { Leases } from "./listeners/leases.ts";
import type { Listener } from "./listeners/server.ts";
import type { Figures, Services } from "./listeners/services.ts";
import { Waits } from "./listeners/waits.ts";
import { createLogger, type Logger } from "./log.ts";
import { createMetrics, LagWatch, type Metrics } from "./metrics.ts";
import { type Resolve, systemResolve } from "./pinned-fetch.ts";
import { Admission } from "./security/admission.ts";
import { ApiKeys, type StoredKey } from "./security/api-keys.ts";
import {
  type Authenticator,
  type AuthenticatorConfig,
  createAuthenticator,
} from "./security/authenticator.ts";
import { KeyUse } from "./security/key-use.ts";
import { Revocations } from "./security/revocations.ts";
import { Standing } from "./security/standing.ts";
import { Validity } from "./security/validity.ts";
import { Sessions } from "./session/sessions.ts";
import { VERSION } from "./version.ts";
import { Webhooks } from "./webhooks/webhooks.ts";

/** What may be replaced, in tests and by whoever embeds the broker. */
export interface WarrenDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly engine: Engine;
  /** How names of webhooks are looked up. */
  readonly resolve: Resolve;
}

const newId = () => Bun.randomUUIDv7();
/** Shorter messages hardly shrink. */
const COMPRESS_FROM_BYTES = 1024;

/** The listener, once there is one: routes are published through it. */
class ServerRoutes implements RoutePublisher {
  listener: Listener | undefined;
  readonly #compressFrom: number;

  constructor(compressFrom: number) {
    this.#compressFrom = compressFrom;
  }

  publish(routeName: string, bytes: Bytes, except?: Socket): number {
    if (this.listener === undefined) return 0;
    const compress = except === undefined && bytes.length >= this.#compressFrom;
    return this.listener.publish(routeName, bytes, compress, except);
  }
}

export interface House {
  phase: "starting" | "running" | "draining";
  readonly services: Services;
  readonly sessions: Sessions;
  readonly lag: LagWatch;
  readonly routes: ServerRoutes;
}

export function assemble(config: Config, deps: Partial<WarrenDeps>): House {
  const { clock = systemClock, random = systemRandom, log = loggerOf(config) } = deps;
  const { resolve = systemResolve } = deps;
  const { limits, durability, dataDir } = config;
  const engine = deps.engine ?? new SqliteEngine({ dataDir, durability, clock, random, limits });
  const compressFrom = config.compression === "on" ? COMPRESS_FROM_BYTES : Number.POSITIVE_INFINITY;
  const routes = new ServerRoutes(compressFrom);
  const healthChanged = (health: EngineHealth) => logHealth(log, health);
  const webhooks = new Webhooks({ engine, clock, random, resolve, log });
  const broker = new Broker({
    ...{ engine, clock, random, limits, routes, newId, healthChanged },
    queueChanged: (name, description) => webhooks.queueChanged(name, description),
  });
  const { roles, channels } = rulesOf(config, broker, log);
  const admission = admissionOf(config, broker);
  const { keys, keyUse } = keysOf(config, broker);
  const revocations = revocationsOf(broker);
  const identities = identitiesOf(config, { roles, keys, keyUse, revocations, clock, log });
  const authenticator = admission.guard(identities);
  const validity = new Validity(keys, revocations);
  const node = newId();
  const sessions = new Sessions({
    ...{ broker, authenticator, admission, validity, compressFrom, log, node },
    version: VERSION,
  });
  roles.onChange(() => sessions.review.start());
  const lag = new LagWatch(clock);
  const phase = (): House["phase"] => house.phase;
  const figures = createFigures({ broker, sessions, webhooks, lag }, () => phase() === "draining");
  const metrics = metricsOf(broker, figures, durability);
  const services: Services = {
    config,
    broker,
    engine,
    authenticator,
    admission,
    ...standingOf({ validity, admission, roles, clock }),
    sessions,
    roles,
    channels,
    keys,
    keyUse,
    revocations,
    expiring: expiringOf(engine, admission, revocations),
    tasks: tasksOf(broker),
    turns: { queues: new Turns(), channels: new Turns(), roles: new Turns() },
    leases: new Leases(engine, clock, limits),
    webhooks,
    metrics,
    figures,
    clock,
    log,
    version: VERSION,
    node,
    startedAt: clock.now(),
    phase,
  };
  const house: House = { phase: "starting", services, sessions, lag, routes };
  return house;
}

function metricsOf(broker: Broker, figures: Figures, durability: Config["durability"]): Metrics {
  const { engine } = broker;
  return createMetrics({
    ...figures,
    version: VERSION,
    engine: engine.name,
    durability: engine.capabilities.durable ? durability : "none",
    queues: (atMost) => queueGauges(broker, atMost),
    channels: (atMost) => channelGauges(broker, atMost),
  });
}

/** Roles and channels, of the settings and as they are stored; what is stored with a fault denies. */
export function rulesOf(
  config: Pick<Config, "roles" | "channels">,
  broker: Broker,
  log: Logger,
): { roles: RoleBook; channels: ChannelBook } {
  const roles = new RoleBook(config.roles);
  const channelsChanged = () => {
    broker.router.channelsChanged();
    broker.presence.rulesChanged();
    roles.changed();
  };
  const channels = new ChannelBook(config.channels, channelsChanged, broker.counters);
  broker.router.channels = channels;
  broker.presence.rules = channels;
  roles.grantEveryone(() => channels.everyone());
  broker.watchRecords("roles", (name, value) => {
    const fault = learnRole(roles, name, value);
    if (fault !== undefined)
      log.error("a stored role is faulty and denies everything", faultOf(name, fault));
  });
  broker.watchRecords("channels", (name, value) => {
    const fault = learnChannel(channels, name, value);
    if (fault !== undefined)
      log.error("a stored channel is faulty and takes nothing", faultOf(name, fault));
  });
  return { roles, channels };
}

function faultOf(name: string, { pointer, message }: Fault): Record<string, string> {
  return { name, pointer, problem: message, advice: "Write it anew, or delete it." };
}

/** Bans come from the store, and are known before anyone is let in. */
function admissionOf({ rates, limits }: Config, broker: Broker): Admission {
  const admission = new Admission({
    rates,
    maxAccounts: limits.rateAccounts,
    maxAutomaticBans: limits.automaticBans,
    clock: broker.clock,
  });
  broker.watchRecords("bans", (id, ban) => admission.bans.recordChanged(id, ban));
  return admission;
}

/** Keys of the settings and those that are stored, and when each was last used. */
function keysOf(config: Config, broker: Broker): Pick<Services, "keys" | "keyUse"> {
  const { engine, clock } = broker;
  const keys = new ApiKeys(config.keys);
  broker.watchRecords("keys", (id, key) => keys.recordChanged(id, key as StoredKey | undefined));
  const write = (changed: readonly StoredKey[]) =>
    engine.records.write(changed.map((key) => ({ collection: "keys", key: key.id, value: key })));
  return { keys, keyUse: new KeyUse({ keys, clock, write }) };
}

function tasksOf(broker: Broker): Tasks {
  const { engine, clock } = broker;
  const tasks = new Tasks({ engine, clock, newId });
  broker.watchRecords("tasks", (id) => tasks.recordChanged(id));
  return tasks;
}

function revocationsOf(broker: Broker): Revocations {
  const revocations = new Revocations(broker.clock);
  broker.watchRecords("revocations", (id, one) =>
    revocations.recordChanged(id, one as Revocation | undefined),
  );
  return revocations;
}

function expiringOf(
  { records }: Engine,
  { bans }: Admission,
  revocations: Revocations,
): Services["expiring"] {
  return {
    bans: new ExpiringRecords(records, "bans", (atMost) => bans.expired(atMost)),
    revocations: new ExpiringRecords(records, "revocations", (atMost) =>
      revocations.expired(atMost),
    ),
  };
}

/** Who is still to be served, and who waits and is told when that is over. */
function standingOf(
  parts: Pick<Services, "admission" | "roles" | "clock"> & { readonly validity: Validity },
): Pick<Services, "standing" | "waits"> {
  const { validity, admission, roles, clock } = parts;
  const standing = new Standing(validity, admission.bans, clock);
  const waits = new Waits(clock);
  standing.onChange(() => waits.look());
  roles.onChange(() => waits.look());
  return { standing, waits };
}

function identitiesOf(
  config: Config,
  parts: Pick<Services, "roles" | "keys" | "keyUse" | "revocations" | "clock" | "log">,
): Authenticator {
  const { roles, keys, keyUse, revocations, clock, log } = parts;
  return createAuthenticator({
    ...accessOf(config),
    clock,
    book: roles,
    apiKeys: keys,
    revocations,
    keyUsed: (id) => keyUse.used(id),
    keysFailed: (issuer, reason) => log.warn("an issuer's keys cannot be had", { issuer, reason }),
  });
}

export function accessOf(config: Config): AuthenticatorConfig {
  const { jwt, issuers, roles, keys, anonymous, tls, limits } = config;
  return {
    jwtSecret: jwt.secret,
    jwtPreviousSecret: jwt.previousSecret,
    issuer: jwt.issuer,
    audience: jwt.audience,
    clockToleranceMs: jwt.clockToleranceMs,
    issuers,
    roles,
    keys,
    anonymous,
    clientPrincipal: tls.clientPrincipal,
    verifiedTokens: limits.verifiedTokens,
    pendingHandshakes: limits.pendingHandshakes,
    clock: systemClock,
  };
}

function logHealth(log: Logger, health: EngineHealth): void {
  if (health.state === "ready") log.info("storage can be written again");
  else log.error("storage cannot be written", { reason: health.reason, advice: health.advice });
}

function loggerOf(config: Config): Logger {
  const { log, logLevel } = config;
  return createLogger({ format: log, level: logLevel, secrets: configSecrets(config) });
}
