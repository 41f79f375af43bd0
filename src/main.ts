/**
 * The composition root: settings become a running broker, and a running broker ends well. What is put
 * together here knows nothing of how that was done.
 */
import { accessOf, assemble, type House, type WarrenDeps } from "./assembly.ts";
import type { Broker } from "./broker/broker.ts";
import { channelFaults } from "./broker/channels.ts";
import { systemClock } from "./clock.ts";
import { type Config, ConfigError, type ConfigFault } from "./config.ts";
import { completeSettings } from "./engine/rules.ts";
import { WarrenError } from "./errors.ts";
import { assertBindings } from "./listeners/admin.ts";
import { createHttpHandler } from "./listeners/http.ts";
import { assertOwnName } from "./listeners/own-name.ts";
import { problemResponse } from "./listeners/problem.ts";
import { type Listener, listen } from "./listeners/server.ts";
import type { Services } from "./listeners/services.ts";
import { assertWebhook } from "./listeners/webhook.ts";
import { createWebSocketListener } from "./listeners/websocket.ts";
import { accessFaults, hasCredentials } from "./security/authenticator.ts";
import {
  assertSafeToListen,
  type Exposure,
  exposures,
  unknownIssuerRoles,
} from "./security/exposure.ts";
import { createOriginCheck } from "./security/origins.ts";
import { createClientAddresses } from "./security/proxies.ts";
import { CertificateWatch, hasTls, readTls, tlsFaults } from "./security/tls.ts";
import type { Sessions } from "./session/sessions.ts";
import { VERSION } from "./version.ts";

export type { WarrenDeps } from "./assembly.ts";

/** The start cannot work; the message says why and what to do about it. */
export class StartError extends Error {
  override readonly name = "StartError";
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
    assertSafeToListen({ ...config, hasCredentials: hasCredentials(accessOf(config)) });
  });
  demand("allowedOrigins", () => createOriginCheck(config.allowedOrigins));
  demand("trustedProxies", () => createClientAddresses(config.trustedProxies));
  for (const { setting, message } of tlsFaults(config.tls, systemClock.now())) {
    faults.push({ path: `tls.${setting}`, problem: message });
  }
  for (const { pointer, message } of accessFaults(accessOf(config))) {
    faults.push({ path: pathOf(pointer), problem: message });
  }
  for (const [name, definition] of Object.entries(config.queues)) {
    demand(`queues.${name}`, () => {
      assertWebhook(completeSettings(definition));
      assertBindings(definition.bindings ?? [], config.limits);
    });
  }
  faults.push(...channelSettingsFaults(config));
  if (faults.length > 0) throw new ConfigError(faults);
}

/** A JSON Pointer as settings are named. */
function pathOf(pointer: string): string {
  return pointer.slice(1).replaceAll("/", ".").replaceAll("~1", "/").replaceAll("~0", "~");
}

function channelSettingsFaults({ channels }: Config): ConfigFault[] {
  const seen = new Set<string>();
  return Object.entries(channels).flatMap(([name, definition]) => {
    const path = `channels.${name}`;
    const faults = channelFaults(definition, "").map(({ pointer, message }) => ({
      path: path + pointer.replaceAll("/", "."),
      problem: message,
    }));
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
  if (hasTls(config.tls)) {
    await watch.start();
    // It may have changed while the broker started.
    renew();
  }
  for (const { message, advice } of warningsOf(config, house)) log.warn(message, { advice });
  if (durability === "os") log.warn("durability is os: a power loss may take confirmed messages");
  let stopped: Promise<void> | undefined;
  return {
    url,
    broker,
    sessions: house.sessions,
    open,
    reload() {
      house.services.authenticator.refreshKeys();
      house.sessions.recall.check();
      if (hasTls(config.tls)) renew();
    },
    stop(reason) {
      watch.stop();
      stopped ??= stop(house, listener, reason);
      return stopped;
    },
  };
}

/** What is dangerous in good settings, and may be meant. */
export function settingsWarnings(config: Config): Exposure[] {
  return exposures({
    ...config,
    hasCredentials: hasCredentials(accessOf(config)),
    hasTls: hasTls(config.tls),
  });
}

function warningsOf(config: Config, { services }: House): Exposure[] {
  const isRole = (name: string) => services.roles.get(name) !== undefined;
  return [...settingsWarnings(config), ...unknownIssuerRoles(config.issuers, isRole)];
}

/** A certificate that cannot be used is not taken; the one before it stays. */
function renewCertificate(listener: Listener, { tls }: Config, { log, clock }: Services): void {
  try {
    if (listener.renew(readTls(tls, clock.now()))) log.info("the certificate was renewed");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log.error("the certificate was not renewed", { reason });
  }
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
      clock: services.clock,
      // As the sweep of sessions has it [P-9.2].
      silenceMs: 2 * config.limits.heartbeatMs,
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
  const { broker, clock, leases, tasks, log, config, webhooks, keyUse } = house.services;
  const startedAt = clock.now();
  log.info("draining", { reason, sessions: house.sessions.size });
  house.phase = "draining";
  for (const part of [leases, tasks]) part.stop();
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const bound = clock.after(config.limits.drainMs, resolve);
  // What a webhook has sent may still be answered, and need not be sent again then.
  await Promise.all([house.sessions.drain(), Promise.race([webhooks.stop(), late])]);
  keyUse.stop();
  // What HTTP requests are waiting for is answered by the store as it closes, before it resolves.
  await broker.close();
  house.lag.stop();
  const idle = listener.stop();
  await Promise.race([idle, late]);
  bound.cancel();
  await listener.stop(true);
  log.info("stopped", { durationMs: clock.now() - startedAt });
}
