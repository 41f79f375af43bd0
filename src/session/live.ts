/**
 * The live subscriptions of one session [P-4], and what becomes of them while its peer reads too slowly
 * [P-4.7]: it is taken off the air, its missed events are counted, and once it has caught up it is told.
 */
import type { ClientFrameOf } from "../../schemas/frames.ts";
import type { Rights } from "../broker/access.ts";
import type { Broker } from "../broker/broker.ts";
import type { Route } from "../broker/route.ts";
import { WarrenError } from "../errors.ts";
import { assertFilter } from "../topic.ts";
import { Attendance, listMembers, presenceAsked, type WatchEnded } from "./attendance.ts";
import { assertSupported } from "./refusals.ts";
import type { Session } from "./session.ts";

export class LiveSubscriptions {
  readonly #session: Session;
  readonly #broker: Broker;
  // Most sessions have one or two: a map for each of them would be most of what they weigh.
  readonly #routes: Route[] = [];
  #suspended = false;
  #attendance: Attendance | undefined;

  constructor(session: Session, broker: Broker) {
    this.#session = session;
    this.#broker = broker;
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

  /** Throws `invalid_filter`, `forbidden`, `too_many_subscriptions`, `not_supported` [P-4.1]. */
  subscribe(frame: ClientFrameOf<"subscribe">): void {
    const { filter, id } = frame;
    const session = this.#session;
    assertSupported(frame);
    assertFilter(filter, session.limits);
    session.credentials.assertMay("subscribe", filter);
    const asked = presenceAsked(frame, session, this.#broker);
    this.#add(filter);
    if (id !== undefined) session.tell({ type: "ok", id, filter });
    // Its own coming, which it may be told of, is behind the answer.
    if (asked !== undefined) this.#attending.subscribed(filter, asked, this.#suspended);
  }

  /** Throws `invalid_filter` [P-4.6]. */
  unsubscribe({ filter, id }: ClientFrameOf<"unsubscribe">): void {
    const session = this.#session;
    assertFilter(filter, session.limits);
    this.#remove(filter);
    if (id !== undefined) session.tell({ type: "ok", id, filter });
  }

  /** Throws `invalid_topic`, `forbidden`, `not_supported`, `invalid_frame` [P-7.3]. */
  presence(frame: ClientFrameOf<"presence">): void {
    listMembers(frame, this.#session, this.#broker);
  }

  /** The session has other credentials [P-7.2]. */
  identified(): void {
    this.#attendance?.identified();
  }

  /** After channels or rights have changed; returns what is not watched any more [P-7.1]. */
  reviewPresence(rights: Rights): WatchEnded[] {
    const { presence } = this.#broker;
    const isKept = (filter: string) => presence.isKept(filter);
    if (this.#attendance === undefined && !this.filters.some(isKept)) return [];
    return this.#attending.review(this.filters, rights);
  }

  /** Ends the subscriptions that `allowed` is false for; returns their filters. */
  retain(allowed: (filter: string) => boolean): string[] {
    const ended = this.filters.filter((filter) => !allowed(filter));
    for (const filter of ended) this.#remove(filter);
    return ended;
  }

  /** Ends all; `lost` when the peer may soon be back [P-7.2]. */
  clear(lost: boolean): void {
    for (const filter of this.filters) this.#remove(filter, lost);
  }

  /** Off the air until `resume`. */
  suspend(): void {
    if (this.#suspended) return;
    this.#suspended = true;
    for (const route of this.#routes) {
      this.#broker.fanout.suspend(this.#session, route);
    }
    this.#attendance?.suspend();
  }

  /** Back on the air; the peer is told of every filter that had events meanwhile. */
  resume(): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    for (const route of this.#routes) {
      const { filter } = route;
      const missed = this.#broker.fanout.resume(this.#session, route);
      if (missed > 0) this.#session.tell({ type: "notice", code: "lagged", filter, missed });
    }
    this.#attendance?.resume();
  }

  /** Subscribing again to the same filter changes nothing. Throws `too_many_subscriptions`. */
  #add(filter: string): void {
    if (this.#find(filter) >= 0) return;
    const limit = this.#broker.limits.subscriptions;
    if (this.#routes.length >= limit) {
      throw new WarrenError("too_many_subscriptions", undefined, { limit });
    }
    const route = this.#broker.subscribe(this.#session, filter, this.#session.protocol.encoder);
    this.#routes.push(route);
    // What was pending there has left first, and may have shown that the peer reads nothing any more.
    if (this.#session.over) this.#remove(filter);
    else if (this.#suspended) this.#broker.fanout.suspend(this.#session, route);
  }

  get #attending(): Attendance {
    this.#attendance ??= new Attendance(this.#session, this.#broker);
    return this.#attendance;
  }

  #remove(filter: string, lost = false): void {
    const at = this.#find(filter);
    if (at < 0) return;
    const [route] = this.#routes.splice(at, 1);
    this.#broker.unsubscribe(this.#session, route!);
    this.#attendance?.unsubscribed(filter, lost);
  }

  /** At most `limits.subscriptions` to look through. */
  #find(filter: string): number {
    return this.#routes.findIndex((route) => route.filter === filter);
  }
}
