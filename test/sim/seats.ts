/**
 * Who has to be a member of which topic, by what passed the broker's ends of all connections [P-7.1, P-7.2].
 * Where the promise leaves room, the list of the broker says which way it went; the rest is held against it.
 */
import type { MemberList } from "../../src/broker/presence.ts";
import { LIMITS } from "./life.ts";
import type { Surroundings } from "./peer.ts";
import type { Who } from "./socket.ts";

type Listed = MemberList["members"][number];

/** A connection, for as long as the broker has it. */
export interface Attending {
  readonly session: string;
  readonly who: Who;
}

interface Seat {
  readonly topic: string;
  /** What watchers know it by: the first session it had. */
  readonly key: string;
  session: string;
  who: Who;
  /** JSON text. */
  info: string | undefined;
  /** As it was listed first. */
  since: number | undefined;
  lost: { readonly at: number; readonly clockSet: number } | undefined;
}

/** The clock of the broker counts whole milliseconds. */
const ROUNDED_MS = 1;

export class Seats {
  readonly #world: Surroundings;
  /** Of each topic in the order of coming. */
  readonly #all: Seat[] = [];
  /** In the order of losing them. */
  readonly #lost: Seat[] = [];

  constructor(world: Surroundings) {
    this.#world = world;
  }

  /** Somebody has subscribed; `listed` is what the broker lists now. */
  come(topic: string, one: Attending, info: string | undefined, listed: readonly Listed[]): void {
    const known = this.#of(topic, one.session);
    const seat = known ?? this.#back(topic, one, listed) ?? this.#new(topic, one);
    if (info !== undefined) seat.info = info;
  }

  leave(topic: string, session: string): void {
    const seat = this.#of(topic, session);
    if (seat !== undefined) this.#remove(seat);
  }

  /** The broker knows that the connection is over, which had subscribed to these one after the other. */
  end({ session }: Attending, topics: Iterable<string>, isLost: boolean): void {
    for (const topic of topics) {
      const seat = this.#of(topic, session);
      if (seat === undefined) continue;
      if (!isLost || seat.who.name === "anonymous") this.#remove(seat);
      else {
        const { time, clockSet } = this.#world;
        seat.lost = { at: time.elapsed, clockSet };
        this.#lost.push(seat);
        if (this.#lost.length > LIMITS.presenceAbsent) this.#remove(this.#lost[0]!);
      }
    }
  }

  /** The session is somebody else's now. */
  identify(session: string, who: Who): void {
    for (const seat of this.#all) if (seat.session === session) seat.who = who;
  }

  /** The topic has no presence any more. */
  clear(topic: string): void {
    for (const seat of this.#all.filter((one) => one.topic === topic)) this.#remove(seat);
  }

  /** Whether somebody's time may be over, who was missing. */
  anyDue(topic: string): boolean {
    return this.#lost.some((seat) => seat.topic === topic && this.#mayBeOver(seat));
  }

  get anyLost(): boolean {
    return this.#lost.length > 0;
  }

  /**
   * Holds the list of the broker against what has to be. `unsettled` are the sessions that may be members or
   * not, since the channel has changed a moment ago. Returns what is wrong.
   */
  faults(topic: string, listed: readonly Listed[], unsettled: readonly Attending[]): string[] {
    const byKey = new Map(listed.map((one) => [keyOf(one), one]));
    if (byKey.size < listed.length) return ["somebody is listed twice"];
    const faults: string[] = [];
    for (const seat of this.#all.filter((one) => one.topic === topic)) {
      const one = byKey.get(seat.key);
      byKey.delete(seat.key);
      if (one !== undefined) faults.push(...this.#differences(seat, one));
      else if (this.#mayBeOver(seat)) this.#remove(seat);
      else if (unsettled.some(({ session }) => session === seat.session)) this.#remove(seat);
      else faults.push(`${named(seat)} is not listed`);
    }
    for (const one of byKey.values()) {
      const attending = unsettled.find(({ session }) => session === one.session);
      if (attending === undefined) faults.push(`${one.principal} ${keyOf(one)} is listed`);
      else this.#adopt(topic, attending, one);
    }
    return faults;
  }

  /** Whether all sit in the order in which they are listed. */
  inOrder(topic: string, listed: readonly Listed[]): boolean {
    const seats = this.#all.filter((one) => one.topic === topic).map(({ key }) => key);
    return Bun.deepEquals(seats, listed.map(keyOf));
  }

  isSeated(topic: string, session: string): boolean {
    return this.#of(topic, session) !== undefined;
  }

  #differences(seat: Seat, one: Listed): string[] {
    seat.since ??= one.since;
    const info = one.info === undefined ? undefined : JSON.stringify(one.info);
    const { session, since, who } = seat;
    const is = [one.session, one.since, one.principal, info];
    const shouldBe = [session, since, who.name, seat.info];
    const faults: string[] = [];
    if (!Bun.deepEquals(is, shouldBe)) faults.push(`${named(seat)} is listed as ${is.join()}`);
    if (this.#mustBeOver(seat)) faults.push(`${named(seat)} is missing for too long`);
    return faults;
  }

  /** Who was lost first, of those who cannot be told from whoever comes now. */
  #back(topic: string, one: Attending, listed: readonly Listed[]): Seat | undefined {
    const { name, client } = one.who;
    if (name === "anonymous") return undefined;
    for (const seat of this.#lost) {
      if (seat.topic !== topic || seat.who.name !== name || seat.who.client !== client) continue;
      const taken = listed.find((other) => other.session === one.session);
      const isOver = this.#mayBeOver(seat) && (taken === undefined || keyOf(taken) !== seat.key);
      if (isOver) continue;
      seat.lost = undefined;
      seat.session = one.session;
      this.#lost.splice(this.#lost.indexOf(seat), 1);
      return seat;
    }
    return undefined;
  }

  #new(topic: string, { session, who }: Attending): Seat {
    const nothing = { info: undefined, since: undefined, lost: undefined };
    const seat: Seat = { topic, key: session, session, who, ...nothing };
    this.#all.push(seat);
    return seat;
  }

  /** Somebody was subscribed when the channel got presence. */
  #adopt(topic: string, { session, who }: Attending, one: Listed): void {
    const info = one.info === undefined ? undefined : JSON.stringify(one.info);
    const { since } = one;
    this.#all.push({ topic, key: keyOf(one), session, who, info, since, lost: undefined });
  }

  #remove(seat: Seat): void {
    this.#all.splice(this.#all.indexOf(seat), 1);
    if (seat.lost !== undefined) this.#lost.splice(this.#lost.indexOf(seat), 1);
  }

  #of(topic: string, session: string): Seat | undefined {
    return this.#all.find(
      (one) => one.topic === topic && one.session === session && one.lost === undefined,
    );
  }

  #mayBeOver({ lost }: Seat): boolean {
    if (lost === undefined) return false;
    const { time, clockSet } = this.#world;
    // Who sets the clock sets it for those who are missing.
    if (clockSet !== lost.clockSet) return true;
    return time.elapsed > lost.at + LIMITS.presenceGraceMs - ROUNDED_MS;
  }

  #mustBeOver({ lost }: Seat): boolean {
    if (lost === undefined) return false;
    const { time, clockSet } = this.#world;
    const times = 1 + clockSet - lost.clockSet;
    return time.elapsed > lost.at + times * (LIMITS.presenceGraceMs + ROUNDED_MS);
  }
}

function keyOf({ session, firstSession = session }: Listed): string {
  return firstSession;
}

function named({ who, key, session, lost }: Seat): string {
  const missing = lost === undefined ? "" : `, missing since ${lost.at}`;
  return `${who.name} ${key} (${session}${missing})`;
}
