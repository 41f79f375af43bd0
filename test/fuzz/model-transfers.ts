/** What a transfer does to the queues of the model [P-13.9], [P-13.10]. */
import { type Copy, type ModelQueue, surelyFits } from "./model-queue.ts";
import type { QueueModel } from "./queue-model.ts";

export interface ModelTransfer {
  readonly state: "waiting" | "acked";
  readonly ids: readonly string[] | undefined;
  /** Undefined: nowhere. */
  readonly target: ModelQueue | undefined;
  /** What the message is changed to on its way. */
  readonly priority: number | undefined;
}

/**
 * What a whole transfer does, page after page; undefined, and nothing done, where the contract does not say
 * which messages it is that find room.
 */
export function transfer(
  model: QueueModel,
  source: ModelQueue,
  request: ModelTransfer,
): { moved: number; held: number } | undefined {
  const { state, ids, target, priority } = request;
  const there = state === "acked" ? source.acked : source.copies;
  const fitting = there
    .filter(({ lease, id }) => (state === "acked" || !lease) && (ids?.includes(id) ?? true))
    .sort((x, y) => y.priority - x.priority || x.rank - y.rank);
  const isHeld = (copy: Copy) =>
    state === "waiting" && ids === undefined && target !== undefined && isTooOften(copy, target);
  const going = fitting.filter((copy) => !isHeld(copy));
  const blocks = going.reduce((sum, copy) => sum + copy.blocks, 0);
  // A page that follows the last message asks for room for one more.
  const load = { messages: going.length + 1, blocks };
  if (target?.settings.draining || (target && !surelyFits(target, load))) return undefined;
  if (state === "waiting") source.copies = source.copies.filter((copy) => !going.includes(copy));
  for (const copy of going) model.freed(source, copy);
  let rank = 0;
  let before: Copy | undefined;
  for (const copy of going) {
    // Of those that came to the source at the same time nobody says which goes first.
    if (before?.priority !== copy.priority || before.rank !== copy.rank) rank = model.nextRank();
    before = copy;
    if (target !== undefined) arrive(model, target, copy, { rank, priority });
  }
  return { moved: going.length, held: fitting.length - going.length };
}

function isTooOften({ deaths }: Copy, { name, settings }: ModelQueue): boolean {
  return deaths.filter(({ queue }) => queue === name).length >= settings.maxRedrives;
}

function arrive(
  model: QueueModel,
  target: ModelQueue,
  copy: Copy,
  how: { readonly rank: number; readonly priority: number | undefined },
): void {
  const priority = how.priority ?? copy.ownPriority;
  const hasPassed = copy.keptExpiresAt <= model.now;
  const expiresAt = hasPassed ? Number.POSITIVE_INFINITY : copy.keptExpiresAt;
  target.tally.redriven++;
  target.copies.push({
    ...copy,
    ownPriority: priority,
    priority: priority ?? target.settings.defaultPriority,
    rank: how.rank,
    enteredAt: model.now,
    ownExpiresAt: expiresAt,
    keptExpiresAt: expiresAt,
    scheduled: false,
    confirmed: true,
    placed: false,
    settled: true,
    attempts: 0,
    dueAt: model.now,
    lease: undefined,
  });
  model.freed(target, copy);
}
