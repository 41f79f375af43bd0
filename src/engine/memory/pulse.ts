/**
 * What the queues of one memory engine share: clock, chance, numbers, counters, and the two ways in
 * which anything happens later: at the end of this turn, or at a time.
 */
import type { Clock, Random, Timer } from "../../clock.ts";
import type { WarrenError } from "../../errors.ts";
import type { Limits } from "../../limits.ts";
import { EngineTally, type QueueTally } from "../counters.ts";
import { RateSampler } from "../rates.ts";

export class Pulse {
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Limits;
  /** The counters of the queues that there are; the engine says which. */
  tallies: () => Iterable<QueueTally> = () => [];
  readonly counters = new EngineTally(() => this.tallies());
  readonly rates: RateSampler;
  /** Set by the engine: what the end of a turn and a time reached mean to its queues. */
  onTurn: () => void = () => {};
  onTime: () => void = () => {};
  /** Why nothing can be stored any more, once the engine is closed. */
  refusal: WarrenError | undefined;
  #age = 0;
  #tag: number;
  #answers: (() => void)[] = [];
  #turnAsked = false;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, random: Random, limits: Limits) {
    this.clock = clock;
    this.random = random;
    this.limits = limits;
    this.rates = new RateSampler(clock, () => this.tallies());
    // Tags begin with the time, so that a later process does not give out the tags of this one.
    this.#tag = clock.now() * 1000;
  }

  nextAge(): number {
    return ++this.#age;
  }

  nextTag(): number {
    return ++this.#tag;
  }

  /** Calls back at the end of this turn, in the order of asking, before anything is handed out. */
  answer(action: () => void): void {
    this.#answers.push(action);
    this.wake();
  }

  /** Something may have become ready, or somebody wants more: hand out at the end of this turn. */
  wake(): void {
    if (this.#turnAsked) return;
    this.#turnAsked = true;
    this.clock.endOfTurn(() => {
      this.#turnAsked = false;
      // What the answers cause is answered in the next turn, so that a publisher that goes on for
      // ever does not keep the loop.
      const answers = this.#answers;
      this.#answers = [];
      for (const answer of answers) answer();
      this.onTurn();
      this.rates.wake();
    });
  }

  /** Something becomes due, expires or times out at `time`. One timer, for the earliest. */
  at(time: number): void {
    if (time >= this.#timerAt) return;
    this.stopTimer();
    this.#timerAt = time;
    this.#timer = this.clock.after(time - this.clock.now(), () => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.onTime();
      this.wake();
    });
  }

  stopTimer(): void {
    this.#timer?.cancel();
    this.#timerAt = Number.POSITIVE_INFINITY;
  }
}
