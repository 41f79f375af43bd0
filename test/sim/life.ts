/** One broker of a simulation, from its start to its end: all of its parts but sockets, threads and time. */
import { ALLOW_ALL, type Principal } from "../../src/broker/access.ts";
import { Broker } from "../../src/broker/broker.ts";
import type { Presence } from "../../src/broker/presence.ts";
import { Tasks } from "../../src/broker/tasks.ts";
import type { Random } from "../../src/clock.ts";
import { configFrom } from "../../src/config.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import type { StartWriter } from "../../src/engine/sqlite/thread.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { Leases } from "../../src/listeners/leases.ts";
import { NativeProtocol } from "../../src/protocols/native/native.ts";
import { Admission } from "../../src/security/admission.ts";
import { ApiKeys } from "../../src/security/api-keys.ts";
import { Revocations } from "../../src/security/revocations.ts";
import { Validity } from "../../src/security/validity.ts";
import { Session } from "../../src/session/session.ts";
import { Sessions } from "../../src/session/sessions.ts";
import { PretendedRoutes } from "../harness/pretended-socket.ts";
import { NotedEngine } from "./noted-engine.ts";
import { ROLE, SimRules } from "./rules.ts";
import { type SimPeer, SimSocket, type Who } from "./socket.ts";
import { LifeClock, type SimTime } from "./time.ts";

export const LIMITS = {
  ...DEFAULT_LIMITS,
  turnBytes: 300,
  heldInputBytes: 4000,
  heartbeatMs: 3000,
  presenceGraceMs: 2500,
  presenceAnnounced: 5,
  presenceAbsent: 6,
  queueWindowMessages: 24,
  delayedWindow: 16,
  deliveryGraceMs: 100,
};

const silent = () => {};
const SILENT = { debug: silent, info: silent, warn: silent, error: silent };
/** All who speak one share their routes. */
const PROTOCOLS = { json: NativeProtocol.json(), msgpack: NativeProtocol.msgpack() };

export interface LifeParts {
  readonly time: SimTime;
  readonly random: Random;
  readonly startWriter: StartWriter;
  readonly newId: () => string;
  /** Roles or channels are others than before. */
  readonly rulesChanged: () => void;
}

export class Life {
  readonly clock: LifeClock;
  readonly engine: SqliteEngine;
  readonly tasks: Tasks;
  /** The engine as those see it who pull over HTTP. */
  readonly noted: NotedEngine;
  readonly leases: Leases;
  readonly rules: SimRules;
  readonly #broker: Broker;
  readonly #sessions: Sessions;
  readonly #parts: LifeParts;
  readonly #routes = new PretendedRoutes();
  readonly #sockets = new Set<SimSocket>();

  constructor(parts: LifeParts) {
    const { time, random, startWriter, newId } = parts;
    this.#parts = parts;
    this.clock = new LifeClock(time);
    const shared = { clock: this.clock, random, limits: LIMITS };
    const store = { dataDir: "sim", durability: "fsync", startWriter } as const;
    this.engine = new SqliteEngine({ ...shared, ...store });
    const { engine, clock } = this;
    this.#broker = new Broker({ engine, ...shared, newId, routes: this.#routes });
    this.rules = new SimRules(this.#broker, SILENT, parts.rulesChanged);
    this.tasks = new Tasks({ engine, clock, newId });
    this.#broker.watchRecords("tasks", (id) => this.tasks.recordChanged(id));
    this.noted = new NotedEngine(engine);
    this.leases = new Leases(this.noted as never, clock, LIMITS);
    const principalOf = (who: Who) => this.#principalOf(who);
    this.#sessions = sessionsOf(this.#broker, clock, principalOf);
    this.rules.reviewedBy(this.#sessions);
  }

  get presence(): Presence {
    return this.#broker.presence;
  }

  async start(): Promise<void> {
    await this.#broker.start();
    this.tasks.start();
    await this.rules.begin();
  }

  connect(peer: SimPeer): SimSocket {
    const { time, random } = this.#parts;
    const socket = new SimSocket(peer, time, random, this.#routes);
    this.#sockets.add(socket);
    const protocol = PROTOCOLS[peer.encoding];
    const { who } = peer;
    const principal = who ? this.#principalOf(who) : { name: "anonymous", rights: ALLOW_ALL };
    socket.attach(new Session(this.#sessions, protocol, "sim", principal));
    return socket;
  }

  /** kill -9. */
  end(): void {
    this.clock.end();
    for (const socket of this.#sockets) socket.vanish();
  }

  #principalOf(who: Who): Principal {
    const holder = { roles: [ROLE], grants: [], source: { kind: "token" } as const };
    const { name, client } = who;
    const variables = { principal: name, ...(client !== undefined && { client }) };
    return { ...who, rights: this.rules.roles.rightsFor({ ...holder, variables }) };
  }
}

/** A token says in plain words who has it. */
function sessionsOf(
  broker: Broker,
  clock: LifeClock,
  principalOf: (who: Who) => Principal,
): Sessions {
  const recheckKeys = () => Promise.resolve();
  const authenticate = (token: string) => Promise.resolve(principalOf(JSON.parse(token)));
  const admission = new Admission({
    rates: configFrom({}).rates,
    maxAccounts: LIMITS.rateAccounts,
    maxAutomaticBans: LIMITS.automaticBans,
    clock,
  });
  return new Sessions({
    broker,
    authenticator: { authenticate, recheckKeys, anonymousAllowed: true },
    admission,
    validity: new Validity(new ApiKeys(), new Revocations(clock)),
    log: SILENT,
    version: "0",
    node: "sim",
  } as never);
}
