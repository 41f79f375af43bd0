/**
 * The live subscriptions of one session [P-4], and what becomes of them while its peer reads too slowly
 * [P-4.7]: it is taken off the air, its missed events are counted, and once it has caught up it is told.
 */
import type { Broker } from "../broker/broker.ts";
import type { Route, Subscriber } from "../broker/route.ts";
import { WarrenError } from "../errors.ts";
import type { FrameEncoder } from "./protocol.ts";

export class LiveSubscriptions {
  readonly #broker: Broker;
  readonly #subscriber: Subscriber;
  readonly #encoder: FrameEncoder;
  readonly #routes = new Map<string, Route>();
  #suspended = false;

  constructor(broker: Broker, subscriber: Subscriber, encoder: FrameEncoder) {
    this.#broker = broker;
    this.#subscriber = subscriber;
    this.#encoder = encoder;
  }

  get size(): number {
    return this.#routes.size;
  }

  get suspended(): boolean {
    return this.#suspended;
  }

  get filters(): string[] {
    return [...this.#routes.keys()];
  }

  /** Subscribing again to the same filter changes nothing. Throws `too_many_subscriptions`. */
  add(filter: string): void {
    if (this.#routes.has(filter)) return;
    const limit = this.#broker.limits.subscriptions;
    if (this.#routes.size >= limit) {
      throw new WarrenError("too_many_subscriptions", undefined, { limit });
    }
    const route = this.#broker.subscribe(this.#subscriber, filter, this.#encoder);
    this.#routes.set(filter, route);
    if (this.#suspended) this.#broker.fanout.suspend(this.#subscriber, route);
  }

  remove(filter: string): void {
    const route = this.#routes.get(filter);
    if (route === undefined) return;
    this.#routes.delete(filter);
    this.#broker.unsubscribe(this.#subscriber, route);
  }

  /** Ends the subscriptions that `allowed` is false for; returns their filters. */
  retain(allowed: (filter: string) => boolean): string[] {
    const ended = [...this.#routes.keys()].filter((filter) => !allowed(filter));
    for (const filter of ended) this.remove(filter);
    return ended;
  }

  clear(): void {
    this.retain(() => false);
  }

  /** Off the air until `resume`. */
  suspend(): void {
    if (this.#suspended) return;
    this.#suspended = true;
    for (const route of this.#routes.values()) {
      this.#broker.fanout.suspend(this.#subscriber, route);
    }
  }

  /** Back on the air; tells `missed` of every filter that had events meanwhile. */
  resume(missed: (filter: string, events: number) => void): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    for (const [filter, route] of this.#routes) {
      const events = this.#broker.fanout.resume(this.#subscriber, route);
      if (events > 0) missed(filter, events);
    }
  }
}
