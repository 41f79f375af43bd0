/**
 * Members whose connection was lost, while they may still come back unnoticed [P-7.2]. All have the same time
 * for it, so that whoever was lost first is over first.
 */
import type { Clock, Timer } from "../clock.ts";
import type { Member } from "./member.ts";

/** So many end, or are looked at, in one turn of the event loop: a network that breaks may lose very many at once. */
const ENDS_A_TURN = 500;

interface Absence {
  readonly member: Member;
  readonly identity: string;
  /** Milliseconds since 1970. */
  readonly lostAt: number;
}

export interface AbsencesDeps {
  readonly clock: Clock;
  readonly graceMs: number;
  /** Past so many, those that were lost first are over. */
  readonly most: number;
  /** The time of a member is over. */
  readonly over: (member: Member) => void;
}

export class Absences {
  readonly #deps: AbsencesDeps;
  /** In the order in which they were lost. */
  readonly #all = new Set<Absence>();
  /** Those with the same identity, in that order too. */
  readonly #byIdentity = new Map<string, Absence[]>();
  #timer: Timer | undefined;
  /** Those who are still to be looked at, whether they are waited for. */
  #unseen: Iterator<Absence> | undefined;

  constructor(deps: AbsencesDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#all.size;
  }

  add(member: Member): void {
    const { clock, most } = this.#deps;
    const { identity } = member;
    const absence = { member, identity, lostAt: clock.now() };
    this.#all.add(absence);
    const same = this.#byIdentity.get(identity);
    if (same === undefined) this.#byIdentity.set(identity, [absence]);
    else same.push(absence);
    if (this.#all.size > most) this.#endFirst();
    this.#arm();
  }

  /** The member that this is again, if one is missing; of several the one that was lost first. */
  take(identity: string): Member | undefined {
    const absence = this.#byIdentity.get(identity)?.[0];
    if (absence === undefined) return undefined;
    this.#forget(absence);
    return absence.member;
  }

  /** Whom `isAwaited` is false for is over: all are looked at once more, a part of them in each turn. */
  review(isAwaited: (member: Member) => boolean): void {
    const isUnderWay = this.#unseen !== undefined;
    // Whoever is lost meanwhile is among them.
    this.#unseen = this.#all.values();
    if (!isUnderWay) this.#reviewOn(isAwaited);
  }

  #reviewOn(isAwaited: (member: Member) => boolean): void {
    for (let looks = 0; looks < ENDS_A_TURN; looks++) {
      const absence = this.#unseen?.next().value;
      if (absence === undefined) {
        this.#unseen = undefined;
        return;
      }
      if (isAwaited(absence.member)) continue;
      this.#forget(absence);
      this.#deps.over(absence.member);
    }
    this.#deps.clock.endOfTurn(() => this.#reviewOn(isAwaited));
  }

  /** All are over. */
  end(): void {
    while (this.#all.size > 0) this.#endFirst();
  }

  #forget(absence: Absence): void {
    this.#all.delete(absence);
    const same = this.#byIdentity.get(absence.identity) ?? [];
    if (same.length <= 1) this.#byIdentity.delete(absence.identity);
    else same.splice(same.indexOf(absence), 1);
    if (this.#all.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  get #first(): Absence | undefined {
    return this.#all.values().next().value;
  }

  #endFirst(): void {
    const first = this.#first;
    if (first === undefined) return;
    this.#forget(first);
    this.#deps.over(first.member);
  }

  #arm(): void {
    const first = this.#first;
    if (this.#timer !== undefined || first === undefined) return;
    const { clock, graceMs } = this.#deps;
    const leftMs = first.lostAt + graceMs - clock.now();
    // Should the clock have been set back, they are looked at after the usual time.
    this.#timer = clock.after(Math.min(leftMs, graceMs), this.#look);
  }

  readonly #look = (): void => {
    this.#timer = undefined;
    const { clock, graceMs } = this.#deps;
    const now = clock.now();
    for (let ends = 0; ends < ENDS_A_TURN; ends++) {
      const first = this.#first;
      const isDue = first !== undefined && (now >= first.lostAt + graceMs || now < first.lostAt);
      if (!isDue) {
        this.#arm();
        return;
      }
      this.#endFirst();
    }
    clock.endOfTurn(this.#look);
  };
}
