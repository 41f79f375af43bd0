/**
 * A worker of a simulation over HTTP: it pulls, settles in later requests, and says now and then that it is
 * alive, or falls silent [P-5.12]. Requests and answers take their time and may be lost.
 */
import { toWarrenError, type WarrenError } from "../../src/errors.ts";
import type { Pulled } from "../../src/listeners/leases.ts";
import { type Choice, choiceFor, deliveredTo, type Handed } from "./choice.ts";
import type { Life } from "./life.ts";
import type { Surroundings } from "./peer.ts";

const LATENCY_MS = 20;
const AGAIN_MS = 300;
const WAIT_MS = 1500;
const HEALED_WAIT_MS = 60_000;
const LIVENESS_MS = 1200;
/** So much later than its time at most is somebody lost who is silent. */
const NOTICED_MS = 1000;
const PRINCIPAL = "anonymous";

interface Heard {
  /** By the time that nobody sets. */
  readonly at: number;
  readonly clockSet: number;
  readonly life: Life;
}

export class SimPuller {
  readonly name: string;
  readonly #world: Surroundings;
  readonly #queue: string;
  readonly #max: number;
  /** Ends what is under way of this client, as a connection does that is cut. */
  #connection = new AbortController();
  #pulls = 0;
  #waiting = 0;
  /** Settlings without an answer. */
  #open = 0;
  /** When the broker heard of it last for certain, and when it did perhaps. */
  #heard: Heard | undefined;
  #perhapsHeard: Heard | undefined;
  /** What was handed to it, by tag: the name of the pull. */
  readonly #holders = new Map<number, string>();

  constructor(world: Surroundings, name: string, queue: string, max: number) {
    this.#world = world;
    this.name = name;
    this.#queue = queue;
    this.#max = max;
  }

  get done(): boolean {
    return this.#open === 0;
  }

  start(): void {
    this.#pull();
    this.#beat();
  }

  /** Its connection is lost: what was asked is not answered, and the broker notices. */
  cut(): void {
    const lost = this.#connection;
    this.#connection = new AbortController();
    this.#open = 0;
    this.#later(LATENCY_MS, () => lost.abort());
  }

  /** It leaves in order, and comes again. */
  goodbye(): void {
    this.#ask((life) => {
      const who = { principal: PRINCIPAL, queue: this.#queue, name: this.name };
      life.leases.consumers.release(who);
    });
  }

  #pull(): void {
    const again = () => this.#later(AGAIN_MS, () => this.#pull());
    // When all is healed it waits for what comes late, and has nothing to say.
    const waitMs = this.#world.healed ? HEALED_WAIT_MS : this.#upTo(WAIT_MS);
    this.#ask(
      (life, signal) => this.#pullAt(life, waitMs, signal),
      (deliveries) => {
        for (const delivery of deliveries) this.#work(delivery);
        again();
      },
      again,
    );
  }

  async #pullAt(life: Life, waitMs: number, signal: AbortSignal): Promise<readonly Handed[]> {
    const { record, time } = this.#world;
    const consumer = `${this.name}-${++this.#pulls}:${this.#queue}`;
    record.call(this.#world, { kind: "joined", consumer, credit: this.#max });
    life.noted.ended = (inOrder) => this.#ended(life, consumer, inOrder);
    const named = { name: this.name, livenessMs: LIVENESS_MS };
    const request = { principal: PRINCIPAL, queue: this.#queue, max: this.#max, waitMs, signal };
    this.#waiting++;
    this.#hear(life);
    let pulled: Pulled;
    try {
      pulled = await life.leases.pull({ ...request, consumer: named });
    } finally {
      life.noted.ended = () => {};
      this.#waiting--;
    }
    if (life.clock.over) return [];
    this.#hear(life);
    if (signal.aborted) {
      pulled.giveBack();
      return [];
    }
    return pulled.deliveries.map(({ message, ...delivery }) => {
      const payload = JSON.parse(message.payload.json());
      const { headers } = message;
      const handed: Handed = { ...delivery, payload, ...(headers && { headers }) };
      this.#holders.set(delivery.tag, consumer);
      this.#world.record(deliveredTo(consumer, this.#queue, handed, time.now()));
      return handed;
    });
  }

  /** The broker has taken back what a pull had. */
  #ended(life: Life, consumer: string, inOrder: boolean): void {
    if (life.clock.over) return;
    const at = this.#world.time.now();
    this.#world.record({ kind: "left", consumer, at, inOrder });
    const silentMs = this.#silentMs(life, this.#heard);
    if (inOrder || silentMs >= LIVENESS_MS) return;
    this.#world.fault("lapsed_early", `${consumer}, silent for ${silentMs} ms`);
  }

  #work(delivery: Handed): void {
    const choice = choiceFor(this.#queue, this.#world);
    if (choice === undefined) return;
    this.#later(this.#upTo(this.#world.healed ? 0 : 600), () => this.#settle(delivery.tag, choice));
  }

  #settle(tag: number, choice: Choice): void {
    this.#open++;
    const { signal } = this.#connection;
    const answered = () => {
      if (!signal.aborted) this.#open = Math.max(0, this.#open - 1);
    };
    this.#ask((life) => this.#settleAt(life, tag, choice), answered, answered);
  }

  #settleAt(life: Life, tag: number, { outcome, delayMs }: Choice): Promise<void> {
    const consumer = this.#holders.get(tag) ?? "";
    const at = this.#world.time.now();
    const silentMs = this.#silentMs(life, this.#perhapsHeard);
    const delay = delayMs === undefined ? {} : { delayMs };
    this.#world.record({ kind: "settling", consumer, tag, outcome, ...delay, at });
    return new Promise((resolve) => {
      let wasRefused = false;
      const done = (error: WarrenError | undefined) => {
        wasRefused = error !== undefined;
        if (life.clock.over) return;
        const answeredAt = this.#world.time.now();
        if (error !== undefined) {
          this.#world.record({ kind: "refused", consumer, tag, code: error.code });
        } else {
          this.#world.record({ kind: "settled", consumer, tag, at: answeredAt });
          if (silentMs !== Number.POSITIVE_INFINITY && silentMs > LIVENESS_MS + NOTICED_MS) {
            this.#world.fault("outlived", `tag ${tag} of ${consumer}, after ${silentMs} ms`);
          }
        }
        resolve();
      };
      const how = { kind: outcome, ...delay };
      life.leases.settle(PRINCIPAL, this.#queue, [tag], how, (_place, error) => done(error));
      // What names nothing that it holds may count, or not.
      this.#hear(life, !wasRefused);
    });
  }

  /** Says that it is alive, unless it is silent for a while. */
  #beat(): void {
    if (this.#world.healed) return;
    const ms = this.#world.random() < 0.15 ? 2 * LIVENESS_MS : LIVENESS_MS / 3;
    this.#later(ms, () => {
      this.#ask((life) => {
        const who = { principal: PRINCIPAL, queue: this.#queue, name: this.name };
        life.leases.consumers.alive(who);
        this.#hear(life);
      });
      this.#beat();
    });
  }

  #hear(life: Life, certainly = true): void {
    const { time, clockSet } = this.#world;
    this.#perhapsHeard = { at: time.elapsed, clockSet, life };
    if (certainly) this.#heard = this.#perhapsHeard;
  }

  /** For how long the broker has not heard of it; for ever where that cannot be said. */
  #silentMs(life: Life, heard: Heard | undefined): number {
    const { time, clockSet } = this.#world;
    if (heard?.life !== life || heard.clockSet !== clockSet) return Number.POSITIVE_INFINITY;
    return this.#waiting > 0 ? 0 : time.elapsed - heard.at;
  }

  /** A request: there and back, each in its time. */
  #ask<T>(
    work: (life: Life, signal: AbortSignal) => T | Promise<T>,
    answered: (answer: T) => void = () => {},
    failed: (error: WarrenError | undefined) => void = () => {},
  ): void {
    const connection = this.#connection;
    const { signal } = connection;
    let isOver = false;
    const finish = (action: () => void) => {
      if (isOver) return;
      isOver = true;
      this.#later(this.#upTo(LATENCY_MS), () => {
        if (this.#connection === connection) action();
        else failed(undefined);
      });
    };
    signal.addEventListener("abort", () => finish(() => failed(undefined)));
    this.#later(this.#upTo(LATENCY_MS), () => {
      const life = this.#world.broker;
      if (life === undefined || signal.aborted) return finish(() => failed(undefined));
      // A broker that ends answers nothing.
      life.clock.ended(() => finish(() => failed(undefined)));
      Promise.try(work, life, signal)
        .then((answer) => finish(() => answered(answer)))
        .catch((error) => finish(() => failed(toWarrenError(error))));
    });
  }

  #later(ms: number, action: () => void): void {
    this.#world.time.after(ms, action);
  }

  #upTo(most: number): number {
    return Math.floor(this.#world.random() * (most + 1));
  }
}
