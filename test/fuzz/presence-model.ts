/**
 * What presence is, in the plainest words: a list of members, gone through from its beginning for everything,
 * and for each watched filter of each connection what it is told [P-7].
 */
import { filterMatches, hasWildcard } from "../../src/topic.ts";

export const GRACE_MS = 5000;
export const COUNT_MS = 1000;

/** No count at all. */
const UNTOLD = -1;

export interface Person {
  readonly session: string;
  readonly name: string;
  readonly client: string | undefined;
  /** Its filters, and whether it watches them, in the order of subscribing. */
  readonly filters: Map<string, boolean>;
  /** What it was told by each filter, since somebody looked. */
  readonly told: Map<string, string[]>;
}

interface ModelMember {
  readonly topic: string;
  readonly name: string;
  readonly client: string | undefined;
  session: string;
  readonly firstSession: string;
  readonly since: number;
  info: unknown;
  /** When its connection was lost, and in which order. */
  lost: { readonly at: number; readonly order: number } | undefined;
}

export class PresenceModel {
  now: number;
  readonly people: Person[] = [];
  readonly members: ModelMember[] = [];
  readonly #announced: number;
  readonly #hasPresence: (topic: string) => boolean;
  /** Crowded topics, with the count that was told last. */
  readonly #crowded = new Map<string, number>();
  readonly #uncounted = new Set<string>();
  #countAt: number | undefined;
  #losses = 0;

  constructor(now: number, announced: number, hasPresence: (topic: string) => boolean) {
    this.now = now;
    this.#announced = announced;
    this.#hasPresence = hasPresence;
  }

  on(topic: string): ModelMember[] {
    return this.members.filter((member) => member.topic === topic);
  }

  isCrowded(topic: string): boolean {
    return this.#crowded.has(topic);
  }

  /** Somebody has listed the topic, and knows its count now. */
  listed(topic: string): void {
    const told = this.#crowded.get(topic);
    if (told !== undefined && told !== this.on(topic).length) this.#crowded.set(topic, UNTOLD);
  }

  subscribe(person: Person, filter: string, watch: boolean | undefined, info: unknown): void {
    person.filters.set(filter, watch ?? person.filters.get(filter) ?? false);
    if (hasWildcard(filter) || !this.#hasPresence(filter)) return;
    const known = this.members.find(
      (one) => one.topic === filter && one.session === person.session,
    );
    if (known !== undefined) this.#inform(known, info);
    else this.#come(person, filter, info);
  }

  unsubscribe(person: Person, filter: string): void {
    person.filters.delete(filter);
    const member = this.members.find(
      (one) => one.topic === filter && one.session === person.session,
    );
    if (member !== undefined) this.#leave(member);
  }

  end(person: Person, lost: boolean): void {
    this.people.splice(this.people.indexOf(person), 1);
    for (const filter of person.filters.keys()) {
      const member = this.members.find(
        (one) => one.topic === filter && one.session === person.session,
      );
      if (member === undefined) continue;
      if (lost && person.name !== "anonymous") {
        member.lost = { at: this.now, order: this.#losses++ };
      } else this.#leave(member);
    }
  }

  advance(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const first = this.members.filter(({ lost }) => lost !== undefined).sort(byLoss)[0];
      const overAt = (first?.lost?.at ?? Number.POSITIVE_INFINITY) + GRACE_MS;
      const countAt = this.#countAt ?? Number.POSITIVE_INFINITY;
      const next = Math.min(overAt, countAt);
      if (next > end) break;
      this.now = next;
      if (next === countAt) this.#count();
      else if (first !== undefined) this.#leave(first);
    }
    this.now = end;
  }

  #come(person: Person, topic: string, info: unknown): void {
    const back = this.members
      .filter((one) => one.topic === topic && one.lost !== undefined)
      .filter(({ name, client }) => name === person.name && client === person.client)
      .sort(byLoss)[0];
    if (back !== undefined) {
      back.lost = undefined;
      back.session = person.session;
      this.#inform(back, info);
      return;
    }
    const { session, name, client } = person;
    const same = { topic, name, client, session, firstSession: session };
    const member: ModelMember = { ...same, since: this.now, info, lost: undefined };
    this.members.push(member);
    const count = this.on(topic).length;
    if (this.#crowded.has(topic)) this.#uncount(topic);
    else if (count > this.#announced) {
      this.#crowded.set(topic, count);
      this.#tell(topic, `many ${count}`);
    } else this.#tell(topic, `join ${said(member)}`);
  }

  #leave(member: ModelMember): void {
    const { topic } = member;
    this.members.splice(this.members.indexOf(member), 1);
    const count = this.on(topic).length;
    if (!this.#crowded.has(topic)) this.#tell(topic, `leave ${said(member)}`);
    else if (count <= this.#announced / 2) {
      this.#crowded.delete(topic);
      this.#tell(topic, `few ${count}`);
    } else this.#uncount(topic);
  }

  #inform(member: ModelMember, info: unknown): void {
    if (info === undefined || JSON.stringify(info) === JSON.stringify(member.info)) return;
    member.info = info;
    if (!this.#crowded.has(member.topic)) this.#tell(member.topic, `update ${said(member)}`);
  }

  #uncount(topic: string): void {
    this.#uncounted.add(topic);
    this.#countAt ??= this.now + COUNT_MS;
  }

  #count(): void {
    this.#countAt = undefined;
    const topics = [...this.#uncounted];
    this.#uncounted.clear();
    for (const topic of topics) {
      const count = this.on(topic).length;
      if (!this.#crowded.has(topic) || this.#crowded.get(topic) === count) continue;
      this.#crowded.set(topic, count);
      this.#tell(topic, `many ${count}`);
    }
  }

  #tell(topic: string, words: string): void {
    for (const { filters, told } of this.people) {
      for (const [filter, watches] of filters) {
        if (!watches || !filterMatches(filter, topic)) continue;
        told.set(filter, [...(told.get(filter) ?? []), `${topic} ${words}`]);
      }
    }
  }
}

function byLoss({ lost: one }: ModelMember, { lost: other }: ModelMember): number {
  return (one?.order ?? 0) - (other?.order ?? 0);
}

function said({ name, firstSession, info }: ModelMember): string {
  return `${name} ${firstSession} ${JSON.stringify(info)}`;
}
