/** The reading half of the writer thread: pages of rows, packed, and what a start needs to know. */
import type { Database } from "bun:sqlite";
import { asc } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import { matcherOf, type Selection } from "../selection.ts";
import type { AckedTable } from "./acked-table.ts";
import { BatchWriter } from "./batch.ts";
import type { QueueState, Read } from "./exchange.ts";
import { HeadReader, type PackedRows } from "./heads.ts";
import { ID, QUEUE_LANES, SEQUENCE_BITS, SEQUENCE_MASK } from "./lanes.ts";
import { NamedRows } from "./named.ts";
import { decodeRecord } from "./record.ts";
import { queues } from "./schema.ts";
import { rowsOfStep } from "./step.ts";

const PLACE = `id >> ${SEQUENCE_BITS} AS lane, id & ${SEQUENCE_MASK} AS sequence`;
const ROW = `SELECT ${PLACE}, attempts, due_at, expires_at, record FROM messages`;

const NOTHING = new Uint8Array();

type RowValues = [
  lane: number,
  sequence: number,
  attempts: number,
  dueAt: number | null,
  expiresAt: number | null,
  record: Uint8Array | null,
];

/** Every kind that is read here, and of which more than one row may come. */
type PagedRead = Exclude<Read, { kind: "named" | "heads" | "keys" }>;

export class RowReader {
  readonly #database: Database;
  readonly #named: NamedRows;
  readonly #acked: AckedTable;
  readonly #heads: HeadReader;
  readonly #reads;

  constructor(database: Database, acked: AckedTable) {
    this.#database = database;
    this.#named = new NamedRows(database);
    this.#acked = acked;
    this.#heads = new HeadReader(database);
    const prepare = (text: string) => database.prepare(text);
    this.#reads = {
      page: prepare(
        `${ROW} WHERE id > ${ID("?1", "?2")} AND id < ${ID("(?3 + 1)", "0")}
         AND due_at IS NULL ORDER BY id LIMIT ?4`,
      ),
      all: prepare(
        `${ROW} WHERE id > ${ID("?1", "?2")} AND id < ${ID("(?3 + 1)", "0")}
         ORDER BY id LIMIT ?4`,
      ),
      due: prepare(
        `SELECT ${PLACE}, 0, due_at, NULL, NULL FROM messages WHERE due_at IS NOT NULL
         AND (due_at, id) > (?1, ${ID("?2", "?3")}) ORDER BY due_at, id LIMIT ?4`,
      ),
      expiring: prepare(
        `SELECT ${PLACE}, 0, due_at, expires_at, NULL FROM messages WHERE expires_at IS NOT NULL
         AND (expires_at, id) > (?1, ${ID("?2", "?3")}) ORDER BY expires_at, id LIMIT ?4`,
      ),
      acked: prepare(
        `SELECT ${PLACE}, attempts, acked_at, NULL, record FROM acked
         WHERE id > ${ID("?1", "?2")} AND id < ${ID("(?1 + 1)", "0")} ORDER BY id LIMIT ?3`,
      ),
      lengthsOfAll: prepare(
        `SELECT length(record) FROM messages WHERE id > ${ID("?1", "?2")}
         AND id < ${ID("(?3 + 1)", "0")} ORDER BY id LIMIT ?4`,
      ),
      lengthsOfAcked: prepare(
        `SELECT length(record) FROM acked WHERE id > ${ID("?1", "?2")}
         AND id < ${ID("(?1 + 1)", "0")} ORDER BY id LIMIT ?3`,
      ),
      ids: prepare(`${ROW} WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id LIMIT ?2`),
    };
  }

  /**
   * Packs the rows of a read into `buffer` as `unpackRows` wants them, as many as fit and at least one; rows
   * that were named all come, into a larger one if need be. `complete` says that there are none behind them.
   */
  read(read: Read, buffer: SharedArrayBuffer): PackedRows {
    if (read.kind === "heads") return this.#heads.heads(read, buffer);
    if (read.kind === "keys") return this.#heads.firsts(read, buffer);
    const rows = new BatchWriter(buffer);
    if (read.kind === "named") {
      const { values, complete, reached } = this.#named.look(read);
      if (values !== undefined) insertRow(rows, values as RowValues);
      return { rows, complete, ...(reached && { reached }) };
    }
    const limit = this.#limitOf(read);
    const found = this.#rows(read, limit);
    const wanted = "select" in read ? wantedBy(read.select, read.kind) : undefined;
    const isBounded = read.kind !== "ids";
    let looked = 0;
    for (const row of found) {
      const [, , , , , record] = row;
      if (wanted?.(row) === false) {
        looked++;
        continue;
      }
      if (isBounded && rows.operations > 0 && !rows.fits(record?.length ?? 0)) break;
      insertRow(rows, row);
      looked++;
    }
    const last = found[looked - 1];
    return {
      rows,
      complete: found.length < limit && looked === found.length,
      ...(last === undefined ? {} : { reached: { lane: last[0], after: last[1] } }),
    };
  }

  /** How many rows are read: of those that are looked into no more than are one step. */
  #limitOf(read: PagedRead): number {
    const { limit } = read;
    if (read.kind !== "all" && read.kind !== "acked") return limit;
    const found =
      read.kind === "all"
        ? this.#reads.lengthsOfAll.values(read.lane, read.after, read.lastLane, limit)
        : this.#reads.lengthsOfAcked.values(read.lane, read.after, limit);
    const count = rowsOfStep(found.map(([length]) => length as number));
    return count < found.length ? count : limit;
  }

  #rows(read: PagedRead, limit: number): RowValues[] {
    switch (read.kind) {
      case "page":
      case "all":
        return this.#reads[read.kind].values(
          read.lane,
          read.after,
          read.lastLane,
          limit,
        ) as RowValues[];
      case "due":
        return this.#reads.due.values(read.dueAt, read.lane, read.after, read.limit) as RowValues[];
      case "expiring":
        return this.#reads.expiring.values(
          read.expiresAt,
          read.lane,
          read.after,
          read.limit,
        ) as RowValues[];
      case "acked":
        return this.#reads.acked.values(read.lane, read.after, limit) as RowValues[];
      case "ids":
        return this.#reads.ids.values(read.ids, read.limit) as RowValues[];
    }
  }

  /** Every queue with what a start needs to know of its messages. */
  states(): QueueState[] {
    const delayed = new Map(
      this.#database
        .query<{ number: number; count: number }, []>(
          `SELECT id >> ${SEQUENCE_BITS + 4} AS number, count(*) AS count FROM messages
           WHERE due_at IS NOT NULL GROUP BY 1`,
        )
        .all()
        .map((row) => [row.number, row.count]),
    );
    const rows = drizzle({ client: this.#database })
      .select()
      .from(queues)
      .orderBy(asc(queues.name))
      .all();
    return rows.map(({ ackedMessages: _messages, ackedBytes: _bytes, ...row }) => ({
      ...row,
      acked: this.#acked.totals(row.number),
      delayed: delayed.get(row.number) ?? 0,
      ...this.#extent(row.number, row.messages),
    }));
  }

  #extent(queueNumber: number, count: number): Pick<QueueState, "sequence" | "heads"> {
    if (count === 0) return { sequence: 0, heads: [] };
    const inLane = `id BETWEEN ${ID("?1", "0")} AND ${ID("?1", `${SEQUENCE_MASK}`)}`;
    const last = this.#database.query<{ sequence: number | null }, [number]>(
      `SELECT max(id) & ${SEQUENCE_MASK} AS sequence FROM messages WHERE ${inLane}`,
    );
    const first = this.#database.query<{ record: Uint8Array }, [number]>(
      `SELECT record FROM messages WHERE ${inLane} ORDER BY id LIMIT 1`,
    );
    const heads: { lane: number; enteredAt: number }[] = [];
    let sequence = 0;
    for (let i = 0; i < QUEUE_LANES; i++) {
      const lane = queueNumber * QUEUE_LANES + i;
      const head = first.get(lane);
      if (head === null) continue;
      heads.push({ lane, enteredAt: decodeRecord(Buffer.from(head.record)).enteredAt });
      sequence = Math.max(sequence, last.get(lane)?.sequence ?? 0);
    }
    return { sequence, heads };
  }
}

function insertRow(
  rows: BatchWriter,
  [lane, sequence, attempts, dueAt, expiresAt, record]: RowValues,
): void {
  const times = { attempts, dueAt: dueAt ?? undefined, expiresAt: expiresAt ?? undefined };
  rows.insertFull(lane, sequence, times, { header: "", payload: record ?? NOTHING });
}

/** Judges rows where they are read, so that those that do not fit cross no thread. */
function wantedBy(
  selection: Selection | undefined,
  kind: Read["kind"],
): ((row: RowValues) => boolean) | undefined {
  if (selection === undefined) return undefined;
  const matches = matcherOf(selection);
  return ([, , , dueAt, , record]) => {
    if (record === null) return false;
    const { message, deaths, enteredAt } = decodeRecord(
      Buffer.from(record.buffer, record.byteOffset, record.length),
    );
    // Of an acked row the time is that of its ack.
    return matches({ message, deaths, at: kind === "acked" ? (dueAt ?? enteredAt) : enteredAt });
  };
}
