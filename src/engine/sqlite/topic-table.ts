/**
 * Histories and retained values in the writer thread [P-4.4, P-8]: what enters in a transaction gets its
 * offset here, and what is too much goes in the same one.
 */
import type { Database, Statement } from "bun:sqlite";
import type { HistoryBounds, KeptTotals, KeptTrim } from "../topics.ts";
import type { BatchReader } from "./batch.ts";
import { TopicChannels } from "./topic-channels.ts";
import { ENTERS, type KeptResult, type TopicsTrimmed, type TrimTopics } from "./topic-exchange.ts";
import { HISTORY_ID, LAST_OFFSET, type TopicRow, TopicRows } from "./topic-rows.ts";

/** Messages beyond the bounds that go with one that enters, so that a history gets shorter and commits stay short. */
const GO_WITH_ONE = 8;

/** What the transaction under way does to a topic, written at its end. */
interface Change {
  readonly row: TopicRow;
  entered: number;
  /** Of the last that entered. */
  bounds: HistoryBounds | undefined;
  /** The last that was set. */
  retained: { readonly expiresAt: number | null; readonly record: Uint8Array } | undefined;
}

export interface KeptFigures extends KeptTotals {
  readonly generation: number;
}

export class TopicTable {
  readonly rows: TopicRows;
  readonly channels: TopicChannels;
  readonly #changes = new Map<TopicRow, Change>();
  readonly #enter: Statement;
  readonly #leave: Statement;
  readonly #retain: Statement;
  readonly #clear: Statement;
  readonly #expiry: Statement<{ at: number | null }, [number]>;
  readonly #figures: Statement<KeptFigures, []>;
  readonly #setFigures: Statement;
  #positions: number[] = [];
  #isChanged = false;
  #isKnown = false;
  /** Of a topic that is not known. */
  #generation = 0;
  #topics = 0;
  #messages = 0;
  #bytes = 0;
  #retained = 0;

  constructor(database: Database) {
    this.rows = new TopicRows(database);
    this.channels = new TopicChannels(database);
    const prepare = (text: string) => database.prepare(text);
    this.#enter = prepare(
      `INSERT INTO history (id, time, bytes_before, record) VALUES (${HISTORY_ID("?1", "?2")}, ?3, ?4, ?5)`,
    );
    this.#leave = prepare(
      `DELETE FROM history WHERE id BETWEEN ${HISTORY_ID("?1", "?2")} AND ${HISTORY_ID("?1", "?3")}`,
    );
    this.#retain = prepare(
      `INSERT INTO retained (number, topic, expires_at, record) VALUES (?1, ?2, ?3, ?4)
       ON CONFLICT (number)
       DO UPDATE SET expires_at = excluded.expires_at, record = excluded.record`,
    );
    this.#clear = prepare("DELETE FROM retained WHERE number = ?1");
    this.#expiry = database.query("SELECT expires_at AS at FROM retained WHERE number = ?1");
    this.#figures = database.query(
      `SELECT generation, topics, history_messages AS historyMessages, history_bytes AS historyBytes,
         retained_messages AS retainedMessages FROM keeping`,
    );
    this.#setFigures = prepare(
      `UPDATE keeping SET generation = ?1, topics = ?2, history_messages = ?3, history_bytes = ?4,
         retained_messages = ?5`,
    );
  }

  get totals(): KeptTotals {
    return {
      topics: this.#topics,
      historyMessages: this.#messages,
      historyBytes: this.#bytes,
      retainedMessages: this.#retained,
    };
  }

  /** How many topics are known. */
  get topics(): number {
    return this.#topics;
  }

  get generation(): number {
    return this.#generation;
  }

  /**
   * To be called between transactions, before anything else: reads what there is where that is not known, after
   * the store was opened or a transaction taken back.
   */
  prepare(): void {
    this.rows.shrink();
    if (this.#isKnown) return;
    const figures = this.#figures.get();
    if (figures === null) throw new Error("there is no row of what topics keep");
    this.#generation = figures.generation;
    this.#topics = figures.topics;
    this.#messages = figures.historyMessages;
    this.#bytes = figures.historyBytes;
    this.#retained = figures.retainedMessages;
    this.rows.recover();
    this.channels.recover();
    this.#isKnown = true;
  }

  /** A transaction begins. */
  begin(): void {
    this.prepare();
    this.#positions = [];
    this.#isChanged = false;
    this.#changes.clear();
  }

  /** The next operation: what a topic keeps of a message; only read past when it is to be left out. */
  enter(batch: BatchReader, isLeftOut: boolean): void {
    const does = batch.u8();
    const time = batch.f64();
    const expiresAt = batch.time();
    const bounds = {
      maxMessages: batch.f64(),
      maxAgeMs: batch.time() ?? undefined,
      maxBytes: batch.time() ?? undefined,
    };
    const topic = batch.text();
    const channel = batch.text();
    const record = batch.blob();
    if (isLeftOut) return;
    const known = this.rows.get(topic);
    if (known === undefined && does === ENTERS.clear) return;
    this.#isChanged = true;
    const row = known ?? this.#create(topic, channel);
    const change = this.#changeOf(row);
    if (does !== ENTERS.clear) {
      row.changedAt = Math.max(row.changedAt, time);
      this.#countFor(row, channel);
    }
    if ((does & ENTERS.history) !== 0) {
      this.#append(row, record);
      if (bounds.maxAgeMs !== undefined) dueBy(row, row.changedAt + bounds.maxAgeMs);
      change.entered++;
      change.bounds = bounds as HistoryBounds;
    }
    if ((does & ENTERS.set) !== 0) {
      if (!row.isRetained) this.#retained++;
      row.isRetained = true;
      if (expiresAt !== null) dueBy(row, expiresAt);
      change.retained = { expiresAt, record };
    } else if ((does & ENTERS.clear) !== 0) {
      this.#takeRetained(row, change);
    }
  }

  /** Trims topics as far as the limit allows; what this transaction did before is seen. */
  trim({ trimTopics, limit }: TrimTopics, now: number): TopicsTrimmed {
    this.#writeChanges(now);
    let left = limit;
    let isForgotten = false;
    let done = 0;
    for (const one of trimTopics) {
      const row = this.rows.get(one.topic);
      if (row !== undefined) {
        const before = { ...row };
        const first = this.rows.firstWithin(row, one.history ?? { maxMessages: 0 }, now);
        left -= this.#shorten(row, first, left);
        const isDone = firstOf(row) >= first;
        const isGone = isDone && this.#trimRest(row, one, now);
        if (!isGone) this.#rewrite(row, before);
        else if (row.offset > 0) isForgotten = true;
        if (!isDone) break;
      }
      done++;
    }
    // Where no offset was given none can be given again. Nothing begins within a trim, so once is enough.
    if (isForgotten) this.#generation++;
    return { kind: "topicsTrimmed", done };
  }

  /** Writes what is left to be written; undefined when nothing was changed. */
  finish(now: number): KeptResult | undefined {
    if (!this.#isChanged) return undefined;
    this.#writeChanges(now);
    this.#setFigures.run(
      this.#generation,
      this.#topics,
      this.#messages,
      this.#bytes,
      this.#retained,
    );
    const channels = this.channels.write();
    return { positions: Float64Array.from(this.#positions), totals: this.totals, channels };
  }

  /** The transaction was taken back. */
  rolledBack(): void {
    if (this.#isChanged) this.#isKnown = false;
  }

  #create(topic: string, channel: string): TopicRow {
    this.#topics++;
    this.channels.add(channel, 1, 0);
    return this.rows.create(topic, this.#generation, channel);
  }

  #countFor(row: TopicRow, channel: string): void {
    if (row.channel === channel) return;
    this.channels.add(row.channel, -1, -row.bytes);
    this.channels.add(channel, 1, row.bytes);
    row.channel = channel;
  }

  #changeOf(row: TopicRow): Change {
    let change = this.#changes.get(row);
    if (change === undefined) {
      change = { row, entered: 0, bounds: undefined, retained: undefined };
      this.#changes.set(row, change);
    }
    return change;
  }

  #append(row: TopicRow, record: Uint8Array): void {
    if (row.offset === LAST_OFFSET) this.#beginAnew(row);
    const { length } = record;
    row.offset++;
    this.#enter.run(row.number, row.offset, row.changedAt, row.writtenBytes, record);
    row.messages++;
    row.bytes += length;
    row.writtenBytes += length;
    this.#messages++;
    this.#bytes += length;
    this.channels.add(row.channel, 0, length);
    this.#positions.push(row.offset, row.generation);
  }

  /** There are no more offsets: its history goes, and it counts from 1 in another epoch. */
  #beginAnew(row: TopicRow): void {
    this.#shorten(row, row.offset + 1, row.messages);
    row.offset = 0;
    row.generation = ++this.#generation;
  }

  #takeRetained(row: TopicRow, change: Change | undefined): void {
    if (!row.isRetained) return;
    this.#isChanged = true;
    this.#clear.run(row.number);
    row.isRetained = false;
    this.#retained--;
    if (change !== undefined) change.retained = undefined;
  }

  #writeChanges(now: number): void {
    for (const { row, entered, bounds, retained } of this.#changes.values()) {
      if (bounds !== undefined) {
        const first = this.rows.firstWithin(row, bounds, now);
        this.#shorten(row, first, entered * GO_WITH_ONE);
        if (firstOf(row) < first) dueBy(row, now);
      }
      if (retained !== undefined) {
        this.#retain.run(row.number, row.topic, retained.expiresAt, retained.record);
      }
      this.rows.write(row);
    }
    this.#changes.clear();
  }

  /** Takes away the oldest of its history up to `first`, `limit` of them at most; returns how many went. */
  #shorten(row: TopicRow, first: number, limit: number): number {
    const oldest = firstOf(row);
    const went = Math.min(first - oldest, limit);
    if (went <= 0) return 0;
    this.#isChanged = true;
    const next = oldest + went;
    this.#leave.run(row.number, oldest, next - 1);
    row.messages -= went;
    const bytes = row.messages === 0 ? 0 : row.writtenBytes - this.rows.bytesBefore(row, next);
    this.#messages -= went;
    this.#bytes -= row.bytes - bytes;
    this.channels.add(row.channel, 0, bytes - row.bytes);
    row.bytes = bytes;
    return went;
  }

  /** When its history is as it should be; true when nothing is known of it any more. */
  #trimRest(row: TopicRow, trim: KeptTrim, now: number): boolean {
    const { channel, history, retained, forgetBefore } = trim;
    const expiresAt = row.isRetained ? (this.#expiry.get(row.number)?.at ?? null) : null;
    if (!retained || (expiresAt ?? Number.POSITIVE_INFINITY) <= now) {
      this.#takeRetained(row, undefined);
    }
    const isEmpty = row.messages === 0 && !row.isRetained;
    if (isEmpty && row.changedAt < forgetBefore) {
      this.#isChanged = true;
      this.rows.remove(row);
      this.#topics--;
      this.channels.add(row.channel, -1, 0);
      return true;
    }
    if (channel !== undefined) this.#countFor(row, channel);
    row.dueAt = row.isRetained ? expiresAt : null;
    if (row.messages > 0 && history?.maxAgeMs !== undefined) {
      dueBy(row, this.rows.timeOf(row, firstOf(row)) + history.maxAgeMs);
    }
    return false;
  }

  /** Where there is nothing to let go of nothing is written. */
  #rewrite(row: TopicRow, { messages, isRetained, channel, dueAt }: TopicRow): void {
    const isSame =
      row.messages === messages &&
      row.isRetained === isRetained &&
      row.channel === channel &&
      row.dueAt === dueAt;
    if (isSame) return;
    this.#isChanged = true;
    this.rows.write(row);
  }
}

/** Something of it may go by its age then, or does earlier. */
function dueBy(row: TopicRow, at: number): void {
  row.dueAt = Math.min(row.dueAt ?? at, at);
}

function firstOf({ offset, messages }: TopicRow): number {
  return offset - messages + 1;
}
