/**
 * Room for new messages in one queue, made by others giving way [P-5.9]. Memory decides who: they are taken
 * out of the window, so that nobody is handed what is about to go, and go in the commit that brings the new
 * ones. Until that commit is written they can be put back.
 */
import type { Entry } from "./entry.ts";
import type { QueueHost } from "./host.ts";
import { rankOf } from "./lanes.ts";
import type { SqliteQueue } from "./queue.ts";

/** `later`: it cannot be said before something under way has ended; then `QueueHost.tryAgain` is called. */
export type RoomFound = "now" | "later" | "never";

export class Room {
  readonly queue: SqliteQueue;
  /** Those that give way, in the order of going. */
  readonly victims: Entry[] = [];
  readonly #host: QueueHost;
  #messages = 0;
  #bytes = 0;
  #freedBytes = 0;

  constructor(queue: SqliteQueue, host: QueueHost) {
    this.queue = queue;
    this.#host = host;
  }

  /** Looks for room for one more message of so many bytes, besides those before. */
  find(bytes: number): RoomFound {
    const { settings, totals, backlog } = this.queue;
    const { overflow, maxMessages, maxBytes } = settings;
    this.#messages++;
    this.#bytes += bytes;
    const isTooMuch =
      this.#messages > (maxMessages ?? this.#messages) || this.#bytes > (maxBytes ?? this.#bytes);
    for (;;) {
      const messages = this.#messages - this.victims.length;
      if (totals.fits(settings, messages, this.#bytes - this.#freedBytes)) return "now";
      if (overflow === "reject" || isTooMuch) return "never";
      if (backlog.frozen || totals.unsure > 0) return "later";
      const victim = this.#next();
      if (victim === undefined) continue;
      if (typeof victim === "string") return victim;
      this.victims.push(victim);
      this.#freedBytes += victim.bytes;
    }
  }

  /** Nobody has to go after all. */
  giveBack(): void {
    for (const victim of this.victims.splice(0)) this.queue.backlog.putBack(victim);
  }

  /** Writes the going of those that give way; the new messages follow in the same commit. */
  clear(): void {
    for (const victim of this.victims) this.queue.settlement.displace(victim);
  }

  /** Undefined when one went whose time was over: the room that it leaves may be enough. */
  #next(): Entry | RoomFound | undefined {
    const { totals, backlog, settlement } = this.queue;
    const found = backlog.yieldOne();
    if (found === undefined) {
      return totals.pendingMessages > 0 || this.#host.fetching ? "later" : "never";
    }
    if (found === "later") return found;
    const rank = rankOf(found.lane);
    if (totals.pendingByRank.some((count, other) => count > 0 && other > rank)) {
      // What is on its way to disk is less urgent, and so the first to go.
      backlog.putBack(found);
      return "later";
    }
    if (found.expiresAt > this.#host.clock.now()) return found;
    settlement.expire(found);
    return undefined;
  }
}
