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
  // Most sessions have one or two: a map for each of them would be most of what they weigh.
  readonly #routes: Route[] = [];
  #suspended = false;

  constructor(broker: Broker, subscriber: Subscriber, encoder: FrameEncoder) {
    this.#broker = broker;
    this.#subscriber = subscriber;
    this.#encoder = encoder;
  }

  get size(): number {
    return this.#routes.length;
  }

  get suspended(): boolean {
    return this.#suspended;
  }

  get filters(): string[] {
    return this.#routes.map(({ filter }) => filter);
  }

  /** Subscribing again to the same filter changes nothing. Throws `too_many_subscriptions`. */
  add(filter: string): void {
    if (this.#find(filter) >= 0) return;
    const limit = this.#broker.limits.subscriptions;
    if (this.#routes.length >= limit) {
      throw new WarrenError("too_many_subscriptions", undefined, { limit });
    }
    const route = this.#broker.subscribe(this.#subscriber, filter, this.#encoder);
    this.#routes.push(route);
    if (this.#suspended) this.#broker.fanout.suspend(this.#subscriber, route);
  }

  remove(filter: string): void {
    const at = this.#find(filter);
    if (at < 0) return;
    const [route] = this.#routes.splice(at, 1);
    this.#broker.unsubscribe(this.#subscriber, route!);
  }

  /** Ends the subscriptions that `allowed` is false for; returns their filters. */
  retain(allowed: (filter: string) => boolean): string[] {
    const ended = this.filters.filter((filter) => !allowed(filter));
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
    for (const route of this.#routes) {
      this.#broker.fanout.suspend(this.#subscriber, route);
    }
  }

  /** Back on the air; tells `missed` of every filter that had events meanwhile. */
  resume(missed: (filter: string, events: number) => void): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    for (const route of this.#routes) {
      const events = this.#broker.fanout.resume(this.#subscriber, route);
      if (events > 0) missed(route.filter, events);
    }
  }

  /** At most `limits.subscriptions` to look through. */
  #find(filter: string): number {
    return this.#routes.findIndex((route) => route.filter === filter);
  }
}
