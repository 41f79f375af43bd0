/**
 * Whether a session reads from its socket. It does not while an `auth` is being decided, so that frames
 * take effect in their order [P-2.3], nor while too many of its publishes wait for their answer [P-11.1], nor
 * while it sends faster than it may [P-14.11]: what is not read fills the peer's buffers, not ours.
 */
import type { Socket } from "../broker/route.ts";

export class Intake {
  readonly #socket: Socket;
  readonly #maxPending: number;
  /** Publishes not yet answered. */
  pending = 0;
  #full = false;
  #throttled = false;
  /** What had been read already when the gate was shut. */
  #held: (() => void)[] | undefined;

  constructor(socket: Socket, maxPending: number) {
    this.#socket = socket;
    this.#maxPending = maxPending;
  }

  /** Whether what arrives has to be held. */
  get shut(): boolean {
    return this.#held !== undefined;
  }

  /** We do not read, so that silence says nothing of the peer. */
  get paused(): boolean {
    return this.#full || this.shut || this.#throttled;
  }

  get throttled(): boolean {
    return this.#throttled;
  }

  /** Reads nothing more until it is told otherwise. */
  throttle(on: boolean): void {
    if (on === this.#throttled) return;
    this.#throttled = on;
    if (on) this.#socket.pause();
    else if (!this.paused) this.#socket.resume();
  }

  published(): void {
    this.pending++;
    if (this.pending < this.#maxPending || this.#full) return;
    this.#full = true;
    this.#socket.pause();
  }

  answered(): void {
    this.pending--;
    if (!this.#full || this.pending * 2 > this.#maxPending) return;
    this.#full = false;
    if (!this.paused) this.#socket.resume();
  }

  shutGate(): void {
    this.#held = [];
    this.#socket.pause();
  }

  /** Runs `action` when the gate opens, after what came before it. */
  hold(action: () => void): void {
    this.#held?.push(action);
  }

  /** Runs what was held, until something in it shuts the gate again. */
  openGate(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (let i = 0; i < held.length; i++) {
      if (this.shut) this.hold(held[i]!);
      else held[i]!();
    }
    if (!this.paused) this.#socket.resume();
  }
}
