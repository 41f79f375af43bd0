/**
 * Presence in a simulation, as it has to be: after every turn the list of the broker holds who has to be in
 * it, and everyone who watches knows just that [P-7].
 */
import type { MemberList } from "../../src/broker/presence.ts";
import { filterMatches } from "../../src/topic.ts";
import type { Frame } from "../harness/wire-client.ts";
import type { Life } from "./life.ts";
import type { Surroundings } from "./peer.ts";
import { RIGHTS, type RightsName, TOPICS } from "./rules.ts";
import { type Attending, Seats } from "./seats.ts";
import type { Who } from "./socket.ts";
import { View } from "./view.ts";

/** After a change of channels or rights everyone is looked at within this time; so often counts are told. */
const SETTLED_MS = 1001;

/** How many are on a topic. */
interface Count {
  readonly count: number;
  /** Since when. */
  readonly at: number;
  /** That everyone knows it was looked at. */
  isKnown: boolean;
}

export class PresenceWitness {
  readonly #world: Surroundings;
  readonly #lines = new Set<WitnessedLine>();
  #seats: Seats;
  #life: Life | undefined;
  /** Topics on which something may be otherwise than before. */
  readonly #touched = new Set<string>();
  /** When rules changed last. */
  #ruledAt = 0;
  #settling = true;
  readonly #counts = new Map<string, Count>();
  /** What those who watch were told. */
  told = 0;
  #isBroken = false;

  constructor(world: Surroundings) {
    this.#world = world;
    this.#seats = new Seats(world);
  }

  /** A broker is there, or none any more: whoever was present is so no longer. */
  begin(life: Life | undefined): void {
    this.#life = life;
    this.#seats = new Seats(this.#world);
    this.#lines.clear();
    this.#counts.clear();
    this.rulesChanged();
  }

  rulesChanged(): void {
    this.#ruledAt = this.#world.time.elapsed;
    this.#settling = true;
    for (const topic of TOPICS) this.#touched.add(topic);
  }

  /** A connection is made. */
  line(who: Who): WitnessedLine {
    const line = new WitnessedLine(this, who);
    this.#lines.add(line);
    return line;
  }

  /** Nobody is missing, nothing may still change, and everyone knows everything. */
  isAtRest(lines: number): boolean {
    if (this.#isBroken) return true;
    if (this.#settling || this.#seats.anyLost || this.#lines.size !== lines) return false;
    if (!TOPICS.every((topic) => this.#isAtRest(topic))) return false;
    return [...this.#lines].every((line) => line.knowsAll);
  }

  /** Who is listed, by their names. */
  names(topic: string): string[] {
    const { members = [] } = this.#life?.presence.list(topic) ?? {};
    return members.map(({ principal }) => principal).sort();
  }

  /** After each turn. */
  check(): void {
    if (this.#life === undefined || this.#isBroken) return;
    const hasSettled = this.#settling && this.#world.time.elapsed > this.#ruledAt + SETTLED_MS;
    if (hasSettled) this.#settling = false;
    for (const topic of TOPICS) {
      const isTouched = this.#touched.delete(topic) || hasSettled;
      if (isTouched || this.#isRestless(topic)) this.#compare(topic, this.#life);
    }
    if (hasSettled) this.#checkRights(this.#life);
  }

  wasTold(frame: Frame): void {
    this.told++;
    this.#world.note(frame);
    this.touch(frame.topic);
  }

  subscribed(line: WitnessedLine, topic: string, info: string | undefined): void {
    this.touch(topic);
    const { presence } = this.#life as Life;
    if (!TOPICS.includes(topic) || !presence.isKept(topic)) return;
    this.#seats.come(topic, line, info, presence.list(topic).members);
  }

  unsubscribed(line: WitnessedLine, topic: string): void {
    this.touch(topic);
    this.#seats.leave(topic, line.session);
  }

  identified(line: WitnessedLine): void {
    this.#seats.identify(line.session, line.who);
    for (const topic of line.subscribed) this.touch(topic);
  }

  ended(line: WitnessedLine, isLost: boolean): void {
    if (!this.#lines.delete(line)) return;
    this.#seats.end(line, line.subscribed, isLost);
    for (const topic of TOPICS) this.touch(topic);
  }

  /** Something of this topic, or of a filter's topics, is to be looked at. */
  touch(filter: string): void {
    for (const topic of TOPICS) if (filterMatches(filter, topic)) this.#touched.add(topic);
  }

  fault(text: string): void {
    if (!this.#isBroken) this.#world.fault("presence", `${this.#world.time.elapsed}: ${text}`);
    // What is wrong once is wrong in every turn after it.
    this.#isBroken = true;
  }

  #compare(topic: string, { presence }: Life): void {
    const views = [...this.#lines].flatMap((line) =>
      line.viewsOf(topic).map((view) => [line, view]),
    );
    const present = [...this.#lines].filter((line) => line.subscribed.has(topic));
    if (!presence.isKept(topic)) {
      this.#seats.clear(topic);
      this.#counts.delete(topic);
      if (this.#settling) return;
      for (const [line, view] of views as [WitnessedLine, View][]) {
        if (view.isWhole && !view.isEmpty) this.fault(`${line.who.name} still sees ${topic}`);
      }
      return;
    }
    const list = presence.list(topic);
    const unsettled = this.#settling ? present : [];
    for (const fault of this.#seats.faults(topic, list.members, unsettled)) {
      this.fault(`on ${topic} ${fault}`);
    }
    if (list.count !== list.members.length) this.fault(`${list.count} are counted on ${topic}`);
    if (!this.#seats.inOrder(topic, list.members)) this.fault(`${topic} is not in order`);
    const missing = present.find(({ session }) => !this.#seats.isSeated(topic, session));
    if (missing && !this.#settling) this.fault(`${missing.session} is not on ${topic}`);
    const atRest = this.#noteCount(topic, list);
    for (const [line, view] of views as [WitnessedLine, View][]) {
      const fault = view.fault(list, atRest);
      if (fault !== undefined) this.fault(`${line.who.name} on ${topic}: ${fault}`);
    }
  }

  /** Something may have happened to it by the time alone. */
  #isRestless(topic: string): boolean {
    return (
      this.#seats.anyDue(topic) ||
      (this.#counts.get(topic)?.isKnown === false && this.#isAtRest(topic))
    );
  }

  /** Returns whether the count has been the same for long enough for everyone to know it. */
  #noteCount(topic: string, { count }: MemberList): boolean {
    const known = this.#counts.get(topic);
    if (known?.count === count) {
      known.isKnown = this.#isAtRest(topic);
      return known.isKnown;
    }
    this.#counts.set(topic, { count, at: this.#world.time.elapsed, isKnown: false });
    return false;
  }

  #isAtRest(topic: string): boolean {
    const { at = 0 } = this.#counts.get(topic) ?? {};
    return this.#world.time.elapsed > at + SETTLED_MS;
  }

  /** [P-4.6, P-7.1] Nobody has what the rights of all do not give any more. */
  #checkRights({ rules, presence }: Life): void {
    const { subscribe, presence: watch } = RIGHTS[rules.rights as RightsName];
    for (const { who, subscribed, watched } of this.#lines) {
      const kept = [...subscribed].find((filter) => !covers(subscribe, filter));
      if (kept !== undefined) this.fault(`${who.name} is still subscribed to ${kept}`);
      const seen = [...watched.keys()].find(
        (filter) => !covers(watch, filter) || !presence.isWatchable(filter),
      );
      if (seen !== undefined) this.fault(`${who.name} still watches ${seen}`);
    }
  }
}

/** Of filters that differ from what is granted in their last levels at most. */
function covers(granted: string, filter: string): boolean {
  return filter.startsWith(granted.slice(0, -1));
}

/** One connection, as the broker's end of it saw it. */
export class WitnessedLine implements Attending {
  readonly #witness: PresenceWitness;
  who: Who;
  session = "";
  /** In the order of subscribing. */
  readonly subscribed = new Set<string>();
  /** By watched filter what is known of each topic. */
  readonly watched = new Map<string, ReadonlyMap<string, View>>();
  readonly #asked = new Map<unknown, Frame>();

  constructor(witness: PresenceWitness, who: Who) {
    this.#witness = witness;
    this.who = who;
  }

  get knowsAll(): boolean {
    return [...this.watched.values()].every((views) => views.values().every((one) => one.isWhole));
  }

  viewsOf(topic: string): View[] {
    return [...this.watched.values()].flatMap((views) => views.get(topic) ?? []);
  }

  read(frame: Frame): void {
    this.#asked.set(frame.id, frame);
  }

  sent(frame: Frame): void {
    if (frame.type === "welcome") this.session = frame.session;
    else if (frame.type === "presence") this.#told(frame);
    else if (frame.type === "ok") this.#answered(frame);
    else if (frame.type === "notice" && frame.code === "unsubscribed") this.#off(frame.filter);
    else if (frame.type === "notice" && frame.code === "presence_ended") {
      this.watched.delete(frame.filter);
    }
  }

  /** The broker closes it; with most codes for good [P-7.2]. */
  closed(code: number): void {
    const mayComeBack = [1002, 1009, 1011].includes(code) || (code >= 4500 && code < 4600);
    this.#witness.ended(this, mayComeBack);
  }

  ended(inOrder: boolean): void {
    this.#witness.ended(this, !inOrder);
  }

  #answered(frame: Frame): void {
    const asked = this.#asked.get(frame.id);
    this.#asked.delete(frame.id);
    if (asked === undefined) return;
    const { type, filter, topic } = asked;
    if (type === "subscribe") this.#on(asked);
    else if (type === "unsubscribe") this.#off(filter);
    else if (type === "presence") {
      for (const view of this.viewsOf(topic)) view.listed(frame);
      this.#witness.touch(topic);
    } else if (type === "auth") {
      this.who = JSON.parse(asked.token) as Who;
      this.#witness.identified(this);
    }
  }

  #on({ filter, presence, info }: Frame): void {
    this.subscribed.add(filter);
    if (presence === false) this.watched.delete(filter);
    else if (presence === true && !this.watched.has(filter)) {
      const topics = TOPICS.filter((topic) => filterMatches(filter, topic));
      this.watched.set(filter, new Map(topics.map((topic) => [topic, new View()])));
    }
    this.#witness.subscribed(this, filter, info === undefined ? undefined : JSON.stringify(info));
  }

  #off(filter: string): void {
    this.subscribed.delete(filter);
    this.watched.delete(filter);
    this.#witness.unsubscribed(this, filter);
  }

  #told(frame: Frame): void {
    const { topic, filter = topic } = frame;
    this.#witness.wasTold(frame);
    const view = this.watched.get(filter)?.get(topic);
    const fault = view === undefined ? "does not watch" : view.told(frame);
    if (fault !== undefined)
      this.#witness.fault(`${this.who.name} by ${filter} ${topic}: ${fault}`);
  }
}
