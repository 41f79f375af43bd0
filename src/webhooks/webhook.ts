/**
 * One queue that is pushed to an HTTP endpoint: a consumer like any other, whose peer is a URL [P-5.16].
 *
 *   delivering -> failing: three requests in a row that say the endpoint takes nothing
 *   failing: nothing is sent until the backoff is over, then one message; a success ends it
 */
import type { QueueSettings, WebhookSettings } from "../../schemas/queue.ts";
import type { Clock, Random, Timer } from "../clock.ts";
import type { Consumer, DeliverySink } from "../engine/engine.ts";
import { backoffMs } from "../engine/rules.ts";
import { WarrenError } from "../errors.ts";
import type { Delivery } from "../message.ts";
import { fetchAt, type Resolve } from "../pinned-fetch.ts";
import { destinationOf } from "./destination.ts";
import { type Verdict, verdictOf, webhookRequest } from "./request.ts";

/** Failures in a row after which the endpoint is left alone for a while. */
const FAILURES_UNTIL_PAUSE = 3;
/** Until a queue that cannot be consumed from is tried again. */
const CONSUME_AGAIN_MS = 1000;

export interface WebhookDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly resolve: Resolve;
  /** Throws as `Engine.consume` does. */
  consume(queue: string, sink: DeliverySink): Consumer;
  /** Told when an endpoint begins to fail, and when it takes messages again. */
  changed(queue: string, status: WebhookStatus): void;
}

/** How a webhook does, for operators; counts since the start or the last change of its settings. */
export interface WebhookStatus {
  readonly state: "delivering" | "failing" | "stopped";
  readonly inFlight: number;
  readonly delivered: number;
  readonly failed: number;
  /** Requests in a row that failed. */
  readonly failuresInARow: number;
  /** When the next attempt is made, while it is failing. */
  readonly retryAt?: number;
  readonly lastError?: string;
  readonly lastErrorAt?: number;
}

export class Webhook implements DeliverySink {
  readonly holder = { consumer: "webhook" };
  readonly queue: string;
  readonly settings: WebhookSettings;
  readonly #queueSettings: QueueSettings;
  readonly #deps: WebhookDeps;
  #consumer: Consumer | undefined;
  #timer: Timer | undefined;
  #stopped = false;
  #inFlight = 0;
  #delivered = 0;
  #failed = 0;
  #failuresInARow = 0;
  #retryAt: number | undefined;
  #lastError: { readonly reason: string; readonly at: number } | undefined;
  #whenIdle: (() => void) | undefined;

  constructor(queue: string, queueSettings: QueueSettings, deps: WebhookDeps) {
    if (queueSettings.webhook === undefined) throw new Error(`${queue} has no webhook`);
    this.queue = queue;
    this.settings = queueSettings.webhook;
    this.#queueSettings = queueSettings;
    this.#deps = deps;
  }

  get backoff(): QueueSettings["backoff"] {
    return this.#queueSettings.backoff;
  }

  get status(): WebhookStatus {
    const failing = this.#retryAt !== undefined;
    return {
      state: this.#stopped ? "stopped" : failing ? "failing" : "delivering",
      inFlight: this.#inFlight,
      delivered: this.#delivered,
      failed: this.#failed,
      failuresInARow: this.#failuresInARow,
      ...(this.#retryAt === undefined ? {} : { retryAt: this.#retryAt }),
      ...(this.#lastError === undefined
        ? {}
        : { lastError: this.#lastError.reason, lastErrorAt: this.#lastError.at }),
    };
  }

  /** Begins to consume; again and again while the queue cannot be consumed from. */
  start(): void {
    if (this.#stopped) return;
    try {
      this.#consumer = this.#deps.consume(this.queue, this);
      this.#consumer.credit(this.#retryAt === undefined ? this.settings.maxInFlight : 1);
    } catch (error) {
      if (!(error instanceof WarrenError)) throw error;
      if (error.code === "unknown_queue") this.#stopped = true;
      else this.#later(CONSUME_AGAIN_MS, () => this.start());
    }
  }

  deliver(delivery: Delivery): void {
    this.#inFlight++;
    // `#push` never rejects: whatever goes wrong is an answer about the endpoint.
    void this.#push(delivery, this.#consumer);
  }

  ended(error: WarrenError): void {
    this.#consumer = undefined;
    if (error.code === "unknown_queue") this.#stopped = true;
    else this.#later(CONSUME_AGAIN_MS, () => this.start());
  }

  /** Takes nothing more; resolves when what was sent is answered. What is left burns no attempt. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#consumer?.hold(true);
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve;
      });
    }
    this.#consumer?.cancel();
  }

  async #push(delivery: Delivery, consumer: Consumer | undefined): Promise<void> {
    const verdict = await this.#request(delivery);
    this.#inFlight--;
    this.#settle(delivery, verdict, consumer);
    if (verdict.kind === "failing") this.#fails(verdict);
    else this.#works();
    if (this.#inFlight === 0) this.#whenIdle?.();
  }

  async #request(delivery: Delivery): Promise<Verdict> {
    const { clock, resolve } = this.#deps;
    const { timeoutMs } = this.settings;
    const abort = new AbortController();
    const timer = clock.after(timeoutMs, () => abort.abort());
    try {
      const url = new URL(this.settings.url);
      const found = await destinationOf(url, abort.signal, resolve);
      const { headers, body } = webhookRequest(this.settings, delivery, clock.now());
      const { signal } = abort;
      // One that takes connections and never answers must not hide the others.
      const from = this.#failuresInARow % found.length;
      const addresses = [...found.slice(from), ...found.slice(0, from)];
      const answer = await fetchAt(url, addresses, { method: "POST", headers, body, signal });
      // Only the status counts; an answer without end must not be waited for.
      await answer.body?.cancel();
      return verdictOf(answer.status, answer.headers.get("retry-after"), clock.now());
    } catch (error) {
      const reason = abort.signal.aborted
        ? `The endpoint did not answer within ${timeoutMs} ms.`
        : `The endpoint could not be reached: ${(error as { code?: string }).code ?? "no reason"}.`;
      return { kind: "failing", reason };
    } finally {
      timer.cancel();
    }
  }

  #settle(delivery: Delivery, verdict: Verdict, consumer: Consumer | undefined): void {
    if (verdict.kind === "done") {
      this.#delivered++;
      consumer?.settle([delivery.tag], { kind: "ack" });
      return;
    }
    this.#failed++;
    const { reason } = verdict;
    this.#lastError = { reason, at: this.#deps.clock.now() };
    const most = this.#queueSettings.backoff.maxMs;
    const asked = verdict.kind === "failing" ? verdict.retryAfterMs : undefined;
    const delay = asked === undefined ? {} : { delayMs: Math.min(asked, most) };
    consumer?.settle([delivery.tag], { kind: "nack", reason, ...delay });
  }

  #works(): void {
    const wasFailing = this.#retryAt !== undefined;
    this.#failuresInARow = 0;
    this.#retryAt = undefined;
    if (!wasFailing || this.#stopped) return;
    this.#consumer?.credit(this.settings.maxInFlight);
    this.#deps.changed(this.queue, this.status);
  }

  #fails({ retryAfterMs = 0 }: Extract<Verdict, { kind: "failing" }>): void {
    const { clock, random, changed } = this.#deps;
    this.#failuresInARow++;
    const over = this.#failuresInARow - FAILURES_UNTIL_PAUSE;
    // Those that were under way with it when it began to fail say nothing new.
    const waitsAlready = this.#retryAt !== undefined && this.#retryAt > clock.now();
    if (over < 0 || waitsAlready || this.#stopped) return;
    const { maxMs } = this.#queueSettings.backoff;
    const pauseMs = Math.max(
      backoffMs(this.#queueSettings, over + 1, random),
      Math.min(retryAfterMs, maxMs),
      1,
    );
    const first = this.#retryAt === undefined;
    this.#retryAt = clock.now() + pauseMs;
    this.#consumer?.credit(0);
    this.#later(pauseMs, () => this.#consumer?.credit(1));
    if (first) changed(this.queue, this.status);
  }

  #later(delayMs: number, action: () => void): void {
    if (this.#stopped) return;
    this.#timer?.cancel();
    this.#timer = this.#deps.clock.after(delayMs, action);
  }
}
