/** What changing and taking back scheduled messages does to the queues of the model [P-5.13]. */
import { blocksOf, boundsOfRoom, type Copy, type ModelQueue } from "./model-queue.ts";
import type { QueueModel } from "./queue-model.ts";

export interface ModelChange {
  readonly dueAt?: number;
  readonly expiresAt?: number;
  readonly blocks?: number;
}

interface Meant {
  readonly queue: ModelQueue;
  readonly copy: Copy;
}

/** All copies of this topic and id that have never been due, whether anybody confirmed them yet or not. */
function meant(model: QueueModel, topic: string, id: string): Meant[] {
  return [...model.queues.values()].flatMap((queue) =>
    queue.copies
      .filter((copy) => copy.topic === topic && copy.id === id && waits(model, copy))
      .map((copy) => ({ queue, copy })),
  );
}

export function waits({ now }: QueueModel, copy: Copy): boolean {
  return copy.scheduled && copy.attempts === 0 && copy.dueAt > now;
}

/**
 * Whether it is certain what the change is answered: room may be that of a message that is leaving, and where
 * the bound was set below what there is, a change that is smaller than a block counts too.
 */
export function isCertain(model: QueueModel, topic: string, id: string): boolean {
  return meant(model, topic, id).every(
    ({ queue }) => queue.leaving === 0 && blocksOf(queue.copies) <= boundsOfRoom(queue).blocks,
  );
}

/** What the change will be answered; null takes the message back. */
export function change(
  model: QueueModel,
  topic: string,
  id: string,
  to: ModelChange | null,
): string {
  const copies = meant(model, topic, id);
  if (copies.length === 0) return "not_found";
  if (to === null) {
    for (const { queue, copy } of copies) model.takeBack(queue, copy);
    return `changed ${copies.length}`;
  }
  const refused = refusal(copies, to);
  if (refused !== undefined) return refused;
  for (const { queue, copy } of copies) {
    copy.dueAt = to.dueAt ?? copy.dueAt;
    copy.ownExpiresAt = to.expiresAt ?? copy.ownExpiresAt;
    copy.keptExpiresAt = copy.ownExpiresAt;
    copy.blocks = to.blocks ?? copy.blocks;
    if (copy.dueAt <= model.now) model.freed(queue, copy);
  }
  return `changed ${copies.length}`;
}

function refusal(copies: readonly Meant[], to: ModelChange): string | undefined {
  const growth = new Map<ModelQueue, number>();
  for (const { queue, copy } of copies) {
    const dueAt = to.dueAt ?? copy.dueAt;
    if ((to.expiresAt ?? copy.ownExpiresAt) <= dueAt) return "conflict";
    const more = (to.blocks ?? copy.blocks) - copy.blocks;
    growth.set(queue, (growth.get(queue) ?? 0) + more);
  }
  for (const [queue, more] of growth) {
    if (more > 0 && blocksOf(queue.copies) + more > boundsOfRoom(queue).blocks) return "queue_full";
  }
  return undefined;
}
