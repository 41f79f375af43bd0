/**
 * Who is present on which topic [P-7.1], and telling those who watch. In the memory of this node: whoever is
 * present holds a connection to it.
 *
 * Watchers are on routes of their own, beside those of events, so that a change leaves once for everyone who
 * watches the same filter. A topic with very many members tells how many they are, now and then, in the place
 * of each that comes and goes: ten thousand that come back at once, and watch each other, would be told fifty
 * million things.
 */
import type { PresenceMember } from "../../schemas/frames.ts";
import type { Clock, Timer } from "../clock.ts";
import { WarrenError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { hasWildcard } from "../topic.ts";
import { Absences } from "./absences.ts";
import type { Fanout } from "./fanout.ts";
import { type Attendee, identityOn, Member, type Place } from "./member.ts";
import { type EventEncoder, Route, type Subscriber } from "./route.ts";
import { FilterTrie } from "./trie.ts";

/** How often a crowded topic tells how many there are. */
const COUNT_EVERY_MS = 1000;

/** What channels say of presence. */
export interface PresenceRules {
  /** Whether there is any channel with presence. */
  readonly somePresence: boolean;
  hasPresence(topic: string): boolean;
  /** Whether some topic of the filter may have presence. */
  mayHavePresence(filter: string): boolean;
}

type Change =
  | { readonly action: "join" | "leave" | "update"; readonly member: PresenceMember }
  | { readonly action: "many" | "few"; readonly count: number };

export interface MemberList {
  readonly members: PresenceMember[];
  readonly count: number;
  readonly many?: true;
}

export interface PresenceDeps {
  readonly fanout: Fanout;
  readonly clock: Clock;
  readonly limits: Limits;
}

export class Presence {
  rules: PresenceRules = {
    somePresence: false,
    hasPresence: () => false,
    mayHavePresence: () => false,
  };
  readonly #fanout: Fanout;
  readonly #clock: Clock;
  readonly #limits: Limits;
  readonly #places = new Map<string, Place>();
  readonly #watched = new FilterTrie<Route[]>();
  readonly #absences: Absences;
  /** Crowded topics whose count has changed since it was told. */
  readonly #uncounted = new Set<Place>();
  #timer: Timer | undefined;
  #closed = false;
  /** Members of all topics, those that are missing for a moment included. */
  members = 0;
  /** What routes were handed, once for all on a route. */
  frames = 0;

  constructor({ fanout, clock, limits }: PresenceDeps) {
    this.#fanout = fanout;
    this.#clock = clock;
    this.#limits = limits;
    this.#absences = new Absences({
      clock,
      graceMs: limits.presenceGraceMs,
      most: limits.presenceAbsent,
      over: (member) => this.leave(member),
    });
  }

  /** Whether whoever subscribes to exactly this is present there. */
  isKept(filter: string): boolean {
    return this.rules.somePresence && !hasWildcard(filter) && this.rules.hasPresence(filter);
  }

  /** Whether there may be somebody to watch. */
  isWatchable(filter: string): boolean {
    return hasWildcard(filter) ? this.rules.mayHavePresence(filter) : this.isKept(filter);
  }

  /** Somebody comes to a topic with presence, or is back on it; `info` is JSON text. */
  join(topic: string, who: Attendee, info: string | undefined): Member {
    const identity = this.#absences.size === 0 ? undefined : identityOn(topic, who);
    const back = identity === undefined ? undefined : this.#absences.take(identity);
    if (back !== undefined) {
      back.cameBack(who);
      if (info !== undefined) this.inform(back, info);
      return back;
    }
    const place = this.#placeOf(topic);
    const member = new Member(place, who, info, this.#clock.now());
    place.members.add(member);
    this.members++;
    if (place.members.size > this.#limits.presenceAnnounced && !place.crowded) {
      place.crowded = true;
      this.#tellCount(place, "many");
    } else this.#tellOf(member, "join");
    return member;
  }

  /** The member says something else of itself. */
  inform(member: Member, info: string): void {
    if (info === member.info) return;
    member.info = info;
    this.#tellOf(member, "update");
  }

  /** The member's session has other credentials. */
  identify(member: Member, who: Attendee): void {
    if (member.identify(who)) this.#tellOf(member, "update");
  }

  /** Channels have changed: nobody is waited for where nobody can be a member any more [P-7.2]. */
  rulesChanged(): void {
    this.#absences.review(({ place }) => this.isKept(place.topic));
  }

  leave(member: Member): void {
    const { place } = member;
    if (!place.members.delete(member)) return;
    this.members--;
    const count = place.members.size;
    if (count === 0) this.#places.delete(place.topic);
    if (place.crowded && count * 2 <= this.#limits.presenceAnnounced) {
      place.crowded = false;
      this.#tellCount(place, "few");
    } else this.#tellOf(member, "leave");
  }

  /** The connection of the member is lost: it leaves, unless it is back soon [P-7.2]. */
  lose(member: Member): void {
    if (this.#closed || member.isAnonymous) this.leave(member);
    else this.#absences.add(member);
  }

  /**
   * The members of a topic, at most `limit`. What was told to `asker` before is older than this list, and
   * what it is told later is newer. Throws `not_supported`, `invalid_frame`.
   */
  list(topic: string, limit?: number, asker?: Subscriber): MemberList {
    const { presenceListed: most, frameBytes } = this.#limits;
    if (limit !== undefined && limit > most) {
      const why = `At most ${most} members are listed.`;
      throw new WarrenError("invalid_frame", why, { pointer: "/limit", limit: most });
    }
    if (!this.isKept(topic)) {
      const why = "The channel of this topic has no presence.";
      throw new WarrenError("not_supported", why, { topic, pointer: "/topic" });
    }
    for (const route of asker === undefined ? [] : this.#routesOf(topic)) {
      if (route.members.has(asker as Subscriber)) this.#fanout.settle(route);
    }
    const place = this.#places.get(topic);
    const members: PresenceMember[] = [];
    let bytes = 0;
    for (const member of place?.members ?? []) {
      bytes += member.bytes;
      if (members.length >= (limit ?? most) || bytes > frameBytes) break;
      members.push(member.view);
    }
    const count = place?.members.size ?? 0;
    // The asker, who may watch, has to be told of the next count, be it the one that the others know.
    if (asker !== undefined && place !== undefined && place.told !== count) place.told = undefined;
    return { members, count, ...(place?.crowded && { many: true }) };
  }

  /** Puts the subscriber among those who are told what changes on topics of the filter. */
  watch(subscriber: Subscriber, filter: string, encoder: EventEncoder): Route {
    const routes = this.#watched.get(filter) ?? [];
    let route = routes.find((one) => one.encoder === encoder);
    if (route === undefined) {
      route = new Route(filter, encoder, "presence");
      this.#watched.set(filter, [...routes, route]);
    }
    this.#fanout.join(subscriber, route);
    return route;
  }

  unwatch(subscriber: Subscriber, route: Route): void {
    this.#fanout.drop(subscriber, route);
    if (route.members.size > 0) return;
    const others = (this.#watched.get(route.filter) ?? []).filter((one) => one !== route);
    if (others.length === 0) this.#watched.delete(route.filter);
    else this.#watched.set(route.filter, others);
  }

  /** The broker stops: everybody is about to leave, and nobody is told who does. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#uncounted.clear();
    this.#absences.end();
  }

  #placeOf(topic: string): Place {
    let place = this.#places.get(topic);
    if (place === undefined) {
      place = { topic, members: new Set(), crowded: false, told: undefined };
      this.#places.set(topic, place);
    }
    return place;
  }

  #tellOf(member: Member, action: "join" | "leave" | "update"): void {
    const { place } = member;
    if (!place.crowded) this.#tell(place.topic, () => ({ action, member: member.view }));
    else if (action !== "update" && !this.#closed) {
      this.#uncounted.add(place);
      this.#timer ??= this.#clock.after(COUNT_EVERY_MS, this.#count);
    }
  }

  readonly #count = (): void => {
    this.#timer = undefined;
    const places = [...this.#uncounted];
    this.#uncounted.clear();
    for (const place of places) {
      if (place.crowded && place.members.size !== place.told) this.#tellCount(place, "many");
    }
  };

  #tellCount(place: Place, action: "many" | "few"): void {
    const count = place.members.size;
    place.told = count;
    this.#tell(place.topic, () => ({ action, count }));
  }

  #tell(topic: string, what: () => Change): void {
    if (this.#closed || this.#watched.size === 0) return;
    const routes = this.#routesOf(topic);
    if (routes.length === 0) return;
    const change = what();
    const now = this.#clock.now();
    for (const route of routes) {
      const { filter, encoder } = route;
      const named = filter === topic ? undefined : { filter };
      const bytes = encoder.frame({ type: "presence", topic, ...named, ...change });
      this.#fanout.tell(route, bytes, now);
      this.frames++;
    }
  }

  #routesOf(topic: string): Route[] {
    const found: Route[][] = [];
    this.#watched.match(topic, found);
    return found.flat();
  }
}
