/**
 * Whose input is taken next, when there is more than one turn of the event loop should take [P-11.2]. One read of a
 * socket may bring thousands of frames, and a frame may cost a hundred times what another does: whoever has had
 * its share waits, behind the others that wait, and everyone else is served in between.
 */
import type { Clock } from "../clock.ts";
import { Deque } from "../collections/deque.ts";

/** What is taken of those who wait, or of one message of many frames, between two looks at the network. */
const TURN_MS = 0.5;
/** A connection is costly that takes more than this part of all time, by more than so much. */
const FREE_PART = 1 / 50;
const FREE_MS = 0.2;
/** The broker is busy when its connections take more than this part of all time, by more than so much. */
const BUSY_PART = 1 / 2;
const BUSY_MS = 0.25;
/** One costly message is not remembered for longer. */
const OWED_MAX_MS = 1000;

export interface Waiting {
  /** Takes its share of what was read; asks for another turn where that is not all. */
  takeTurn(): void;
}

/** Whose input costs time. */
export interface Payer {
  /** Until when its part of all time is used up by what it has cost. */
  paidUntilMs: number;
}

export class FairTurns {
  readonly #clock: Clock;
  readonly #maxHeldBytes: number;
  readonly #waiting = new Deque<Waiting>();
  readonly #all: Payer = { paidUntilMs: 0 };
  #asked = false;
  /** When what is being taken was begun. */
  #since = 0;
  /** What was taken since those who wait asked to be served. */
  #takenMs = 0;
  /** Until when those who wait are being served. */
  #servedUntilMs = 0;
  /** Of all who wait. */
  heldBytes = 0;

  constructor(clock: Clock, maxHeldBytes: number) {
    this.#clock = clock;
    this.#maxHeldBytes = maxHeldBytes;
  }

  /** Whether so much is held that what comes had better be taken at once, however unfair. */
  get isFull(): boolean {
    return this.heldBytes >= this.#maxHeldBytes;
  }

  join(one: Waiting): void {
    this.#waiting.push(one);
    this.#ask();
  }

  /** Something of it is about to be taken. True: it had better wait, being costly while others want something too. */
  begin(payer: Payer): boolean {
    const now = this.#clock.elapsedMs();
    this.#since = now;
    const isCostly = payer.paidUntilMs - now > FREE_MS / FREE_PART;
    return isCostly && this.#all.paidUntilMs - now > BUSY_MS / BUSY_PART && !this.isFull;
  }

  /** What was begun was taken. */
  end(payer: Payer): void {
    const now = this.#clock.elapsedMs();
    const tookMs = now - this.#since;
    payer.paidUntilMs = Math.max(payer.paidUntilMs, this.#since) + tookMs / FREE_PART;
    payer.paidUntilMs = Math.min(payer.paidUntilMs, now + OWED_MAX_MS);
    this.#all.paidUntilMs = Math.max(this.#all.paidUntilMs, this.#since) + tookMs / BUSY_PART;
    this.#takenMs += tookMs;
    this.#since = now;
  }

  /** What is being taken has had its time: the rest of it had better wait. */
  get isOver(): boolean {
    return this.#clock.elapsedMs() - this.#since >= TURN_MS;
  }

  /** Those who wait have had their time, as of the last `end`. */
  get isServed(): boolean {
    return this.#since >= this.#servedUntilMs;
  }

  /** One of those who wait is read again, and may bring a whole buffer at the next look: the others wait for that. */
  readsAgain(): void {
    this.#servedUntilMs = 0;
  }

  #ask(): void {
    if (this.#asked) return;
    this.#asked = true;
    this.#takenMs = 0;
    this.#clock.endOfTurn(this.#serve);
  }

  /** As long as was taken of those who did not have to wait, lest these be kept waiting by them for ever. */
  readonly #serve = (): void => {
    this.#asked = false;
    this.#since = this.#clock.elapsedMs();
    this.#servedUntilMs = this.#since + Math.max(TURN_MS, this.#takenMs);
    let left = this.#waiting.size;
    do {
      this.#waiting.shift()?.takeTurn();
    } while (--left > 0 && !this.isServed);
    if (this.#waiting.size > 0) this.#ask();
  };
}
