/**
 * A broker and its clients in one process, without real time: sessions, broker, scheduling, engine and
 * clock from one seed. First with faults, then healed; what happened goes to the checker.
 */
import type { QueueSettings } from "../../schemas/queue.ts";
import { ALLOW_ALL } from "../../src/broker/access.ts";
import { Broker } from "../../src/broker/broker.ts";
import type { Random } from "../../src/clock.ts";
import { configFrom } from "../../src/config.ts";
import type { QueueReport } from "../../src/engine/engine.ts";
import { completeSettings } from "../../src/engine/rules.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { NativeProtocol } from "../../src/protocols/native/native.ts";
import { Admission } from "../../src/security/admission.ts";
import { ApiKeys } from "../../src/security/api-keys.ts";
import { Revocations } from "../../src/security/revocations.ts";
import { Validity } from "../../src/security/validity.ts";
import { Session } from "../../src/session/session.ts";
import { Sessions } from "../../src/session/sessions.ts";
import { check, type Fault } from "../durability/checker.ts";
import type { HistoryEvent } from "../durability/history.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { SimDisk } from "./disk.ts";
import { SimPublisher, SimWorker, type Surroundings } from "./peers.ts";
import { type SimPeer, SimSocket } from "./socket.ts";
import { LifeClock, SimTime } from "./time.ts";

const RULES = { maxDeliveries: 3, ackTimeoutMs: 4000 };
const SETTINGS = {
  ...RULES,
  backoff: { minMs: 50, maxMs: 800, factor: 2, jitter: 0.5 },
  dedupeWindowMs: 7 * 24 * 3_600_000,
};
/** What is acked in `audit` is kept for longer than all of it lasts, whatever the clock says. */
const RETAINED_MS = 7 * 24 * 3_600_000;
const FEW = 6;
const BINDINGS = {
  jobs: ["load/jobs/#", "load/jobs-audit/#"],
  audit: ["load/jobs-audit/#"],
  recent: ["load/recent/#"],
};
const OVERFLOWS = { dead: "dead-letter-oldest", drop: "drop-oldest" } as const;
/** Of the kinds of trouble a seed knows so many: some faults show only where others do not cover them. */
const KNOWN_TROUBLES = 0.6;
const FAULTY_MS = 20_000;
/** By then everything has come to its end: what was delayed by a clock that was wrong, too. */
const HEALED_MS = 3_600_000;
const JUMP_MS = 60_000;
const LIMITS = {
  ...DEFAULT_LIMITS,
  queueWindowMessages: 24,
  delayedWindow: 16,
  deliveryGraceMs: 100,
};

type Trouble = readonly [name: string, act: () => void];

/** One broker, from its start to its end. */
interface Life {
  readonly clock: LifeClock;
  readonly engine: SqliteEngine;
  readonly sessions: Sessions;
  readonly routes: Map<string, Set<SimSocket>>;
  readonly sockets: Set<SimSocket>;
}

/** Never empty, kept where it should not be, or more than there may be. */
interface OtherFault {
  readonly kind: "stuck" | "left" | "retained" | "over_bound";
  readonly text: string;
}

export interface SimReport {
  readonly seed: number;
  readonly faults: readonly (Fault | OtherFault)[];
  /** Of everything that happened, in order: the same seed gives the same. */
  readonly hash: string;
  readonly events: number;
  /** What was done to the broker. */
  readonly done: Readonly<Record<string, number>>;
}

/** Makes an engine worse than it is: the simulation must notice. */
export type Sabotage = (engine: SqliteEngine, disk: SimDisk) => void;

export async function simulate(seed: number, sabotage?: Sabotage): Promise<SimReport> {
  using world = new World(seed, sabotage);
  return await world.run();
}

class World implements Surroundings, Disposable {
  readonly random: Random;
  readonly time: SimTime;
  healed = false;
  readonly #seed: number;
  readonly #sabotage: Sabotage | undefined;
  readonly #disk: SimDisk;
  readonly #events: HistoryEvent[] = [];
  readonly #done: Record<string, number> = {};
  readonly #publishers: readonly SimPublisher[];
  readonly #workers: readonly SimWorker[];
  readonly #overflow: keyof typeof OVERFLOWS;
  readonly #others: OtherFault[] = [];
  #hash = 0n;
  #life: Life | undefined;
  #ids = 0;

  constructor(seed: number, sabotage: Sabotage | undefined) {
    this.#seed = seed;
    this.#sabotage = sabotage;
    this.random = seededRandom(seed);
    this.time = new SimTime(this.random);
    this.#disk = new SimDisk(this.time, this.random);
    this.#overflow = this.random() < 0.5 ? "dead" : "drop";
    const all = this.#allTroubles.filter(() => this.random() < KNOWN_TROUBLES);
    this.#troubles = all.length > 0 ? all : this.#allTroubles;
    const publisher = (name: string, encoding: "json" | "msgpack", ids: boolean) =>
      new SimPublisher(this, name, { encoding, ids, count: 20 + Math.floor(this.random() * 60) });
    this.#publishers = [
      publisher("a", "json", true),
      publisher("b", "msgpack", true),
      publisher("c", "json", false),
    ];
    const worker = (name: string, queues: string[], credit: number) =>
      new SimWorker(this, name, { encoding: "json", queues, credit });
    this.#workers = [
      worker("w1", ["jobs"], 5),
      worker("w2", ["jobs", "audit"], 12),
      worker("w3", ["audit", "jobs.dead", "audit.dead", "recent.dead"], 3),
      worker("w4", ["recent"], 2),
    ];
  }

  async run(): Promise<SimReport> {
    this.#begin();
    for (const peer of [...this.#publishers, ...this.#workers]) peer.start();
    this.#trouble();
    await this.time.run(FAULTY_MS, () => false);
    this.#heal();
    const finished = await this.time.run(FAULTY_MS + HEALED_MS, () => this.#finished());
    if (finished) await this.#checkRetained();
    const recent = { ...RULES, overflow: this.#overflow };
    const queues = { jobs: RULES, audit: RULES, recent };
    const faults: SimReport["faults"] = [
      ...check({ queues, events: this.#events, exact: true }),
      ...(finished ? this.#leftOver() : [{ kind: "stuck" as const, text: this.#state() }]),
      ...this.#others,
    ];
    const { length: events } = this.#events;
    return { seed: this.#seed, faults, hash: this.#hash.toString(16), events, done: this.#done };
  }

  record(event: HistoryEvent): void {
    this.#events.push(event);
    this.#hash = Bun.hash.xxHash64(JSON.stringify(event), this.#hash);
    if (event.kind === "confirmed") this.#checkBound();
  }

  connect(peer: SimPeer): SimSocket | undefined {
    const life = this.#life;
    if (life === undefined) return undefined;
    const socket = new SimSocket(peer, this.time, this.random, life.routes);
    life.sockets.add(socket);
    const protocol = peer.encoding === "json" ? NativeProtocol.json() : NativeProtocol.msgpack();
    const principal = { name: "anonymous", rights: ALLOW_ALL };
    socket.attach(new Session(life.sessions, protocol, "sim", principal));
    return socket;
  }

  [Symbol.dispose](): void {
    this.#disk[Symbol.dispose]();
  }

  #begin(): void {
    const clock = new LifeClock(this.time);
    const { random } = this;
    const parts = { clock, random, limits: LIMITS };
    const startWriter = this.#disk.start;
    const engine = new SqliteEngine({ ...parts, dataDir: "sim", durability: "fsync", startWriter });
    this.#sabotage?.(engine, this.#disk);
    const routes = new Map<string, Set<SimSocket>>();
    const publish = (name: string, bytes: string | Uint8Array<ArrayBuffer>) => {
      for (const socket of routes.get(name) ?? []) socket.send(bytes);
      return bytes.length;
    };
    const newId = () => `id-${++this.#ids}`;
    const broker = new Broker({ engine, ...parts, newId, routes: { publish } });
    const recheckKeys = () => Promise.resolve();
    const authenticate = () => Promise.reject();
    const authenticator = { authenticate, recheckKeys, anonymousAllowed: true };
    const silent = () => {};
    const log = { debug: silent, info: silent, warn: silent, error: silent };
    const admission = new Admission({
      rates: configFrom({}).rates,
      maxAccounts: LIMITS.rateAccounts,
      maxAutomaticBans: LIMITS.automaticBans,
      clock,
    });
    const validity = new Validity(new ApiKeys(), new Revocations(clock));
    const deps = {
      broker,
      authenticator,
      admission,
      validity,
      log,
      version: "0",
      node: "sim",
    } as never;
    const life: Life = { clock, engine, sessions: new Sessions(deps), routes, sockets: new Set() };
    const ready = async () => {
      await broker.start();
      for (const [name, bindings] of Object.entries(BINDINGS)) {
        await engine.queues.define(name, this.#settingsOf(name), bindings);
      }
      if (!clock.over) this.#life = life;
    };
    this.#starting = life;
    // Its disk may refuse it: then it is started again, as people do.
    ready().catch(() => {
      if (this.#starting === life) this.#end();
    });
  }

  #settingsOf(name: string): QueueSettings {
    const overflow = OVERFLOWS[this.#overflow];
    return completeSettings({
      ...SETTINGS,
      ...(name === "audit" && { retainAckedMs: RETAINED_MS }),
      ...(name === "recent" && { maxMessages: FEW, overflow }),
    });
  }

  #starting: Life | undefined;

  /** kill -9. */
  #end(): void {
    const life = this.#starting;
    if (life === undefined) return;
    this.#starting = undefined;
    this.#life = undefined;
    life.clock.over = true;
    for (const socket of life.sockets) socket.vanish();
    this.#disk.powerOff();
    this.record({ kind: "crashed", at: this.time.now() });
    this.time.after(200 + this.random() * 1000, () => this.#begin());
  }

  // Trouble

  #trouble(): void {
    this.time.after(this.random() * 1500, () => {
      if (this.healed) return;
      const [name, act] = this.#troubles[Math.floor(this.random() * this.#troubles.length)]!;
      this.#done[name] = (this.#done[name] ?? 0) + 1;
      act();
      this.#trouble();
    });
  }

  readonly #troubles: readonly Trouble[];
  readonly #allTroubles: readonly Trouble[] = [
    ["cut", () => this.#anyone().cut()],
    ["cut", () => this.#anyone().cut()],
    ["crash", () => this.#end()],
    ["writer lost", () => this.#loseWriter(false)],
    ["writer lost after its commit", () => this.#loseWriter(true)],
    ["answer lost with the writer", () => this.#disk.loseAnswer(() => this.#noteLost())],
    ["disk full", () => this.#mood({ failing: true })],
    ["slow disk", () => this.#mood({ slowMs: 800 })],
    ["clock forward", () => this.#setClock(Math.floor(this.random() * JUMP_MS))],
    ["clock back", () => this.#setClock(-Math.floor(this.random() * JUMP_MS))],
  ];

  #anyone(): SimPublisher | SimWorker {
    const all = [...this.#publishers, ...this.#workers];
    return all[Math.floor(this.random() * all.length)]!;
  }

  #loseWriter(committed: boolean): void {
    // Consumers end with it, in this very turn.
    if (this.#disk.hasWriter) this.#noteLost();
    this.#disk.loseWriter(committed);
  }

  #noteLost(): void {
    this.record({ kind: "writer lost", at: this.time.now() });
  }

  #mood(mood: Partial<SimDisk["mood"]>): void {
    Object.assign(this.#disk.mood, mood);
    this.time.after(this.random() * 4000, () => this.#disk.wellAgain());
  }

  #setClock(byMs: number): void {
    this.record({ kind: "clock set", at: this.time.now() });
    this.time.jump(byMs);
  }

  #heal(): void {
    this.healed = true;
    this.#disk.wellAgain();
    this.#setClock(-this.time.aheadMs);
  }

  // The end

  #finished(): boolean {
    const engine = this.#life?.engine;
    if (engine === undefined || engine.health.state !== "ready") return false;
    const peers = [...this.#publishers, ...this.#workers];
    return peers.every((peer) => peer.done) && engine.queues.list().every(isEmpty);
  }

  /** [P-5.9] The bound is never exceeded, not for a moment. */
  #checkBound(): void {
    const { counts } = this.#life?.engine.queues.describe("recent") ?? {};
    if (counts === undefined) return;
    const sum = counts.ready + counts.delayed + counts.inFlight;
    if (sum > FEW) this.#others.push({ kind: "over_bound", text: JSON.stringify(counts) });
  }

  /** [P-5.15] What was acked is kept, once, and nothing else is. */
  async #checkRetained(): Promise<void> {
    const { queues } = this.#life?.engine ?? {};
    let shown: readonly string[] | undefined;
    void queues
      ?.peek("audit", { state: "acked", limit: 10_000 })
      .then(({ messages }) => {
        const payloads = messages.map(({ message }) => JSON.parse(message.payload.json()));
        shown = payloads.map(({ stream, number }) => `${stream}/${number}`);
      })
      .catch(() => {
        shown = [];
      });
    await this.time.run(Number.POSITIVE_INFINITY, () => shown !== undefined);
    const fault = (text: string) => this.#others.push({ kind: "retained", text });
    const kept = new Set(shown);
    const { asked, answered } = acksOf("audit", this.#events);
    if (kept.size !== shown?.length) fault(`${shown?.length} kept of ${kept.size} messages`);
    const { retained } = queues?.list().find(({ name }) => name === "audit")?.counts ?? {
      retained: -1,
    };
    if (retained !== kept.size) fault(`${kept.size} kept, ${retained} counted`);
    for (const message of answered) if (!kept.has(message)) fault(`${message} is not kept`);
    for (const message of kept) if (!asked.has(message)) fault(`${message} was not acked`);
  }

  /** What lies on disk although memory has nothing. */
  #leftOver(): { kind: "left"; text: string }[] {
    const of = (sql: string) =>
      (this.#disk.database.query<{ n: number | null }, []>(sql).get()?.n ?? 0) as number;
    const rows = of("SELECT count(*) AS n FROM messages");
    const counted = of("SELECT sum(abs(messages) + abs(bytes)) AS n FROM queues");
    if (rows === 0 && counted === 0) return [];
    return [{ kind: "left", text: `${rows} rows, ${counted} in the totals` }];
  }

  #state(): string {
    const engine = this.#life?.engine;
    const queues = engine?.queues.list().map(({ name, counts }) => ({ name, ...counts }));
    const waiting = [...this.#publishers, ...this.#workers].filter((peer) => !peer.done);
    const names = waiting.map(({ name }) => name);
    return JSON.stringify({ health: engine?.health, queues, waiting: names });
  }
}

/** Messages of the queue that somebody acked, and those whose ack was answered. */
function acksOf(queue: string, events: readonly HistoryEvent[]) {
  const byTag = new Map<number, string>();
  const asked = new Set<string>();
  const answered = new Set<string>();
  const acks = new Set<number>();
  for (const event of events) {
    if (event.kind === "delivered" && event.queue === queue) byTag.set(event.tag, event.message);
    if (event.kind !== "settling" && event.kind !== "settled") continue;
    const message = byTag.get(event.tag);
    if (message === undefined) continue;
    if (event.kind === "settling") {
      if (event.outcome !== "ack") continue;
      acks.add(event.tag);
      asked.add(message);
    } else if (acks.has(event.tag)) answered.add(message);
  }
  return { asked, answered };
}

function isEmpty({ counts }: QueueReport): boolean {
  const { ready, delayed, inFlight, bytes } = counts;
  // What is on its way out of the queue is in none of the counts, but takes room still.
  return ready + delayed + inFlight + bytes === 0;
}
