/** Queues ordered by key as the suites of P-5.10 use them, and short words for what they do. */
import type { QueueDefinition } from "../../../schemas/queue.ts";
import { type EngineKind, type Peer, Subject } from "./subject.ts";

const SMALL_WINDOW = { queueWindowMessages: 4, queueWindowBytes: 4096 };
export const BY_KEY = { ordering: "key", backoff: { minMs: 1000, jitter: 0 } } as const;

/** Messages named by their key, as `x1`; those that begin with `-` have none. */
export async function fill(subject: Subject, ids: string, priority?: number): Promise<void> {
  const appended = ids.split(" ").map((id) =>
    subject.append("a", {
      id,
      ...(id.startsWith("-") ? {} : { key: id[0]! }),
      ...(priority !== undefined && { priority }),
    }),
  );
  await Promise.all(appended);
}

export async function opened(kind: EngineKind, definition: QueueDefinition = {}, small = false) {
  const subject = await Subject.open(kind, small ? { limits: SMALL_WINDOW } : {});
  await subject.define("a", { ...BY_KEY, ...definition });
  return subject;
}

/** Acks each as it comes, one at a time, and takes the next when all has become of that. */
export async function oneByOne(subject: Subject, peer: Peer): Promise<string> {
  peer.onDeliver = ({ tag }) => {
    peer.consumer.credit(0);
    peer.consumer.settle([tag], { kind: "ack" });
  };
  // How many reads from disk are before the next is not said: a read under way may be void by now.
  while (subject.states("a").some((count) => count > 0)) {
    const before = peer.seen.length;
    peer.consumer.credit(1);
    await peer.has(before + 1);
    await subject.quiet();
  }
  return peer.ids.join(" ");
}

export const tagOf = (peer: Peer, id: string) =>
  peer.seen.findLast(({ message }) => message.id === id)!.tag;

export const sameKey = (count: number, key: string, from = 0) =>
  Array.from({ length: count }, (_, i) => `${key}${String(from + i).padStart(3, "0")}`).join(" ");
