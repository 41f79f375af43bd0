/**
 * What one session has to do with presence [P-7.1]: the topics that it is a member of, and the filters whose
 * members it watches. Made when it is first needed: most sessions have nothing to do with it.
 */
import type { ClientFrameOf } from "../../schemas/frames.ts";
import type { Broker } from "../broker/broker.ts";
import { infoText, type Member } from "../broker/member.ts";
import type { Route } from "../broker/route.ts";
import { WarrenError } from "../errors.ts";
import { assertTopic } from "../topic.ts";
import type { Session } from "./session.ts";

/** What a subscription asks of presence. */
export interface PresenceAsked {
  /** To watch, or not to watch any more; absent leaves that as it is. */
  readonly watch?: boolean | undefined;
  /** JSON text; absent leaves what the member said before. */
  readonly info?: string | undefined;
}

/** A filter that is not watched any more. */
export interface WatchEnded {
  readonly filter: string;
  readonly reason: "forbidden" | "not_supported";
}

/**
 * What the frame asks of presence; undefined when that is nothing and there is nobody to be a member. The
 * filter is valid. Throws `forbidden`, `not_supported`, `invalid_frame`, `too_large`.
 */
export function presenceAsked(
  { filter, presence: watch, info }: ClientFrameOf<"subscribe">,
  session: Session,
  { presence }: Broker,
): PresenceAsked | undefined {
  if (watch === undefined && info === undefined && !presence.isKept(filter)) return undefined;
  if (watch === true) {
    session.credentials.assertMay("presence", filter);
    if (!presence.isWatchable(filter)) {
      throw notSupported("There is no channel with presence here.", "/presence");
    }
  }
  if (info === undefined) return { watch, info };
  if (!presence.isKept(filter)) {
    const why = "Only who subscribes to a topic of a channel with presence is a member there.";
    throw notSupported(why, "/info");
  }
  return { watch, info: infoText(info, session.limits) };
}

/** Answers who is present. Throws `invalid_topic`, `forbidden`, `not_supported`, `invalid_frame`. */
export function listMembers(
  { id, topic, limit }: ClientFrameOf<"presence">,
  session: Session,
  { presence, limits }: Broker,
): void {
  assertTopic(topic, limits);
  session.credentials.assertMay("presence", topic);
  const list = presence.list(topic, limit, session);
  if (id !== undefined) session.tell({ type: "ok", id, ...list });
}

export class Attendance {
  readonly #session: Session;
  readonly #broker: Broker;
  readonly #members: Member[] = [];
  readonly #watches: Route[] = [];

  constructor(session: Session, broker: Broker) {
    this.#session = session;
    this.#broker = broker;
  }

  /** The session is subscribed to the filter, and asks this. */
  subscribed(filter: string, { watch, info }: PresenceAsked, suspended: boolean): void {
    // What was asked may have been read for first, for any time.
    const reason = watch === true ? this.#whyUnwatched(filter) : undefined;
    if (reason !== undefined) {
      this.#session.tell({ type: "notice", code: "presence_ended", filter, reason });
    } else if (watch === true) this.#watch(filter, suspended);
    else if (watch === false) this.#unwatch(filter);
    if (!this.#broker.presence.isKept(filter)) return;
    const member = this.#memberOn(filter);
    if (member === undefined) this.#join(filter, info);
    else if (info !== undefined) this.#broker.presence.inform(member, info);
  }

  /** It is not any more; `lost` when it may soon be again [P-7.2]. */
  unsubscribed(filter: string, lost: boolean): void {
    // Nobody is told that he leaves himself.
    this.#unwatch(filter);
    const member = this.#memberOn(filter);
    if (member !== undefined) this.#leave(member, lost);
  }

  /** The session has other credentials. */
  identified(): void {
    // Telling others may end this one.
    for (const member of [...this.#members]) {
      this.#broker.presence.identify(member, this.#session);
    }
  }

  /**
   * After channels or rights have changed: it is a member where it now has to be, and watches only what it
   * still may. Returns what it watches no more.
   */
  review(filters: readonly string[]): WatchEnded[] {
    const { presence } = this.#broker;
    const present = new Set(this.#members.map(({ place }) => place.topic));
    for (const filter of filters) {
      if (!present.has(filter) && presence.isKept(filter)) this.#join(filter, undefined);
    }
    for (const member of [...this.#members]) {
      if (!presence.isKept(member.place.topic)) this.#leave(member, false);
    }
    const ended: WatchEnded[] = [];
    for (const { filter } of [...this.#watches]) {
      const reason = this.#whyUnwatched(filter);
      if (reason !== undefined) ended.push({ filter, reason });
    }
    for (const { filter } of ended) this.#unwatch(filter);
    return ended;
  }

  /** Off the air until `resume` [P-4.7]. */
  suspend(): void {
    for (const route of [...this.#watches]) this.#broker.fanout.suspend(this.#session, route);
  }

  resume(): void {
    for (const route of [...this.#watches]) {
      const { filter } = route;
      const missed = this.#broker.fanout.resume(this.#session, route);
      if (missed === 0) continue;
      this.#session.tell({ type: "notice", code: "lagged", filter, missed, presence: true });
    }
  }

  /** Why the filter may not be watched as things are now; undefined: it may. */
  #whyUnwatched(filter: string): WatchEnded["reason"] | undefined {
    const { principal } = this.#session;
    if (principal?.rights.may("presence", filter) !== true) return "forbidden";
    return this.#broker.presence.isWatchable(filter) ? undefined : "not_supported";
  }

  #join(topic: string, info: string | undefined): void {
    if (this.#session.over) return;
    const { presence } = this.#broker;
    const member = presence.join(topic, this.#session, info);
    // Telling others may have shown that this one reads nothing any more, and ended it.
    if (this.#session.over) presence.leave(member);
    else this.#members.push(member);
  }

  #leave(member: Member, lost: boolean): void {
    const at = this.#members.indexOf(member);
    if (at < 0) return;
    this.#members.splice(at, 1);
    const { presence } = this.#broker;
    if (lost) presence.lose(member);
    else presence.leave(member);
  }

  #watch(filter: string, suspended: boolean): void {
    if (this.#watches.some((route) => route.filter === filter)) return;
    const session = this.#session;
    const { presence, fanout } = this.#broker;
    const route = presence.watch(session, filter, session.protocol.encoder);
    if (session.over) presence.unwatch(session, route);
    else this.#watches.push(route);
    if (suspended) fanout.suspend(session, route);
  }

  #unwatch(filter: string): void {
    const at = this.#watches.findIndex((route) => route.filter === filter);
    if (at < 0) return;
    const [route] = this.#watches.splice(at, 1);
    this.#broker.presence.unwatch(this.#session, route as Route);
  }

  #memberOn(topic: string): Member | undefined {
    return this.#members.find(({ place }) => place.topic === topic);
  }
}

function notSupported(why: string, pointer: string): WarrenError {
  return new WarrenError("not_supported", why, { pointer });
}
