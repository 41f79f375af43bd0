/**
 * Whether a session reads from its socket. It does not while an `auth` is being decided, so that frames
 * take effect in their order [P-2.3], nor while too many of its publishes wait for their answer [P-11.1], nor
 * while it sends faster than it may [P-14.11] or has had its share of a turn [P-11.2]: what is not read fills the
 * peer's buffers, not ours.
 */
import type { Socket } from "../broker/route.ts";
import type { FairTurns, Waiting } from "./fair-turns.ts";

/** Something that was read already, and has to wait. */
interface Held {
  readonly bytes: number;
  readonly act: () => void;
}

export class Intake implements Waiting {
  readonly #socket: Socket;
  readonly #turns: FairTurns;
  readonly #maxPending: number;
  /** Publishes not yet answered. */
  pending = 0;
  #full = false;
  #throttled = false;
  /** Something is under way that what follows has to wait for. */
  #deciding = false;
  /** It has had its share, and waits for its next turn. */
  #waits = false;
  #stopped = false;
  /** What had been read already when one of these two came, and how much of it was taken. */
  #held: (Held | undefined)[] = [];
  #taken = 0;

  constructor(socket: Socket, turns: FairTurns, maxPending: number) {
    this.#socket = socket;
    this.#turns = turns;
    this.#maxPending = maxPending;
  }

  /** Whether what arrives has to be held. */
  get shut(): boolean {
    return this.#deciding || this.#waits;
  }

  get deciding(): boolean {
    return this.#deciding;
  }

  /** It has input that only waits for its turn. */
  get behind(): boolean {
    return this.#waits && !this.#deciding && this.#holds;
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
    this.#readOrNot();
  }

  published(): void {
    this.pending++;
    if (this.pending < this.#maxPending || this.#full) return;
    this.#full = true;
    this.#readOrNot();
  }

  answered(): void {
    this.pending--;
    if (!this.#full || this.pending * 2 > this.#maxPending) return;
    this.#full = false;
    this.#readOrNot();
  }

  shutGate(): void {
    this.#deciding = true;
    this.#readOrNot();
  }

  openGate(): void {
    this.#deciding = false;
    if (this.#waits) return;
    if (this.#holds) this.yieldTurn();
    else this.#readOrNot();
  }

  /** It has had its share: what else was read waits until those had theirs who wait already. */
  yieldTurn(): void {
    if (this.#waits) return;
    this.#waits = true;
    this.#turns.join(this);
  }

  /** Keeps what was read, for when it is no longer shut; `bytes` is its size where that is not held elsewhere. */
  hold(act: () => void, bytes = 0): void {
    this.#held.push({ bytes, act });
    this.#turns.heldBytes += bytes;
    this.#readOrNot();
    if (this.#waits && this.#turns.isFull) this.#takeAll();
  }

  takeTurn(): void {
    if (!this.#waits) return;
    this.#waits = false;
    const held = this.#held;
    let at = this.#taken;
    // What one of these holds is the rest of itself, so it comes before the others.
    this.#held = [];
    this.#taken = 0;
    while (at < held.length && !this.shut) {
      const { act, bytes } = held[at]!;
      held[at++] = undefined;
      this.#turns.heldBytes -= bytes;
      act();
    }
    if (at < held.length) {
      if (this.#holds) this.#held.push(...held.slice(at));
      else [this.#held, this.#taken] = [held, at];
    }
    this.#readOrNot();
  }

  /** Nothing of what is held is wanted any more. */
  discard(): void {
    for (const one of this.#held) this.#turns.heldBytes -= one?.bytes ?? 0;
    this.#held = [];
    this.#taken = 0;
    this.#readOrNot();
  }

  #takeAll(): void {
    while (this.behind) this.takeTurn();
  }

  /** Before something is held, reading on costs nothing: mostly there is nothing more. */
  #readOrNot(): void {
    const stops = this.#full || this.#throttled || this.#deciding || (this.#waits && this.#holds);
    if (stops === this.#stopped) return;
    this.#stopped = stops;
    if (stops) this.#socket.pause();
    else this.#socket.resume();
  }
}
