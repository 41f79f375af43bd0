/** The webhooks of all queues: each begins, changes and ends with its queue's settings [P-5.16]. */
import type { Clock, Random } from "../clock.ts";
import type { Engine, QueueDescription } from "../engine/engine.ts";
import type { Logger } from "../log.ts";
import type { Resolve } from "../pinned-fetch.ts";
import { Webhook, type WebhookStatus } from "./webhook.ts";

export interface WebhooksDeps {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly resolve: Resolve;
  readonly log: Logger;
}

export class Webhooks {
  readonly #deps: WebhooksDeps;
  readonly #byQueue = new Map<string, Webhook>();
  #stopped = false;

  constructor(deps: WebhooksDeps) {
    this.#deps = deps;
  }

  /** A queue was defined, changed or removed. */
  queueChanged(name: string, description: QueueDescription | undefined): void {
    if (this.#stopped) return;
    const present = this.#byQueue.get(name);
    const settings = description?.settings;
    const wanted = settings?.webhook;
    if (present !== undefined && wanted !== undefined) {
      const same = JSON.stringify([present.settings, present.backoff]);
      if (same === JSON.stringify([wanted, settings?.backoff])) return;
    }
    this.#byQueue.delete(name);
    // What it has sent is still answered to it; a new one begins beside it.
    void present?.stop();
    if (settings === undefined || wanted === undefined) return;
    const { engine, clock, random, resolve } = this.#deps;
    const webhook = new Webhook(name, settings, {
      clock,
      random,
      resolve,
      consume: (queue, sink) => engine.consume(queue, sink),
      changed: (queue, status) => this.#tell(queue, status),
    });
    this.#byQueue.set(name, webhook);
    webhook.start();
  }

  /** How the webhook of a queue does; undefined when it has none. */
  status(queue: string): WebhookStatus | undefined {
    return this.#byQueue.get(queue)?.status;
  }

  /** Requests under way, and webhooks whose endpoint takes nothing. */
  get figures(): { readonly inFlight: number; readonly failing: number } {
    const all = [...this.#byQueue.values()].map(({ status }) => status);
    return {
      inFlight: all.reduce((sum, { inFlight }) => sum + inFlight, 0),
      failing: all.filter(({ state }) => state === "failing").length,
    };
  }

  /** Sends nothing more; resolves when what was sent is answered or has run out of time. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all([...this.#byQueue.values()].map((webhook) => webhook.stop()));
  }

  #tell(queue: string, { state, lastError, retryAt }: WebhookStatus): void {
    if (state === "failing") {
      this.#deps.log.warn("a webhook's endpoint takes nothing", { queue, lastError, retryAt });
    } else {
      this.#deps.log.info("a webhook's endpoint takes messages again", { queue });
    }
  }
}
