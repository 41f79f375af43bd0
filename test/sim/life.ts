/** One broker of a simulation, from its start to its end: all of its parts but sockets, threads and time. */
import { ALLOW_ALL } from "../../src/broker/access.ts";
import { Broker } from "../../src/broker/broker.ts";
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
import { NotedEngine } from "./noted-engine.ts";
import { type SimPeer, SimSocket } from "./socket.ts";
import { LifeClock, type SimTime } from "./time.ts";

const LIMITS = {
  ...DEFAULT_LIMITS,
  queueWindowMessages: 24,
  delayedWindow: 16,
  deliveryGraceMs: 100,
};

export interface LifeParts {
  readonly time: SimTime;
  readonly random: Random;
  readonly startWriter: StartWriter;
  readonly newId: () => string;
}

export class Life {
  readonly clock: LifeClock;
  readonly engine: SqliteEngine;
  readonly tasks: Tasks;
  /** The engine as those see it who pull over HTTP. */
  readonly noted: NotedEngine;
  readonly leases: Leases;
  readonly #broker: Broker;
  readonly #sessions: Sessions;
  readonly #parts: LifeParts;
  readonly #routes = new Map<string, Set<SimSocket>>();
  readonly #sockets = new Set<SimSocket>();

  constructor(parts: LifeParts) {
    const { time, random, startWriter, newId } = parts;
    this.#parts = parts;
    this.clock = new LifeClock(time);
    const shared = { clock: this.clock, random, limits: LIMITS };
    const store = { dataDir: "sim", durability: "fsync", startWriter } as const;
    this.engine = new SqliteEngine({ ...shared, ...store });
    const { engine, clock } = this;
    const publish = (name: string, bytes: string | Uint8Array<ArrayBuffer>) => {
      for (const socket of this.#routes.get(name) ?? []) socket.send(bytes);
      return bytes.length;
    };
    this.#broker = new Broker({ engine, ...shared, newId, routes: { publish } });
    this.tasks = new Tasks({ engine, clock, newId });
    this.#broker.watchRecords("tasks", (id) => this.tasks.recordChanged(id));
    this.noted = new NotedEngine(engine);
    this.leases = new Leases(this.noted as never, clock, LIMITS);
    this.#sessions = sessionsOf(this.#broker, clock);
  }

  async start(): Promise<void> {
    await this.#broker.start();
    this.tasks.start();
  }

  connect(peer: SimPeer): SimSocket {
    const { time, random } = this.#parts;
    const socket = new SimSocket(peer, time, random, this.#routes);
    this.#sockets.add(socket);
    const protocol = peer.encoding === "json" ? NativeProtocol.json() : NativeProtocol.msgpack();
    const principal = { name: "anonymous", rights: ALLOW_ALL };
    socket.attach(new Session(this.#sessions, protocol, "sim", principal));
    return socket;
  }

  /** kill -9. */
  end(): void {
    this.clock.end();
    for (const socket of this.#sockets) socket.vanish();
  }
}

function sessionsOf(broker: Broker, clock: LifeClock): Sessions {
  const recheckKeys = () => Promise.resolve();
  const authenticate = () => Promise.reject();
  const silent = () => {};
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
    log: { debug: silent, info: silent, warn: silent, error: silent },
    version: "0",
    node: "sim",
  } as never);
}
