/**
 * How much counts for each channel, in the writer thread [P-14.9]: in memory, and on disk with the transaction
 * that changes it.
 */
import type { Database, Statement } from "bun:sqlite";
import type { ChannelTotals } from "../topics.ts";
import type { CountedChannel } from "./topic-exchange.ts";

export class TopicChannels {
  readonly #counted = new Map<string, ChannelTotals>();
  readonly #changed = new Set<string>();
  readonly #all: Statement<CountedChannel, []>;
  readonly #write: Statement;
  readonly #remove: Statement;

  constructor(database: Database) {
    this.#all = database.query(
      "SELECT name, topics, history_bytes AS historyBytes FROM kept_channels",
    );
    this.#write = database.prepare(
      `INSERT INTO kept_channels (name, topics, history_bytes) VALUES (?1, ?2, ?3)
       ON CONFLICT (name) DO UPDATE SET topics = excluded.topics,
         history_bytes = excluded.history_bytes`,
    );
    this.#remove = database.prepare("DELETE FROM kept_channels WHERE name = ?1");
  }

  /** As the disk has it. */
  recover(): void {
    this.#counted.clear();
    this.#changed.clear();
    for (const { name, ...totals } of this.#all.all()) this.#counted.set(name, totals);
  }

  get all(): CountedChannel[] {
    return [...this.#counted].map(([name, totals]) => ({ name, ...totals }));
  }

  topicsOf(name: string): number {
    return this.#counted.get(name)?.topics ?? 0;
  }

  add(name: string, topics: number, historyBytes: number): void {
    if (topics === 0 && historyBytes === 0) return;
    const before = this.#counted.get(name);
    this.#counted.set(name, {
      topics: (before?.topics ?? 0) + topics,
      historyBytes: (before?.historyBytes ?? 0) + historyBytes,
    });
    this.#changed.add(name);
  }

  /** Those that this transaction has changed, which are on disk then. */
  write(): CountedChannel[] {
    const written: CountedChannel[] = [];
    for (const name of this.#changed) {
      const totals = this.#counted.get(name) ?? { topics: 0, historyBytes: 0 };
      if (totals.topics > 0) this.#write.run(name, totals.topics, totals.historyBytes);
      else {
        this.#counted.delete(name);
        this.#remove.run(name);
      }
      written.push({ name, ...totals });
    }
    this.#changed.clear();
    return written;
  }
}
