/**
 * Whether there is room for topics that are not known yet, in the writer thread [P-14.9]: it alone knows which
 * are, so what depends on it is written behind the question, and left out when there is none.
 */
import type { BatchReader } from "./batch.ts";
import type { RefusedTopic } from "./topic-exchange.ts";
import type { TopicTable } from "./topic-table.ts";

export class TopicRoom {
  readonly #table: TopicTable;
  readonly #isRecent: (id: string, now: number) => boolean;

  constructor(table: TopicTable, isRecent: (id: string, now: number) => boolean) {
    this.#table = table;
    this.#isRecent = isRecent;
  }

  /** Reads the question; the first message for whose topic there is no room, if there is one. */
  refusal(batch: BatchReader, now: number): Omit<RefusedTopic, "question"> | undefined {
    const keptTopics = batch.f64();
    const count = batch.u32();
    const coming = new Set<string>();
    const comingTo = new Map<string, number>();
    const ids = new Set<string>();
    let refusal: Omit<RefusedTopic, "question"> | undefined;
    for (let message = 0; message < count; message++) {
      const makesKnown = batch.u8() === 1;
      const isRemembered = batch.u8() === 1;
      const maxTopics = batch.f64();
      const channel = batch.text();
      const topic = batch.text();
      const id = batch.text();
      if (refusal !== undefined) continue;
      // A duplicate enters nothing.
      if (id !== "" && (ids.has(id) || this.#isRecent(id, now))) continue;
      if (isRemembered) ids.add(id);
      if (!makesKnown || coming.has(topic)) continue;
      if (this.#table.rows.get(topic) !== undefined) continue;
      const toChannel = comingTo.get(channel) ?? 0;
      if (this.#table.channels.topicsOf(channel) + toChannel >= maxTopics) {
        refusal = { message, isOverall: false };
      } else if (this.#table.totals.topics + coming.size >= keptTopics) {
        refusal = { message, isOverall: true };
      }
      coming.add(topic);
      comingTo.set(channel, toChannel + 1);
    }
    return refusal;
  }
}
