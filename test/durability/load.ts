/** Publishers and workers at full speed against one store, whatever happens to the broker meanwhile. */
import type { Random } from "../../src/clock.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { check, type Fault } from "./checker.ts";
import type { HistoryEvent } from "./history.ts";
import { Publisher } from "./publisher.ts";
import { Worker, type WorkerOptions } from "./worker.ts";

const RULES = { maxDeliveries: 3, ackTimeoutMs: 60_000 };
const SETTINGS = { ...RULES, backoff: { minMs: 10, maxMs: 80, factor: 2, jitter: 0.5 } };
const BINDINGS = {
  jobs: ["load/jobs/#", "load/jobs-audit/#"],
  audit: ["load/jobs-audit/#"],
  few: ["load/few/#"],
  newest: ["load/newest/#"],
};
/** What the queues that are full all the time hold. */
const FULL = 20;
const OVERFLOWS = { few: "dead-letter-oldest", newest: "drop-oldest" } as const;
/** What the checker is told of them. */
const QUEUE_RULES = {
  jobs: RULES,
  audit: RULES,
  few: { ...RULES, overflow: "dead" },
  newest: { ...RULES, overflow: "drop" },
} as const;
const QUEUES = Object.keys(BINDINGS) as (keyof typeof BINDINGS)[];
/** A drain that takes longer than this does not end. */
const DRAIN_BOUND_MS = 30_000;

/** Held longer than any machine is slow: no lost connection burns an attempt. */
export const LOAD_ENVIRONMENT = { WARREN_LIMITS_DELIVERY_GRACE_MS: "60000" };

type WorkerPlan = Pick<WorkerOptions, "encoding" | "queues" | "credit">;

const WORKERS: readonly WorkerPlan[] = [
  { encoding: "json", queues: ["jobs"], credit: 20 },
  { encoding: "msgpack", queues: ["jobs", "audit"], credit: 30 },
  { encoding: "msgpack", queues: ["audit", "jobs.dead"], credit: 5 },
  { encoding: "json", queues: ["few", "newest"], credit: 1 },
];
const DRAINERS: readonly WorkerPlan[] = [
  { encoding: "msgpack", queues: ["jobs", "jobs.dead"], credit: 200 },
  { encoding: "json", queues: ["audit", "audit.dead"], credit: 200 },
  { encoding: "json", queues: ["few", "few.dead", "newest", "newest.dead"], credit: 200 },
];

export class Load {
  readonly random: Random;
  readonly publishers: readonly Publisher[];
  workers: readonly Worker[] = [];
  readonly #everyWorker: Worker[] = [];
  readonly #events: HistoryEvent[] = [];
  readonly #record = (event: HistoryEvent) => {
    this.#events.push(event);
    if (event.kind === "confirmed" || event.kind === "settled") this.#progressed();
  };
  readonly #overBound: string[] = [];
  redrives = 0;
  #lives = 0;
  /** Confirmations and answered settlings so far. */
  #progress = 0;
  #waiting: { readonly until: number; resolve(): void } | undefined;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    const publisher = (stream: string, encoding: "json" | "msgpack", ids: boolean) =>
      new Publisher({
        stream,
        encoding,
        ids,
        window: 48,
        random: seededRandom(Math.floor(this.random() * 2 ** 31)),
        record: this.#record,
      });
    this.publishers = [
      publisher("a", "json", true),
      publisher("b", "msgpack", true),
      publisher("c", "json", false),
      publisher("d", "msgpack", false),
    ];
  }

  get messages(): number {
    return this.#count("confirmed");
  }

  get deliveries(): number {
    return this.#count("delivered");
  }

  /** Defines the queues; again does no harm. */
  async define(url: string): Promise<void> {
    for (const name of QUEUES) {
      const overflow = name === "few" || name === "newest" ? OVERFLOWS[name] : undefined;
      const full = overflow === undefined ? {} : { overflow, maxMessages: FULL };
      const body = JSON.stringify({ ...SETTINGS, ...full, bindings: BINDINGS[name] });
      const answer = await fetch(`${url}/admin/v1/queues/${name}`, { method: "PUT", body });
      if (!answer.ok) throw new Error(`${name} was refused: ${await answer.text()}`);
    }
    this.#overBound.push(...(await this.#overFull(url)));
  }

  /** Brings back what has died: a task that goes on from one life of the broker to the next. */
  async redrive(url: string): Promise<void> {
    this.#record({ kind: "redriving", queue: "jobs" });
    const body = JSON.stringify({ ratePerSecond: 100 });
    const path = `${url}/admin/v1/queues/jobs.dead/redrive`;
    const answer = await fetch(path, { method: "POST", body });
    // One is under way still.
    if (!answer.ok && answer.status !== 409) throw new Error(await answer.text());
    this.redrives += answer.ok ? 1 : 0;
  }

  /** [P-5.9] Queues that held more than they may, when a broker had just begun. */
  async #overFull(url: string): Promise<string[]> {
    const queues = (await reportsOf(url)).filter(({ name }) => name in OVERFLOWS);
    const held = queues.map(({ name, counts: { ready, delayed, inFlight } }) => {
      return { name, messages: ready + delayed + inFlight };
    });
    return held.filter(({ messages }) => messages > FULL).map((each) => JSON.stringify(each));
  }

  /** Connects everybody; each publisher has `count` more messages. */
  async start(url: string, count: number): Promise<void> {
    this.#join(WORKERS, false);
    await Promise.all([
      ...this.workers.map((worker) => worker.start(url)),
      ...this.publishers.map((publisher) => publisher.start(url, count)),
    ]);
  }

  /**
   * Resolves when so many more publishes and settlings were answered, or when everybody's connection
   * is closed.
   */
  async progress(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting = { until: this.#progress + count, resolve };
    await Promise.race([promise, this.closed()]);
  }

  /** Resolves when all connections are closed. */
  async closed(): Promise<void> {
    await Promise.all([...this.publishers, ...this.workers].map(({ closed }) => closed));
  }

  /** The broker has ended, and everything that it had sent has been read. */
  async crashed(): Promise<void> {
    await this.closed();
    this.#record({ kind: "crashed", at: Date.now() });
  }

  /** Acks what is left, in all queues and dead-letter queues, until there is nothing more. */
  async drain(url: string): Promise<void> {
    this.#join(DRAINERS, true);
    for (const worker of this.workers) await worker.start(url);
    const start = performance.now();
    let left = "";
    while (performance.now() - start < DRAIN_BOUND_MS) {
      left = await this.#whatIsLeft(url);
      if (left === "") break;
    }
    await Promise.all(this.workers.map((worker) => worker.leave()));
    if (left !== "") throw new Error(`The queues do not run empty: ${left}`);
  }

  /** Every promise that was broken, as far as everything that happened shows. */
  faults(): (Fault | { readonly kind: "over_bound"; readonly text: string })[] {
    const overBound = this.#overBound.map((text) => ({ kind: "over_bound" as const, text }));
    return [...overBound, ...check({ queues: QUEUE_RULES, events: this.#events })];
  }

  /** How many changes of scheduled messages were confirmed, and how many messages gave way. */
  get changes(): number {
    return this.#count("changed");
  }

  get displaced(): number {
    const told = this.#events.filter((event) => event.kind === "confirmed");
    return told.reduce((sum, { displaced = 0 }) => sum + displaced, 0);
  }

  /** How many messages that had died were handed out again. */
  get revived(): number {
    const isRevived = (event: HistoryEvent) =>
      event.kind === "delivered" && !event.queue.endsWith(".dead") && (event.deaths ?? 0) > 0;
    return this.#events.filter(isRevived).length;
  }

  /** Codes with which anybody was refused. */
  get refusals(): string[] {
    return [...this.publishers, ...this.#everyWorker].flatMap((peer) => peer.refusals);
  }

  #count(kind: HistoryEvent["kind"]): number {
    return this.#events.reduce((sum, event) => sum + (event.kind === kind ? 1 : 0), 0);
  }

  #join(plans: readonly WorkerPlan[], draining: boolean): void {
    this.#lives++;
    this.workers = plans.map((plan, i) => {
      const name = `life${this.#lives}-worker${i}`;
      const random = seededRandom(Math.floor(this.random() * 2 ** 31));
      return new Worker({ ...plan, name, random, draining, record: this.#record });
    });
    this.#everyWorker.push(...this.workers);
  }

  async #whatIsLeft(url: string): Promise<string> {
    const open = this.workers.reduce((sum, worker) => sum + worker.open, 0);
    if (open > 0) {
      await this.progress(1);
      return `${open} settlings without an answer`;
    }
    const { tasks } = (await (await fetch(`${url}/admin/v1/tasks`)).json()) as {
      tasks: { state: string }[];
    };
    if (tasks.some(({ state }) => state === "running")) return "a task is running";
    return (await reportsOf(url))
      .filter(({ counts }) => counts.ready + counts.delayed + counts.inFlight > 0)
      .map(({ name, counts }) => `${name} ${JSON.stringify(counts)}`)
      .join(", ");
  }

  #progressed(): void {
    this.#progress++;
    if (this.#waiting === undefined || this.#progress < this.#waiting.until) return;
    this.#waiting.resolve();
    this.#waiting = undefined;
  }
}

interface Report {
  readonly name: string;
  readonly counts: Readonly<Record<"ready" | "delayed" | "inFlight", number>>;
}

async function reportsOf(url: string): Promise<Report[]> {
  const answer = await fetch(`${url}/admin/v1/queues`);
  return ((await answer.json()) as { queues: Report[] }).queues;
}
