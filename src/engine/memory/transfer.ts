/** Transfers between queues in memory: the whole queue is looked at, a page is moved. */
import { WarrenError } from "../../errors.ts";
import { assertNotDraining } from "../rules.ts";
import { deathsIn, matcherOf } from "../selection.ts";
import { arriving, type TransferPage, type TransferRequest } from "../transfer.ts";
import type { Pulse } from "./pulse.ts";
import type { Entry, MemoryQueue } from "./queue.ts";

interface Place {
  readonly entry: Entry;
  readonly at: number;
  /** Its place in the order of the source. */
  readonly place: number;
  /** Counts up with its coming to the source. */
  readonly age: number;
}

/** Moves or copies one page; `target` undefined: nowhere. */
export function transfer(
  pulse: Pulse,
  source: MemoryQueue,
  target: MemoryQueue | undefined,
  request: TransferRequest,
): TransferPage {
  const { state, select, limit, dryRun = false } = request;
  if (target !== undefined && !dryRun) assertNotDraining(target);
  const places = state === "acked" ? ackedPlaces(source) : waitingPlaces(source);
  const { through, after } = boundsOf(request.after, places);
  const matches = matcherOf(select);
  const page = { moved: 0, held: 0, failed: 0 };
  let last = after;
  for (const { entry, at, place, age } of places) {
    if (place <= after || age > through) continue;
    if (page.moved === limit) return { ...page, next: `${through}.${last}` };
    const { message, deaths } = entry;
    if (entry.lease === undefined && matches({ message, deaths, at })) {
      const kept = target === undefined ? undefined : whyNot(entry, target, request);
      if (kept !== undefined) page[kept]++;
      else if (dryRun || target === undefined || hasRoom(target, entry.bytes)) {
        if (!dryRun) move(pulse, source, entry, target, request);
        page.moved++;
      } else if (page.moved > 0) {
        return { ...page, next: `${through}.${last}` };
      } else throw new WarrenError("queue_full", undefined, { queue: target.name });
    }
    last = place;
  }
  return page;
}

function whyNot(
  { deaths, bytes }: Entry,
  { name, settings }: MemoryQueue,
  { state, select }: TransferRequest,
): "held" | "failed" | undefined {
  const holds = state === "waiting" && select.ids === undefined;
  if (holds && deathsIn(name, deaths) >= settings.maxRedrives) return "held";
  return settings.maxBytes !== undefined && bytes > settings.maxBytes ? "failed" : undefined;
}

function hasRoom({ settings, entries, bytes: present }: MemoryQueue, bytes: number): boolean {
  const { maxMessages, maxBytes } = settings;
  if (maxMessages !== undefined && entries.length >= maxMessages) return false;
  return maxBytes === undefined || present + bytes <= maxBytes;
}

function move(
  pulse: Pulse,
  source: MemoryQueue,
  entry: Entry,
  target: MemoryQueue | undefined,
  { state, edit }: TransferRequest,
): void {
  const message = arriving(entry.message, edit, pulse.clock.now());
  target?.arrive(message, entry.bytes, entry.deaths);
  if (state === "waiting") source.remove(entry);
}

/** The order of a queue is by priority, then age: both together are one number. */
function waitingPlaces({ entries }: MemoryQueue): Place[] {
  return entries.map((entry) => ({
    entry,
    at: entry.enteredAt,
    place: (9 - entry.priority) * 1e12 + entry.age,
    age: entry.age,
  }));
}

function ackedPlaces({ retained }: MemoryQueue): Place[] {
  return retained.all.map(({ entry, ackedAt, number }) => ({
    entry,
    at: ackedAt,
    place: number,
    age: number,
  }));
}

function boundsOf(
  cursor: string | undefined,
  places: readonly Place[],
): { through: number; after: number } {
  if (cursor === undefined) {
    return { through: Math.max(0, ...places.map(({ age }) => age)), after: -1 };
  }
  const match = /^(\d{1,14})\.(-1|\d{1,15})$/.exec(cursor);
  if (match !== null) return { through: Number(match[1]), after: Number(match[2]) };
  throw new WarrenError("invalid_frame", "after is not a place that a page gave.", {
    pointer: "/after",
  });
}
