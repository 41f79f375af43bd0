/**
 * What one session reads of what topics keep [P-4.3, P-4.4, P-8.1]: one page at a time, and the next only when
 * its socket has room, so that however much there is to send, a session holds one page of it at most.
 */
import type { Joining } from "./joining.ts";
import type { LiveSubscriptions } from "./live.ts";
import type { Read } from "./read.ts";
import type { Session } from "./session.ts";

export class CatchUp {
  readonly session: Session;
  readonly live: LiveSubscriptions;
  /** Subscribes under way, by their filter. */
  readonly #joining = new Map<string, Joining>();
  readonly #open = new Set<Read>();
  readonly #waiting: Read[] = [];
  #current: Read | undefined;
  /** The current one waits for room. */
  #paused = false;
  /** Frames wait until something here is over. */
  #gated = false;

  constructor(session: Session, live: LiveSubscriptions) {
    this.session = session;
    this.live = live;
  }

  /** Subscribes that are not joined yet. */
  get joining(): number {
    let joining = 0;
    for (const one of this.#joining.values()) if (!one.joined) joining++;
    return joining;
  }

  /** Of subscribes under way. */
  get filters(): string[] {
    return [...this.#joining.keys()];
  }

  isJoining(filter: string): boolean {
    return this.#joining.has(filter);
  }

  get hasRoom(): boolean {
    const { socket, limits } = this.session;
    return !this.live.suspended && socket.getBufferedAmount() * 4 <= limits.outboundBytes;
  }

  add(read: Read): void {
    this.#open.add(read);
    this.#waiting.push(read);
    this.#next();
  }

  /** `joined` is called when the subscribe has taken effect. */
  join(joining: Joining, joined: () => void): void {
    joining.whenJoined = joined;
    this.#joining.set(joining.filter, joining);
    if (joining.holdsPages) this.add(joining);
    else {
      this.#open.add(joining);
      joining.go();
    }
  }

  /** The current read has more to do, once there is room for it. */
  goOn(read: Read): void {
    if (this.hasRoom) read.go();
    else this.#paused = true;
  }

  /** The socket has room again. */
  resume(): void {
    if (!this.#paused || this.#current === undefined) return;
    this.#paused = false;
    this.goOn(this.#current);
  }

  /** Nothing more comes of a subscribe that is under way, if there is one. */
  cancel(filter: string): void {
    this.#joining.get(filter)?.cancel();
  }

  /** Ends those under way that `allowed` is false for; what they have joined is ended by its owner. */
  retain(allowed: (filter: string) => boolean): void {
    for (const joining of [...this.#joining.values()]) {
      if (allowed(joining.filter)) continue;
      if (joining.joined) joining.cancel();
      else joining.attempt(() => joining.assertAllowed());
    }
  }

  clear(): void {
    this.#gated = false;
    this.#waiting.length = 0;
    for (const read of [...this.#open]) read.finish();
  }

  /** Whether a frame of this type has to wait, so that frames take effect in their order [P-2.3]. */
  holdsBack(type: unknown): boolean {
    if (this.#open.size === 0 || !this.#mustWait(type)) return false;
    this.#gated = true;
    return true;
  }

  /** What had to wait may have to no longer; if it has to, it waits again. */
  letOn(): void {
    if (!this.#gated) return;
    this.#gated = false;
    this.session.intake.openGate();
  }

  /** Nothing more comes of it, though it may hold its place. */
  over(read: Read): void {
    for (const [filter, joining] of this.#joining) {
      if (joining === read) this.#joining.delete(filter);
    }
  }

  ended(read: Read): void {
    this.#open.delete(read);
    if (this.#current === read) {
      this.#current = undefined;
      this.#paused = false;
      this.#next();
    } else {
      const at = this.#waiting.indexOf(read);
      if (at >= 0) this.#waiting.splice(at, 1);
    }
    this.letOn();
  }

  #mustWait(type: unknown): boolean {
    if (type === "subscribe" || type === "history") {
      return this.#open.size >= this.session.limits.pendingReads;
    }
    // Whoever is subscribed is a member.
    if (type === "presence") return this.joining > 0;
    if (type !== "publish" && type !== "batch") return false;
    for (const joining of this.#joining.values()) if (joining.isBeforePublishes) return true;
    return false;
  }

  #next(): void {
    if (this.#current !== undefined) return;
    this.#current = this.#waiting.shift();
    if (this.#current !== undefined) this.goOn(this.#current);
  }
}
