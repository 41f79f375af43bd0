/**
 * Time in a simulation: it jumps from one event to the next, and each event is a turn of its own. Timers
 * run by a time that only goes on; `now` is what somebody may have set, forward or back.
 */
import { drainMicrotasks } from "bun:jsc";
import type { Clock, Random, Timer } from "../../src/clock.ts";
import { Heap, type HeapItem } from "../../src/collections/heap.ts";

const START = 1_800_000_000_000;
/** A turn that never ends is a fault of its own. */
const ROUNDS_AT_MOST = 10_000;

interface Event extends HeapItem {
  readonly at: number;
  /** Among those of one time: chance decides, then the order of asking. */
  readonly chance: number;
  readonly order: number;
  readonly action: () => void;
}

function sooner(a: Event, b: Event): boolean {
  if (a.at !== b.at) return a.at < b.at;
  return a.chance !== b.chance ? a.chance < b.chance : a.order < b.order;
}

export class SimTime {
  readonly #events = new Heap<Event>(sooner);
  readonly #random: Random;
  #turn: (() => void)[] = [];
  #steady = 0;
  #aheadMs = 0;
  #workedMs = 0;
  #asked = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** What the system's clock says. */
  now(): number {
    return START + Math.floor(this.#steady) + this.#aheadMs;
  }

  /** Milliseconds since the beginning, whatever anybody set. */
  get elapsed(): number {
    return this.#steady;
  }

  jump(ms: number): void {
    this.#aheadMs += ms;
  }

  /** What is being done takes some of a millisecond, and now and then several, until this is asked again. */
  worked(): number {
    const chance = this.#random();
    this.#workedMs += chance < 0.05 ? 40 * chance : 0.1 * chance;
    return this.#steady + this.#workedMs;
  }

  /** By how much the clock is wrong. */
  get aheadMs(): number {
    return this.#aheadMs;
  }

  after(delayMs: number, action: () => void): Timer {
    const at = this.#steady + Math.max(0, delayMs);
    const event: Event = {
      at,
      chance: this.#random(),
      order: this.#asked++,
      action,
      heapIndex: -1,
    };
    this.#events.push(event);
    return { cancel: () => this.#events.remove(event) };
  }

  endOfTurn(action: () => void): void {
    this.#turn.push(action);
  }

  /** Lets events happen until `done` holds or the time is over; whether it held. */
  async run(untilMs: number, done: () => boolean): Promise<boolean> {
    await this.#finishTurn();
    while (!done()) {
      const next = this.#events.peek();
      if (next === undefined || next.at > untilMs) return false;
      this.#events.pop();
      this.#steady = Math.max(this.#steady, next.at);
      next.action();
      await this.#finishTurn();
    }
    return true;
  }

  async #finishTurn(): Promise<void> {
    for (let round = 0; round < ROUNDS_AT_MOST; round++) {
      // Everything that was promised is seen to, however long the chain.
      drainMicrotasks();
      if (this.#turn.length === 0) return;
      const turn = this.#turn;
      this.#turn = [];
      for (const action of turn) action();
    }
    throw new Error("A turn of the simulation does not end.");
  }
}

/** The clock of one life of a broker: after its end nothing of it happens any more. */
export class LifeClock implements Clock {
  readonly #time: SimTime;
  #over = false;
  #whenOver: (() => void)[] = [];

  constructor(time: SimTime) {
    this.#time = time;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Its broker has ended. */
  end(): void {
    this.#over = true;
    for (const action of this.#whenOver.splice(0)) action();
  }

  /** Called at the end of the life. */
  ended(action: () => void): void {
    this.#whenOver.push(action);
  }

  now(): number {
    return this.#time.now();
  }

  elapsedMs(): number {
    return this.#time.worked();
  }

  after(delayMs: number, action: () => void): Timer {
    return this.#time.after(delayMs, () => this.#live(action));
  }

  endOfTurn(action: () => void): void {
    this.#time.endOfTurn(() => this.#live(action));
  }

  #live(action: () => void): void {
    if (!this.#over) action();
  }
}
