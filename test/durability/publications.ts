/** What the checker knows of publishes: what was sent when, confirmed, refused, changed. */
import type { Report } from "./fault.ts";
import type { Changing, HistoryEvent, Sent } from "./history.ts";
import type { Timeline } from "./timeline.ts";

type Event<Kind extends HistoryEvent["kind"]> = Extract<HistoryEvent, { kind: Kind }>;

export interface Publication {
  readonly sent: Sent;
  /** Where in the history it was sent, without the times that it was refused for certain. */
  readonly sends: number[];
  /** It was refused at least once: sent again, it comes later than its number says. */
  refused: boolean;
  /** How often it was confirmed as new, undefined: not at all. */
  confirmed: number | undefined;
  /** When its earliest sending says that it is due. */
  dueAt: number;
  /** Some sending of it had a delay. */
  delayed: boolean;
  /** Asked and not refused, in the order of asking. */
  changes: Change[];
}

export interface Change extends Changing {
  readonly position: number;
  /** How many copies it was confirmed for; undefined: nobody knows whether it was done. */
  copies: number | undefined;
}

export class Publications {
  readonly #timeline: Timeline;
  readonly #report: Report;
  readonly #byMessage = new Map<string, Publication>();
  /** How many gave way, as publishers were told. */
  displaced = 0;
  /** Publishes of which nobody knows whether they were stored. */
  unsure = 0;

  constructor(timeline: Timeline, report: Report) {
    this.#timeline = timeline;
    this.#report = report;
  }

  of(message: string): Publication | undefined {
    return this.#byMessage.get(message);
  }

  all(): Iterable<Publication> {
    return this.#byMessage.values();
  }

  take(event: HistoryEvent): void {
    if (event.kind === "sent") this.#send(event);
    else if (event.kind === "confirmed") this.#confirm(event);
    else if (event.kind === "failed") this.#fail(event);
    else if (event.kind === "changing") {
      const change = { ...event, position: this.#timeline.position, copies: undefined };
      this.of(event.message)?.changes.push(change);
    } else if (event.kind === "changed" || event.kind === "unchanged") this.#answer(event);
  }

  /** Sent again with the same id: the first counts for what it is, the earliest for its time. */
  #send(event: Sent): void {
    const { position } = this.#timeline;
    this.unsure++;
    const dueAt = event.at + event.delayMs;
    const delayed = event.delayMs > 0;
    const before = this.of(event.message);
    if (before === undefined) {
      const known = { refused: false, confirmed: undefined, changes: [] };
      this.#byMessage.set(event.message, {
        sent: event,
        sends: [position],
        dueAt,
        delayed,
        ...known,
      });
      return;
    }
    const at = Math.min(event.at, before.sent.at);
    this.#byMessage.set(event.message, {
      ...before,
      sent: { ...before.sent, at },
      sends: [...before.sends, position],
      dueAt: Math.min(dueAt, before.dueAt),
      delayed: delayed || before.delayed,
    });
  }

  #confirm({ message, duplicate, displaced = 0 }: Event<"confirmed">): void {
    const publication = this.of(message);
    this.displaced += displaced;
    this.unsure--;
    if (publication === undefined) return;
    const before = publication.confirmed ?? 0;
    publication.confirmed = before + (duplicate ? 0 : 1);
    if (before > 0 && !duplicate) {
      this.#report("stored_twice", `${message} was confirmed as new a second time`);
    }
  }

  /** It is the latest sending that is answered. */
  #fail({ message, code }: Event<"failed">): void {
    const publication = this.of(message);
    const sentAt = publication?.sends.at(-1);
    if (publication === undefined || sentAt === undefined) return;
    publication.refused = true;
    if (!this.#timeline.isCertain(code, sentAt)) return;
    publication.sends.pop();
    this.unsure--;
  }

  #answer(event: Event<"changed" | "unchanged">): void {
    const publication = this.of(event.message);
    const change = publication?.changes.find((one) => one.change === event.change);
    if (publication === undefined || change === undefined) return;
    if (event.kind === "changed") change.copies = event.copies;
    else if (this.#timeline.isCertain(event.code, change.position)) {
      publication.changes = publication.changes.filter((one) => one !== change);
    }
  }
}

/** One thing that a message may be when it is handed out first. */
export interface Version {
  readonly change: number;
  readonly dueAt: number;
}

/** What a copy may look like, and how many copies may have been taken back. */
export function versionsOf({ sent, dueAt, changes }: Publication): {
  readonly versions: readonly Version[];
  readonly certainlyGone: number;
  readonly perhapsGone: number;
} {
  let versions: Version[] = [{ change: 0, dueAt }];
  let certainlyGone = 0;
  let perhapsGone = 0;
  for (const { change, dueAt: changedTo, copies } of changes) {
    if (changedTo === null) {
      if (copies !== undefined) certainlyGone = copies;
      perhapsGone = copies ?? sent.queues.length;
      continue;
    }
    const version = { change, dueAt: changedTo };
    // Copies that had been due before keep what they were.
    const isWhole = copies !== undefined && copies >= sent.queues.length;
    versions = isWhole ? [version] : [...versions, version];
  }
  return { versions, certainlyGone, perhapsGone };
}
