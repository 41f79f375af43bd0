/**
 * What is known of topics that were published to, in two generations: an entry that was not asked for while half
 * the cache was filled is dropped.
 */
import { hashOf } from "./matcher.ts";
import type { TopicEntry } from "./router.ts";

export class TopicCache {
  readonly #half: number;
  /**
   * Hashes of topics that were met lately, each until another falls to its place. Who seeks out topics that
   * share a place, or a hash, gets nothing by it but that one of them is remembered, or is not.
   */
  readonly #met: Int32Array;
  #chance = 1;
  #young = new Map<string, TopicEntry>();
  #old = new Map<string, TopicEntry>();
  /** How many young ones there may be until the old ones are dropped. */
  #mostYoung: number;

  /** At most so many, but for those whose order is being kept. */
  constructor(most: number) {
    this.#half = Math.max(1, Math.floor(most / 2));
    this.#mostYoung = this.#half;
    this.#met = new Int32Array(Math.max(1, most));
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Without asking for it: it does not stay for that. */
  peek(topic: string): TopicEntry | undefined {
    return this.#young.get(topic) ?? this.#old.get(topic);
  }

  get(topic: string): TopicEntry | undefined {
    const young = this.#young.get(topic);
    if (young !== undefined) return young;
    const entry = this.#old.get(topic);
    if (entry === undefined) return undefined;
    this.#old.delete(topic);
    this.add(entry);
    return entry;
  }

  add(entry: TopicEntry): void {
    if (this.#young.size >= this.#mostYoung) this.#age();
    this.#young.set(entry.topic, entry);
  }

  /**
   * Adds it if its topic was met before, lately: what is kept for topics that come but once is written into
   * the maps, outlives the young garbage, and is of no use.
   */
  offer(entry: TopicEntry): void {
    const hash = hashOf(entry.topic);
    const place = (hash >>> 0) % this.#met.length;
    const there = this.#met[place];
    if (there === hash) {
      this.add(entry);
      return;
    }
    entry.cached = false;
    // By chance, or of two that come in turn neither would ever find itself there.
    this.#chance = (Math.imul(this.#chance, 1_664_525) + 1_013_904_223) | 0;
    if (there === 0 || this.#chance < 0) this.#met[place] = hash;
  }

  #age(): void {
    const kept = new Map<string, TopicEntry>();
    for (const [topic, entry] of this.#old) {
      // Its order is being kept: a second entry for the topic would know nothing of it. How many
      // there can be is bounded by the engine's own bound on pending operations.
      if (entry.pendingStores > 0) kept.set(topic, entry);
      else entry.cached = false;
    }
    this.#old = this.#young;
    this.#young = kept;
    // With many kept there is as much room again, or each new topic would go through all of them.
    this.#mostYoung = Math.max(this.#half, 2 * kept.size);
  }
}
