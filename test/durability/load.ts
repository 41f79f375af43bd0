/** Publishers and workers at full speed against one store, whatever happens to the broker meanwhile. */
import type { Random } from "../../src/clock.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { check, type Fault } from "./checker.ts";
import type { HistoryEvent } from "./history.ts";
import { Publisher } from "./publisher.ts";
import { Worker, type WorkerOptions } from "./worker.ts";

const RULES = { maxDeliveries: 3, ackTimeoutMs: 60_000 };
const SETTINGS = { ...RULES, backoff: { minMs: 10, maxMs: 80, factor: 2, jitter: 0.5 } };
const BINDINGS = { jobs: ["load/#"], audit: ["load/both/#"] };
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
];
const DRAINERS: readonly WorkerPlan[] = [
  { encoding: "msgpack", queues: ["jobs", "jobs.dead"], credit: 200 },
  { encoding: "json", queues: ["audit", "audit.dead"], credit: 200 },
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
      const body = JSON.stringify({ ...SETTINGS, bindings: BINDINGS[name] });
      const answer = await fetch(`${url}/admin/v1/queues/${name}`, { method: "PUT", body });
      if (!answer.ok) throw new Error(`${name} was refused: ${await answer.text()}`);
    }
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
  faults(): Fault[] {
    return check({ queues: { jobs: RULES, audit: RULES }, events: this.#events });
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
    type Report = { name: string; counts: Record<"ready" | "delayed" | "inFlight", number> };
    const answer = await fetch(`${url}/admin/v1/queues`);
    const { queues } = (await answer.json()) as { queues: Report[] };
    return queues
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
