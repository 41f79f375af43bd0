/**
 * The table of topics that keep something, in the writer thread: those in use in memory, and where in a
 * history its bounds lie. What is in memory is on disk too, except within a transaction.
 */
import type { Database, Statement } from "bun:sqlite";
import type { HistoryBounds } from "../topics.ts";

/** 2^36 messages of a topic: at 1,000 a second more than two years; past them it begins anew. */
export const LAST_OFFSET = 2 ** 36 - 1;
const LAST_NUMBER = 2 ** 27 - 1;
/** Topics that are held in memory between transactions. */
const CACHED_TOPICS = 8192;

/** The rowid of a message in a history, as an SQL expression. */
export const HISTORY_ID = (number: string, offset: string) => `((${number} << 36) | ${offset})`;

export interface TopicRow {
  readonly number: number;
  readonly topic: string;
  generation: number;
  /** The newest that was given. */
  offset: number;
  /** The history has no gaps: it is the last so many up to `offset`. */
  messages: number;
  bytes: number;
  /** Bytes of all that was ever written to its history. */
  writtenBytes: number;
  changedAt: number;
  /** That it counts for; empty for none. */
  channel: string;
  isRetained: boolean;
  /** Nothing of it goes by age alone before; null: nothing ever does. */
  dueAt: number | null;
  /** The same as it is on disk; undefined where the topic is not there yet. */
  storedDueAt: number | null | undefined;
}

interface StoredRow extends Omit<TopicRow, "isRetained" | "storedDueAt"> {
  readonly isRetained: number;
}

/** A row as it is read, by the names that it has here. */
export const TOPIC_COLUMNS = `number, topic, generation, last_offset AS "offset", messages, bytes,
  written_bytes AS writtenBytes, changed_at AS changedAt, channel, is_retained AS isRetained,
  due_at AS dueAt`;

export class TopicRows {
  readonly #database: Database;
  /** The one used longest ago comes first. */
  readonly #cached = new Map<string, TopicRow>();
  readonly #find: Statement<StoredRow, [string]>;
  readonly #insert: Statement;
  readonly #update: Statement;
  readonly #setDueAt: Statement;
  readonly #remove: Statement;
  readonly #isTaken: Statement;
  readonly #time: Statement<{ value: number }, [number, number]>;
  readonly #before: Statement<{ value: number }, [number, number]>;
  #lastNumber = 0;

  constructor(database: Database) {
    this.#database = database;
    const prepare = (text: string) => database.prepare(text);
    this.#find = database.query(`SELECT ${TOPIC_COLUMNS} FROM topics WHERE topic = ?1`);
    this.#insert = prepare(
      `INSERT INTO topics (number, generation, last_offset, messages, bytes, written_bytes,
         changed_at, channel, is_retained, topic, due_at)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)`,
    );
    this.#update = prepare(
      `UPDATE topics SET generation = ?2, last_offset = ?3, messages = ?4, bytes = ?5,
         written_bytes = ?6, changed_at = ?7, channel = ?8, is_retained = ?9 WHERE number = ?1`,
    );
    // Apart, since it is in an index and seldom changes.
    this.#setDueAt = prepare("UPDATE topics SET due_at = ?2 WHERE number = ?1");
    this.#remove = prepare("DELETE FROM topics WHERE number = ?1");
    this.#isTaken = prepare("SELECT 1 FROM topics WHERE number = ?1");
    const ofHistory = (column: string) =>
      database.prepare<{ value: number }, [number, number]>(
        `SELECT ${column} AS value FROM history WHERE id = ${HISTORY_ID("?1", "?2")}`,
      );
    this.#time = ofHistory("time");
    this.#before = ofHistory("bytes_before");
  }

  /** Forgets what it has in memory, which may not be what is on disk. */
  recover(): void {
    this.#cached.clear();
    const last = this.#database.query("SELECT max(number) FROM topics").values()[0]?.[0];
    this.#lastNumber = (last as number | null | undefined) ?? 0;
  }

  get(topic: string): TopicRow | undefined {
    const cached = this.#cached.get(topic);
    if (cached !== undefined) {
      this.#cached.delete(topic);
      this.#cached.set(topic, cached);
      return cached;
    }
    const stored = this.#find.get(topic);
    if (stored === null) return undefined;
    const isRetained = stored.isRetained === 1;
    const row: TopicRow = { ...stored, isRetained, storedDueAt: stored.dueAt };
    this.#cached.set(topic, row);
    return row;
  }

  /** Of a topic that is not known yet; it is on disk when it has been written. */
  create(topic: string, generation: number, channel: string): TopicRow {
    // Numbers are given again in the end: topics may come and go for ever.
    do this.#lastNumber = (this.#lastNumber % LAST_NUMBER) + 1;
    while (this.#isTaken.get(this.#lastNumber) !== null);
    const row: TopicRow = {
      number: this.#lastNumber,
      topic,
      generation,
      offset: 0,
      messages: 0,
      bytes: 0,
      writtenBytes: 0,
      changedAt: 0,
      channel,
      isRetained: false,
      dueAt: null,
      storedDueAt: undefined,
    };
    this.#cached.set(topic, row);
    return row;
  }

  write(row: TopicRow): void {
    const { number, generation, offset, messages, bytes, writtenBytes, changedAt } = row;
    const { topic, channel, isRetained, dueAt, storedDueAt } = row;
    const figures = [number, generation, offset, messages, bytes, writtenBytes, changedAt] as const;
    if (storedDueAt === undefined) {
      this.#insert.run(...figures, channel, isRetained ? 1 : 0, topic, dueAt);
    } else {
      this.#update.run(...figures, channel, isRetained ? 1 : 0);
      if (dueAt !== storedDueAt) this.#setDueAt.run(number, dueAt);
    }
    row.storedDueAt = dueAt;
  }

  remove({ number, topic }: TopicRow): void {
    this.#cached.delete(topic);
    this.#remove.run(number);
  }

  /** Between transactions, when every row is on disk as it is here. */
  shrink(): void {
    for (const topic of this.#cached.keys()) {
      if (this.#cached.size <= CACHED_TOPICS) return;
      this.#cached.delete(topic);
    }
  }

  /** The oldest offset of its history within the bounds; the one after the newest when there is none. */
  firstWithin(row: TopicRow, bounds: HistoryBounds, now: number): number {
    const { maxMessages, maxAgeMs, maxBytes } = bounds;
    const { offset, messages, bytes, writtenBytes } = row;
    let first = offset - Math.min(messages, maxMessages) + 1;
    if (maxAgeMs !== undefined) {
      const isYoung = (at: number) => this.timeOf(row, at) + maxAgeMs > now;
      first = firstThat(isYoung, first, offset + 1);
    }
    if (maxBytes !== undefined && bytes > maxBytes) {
      first = firstThat(
        (at) => writtenBytes - this.bytesBefore(row, at) <= maxBytes,
        first,
        offset + 1,
      );
    }
    return first;
  }

  /** When this one of its history entered, which it has. */
  timeOf({ number }: TopicRow, offset: number): number {
    return this.#time.get(number, offset)?.value ?? 0;
  }

  /** Bytes of all that was written to its history before this one, which it has. */
  bytesBefore({ number }: TopicRow, offset: number): number {
    return this.#before.get(number, offset)?.value ?? 0;
  }
}

/** The first from `start` on that holds, as all behind it do; `end` when none does. It is mostly near the start. */
function firstThat(holds: (at: number) => boolean, start: number, end: number): number {
  let low = start;
  let high = start;
  for (let step = 1; high < end && !holds(high); step *= 2) {
    low = high + 1;
    high += step;
  }
  high = Math.min(high, end);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
