/**
 * A broker and its clients in one process, without real time: sessions, broker, scheduling, engine and
 * clock from one seed. First with faults, then healed; what happened goes to the checker.
 */
import type { QueueSettings } from "../../schemas/queue.ts";
import type { Presence } from "../../src/broker/presence.ts";
import type { Random } from "../../src/clock.ts";
import type { RecordChange } from "../../src/engine/records.ts";
import { completeSettings } from "../../src/engine/rules.ts";
import type { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { check, type Fault } from "../durability/checker.ts";
import type { HistoryEvent } from "../durability/history.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { SimDisk } from "./disk.ts";
import { isEmpty, leftOver, presenceFaults, retainedFaults } from "./end.ts";
import { guestsOf, type SimGuest } from "./guest.ts";
import { Life } from "./life.ts";
import { AGAIN_MS, type OtherFaultKind, type Surroundings } from "./peer.ts";
import { SimPublisher } from "./publisher.ts";
import { SimPuller } from "./puller.ts";
import { FIRST_RULES, otherRules } from "./rules.ts";
import type { SimPeer, SimSocket } from "./socket.ts";
import { SimTime } from "./time.ts";
import { PresenceWitness } from "./witness.ts";
import { SimWorker } from "./worker.ts";

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
  keyed: ["load/keyed/#"],
};
const OVERFLOWS = { dead: "dead-letter-oldest", drop: "drop-oldest" } as const;
/** Of the kinds of trouble a seed knows so many: some faults show only where others do not cover them. */
const KNOWN_TROUBLES = 0.6;
const FAULTY_MS = 20_000;
/** By then everything has come to its end: what was delayed by a clock that was wrong, too. */
const HEALED_MS = 3_600_000;
const JUMP_MS = 60_000;
type Trouble = readonly [name: string, act: () => void];

/** What the history does not show. */
interface OtherFault {
  readonly kind: OtherFaultKind;
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
  /** How often somebody was told of somebody who came, went or changed. */
  readonly told: number;
}

/** Makes an engine worse than it is: the simulation must notice. */
export type Sabotage = (engine: SqliteEngine, disk: SimDisk, presence: Presence) => void;

export async function simulate(seed: number, sabotage?: Sabotage): Promise<SimReport> {
  using world = new World(seed, sabotage);
  return await world.run();
}

class World implements Surroundings, Disposable {
  readonly random: Random;
  readonly time: SimTime;
  healed = false;
  clockSet = 0;
  readonly #seed: number;
  readonly #sabotage: Sabotage | undefined;
  readonly #disk: SimDisk;
  readonly #events: HistoryEvent[] = [];
  readonly #done: Record<string, number> = {};
  readonly #publishers: readonly SimPublisher[];
  readonly #workers: readonly SimWorker[];
  readonly #pullers: readonly SimPuller[];
  readonly #guests: readonly SimGuest[];
  readonly #witness: PresenceWitness;
  readonly #overflow: keyof typeof OVERFLOWS;
  readonly #keyRetry: "block" | "step-aside";
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
    this.#keyRetry = this.random() < 0.5 ? "block" : "step-aside";
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
      worker("w5", ["keyed", "keyed.dead"], 6),
      worker("w6", ["keyed"], 3),
    ];
    this.#pullers = [
      new SimPuller(this, "h1", "jobs", 4),
      new SimPuller(this, "h2", "audit", 2),
      new SimPuller(this, "h3", "jobs.dead", 2),
    ];
    this.#witness = new PresenceWitness(this);
    this.#guests = guestsOf(this, this.#witness);
  }

  async run(): Promise<SimReport> {
    this.#begin();
    for (const peer of [...this.#everyone, ...this.#guests]) peer.start();
    this.#trouble();
    await this.time.run(FAULTY_MS, () => this.#look());
    this.#heal();
    const finished = await this.time.run(FAULTY_MS + HEALED_MS, () => this.#finished());
    if (finished) {
      await retainedFaults("audit", this.#life?.engine, this.#events, this);
      presenceFaults(this.#guests, this.#witness, this);
    }
    const recent = { ...RULES, overflow: this.#overflow };
    const queues = { jobs: RULES, audit: RULES, recent, keyed: { ...RULES, byKey: true } };
    const faults: SimReport["faults"] = [
      ...check({ queues, events: this.#events, exact: true }),
      ...(finished
        ? leftOver(this.#disk.database)
        : [{ kind: "stuck" as const, text: this.#state() }]),
      ...this.#others,
    ];
    const { length: events } = this.#events;
    const { told } = this.#witness;
    const hash = this.#hash.toString(16);
    return { seed: this.#seed, faults, hash, events, done: this.#done, told };
  }

  record(event: HistoryEvent): void {
    this.#events.push(event);
    if (event.kind === "clock set") this.clockSet++;
    this.note(event);
    if (event.kind === "confirmed") this.#checkBound();
  }

  note(what: unknown): void {
    this.#hash = Bun.hash.xxHash64(JSON.stringify(what), this.#hash);
  }

  connect(peer: SimPeer): SimSocket | undefined {
    return this.#life?.connect(peer);
  }

  get broker(): Life | undefined {
    return this.#life;
  }

  fault(kind: OtherFaultKind, text: string): void {
    this.#others.push({ kind, text });
  }

  [Symbol.dispose](): void {
    this.#disk[Symbol.dispose]();
  }

  #begin(): void {
    const { time, random } = this;
    const newId = () => `id-${++this.#ids}`;
    const rulesChanged = () => this.#witness.rulesChanged();
    const life = new Life({ time, random, newId, startWriter: this.#disk.start, rulesChanged });
    this.#sabotage?.(life.engine, this.#disk, life.presence);
    const ready = async () => {
      await life.start();
      for (const [name, bindings] of Object.entries(BINDINGS)) {
        await life.engine.queues.define(name, this.#settingsOf(name), bindings);
      }
      if (life.clock.over) return;
      this.#life = life;
      this.#witness.begin(life);
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
      ...(name === "keyed" && { ordering: "key", keyRetry: this.#keyRetry }),
    });
  }

  #starting: Life | undefined;
  /** The rules are again as they were at first. */
  #ruled = false;

  /** kill -9. */
  #end(): void {
    const life = this.#starting;
    if (life === undefined) return;
    this.#starting = undefined;
    this.#life = undefined;
    this.#witness.begin(undefined);
    life.end();
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
    ["goodbye", () => this.#anyone().goodbye()],
    ["redrive", () => this.#redrive()],
    ["guest cut", () => this.#anyGuest().cut()],
    ["guest gone", () => this.#anyGuest().goodbye()],
    ["guest fades", () => this.#anyGuest().fade()],
    ["guest expelled", () => this.#anyGuest().expel()],
    ["other rules", () => this.#rule(otherRules(this.random()), () => {})],
    ["crash", () => this.#end()],
    ["writer lost", () => this.#loseWriter(false)],
    ["writer lost after its commit", () => this.#loseWriter(true)],
    ["answer lost with the writer", () => this.#disk.loseAnswer(() => this.#noteLost())],
    ["disk full", () => this.#mood({ failing: true })],
    ["slow disk", () => this.#mood({ slowMs: 800 })],
    ["clock forward", () => this.#setClock(Math.floor(this.random() * JUMP_MS))],
    ["clock back", () => this.#setClock(-Math.floor(this.random() * JUMP_MS))],
  ];

  /** No fault, but dead letters that come back when nobody expects them. */
  #redrive(): void {
    const name = this.random() < 0.7 ? "jobs" : "audit";
    const order = { kind: "redrive", queue: `${name}.dead`, select: {}, dryRun: false } as const;
    const ratePerSecond = 1 + Math.floor(this.random() * 40);
    this.record({ kind: "redriving", queue: name });
    this.#life?.tasks.create({ ...order, ratePerSecond, principal: "sim" }).catch(() => {});
  }

  /** An operator changes roles or channels; the disk may not let it. */
  #rule(rules: readonly RecordChange[], then: () => void, failed = then): void {
    const { records } = this.#life?.engine ?? {};
    if (records === undefined) failed();
    else records.write(rules).then(then, failed);
  }

  #ruleAsAtFirst(): void {
    const again = () => this.time.after(AGAIN_MS, () => this.#ruleAsAtFirst());
    this.#rule(FIRST_RULES, () => (this.#ruled = true), again);
  }

  get #everyone(): readonly (SimPublisher | SimWorker | SimPuller)[] {
    return [...this.#publishers, ...this.#workers, ...this.#pullers];
  }

  #anyGuest(): SimGuest {
    return this.#guests[Math.floor(this.random() * this.#guests.length)]!;
  }

  #anyone(): SimPublisher | SimWorker | SimPuller {
    const all = this.#everyone;
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
    this.#ruleAsAtFirst();
  }

  // The end

  /** After every turn. */
  #look(): boolean {
    this.#witness.check();
    return false;
  }

  #finished(): boolean {
    this.#look();
    const engine = this.#life?.engine;
    if (engine === undefined || engine.health.state !== "ready") return false;
    if (this.#life?.tasks.list().some(({ state }) => state === "running")) return false;
    if (!this.#ruled || !this.#guests.every((guest) => guest.done)) return false;
    if (!this.#witness.isAtRest(this.#guests.length)) return false;
    return this.#everyone.every((peer) => peer.done) && engine.queues.list().every(isEmpty);
  }

  /** [P-5.9] The bound is never exceeded, not for a moment. */
  #checkBound(): void {
    const { counts } = this.#life?.engine.queues.describe("recent") ?? {};
    if (counts === undefined) return;
    const sum = counts.ready + counts.delayed + counts.inFlight;
    if (sum > FEW) this.#others.push({ kind: "over_bound", text: JSON.stringify(counts) });
  }

  #state(): string {
    const engine = this.#life?.engine;
    const queues = engine?.queues.list().map(({ name, counts }) => ({ name, ...counts }));
    const waiting = this.#everyone.filter((peer) => !peer.done);
    const guests = this.#guests.filter((guest) => !guest.done).map(({ name }) => name);
    const names = [...waiting.map(({ name }) => name), ...guests];
    const present = this.#witness.isAtRest(this.#guests.length);
    const tasks = this.#life?.tasks.list().filter(({ state }) => state === "running");
    return JSON.stringify({ health: engine?.health, queues, waiting: names, tasks, present });
  }
}
