/**
 * Whether a session reads from its socket. It does not while an `auth` is being decided, so that frames
 * take effect in their order [P-2.3], nor while too many of its publishes wait for their answer [P-11.1], nor
 * while it sends faster than it may [P-14.11] or has had its share of a turn [P-11.2]: what is not read fills the
 * peer's buffers, not ours.
 */
import type { Socket } from "../broker/route.ts";
import type { Limits } from "../limits.ts";
import type { FairTurns, Payer, Waiting } from "./fair-turns.ts";

/** Twice what one read of a socket brings; only what was compressed can be more. */
const THROTTLED_BYTES_MAX = 1024 * 1024;

/** Something that was read already, and has to wait. */
interface Held {
  readonly bytes: number;
  readonly act: () => void;
}

export class Intake implements Waiting {
  readonly #socket: Socket;
  readonly #turns: FairTurns;
  readonly #payer: Payer;
  readonly #limits: Limits;
  /** Publishes not yet answered. */
  pending = 0;
  #full = false;
  #throttled = false;
  /** Something is under way that what follows has to wait for. */
  #deciding = false;
  /** It has had its share, and waits for its next turn. */
  #waits = false;
  #stopped = false;
  /** The connection has ended: nothing more comes, and what is held is taken however fast it came. */
  #last = false;
  /** So much is held that it is taken at once. */
  #forced = false;
  /** What had been read already when it had to stop, how many of it were taken, and how large the others are. */
  #held: (Held | undefined)[] = [];
  #taken = 0;
  #heldBytes = 0;

  constructor(socket: Socket, turns: FairTurns, payer: Payer, limits: Limits) {
    this.#socket = socket;
    this.#turns = turns;
    this.#payer = payer;
    this.#limits = limits;
  }

  /** Whether what arrives has to be held. */
  get shut(): boolean {
    return this.stopped || (this.#waits && !this.#forced);
  }

  /** Nothing more may take effect for now, not even what has come with what did. */
  get stopped(): boolean {
    return this.#deciding || (this.#throttled && !this.#last && !this.#forced);
  }

  /** It has input that waits for nothing but its time. */
  get behind(): boolean {
    return !this.#deciding && this.#holds;
  }

  get #holds(): boolean {
    return this.#held.length > 0;
  }

  /** We do not read, so that silence says nothing of the peer. */
  get paused(): boolean {
    return this.#stopped;
  }

  get throttled(): boolean {
    return this.#throttled;
  }

  /** Reads nothing more until it is told otherwise. */
  throttle(on: boolean): void {
    this.#throttled = on;
    this.#goOn();
  }

  published(): void {
    this.pending++;
    if (this.pending < this.#limits.pendingPublishes || this.#full) return;
    this.#full = true;
    this.#readOrNot();
  }

  answered(): void {
    this.pending--;
    if (!this.#full || this.pending * 2 > this.#limits.pendingPublishes) return;
    this.#full = false;
    this.#readOrNot();
  }

  shutGate(): void {
    this.#deciding = true;
    this.#readOrNot();
  }

  openGate(): void {
    this.#deciding = false;
    this.#goOn();
  }

  /** The connection has ended: `act` comes after all that is held. */
  end(act: () => void): void {
    this.#held.push({ bytes: 0, act });
    this.#last = true;
    this.#goOn();
  }

  /** It has had its share: what else was read waits until those had theirs who wait already. */
  yieldTurn(): void {
    if (this.#waits) return;
    this.#waits = true;
    this.#turns.join(this);
  }

  /**
   * Keeps what was read, for when it is no longer shut; `bytes` is its size where that is not held elsewhere. False: a
   * connection that is over its rates has sent more than one read can bring.
   */
  hold(act: () => void, bytes = 0): boolean {
    this.#held.push({ bytes, act });
    this.#count(bytes);
    this.#readOrNot();
    if (this.#turns.isFull) this.#takeAll();
    return !this.#throttled || this.#heldBytes <= THROTTLED_BYTES_MAX;
  }

  takeTurn(): void {
    this.#waits = false;
    this.#take();
  }

  /** What is being taken has had its time; true: the rest of it is to be held. */
  get cutShort(): boolean {
    if (!this.#turns.isOver) return false;
    this.yieldTurn();
    return this.shut;
  }

  #take(): void {
    const held = this.#held;
    let at = this.#taken;
    // What one of these holds is the rest of itself, so it comes before the others.
    this.#held = [];
    this.#taken = 0;
    this.#turns.begin(this.#payer);
    while (at < held.length && !this.shut) {
      const { act, bytes } = held[at]!;
      held[at++] = undefined;
      this.#count(-bytes);
      act();
      this.#turns.end(this.#payer);
      if (this.#turns.isServed) this.yieldTurn();
    }
    if (at < held.length) {
      if (this.#holds) this.#held.push(...held.slice(at));
      else [this.#held, this.#taken] = [held, at];
    }
    this.#readOrNot();
  }

  /** Nothing of what is held is wanted any more. */
  discard(): void {
    for (const one of this.#held) this.#count(-(one?.bytes ?? 0));
    this.#held = [];
    this.#taken = 0;
    this.#readOrNot();
  }

  #takeAll(): void {
    this.#forced = true;
    while (this.behind) this.#take();
    this.#forced = false;
  }

  #goOn(): void {
    if ((this.#holds || this.#stopped) && !this.stopped) this.yieldTurn();
    else this.#readOrNot();
  }

  #count(bytes: number): void {
    this.#heldBytes += bytes;
    this.#turns.heldBytes += bytes;
  }

  /** To stop for each little that waits would cost more than to take it. */
  #readOrNot(): void {
    const behind = this.#waits && this.#heldBytes >= this.#limits.turnBytes;
    const stops = this.#full || this.#throttled || this.#deciding || behind;
    if (stops === this.#stopped) return;
    this.#stopped = stops;
    if (stops) this.#socket.pause();
    else {
      this.#socket.resume();
      this.#turns.readsAgain();
    }
  }
}
