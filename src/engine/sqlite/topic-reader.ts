/** Reading what topics keep, in the writer thread: pages of histories, of retained values and of topics. */
import type { Database, Statement } from "bun:sqlite";
import { filterMatches, hasWildcard } from "../../topic.ts";
import type { HistoryRequest, RetainedRequest } from "../topics.ts";
import { BatchWriter } from "./batch.ts";
import type { KeptAnswer, KeptRead, ListedTopic } from "./topic-exchange.ts";
import { HISTORY_ID, TOPIC_COLUMNS } from "./topic-rows.ts";
import type { TopicTable } from "./topic-table.ts";

/** Messages of one page. */
const MESSAGES_AT_MOST = 4096;
/** Topics that are looked at for one page of retained values, and how many of them at a time. */
const TOPICS_AT_MOST = 4096;
const NAMES_AT_ONCE = 256;

type HistoryRow = [offset: number, record: Uint8Array];
type Named = [number: number, topic: string];
interface Value {
  readonly record: Uint8Array;
  readonly expiresAt: number | null;
}
type ListRow = Omit<ListedTopic, "isRetained"> & { readonly isRetained: number };
type ListAnswer = Extract<KeptAnswer, { topics: unknown }>;

export class TopicReader {
  readonly #table: TopicTable;
  readonly #upwards;
  readonly #downwards;
  readonly #between: Statement;
  readonly #all: Statement;
  readonly #one: Statement;
  readonly #value: Statement<Value, [number]>;
  readonly #list: Statement<ListRow, [string, number]>;
  readonly #due: Statement<ListRow, [number, number]>;
  readonly #idle: Statement<ListRow, [string, number, number]>;

  constructor(database: Database, table: TopicTable) {
    this.#table = table;
    this.#upwards = stretch(database, "ASC");
    this.#downwards = stretch(database, "DESC");
    const named = "SELECT number, topic FROM retained WHERE topic";
    this.#between = database.prepare(
      `${named} > ?1 AND topic >= ?2 AND topic < ?3 ORDER BY topic LIMIT ?4`,
    );
    this.#all = database.prepare(`${named} > ?1 ORDER BY topic LIMIT ?2`);
    this.#one = database.prepare(`${named} > ?1 AND topic = ?2`);
    this.#value = database.prepare(
      "SELECT record, expires_at AS expiresAt FROM retained WHERE number = ?1",
    );
    const topics = `SELECT ${TOPIC_COLUMNS} FROM topics`;
    this.#list = database.query(`${topics} WHERE topic > ?1 ORDER BY topic LIMIT ?2`);
    this.#due = database.query(`${topics} WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2`);
    this.#idle = database.query(
      `${topics} WHERE channel = ?1 AND changed_at < ?2 AND messages = 0 AND is_retained = 0
       ORDER BY changed_at LIMIT ?3`,
    );
  }

  /** Between transactions; packs messages into `buffer`. */
  read(read: KeptRead, buffer: SharedArrayBuffer): KeptAnswer {
    this.#table.prepare();
    switch (read.kind) {
      case "history":
        return this.#history(read.request, read.now, new BatchWriter(buffer));
      case "retained":
        return this.#retained(read.request, read.now, new BatchWriter(buffer));
      case "list":
        return this.#listed(read.after ?? "", read.limit);
      case "due":
        return found("due", this.#due.all(read.by, read.limit));
      case "idle":
        return found("idle", this.#idle.all(read.channel, read.before, read.limit));
    }
  }

  #history(request: HistoryRequest, now: number, rows: BatchWriter): KeptAnswer {
    const { topic, bounds, after = 0, before = Number.POSITIVE_INFINITY } = request;
    const { generation } = this.#table;
    const row = this.#table.rows.get(topic);
    if (row === undefined) {
      const nothing = { offset: 0, first: 1, complete: true, rows: packed(rows) };
      return { kind: "history", generation, ...nothing };
    }
    const first = this.#table.rows.firstWithin(row, bounds, now);
    const from = Math.max(first, after + 1);
    const to = Math.min(row.offset, before - 1);
    if (from <= to) this.#pack(rows, row.number, from, to, request);
    return {
      kind: "history",
      generation: row.generation,
      offset: row.offset,
      first,
      complete: rows.operations >= to - from + 1,
      rows: packed(rows),
    };
  }

  #pack(
    rows: BatchWriter,
    topicNumber: number,
    from: number,
    to: number,
    { reverse = false, limit, bytes }: HistoryRequest,
  ): void {
    const { lengths, records } = reverse ? this.#downwards : this.#upwards;
    const atMost = Math.min(limit, MESSAGES_AT_MOST);
    let count = 0;
    let sum = 0;
    for (const [length] of lengths.values(topicNumber, from, to, atMost) as [number][]) {
      sum += length;
      if (count > 0 && sum > bytes) break;
      count++;
    }
    for (const [offset, record] of records.values(topicNumber, from, to, count) as HistoryRow[]) {
      if (!pack(rows, offset, record)) break;
    }
  }

  #retained(request: RetainedRequest, now: number, rows: BatchWriter): KeptAnswer {
    const { filter, after = "", limit, bytes } = request;
    let sum = 0;
    let last = after;
    for (let looked = 0; looked < TOPICS_AT_MOST; looked += NAMES_AT_ONCE) {
      const named = this.#named(filter, last);
      for (const [number, topic] of named) {
        const value = filterMatches(filter, topic) ? this.#value.get(number) : null;
        if (value !== null && (value.expiresAt ?? Number.POSITIVE_INFINITY) > now) {
          const { record } = value;
          sum += record.length;
          const isFull = rows.operations === limit || (rows.operations > 0 && sum > bytes);
          if (isFull || !pack(rows, 0, record)) return retainedPage(rows, last);
        }
        last = topic;
      }
      if (named.length < NAMES_AT_ONCE) return retainedPage(rows, undefined);
    }
    return retainedPage(rows, last);
  }

  /** The next topics with a retained value, among them all that the filter matches; fewer when there are no more. */
  #named(filter: string, after: string): Named[] {
    if (!hasWildcard(filter)) return this.#one.values(after, filter) as Named[];
    const literal = filter.slice(0, filter.search(/[+#]/));
    if (literal === "") return this.#all.values(after, NAMES_AT_ONCE) as Named[];
    // `a/#` matches `a` too. What begins with `a/` comes before `a0`: no character is between the two.
    const parent = literal.slice(0, -1);
    const from = filter === `${literal}#` ? parent : literal;
    return this.#between.values(after, from, `${parent}0`, NAMES_AT_ONCE) as Named[];
  }

  #listed(after: string, limit: number): KeptAnswer {
    const rows = this.#list.all(after, limit + 1);
    const answer = found("list", rows.slice(0, limit));
    const next = rows.length > limit ? answer.topics.at(-1)?.topic : undefined;
    return { ...answer, next };
  }
}

function found(kind: ListAnswer["kind"], rows: readonly ListRow[]): ListAnswer {
  const topics = rows.map(
    ({ topic, generation, offset, messages, bytes, changedAt, channel, isRetained }) => ({
      ...{ topic, generation, offset, messages, bytes, changedAt, channel },
      isRetained: isRetained === 1,
    }),
  );
  return { kind, topics, next: undefined };
}

/** A part of a history in one direction: from, to, how many. */
function stretch(database: Database, order: "ASC" | "DESC") {
  const rows = `FROM history
    WHERE id BETWEEN ${HISTORY_ID("?1", "?2")} AND ${HISTORY_ID("?1", "?3")}
    ORDER BY id ${order} LIMIT ?4`;
  return {
    lengths: database.prepare(`SELECT length(record) ${rows}`),
    records: database.prepare(`SELECT id - ${HISTORY_ID("?1", "0")}, record ${rows}`),
  };
}

/** False when it does not fit behind the others. */
function pack(rows: BatchWriter, offset: number, record: Uint8Array): boolean {
  if (rows.operations > 0 && !rows.fits(record.length)) return false;
  const times = { attempts: 0, dueAt: undefined, expiresAt: undefined };
  rows.insertFull(0, offset, times, { header: "", payload: record });
  return true;
}

function retainedPage(rows: BatchWriter, next: string | undefined): KeptAnswer {
  return { kind: "retained", next, rows: packed(rows) };
}

function packed(rows: BatchWriter) {
  return { buffer: rows.take(), bytes: rows.bytes };
}
