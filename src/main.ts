/**
 * The composition root: settings become a running broker, and a running broker ends well. What is put
 * together here knows nothing of how that was done.
 */
import type { RoleSettings } from "../schemas/access.ts";
import type { ChannelDefinition } from "../schemas/channels.ts";
import { Broker } from "./broker/broker.ts";
import { ChannelBook, channelFaults, unsupportedField } from "./broker/channels.ts";
import { RoleBook } from "./broker/roles.ts";
import type { Bytes, RoutePublisher } from "./broker/route.ts";
import { Tasks } from "./broker/tasks.ts";
import { type Clock, type Random, systemClock, systemRandom } from "./clock.ts";
import { type Config, ConfigError, type ConfigFault, configSecrets } from "./config.ts";
import type { Engine, EngineHealth } from "./engine/engine.ts";
import { completeSettings } from "./engine/rules.ts";
import { SqliteEngine } from "./engine/sqlite/engine.ts";
import { WarrenError } from "./errors.ts";
import { assertBindings } from "./listeners/admin.ts";
import { createFigures, queueGauges } from "./listeners/figures.ts";
import { createHttpHandler } from "./listeners/http.ts";
import { Leases } from "./listeners/leases.ts";
import { assertOwnName } from "./listeners/own-name.ts";
import { problemResponse } from "./listeners/problem.ts";
import { type Listener, listen } from "./listeners/server.ts";
import type { Services } from "./listeners/services.ts";
import { createWebSocketListener } from "./listeners/websocket.ts";
import { createLogger, type Logger } from "./log.ts";
import { createMetrics, LagWatch } from "./metrics.ts";
import { Admission } from "./security/admission.ts";
import {
  type Authenticator,
  type AuthenticatorConfig,
  assertSafeToListen,
  createAuthenticator,
  hasCredentials,
} from "./security/authenticator.ts";
import { createOriginCheck } from "./security/origins.ts";
import { createClientAddresses } from "./security/proxies.ts";
import { CertificateWatch, hasTls, readTls, tlsFaults } from "./security/tls.ts";
import { Sessions } from "./session/sessions.ts";
import { VERSION } from "./version.ts";

/** The start cannot work; the message says why and what to do about it. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** What may be replaced, in tests and by whoever embeds the broker. */
export interface WarrenDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly engine: Engine;
}

/** A running broker. */
export interface Warren {
  /** Such as `http://127.0.0.1:7070`. */
  readonly url: string;
  readonly broker: Broker;
  readonly sessions: Sessions;
  /** Anyone who reaches it may do anything: there are no credentials to tell people apart. */
  readonly open: boolean;
  /** Reads certificates [P-14.3], key files and fetched keys [P-14.1] anew; what is open stays open. */
  reload(): void;
  /**
   * Drains and stops [P-9.3]: readiness goes false, peers are told, what was accepted is made durable
   * and answered. Safe to call twice.
   */
  stop(reason: string): Promise<void>;
}

/** Throws `ConfigError` for what no schema can see: unsafe hosts, faulty grants, origins and queues. */
export function checkConfig(config: Config): void {
  const faults: ConfigFault[] = [];
  const demand = (path: string, check: () => unknown) => {
    try {
      check();
    } catch (error) {
      faults.push({ path, problem: error instanceof Error ? error.message : String(error) });
    }
  };
  demand("host", () => {
    const { host, insecure } = config;
    assertSafeToListen({ host, insecure, hasCredentials: hasCredentials(accessOf(config)) });
  });
  demand("allowedOrigins", () => createOriginCheck(config.allowedOrigins));
  demand("trustedProxies", () => createClientAddresses(config.trustedProxies));
  for (const { setting, message } of tlsFaults(config.tls, systemClock.now())) {
    faults.push({ path: `tls.${setting}`, problem: message });
  }
  demand("jwt, issuers, keys, roles, anonymous", () => createAuthenticator(accessOf(config)));
  for (const [name, definition] of Object.entries(config.queues)) {
    demand(`queues.${name}`, () => {
      completeSettings(definition);
      assertBindings(definition.bindings ?? [], config.limits);
    });
  }
  faults.push(...channelSettingsFaults(config));
  if (faults.length > 0) throw new ConfigError(faults);
}

function channelSettingsFaults({ channels }: Config): ConfigFault[] {
  const seen = new Set<string>();
  return Object.entries(channels).flatMap(([name, definition]) => {
    const path = `channels.${name}`;
    const later = unsupportedField(definition);
    const faults = channelFaults(definition, "").map(({ pointer, message }) => ({
      path: path + pointer.replaceAll("/", "."),
      problem: message,
    }));
    if (later !== undefined) faults.push({ path: `${path}.${later}`, problem: "is not supported" });
    if (seen.has(definition.filter)) {
      faults.push({ path: `${path}.filter`, problem: "is that of another channel" });
    }
    seen.add(definition.filter);
    return faults;
  });
}

/** Starts a broker. Rejects with `ConfigError`, or with `StartError` when it cannot run here and now. */
export async function startWarren(config: Config, deps: Partial<WarrenDeps> = {}): Promise<Warren> {
  checkConfig(config);
  const house = assemble(config, deps);
  const { broker, log } = house.services;
  const open = !hasCredentials(accessOf(config)) && config.anonymous === undefined;
  const listener = await startListening(house, config);
  house.routes.listener = listener;
  try {
    await broker.start();
    await defineQueues(broker, config);
    house.services.tasks.start();
  } catch (error) {
    await listener.stop(true);
    await broker.close();
    house.lag.stop();
    throw explain(error);
  }
  house.phase = "running";
  const { url } = listener;
  const { durability } = config;
  log.info("listening", { url, durability, engine: broker.engine.name, version: VERSION });
  const renew = () => renewCertificate(listener, config, house.services);
  const watch = new CertificateWatch(config.tls, house.services.clock, renew);
  if (hasTls(config.tls)) await watch.start();
  if (durability === "os") log.warn("durability is os: a power loss may take confirmed messages");
  let stopped: Promise<void> | undefined;
  return {
    url,
    broker,
    sessions: house.sessions,
    open,
    reload() {
      house.services.authenticator.refreshKeys();
      if (hasTls(config.tls)) renew();
    },
    stop(reason) {
      watch.stop();
      stopped ??= stop(house, listener, reason);
      return stopped;
    },
  };
}

/** A certificate that cannot be used is not taken; the one before it stays. */
function renewCertificate(listener: Listener, { tls }: Config, { log, clock }: Services): void {
  try {
    listener.renew(readTls(tls, clock.now()));
    log.info("the certificate was renewed");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log.error("the certificate was not renewed", { reason });
  }
}

/** Shorter messages hardly shrink. */
const COMPRESS_FROM_BYTES = 1024;

/** The listener, once there is one: routes are published through it. */
class ServerRoutes implements RoutePublisher {
  listener: Listener | undefined;
  readonly #compressFrom: number;

  constructor(compressFrom: number) {
    this.#compressFrom = compressFrom;
  }

  publish(routeName: string, bytes: Bytes): number {
    const compress = bytes.length >= this.#compressFrom;
    return this.listener === undefined ? 0 : this.listener.publish(routeName, bytes, compress);
  }
}

interface House {
  phase: "starting" | "running" | "draining";
  readonly services: Services;
  readonly sessions: Sessions;
  readonly lag: LagWatch;
  readonly routes: ServerRoutes;
}

function assemble(config: Config, deps: Partial<WarrenDeps>): House {
  const { clock = systemClock, random = systemRandom, log = loggerOf(config) } = deps;
  const { limits, durability, dataDir } = config;
  const engine = deps.engine ?? new SqliteEngine({ dataDir, durability, clock, random, limits });
  const compressFrom = config.compression === "on" ? COMPRESS_FROM_BYTES : Number.POSITIVE_INFINITY;
  const routes = new ServerRoutes(compressFrom);
  const newId = () => Bun.randomUUIDv7();
  const healthChanged = (health: EngineHealth) => logHealth(log, health);
  const broker = new Broker({ engine, clock, random, limits, routes, newId, healthChanged });
  const { roles, channels } = rulesOf(config, broker);
  const admission = admissionOf(config, broker);
  const identities = identitiesOf(config, roles, log);
  const authenticator = admission.guard(identities);
  const node = newId();
  const sessions = new Sessions({
    broker,
    authenticator,
    admission,
    compressFrom,
    log,
    version: VERSION,
    node,
  });
  roles.onChange(() => sessions.review.start());
  const lag = new LagWatch(clock);
  const phase = (): House["phase"] => house.phase;
  const figures = createFigures(broker, sessions, lag, () => phase() === "draining");
  const metrics = createMetrics({
    ...figures,
    version: VERSION,
    engine: engine.name,
    durability: engine.capabilities.durable ? durability : "none",
    now: () => clock.now(),
    queues: () => queueGauges(broker),
  });
  const services: Services = {
    config,
    broker,
    engine,
    authenticator,
    admission,
    sessions,
    roles,
    channels,
    tasks: new Tasks({ engine, clock, newId }),
    leases: new Leases(engine, clock, limits.credit),
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

/** Roles and channels, of the settings and as they are stored; those were checked when they were written. */
function rulesOf(config: Config, broker: Broker): { roles: RoleBook; channels: ChannelBook } {
  const roles = new RoleBook(config.roles);
  const channelsChanged = () => {
    broker.router.channelsChanged();
    roles.grantEveryone(channels.everyone());
  };
  const channels = new ChannelBook(config.channels, channelsChanged, broker.counters);
  broker.router.channels = channels;
  roles.grantEveryone(channels.everyone());
  broker.watchRecords("roles", (name, role) => roles.learn(name, role as RoleSettings | undefined));
  broker.watchRecords("channels", (name, channel) =>
    channels.learn(name, channel as ChannelDefinition | undefined),
  );
  return { roles, channels };
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

function identitiesOf(config: Config, book: RoleBook, log: Logger): Authenticator {
  return createAuthenticator({
    ...accessOf(config),
    book,
    keysFailed: (issuer, reason) => log.warn("an issuer's keys cannot be had", { issuer, reason }),
  });
}

async function startListening(house: House, config: Config): Promise<Listener> {
  const { services } = house;
  const frontier = {
    origins: createOriginCheck(config.allowedOrigins, hasTls(config.tls)),
    addresses: createClientAddresses(config.trustedProxies),
  };
  const webSockets = createWebSocketListener(house.sessions, frontier, services.log);
  const needsOwnName = !hasCredentials(accessOf(config)) && !config.insecure;
  const { host, port } = config;
  try {
    return await listen({
      hostname: host,
      port,
      tls: hasTls(config.tls) ? readTls(config.tls, services.clock.now()) : undefined,
      certificatesName: config.tls.clientPrincipal !== undefined,
      maxBodyBytes: 2 * config.limits.frameBytes,
      admit: needsOwnName ? assertOwnName : () => undefined,
      http: createHttpHandler(services, frontier),
      webSocketPath: "/ws",
      upgrade: (request, to) =>
        house.phase === "starting"
          ? problemResponse(new WarrenError("busy", "The broker is starting."))
          : webSockets.upgrade(request, to),
      webSocket: webSockets.handlers,
    });
  } catch (error) {
    house.lag.stop();
    const code = (error as { code?: unknown }).code;
    if (code === "EADDRINUSE") {
      throw new StartError(
        `Port ${port} of ${host} is in use. Stop what listens there, or choose another port with ` +
          "--port or WARREN_PORT.",
      );
    }
    throw new StartError(`Cannot listen on ${host}:${port}: ${(error as Error).message}`);
  }
}

/** Brings the queues of the settings to what the settings say of them. */
async function defineQueues({ engine }: Broker, config: Config): Promise<void> {
  const existing = new Map(engine.queues.list().map((queue) => [queue.name, queue]));
  for (const [name, definition] of Object.entries(config.queues)) {
    const present = existing.get(name);
    const { bindings = present?.bindings ?? [], ...rest } = definition;
    try {
      await engine.queues.define(name, completeSettings(rest, present?.settings), bindings);
    } catch (error) {
      if (!(error instanceof WarrenError)) throw error;
      throw new StartError(`The queue ${name} of the settings was refused: ${error.message}`);
    }
  }
}

/** What the store says about itself is for people already; anything else is a fault of ours. */
function explain(error: unknown): unknown {
  return error instanceof WarrenError ? new StartError(`Cannot start: ${error.message}`) : error;
}

async function stop(house: House, listener: Listener, reason: string): Promise<void> {
  const { broker, clock, leases, tasks, log, config } = house.services;
  const startedAt = clock.now();
  log.info("draining", { reason, sessions: house.sessions.size });
  house.phase = "draining";
  for (const part of [leases, tasks]) part.stop();
  await house.sessions.drain();
  // What HTTP requests are waiting for is answered by the store as it closes, before it resolves.
  await broker.close();
  house.lag.stop();
  const idle = listener.stop();
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const bound = clock.after(Math.max(0, startedAt + config.limits.drainMs - clock.now()), resolve);
  await Promise.race([idle, late]);
  bound.cancel();
  await listener.stop(true);
  log.info("stopped", { durationMs: clock.now() - startedAt });
}

function accessOf(config: Config): AuthenticatorConfig {
  const { jwt, issuers, roles, keys, anonymous, tls } = config;
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
