/**
 * The live subscriptions of one session [P-4], and what becomes of them while its peer reads too slowly
 * [P-4.7]: it is taken off the air, its missed events are counted, and once it has caught up it is told.
 */
import type { ClientFrameOf } from "../../schemas/frames.ts";
import type { Broker } from "../broker/broker.ts";
import { assertHistoryQuery, keptHistory } from "../broker/kept.ts";
import type { Route } from "../broker/route.ts";
import { WarrenError } from "../errors.ts";
import { assertFilter } from "../topic.ts";
import {
  Attendance,
  listMembers,
  type PresenceAsked,
  presenceAsked,
  type WatchEnded,
} from "./attendance.ts";
import { CatchUp } from "./catch-up.ts";
import { HistoryRead } from "./history.ts";
import { Arrival, type Joining } from "./joining.ts";
import { assertSupported } from "./refusals.ts";
import { Replay } from "./replay.ts";
import type { Session } from "./session.ts";

export class LiveSubscriptions {
  readonly broker: Broker;
  readonly #session: Session;
  // Most sessions have one or two: a map for each of them would be most of what they weigh.
  readonly #routes: Route[] = [];
  #suspended = false;
  #attendance: Attendance | undefined;
  #catchUp: CatchUp | undefined;

  constructor(session: Session, broker: Broker) {
    this.#session = session;
    this.broker = broker;
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

  /**
   * Throws `invalid_filter`, `forbidden`, `too_many_subscriptions`, `not_supported`, `invalid_frame`, and
   * `conflict` while another to this filter is under way; what has to be read fails later [P-4.1].
   */
  subscribe(frame: ClientFrameOf<"subscribe">): void {
    const { filter, id } = frame;
    const session = this.#session;
    assertSupported(frame);
    assertFilter(filter, session.limits);
    session.credentials.assertMay("subscribe", filter);
    if (this.#catchUp?.isJoining(filter)) {
      throw new WarrenError("conflict", "A subscribe to this filter is under way.", { filter });
    }
    const asked = presenceAsked(frame, session, this.broker);
    const present = this.#on(filter);
    const joining = this.#joining(frame, present);
    if (present === undefined) this.#assertRoom();
    // Its own coming, which it may be told of, is behind the answer.
    if (joining !== undefined) this.#catching.join(joining, () => this.#attend(filter, asked));
    else {
      if (present === undefined) this.#enter(filter);
      if (id !== undefined) session.tell({ type: "ok", id, filter });
      this.#attend(filter, asked);
    }
  }

  /** Throws `invalid_filter` [P-4.6]. */
  unsubscribe({ filter, id }: ClientFrameOf<"unsubscribe">): void {
    const session = this.#session;
    this.#catchUp?.cancel(filter);
    // What it has is valid.
    if (!this.end(filter)) assertFilter(filter, session.limits);
    if (id !== undefined) session.tell({ type: "ok", id, filter });
  }

  /** Throws `invalid_topic`, `forbidden`, `not_supported`, `invalid_frame`; the rest is answered later [P-8.1]. */
  history(frame: ClientFrameOf<"history">): void {
    const { topic } = frame;
    assertHistoryQuery(frame, this.broker.limits);
    this.#session.credentials.assertMay("history", topic);
    keptHistory(this.broker, topic, "/topic");
    this.#catching.add(new HistoryRead(this.#catching, frame));
  }

  /** Whether a frame of this type has to wait for what is being read [P-2.3]. */
  holdsBack(type: unknown): boolean {
    return this.#catchUp?.holdsBack(type) === true;
  }

  /** Throws `invalid_topic`, `forbidden`, `not_supported`, `invalid_frame` [P-7.3]. */
  presence(frame: ClientFrameOf<"presence">): void {
    listMembers(frame, this.#session, this.broker);
  }

  /** The session has other credentials [P-7.2]. */
  identified(): void {
    this.#attendance?.identified();
  }

  /** After channels or rights have changed; returns what is not watched any more [P-7.1]. */
  reviewPresence(): WatchEnded[] {
    const { presence } = this.broker;
    const isKept = (filter: string) => presence.isKept(filter);
    if (this.#attendance === undefined && !this.filters.some(isKept)) return [];
    return this.#attending.review(this.filters);
  }

  /** Ends the subscriptions that `allowed` is false for; returns their filters. */
  retain(allowed: (filter: string) => boolean): string[] {
    const ended = this.filters.filter((filter) => !allowed(filter));
    for (const filter of ended) this.end(filter);
    this.#catchUp?.retain(allowed);
    return ended;
  }

  /** Ends all; `lost` when the peer may soon be back [P-7.2]. */
  clear(lost: boolean): void {
    // One that is being replayed anew is not on the air, and its member is still there.
    const filters = [...this.filters, ...(this.#catchUp?.filters ?? [])];
    this.#catchUp?.clear();
    for (const filter of filters) this.end(filter, lost);
  }

  /** Off the air until `resume`. */
  suspend(): void {
    if (this.#suspended) return;
    this.#suspended = true;
    for (const route of this.#routes) {
      this.broker.fanout.suspend(this.#session, route);
    }
    this.#attendance?.suspend();
  }

  /** The socket has room again. */
  drained(): void {
    this.#resume();
    this.#catchUp?.resume();
  }

  /** On the air; for one that is there already nothing changes. */
  join(filter: string): void {
    if (this.#on(filter) === undefined) this.#enter(filter);
  }

  /** It is not on it yet. */
  #enter(filter: string): void {
    const route = this.broker.subscribe(this.#session, filter, this.#session.protocol.encoder);
    this.#routes.push(route);
    // What was pending there has left first, and may have shown that the peer reads nothing any more.
    if (this.#session.over) this.end(filter);
    else if (this.#suspended) this.broker.fanout.suspend(this.#session, route);
  }

  /** Off the air, if it was on it (which is returned): for as long as it is replayed anew. */
  leave(filter: string): boolean {
    const route = this.#on(filter);
    if (route === undefined) return false;
    const at = this.#routes.indexOf(route);
    // It is just leaving: what was pending there leaves first, and may end the session.
    if (at < 0) return false;
    this.#routes.splice(at, 1);
    this.broker.unsubscribe(this.#session, route);
    return true;
  }

  /** What is pending for the filter leaves now. */
  settle(filter: string): void {
    const route = this.#on(filter);
    if (route !== undefined) this.broker.fanout.settle(route);
  }

  /** Off the air for good, if it was on it, which is returned. */
  end(filter: string, lost = false): boolean {
    const left = this.leave(filter);
    this.#attendance?.unsubscribed(filter, lost);
    return left;
  }

  /** Back on the air; the peer is told of every filter that had events meanwhile. */
  #resume(): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    for (const route of this.#routes) {
      const { filter } = route;
      const missed = this.broker.fanout.resume(this.#session, route);
      if (missed > 0) this.#session.tell({ type: "notice", code: "lagged", filter, missed });
    }
    this.#attendance?.resume();
  }

  /** How it is to take effect; undefined: at once. */
  #joining(frame: ClientFrameOf<"subscribe">, present: Route | undefined): Joining | undefined {
    const { filter, id, recover, last = 0 } = frame;
    if (recover !== undefined || last > 0) return new Replay(this.#catching, frame);
    // Subscribing again changes nothing.
    if (present !== undefined) return undefined;
    return Arrival.reads(this.broker, filter) ? new Arrival(this.#catching, filter, id) : undefined;
  }

  /** It is on the air; the channel of its topic may have presence only since it was asked for. */
  #attend(filter: string, asked: PresenceAsked | undefined): void {
    if (asked === undefined && !this.broker.presence.isKept(filter)) return;
    this.#attending.subscribed(filter, asked ?? {}, this.#suspended);
  }

  /** For one more. */
  #assertRoom(): void {
    const limit = this.broker.limits.subscriptions;
    const held = this.#routes.length + (this.#catchUp?.joining ?? 0);
    if (held < limit) return;
    throw new WarrenError("too_many_subscriptions", undefined, { limit });
  }

  get #attending(): Attendance {
    this.#attendance ??= new Attendance(this.#session, this.broker);
    return this.#attendance;
  }

  get #catching(): CatchUp {
    this.#catchUp ??= new CatchUp(this.#session, this);
    return this.#catchUp;
  }

  /**
   * The route of the filter, if it is on it. Asked of the router: a map of its own would weigh on every session, and
   * looking through its routes is the most of what a subscribe costs one that has hundreds.
   */
  #on(filter: string): Route | undefined {
    const route = this.broker.router.route(filter, this.#session.protocol.encoder);
    return route?.members.has(this.#session) ? route : undefined;
  }
}
