/**
 * What happens in the writer thread: a batch becomes one transaction, a read becomes packed rows. It
 * knows rows and lanes, nothing of consumers or credit.
 */
import type { Database, Statement } from "bun:sqlite";
import { asc, eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import { BatchReader, BatchWriter, OPERATION } from "./batch.ts";
import { QUEUE_LANES, SEQUENCE_BITS } from "./lanes.ts";
import { decodeRecord } from "./record.ts";
import { queues } from "./schema.ts";

export interface QueueRow {
  readonly number: number;
  readonly name: string;
  /** JSON of QueueSettings. */
  readonly settings: string;
  /** JSON of an array of filters. */
  readonly bindings: string;
  readonly createdAt: number;
  readonly deadLetterOf: string | null;
}

/** Rare operations, carried as JSON in a batch. */
export type Control =
  | { readonly define: readonly QueueRow[] }
  | { readonly remove: readonly number[] }
  /** At most `limit` messages of these lanes below the sequences, except what is in flight. */
  | {
      readonly purge: number;
      readonly below: number;
      readonly keep: readonly string[];
      readonly limit: number;
    }
  | { readonly forgetIdsBefore: number }
  | { readonly probe: number };

export interface Purged {
  readonly messages: number;
  /** Those of them that waited for a time. */
  readonly delayed: number;
  readonly bytes: number;
}

export interface BatchResult {
  /** Indexes, among the conditional operations of the batch, of those that changed nothing. */
  readonly void: readonly number[];
  /** For each purge of the batch, what went. */
  readonly purged: readonly Purged[];
}

/** A read of rows, in the order of delivery unless said otherwise. */
export type Read =
  /** Rows after (lane, sequence) to the end of `lastLane`: those that wait for no time, or all. */
  | {
      readonly kind: "page" | "all";
      readonly lane: number;
      readonly after: number;
      readonly lastLane: number;
      readonly limit: number;
      readonly bytes: number;
    }
  /** Rows with a due time, without records, after (dueAt, lane, sequence) in this order. */
  | {
      readonly kind: "due";
      readonly dueAt: number;
      readonly lane: number;
      readonly after: number;
      readonly limit: number;
    }
  /** Rows that expire by a time of their own, without records, the soonest first. */
  | { readonly kind: "expiring"; readonly limit: number }
  /** The rows of these ids, as a list of decimal numbers. */
  | { readonly kind: "ids"; readonly ids: string; readonly limit: number };

/** A queue as it was when the store was opened. */
export interface QueueState extends QueueRow {
  readonly messages: number;
  readonly bytes: number;
  readonly delayed: number;
  /** The highest sequence in use in any of its lanes. */
  readonly sequence: number;
  /** For each lane that holds messages, when its first one came into the queue. */
  readonly heads: readonly { readonly lane: number; readonly enteredAt: number }[];
}

interface Totals {
  messages: number;
  bytes: number;
}

const ID = (lane: string, sequence: string) => `((${lane} << ${SEQUENCE_BITS}) | ${sequence})`;
const SEQUENCE_MASK = 2 ** SEQUENCE_BITS - 1;
const PLACE = `id >> ${SEQUENCE_BITS} AS lane, id & ${SEQUENCE_MASK} AS sequence`;
const ROW = `SELECT ${PLACE}, attempts, due_at, expires_at, record FROM messages`;

const NOTHING = new Uint8Array();

export class Store {
  readonly #database: Database;
  readonly #orm;
  readonly #insert: Statement;
  readonly #insertFull: Statement;
  readonly #update: Statement;
  readonly #delete: Statement;
  readonly #release: Statement;
  readonly #move: Statement;
  readonly #isRecent: Statement;
  readonly #dedupe: Statement;
  readonly #addTotals: Statement;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #reads;
  /** What the transaction under way changes in each queue's totals. */
  readonly #totals = new Map<number, Totals>();
  /** What it deletes, by lane: done at its end, sorted, so that neighbours go in one statement. */
  readonly #deletes = new Map<number, number[]>();

  constructor(database: Database) {
    this.#database = database;
    this.#orm = drizzle({ client: database });
    const prepare = (text: string) => database.prepare(text);
    this.#insert = prepare(`INSERT INTO messages (id, record) VALUES (${ID("?1", "?2")}, ?3)`);
    this.#insertFull = prepare(
      `INSERT INTO messages (id, attempts, due_at, expires_at, record)
       VALUES (${ID("?1", "?2")}, ?3, ?4, ?5, ?6)`,
    );
    this.#update = prepare(
      `UPDATE messages SET attempts = ?3, due_at = ?4, expires_at = ?5
       WHERE id = ${ID("?1", "?2")}`,
    );
    this.#delete = prepare(
      `DELETE FROM messages WHERE id BETWEEN ${ID("?1", "?2")} AND ${ID("?1", "?3")}`,
    );
    this.#release = prepare(
      `UPDATE messages SET due_at = NULL WHERE id = ${ID("?1", "?2")} AND due_at IS NOT NULL`,
    );
    this.#move = prepare(`UPDATE messages SET id = ${ID("?1", "?3")} WHERE id = ${ID("?1", "?2")}`);
    this.#isRecent = prepare("SELECT 1 FROM recent_ids WHERE key = ?1 AND expires_at > ?2");
    this.#dedupe = prepare(
      `INSERT INTO recent_ids (key, expires_at) VALUES (?1, ?2) ON CONFLICT (key)
       DO UPDATE SET expires_at = excluded.expires_at WHERE recent_ids.expires_at <= ?3`,
    );
    this.#addTotals = prepare(
      "UPDATE queues SET messages = messages + ?2, bytes = bytes + ?3 WHERE number = ?1",
    );
    this.#begin = prepare("BEGIN IMMEDIATE");
    this.#commit = prepare("COMMIT");
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
         ORDER BY expires_at LIMIT ?1`,
      ),
      ids: prepare(`${ROW} WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id LIMIT ?2`),
    };
  }

  /** Applies a batch in one transaction, all or nothing; when this returns, it is durable. */
  apply(buffer: ArrayBuffer, end: number, now: number): BatchResult {
    const without: number[] = [];
    const purged: Purged[] = [];
    this.#totals.clear();
    this.#deletes.clear();
    this.#begin.run();
    try {
      this.#applyAll(new BatchReader(buffer, end), now, without, purged);
      this.#deleteAll();
      for (const [number, { messages, bytes }] of this.#totals) {
        this.#addTotals.run(number, messages, bytes);
      }
      this.#commit.run();
    } catch (error) {
      // Some errors have rolled back already; a second rollback then only says so.
      if (this.#database.inTransaction) this.#database.run("ROLLBACK");
      throw error;
    }
    return { void: without, purged };
  }

  /** `without` gets the indexes of the conditional operations that changed nothing. */
  #applyAll(batch: BatchReader, now: number, without: number[], purged: Purged[]): void {
    let conditional = 0;
    let skipped = 0;
    while (!batch.done) {
      const kind = batch.u8();
      switch (kind) {
        case OPERATION.dedupe: {
          const expiresAt = batch.time();
          const guarded = batch.u32();
          if (!this.#isNew(batch.text(), expiresAt, now)) {
            without.push(conditional);
            // Its inserts are read past.
            skipped = guarded;
          }
          conditional++;
          break;
        }
        case OPERATION.release:
          if (this.#release.run(batch.u32(), batch.f64()).changes === 0) without.push(conditional);
          conditional++;
          break;
        case OPERATION.control:
          this.#control(JSON.parse(batch.text()) as Control, purged);
          break;
        default:
          this.#row(kind, batch, skipped > 0);
          if (skipped > 0) skipped--;
      }
    }
  }

  /** Whether the id was not seen; with `expiresAt` it has been from now on. */
  #isNew(key: string, expiresAt: number | null, now: number): boolean {
    if (expiresAt === null) return this.#isRecent.get(key, now) === null;
    return this.#dedupe.run(key, expiresAt, now).changes > 0;
  }

  #row(kind: number, batch: BatchReader, skip: boolean): void {
    const lane = batch.u32();
    const sequence = batch.f64();
    switch (kind) {
      case OPERATION.insert: {
        const record = batch.blob();
        if (skip) return;
        this.#insert.run(lane, sequence, record);
        this.#count(lane, 1, record.length);
        return;
      }
      case OPERATION.insertFull: {
        const times = [batch.u32(), batch.time(), batch.time()] as const;
        const record = batch.blob();
        if (skip) return;
        this.#insertFull.run(lane, sequence, ...times, record);
        this.#count(lane, 1, record.length);
        return;
      }
      case OPERATION.update:
        this.#update.run(lane, sequence, batch.u32(), batch.time(), batch.time());
        return;
      case OPERATION.move:
        this.#move.run(lane, sequence, batch.f64());
        return;
      case OPERATION.delete: {
        const sequences = this.#deletes.get(lane);
        if (sequences === undefined) this.#deletes.set(lane, [sequence]);
        else sequences.push(sequence);
        this.#count(lane, -1, -batch.u32());
        return;
      }
      default:
        throw new Error(`no operation ${kind}`);
    }
  }

  #count(lane: number, messages: number, bytes: number): void {
    const number = Math.floor(lane / QUEUE_LANES);
    const totals = this.#totals.get(number);
    if (totals === undefined) {
      this.#totals.set(number, { messages, bytes });
    } else {
      totals.messages += messages;
      totals.bytes += bytes;
    }
  }

  #deleteAll(): void {
    for (const [lane, sequences] of this.#deletes) {
      const sorted = Float64Array.from(sequences).sort();
      let start = 0;
      for (let i = 1; i <= sorted.length; i++) {
        if (i < sorted.length && sorted[i] === sorted[i - 1]! + 1) continue;
        this.#delete.run(lane, sorted[start]!, sorted[i - 1]!);
        start = i;
      }
    }
  }

  #control(control: Control, purged: Purged[]): void {
    if ("define" in control) {
      for (const row of control.define) {
        const { number: _number, ...changes } = row;
        this.#orm
          .insert(queues)
          .values(row)
          .onConflictDoUpdate({ target: queues.number, set: changes })
          .run();
      }
    } else if ("remove" in control) {
      for (const number of control.remove) {
        this.#orm.delete(queues).where(eq(queues.number, number)).run();
      }
    } else if ("purge" in control) {
      purged.push(this.#purge(control));
    } else if ("forgetIdsBefore" in control) {
      this.#database.run("DELETE FROM recent_ids WHERE expires_at <= ?1 LIMIT 5000", [
        control.forgetIdsBefore,
      ]);
    } else {
      this.#database.run(
        "INSERT INTO health (id, probed_at) VALUES (1, ?1) ON CONFLICT DO UPDATE SET probed_at = ?1",
        [control.probe],
      );
    }
  }

  #purge({ purge, below, keep, limit }: Extract<Control, { purge: number }>): Purged {
    const lane = purge * QUEUE_LANES;
    const rows = this.#database
      .query<{ bytes: number; delayed: number }, (number | string)[]>(
        `DELETE FROM messages WHERE id IN (
           SELECT id FROM messages WHERE id >= ${ID("?1", "0")} AND id < ${ID("?2", "0")}
           AND (id & ${SEQUENCE_MASK}) < ?3 AND id NOT IN (SELECT value FROM json_each(?4)) LIMIT ?5)
         RETURNING length(record) AS bytes, due_at IS NOT NULL AS delayed`,
      )
      .all(lane, lane + QUEUE_LANES, below, `[${keep.join(",")}]`, limit);
    let bytes = 0;
    let delayed = 0;
    for (const row of rows) {
      bytes += row.bytes;
      delayed += row.delayed;
    }
    this.#count(lane, -rows.length, -bytes);
    return { messages: rows.length, delayed, bytes };
  }

  /**
   * Packs the rows of a read as `unpackRows` wants them; `bytes` bounds what one page may weigh.
   * `complete` says that there are none behind them.
   */
  read(read: Read): { readonly rows: BatchWriter; readonly complete: boolean } {
    const rows = new BatchWriter();
    const found = this.#rows(read);
    for (const row of found) {
      const [lane, sequence, attempts, dueAt, expiresAt, record] = row;
      const times = {
        attempts,
        dueAt: dueAt ?? undefined,
        expiresAt: expiresAt ?? undefined,
      };
      rows.insertFull(lane, sequence, times, { header: "", payload: record ?? NOTHING });
      if ("bytes" in read && rows.bytes >= read.bytes) break;
    }
    return { rows, complete: found.length < read.limit && rows.operations === found.length };
  }

  #rows(read: Read): RowValues[] {
    switch (read.kind) {
      case "page":
      case "all":
        return this.#reads[read.kind].values(
          read.lane,
          read.after,
          read.lastLane,
          read.limit,
        ) as RowValues[];
      case "due":
        return this.#reads.due.values(read.dueAt, read.lane, read.after, read.limit) as RowValues[];
      case "expiring":
        return this.#reads.expiring.values(read.limit) as RowValues[];
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
    const rows = this.#orm.select().from(queues).orderBy(asc(queues.name)).all();
    return rows.map((row) => ({
      ...row,
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
      heads.push({ lane, enteredAt: decodeRecord(head.record).enteredAt });
      sequence = Math.max(sequence, last.get(lane)?.sequence ?? 0);
    }
    return { sequence, heads };
  }

  /**
   * How often the store has been opened, this time included. Kept where SQLite has a number for its
   * user; the migrations keep a table of their own.
   */
  countOpening(): number {
    const row = this.#database.query<{ user_version: number }, []>("PRAGMA user_version").get();
    const openings = ((row?.user_version ?? 0) % 2 ** 30) + 1;
    this.#database.run(`PRAGMA user_version = ${openings}`);
    return openings;
  }

  /** Everything back into the one file, as far as readers let it. */
  checkpoint(): void {
    this.#orm.run(sql`PRAGMA wal_checkpoint(TRUNCATE)`);
  }
}

type RowValues = [
  lane: number,
  sequence: number,
  attempts: number,
  dueAt: number | null,
  expiresAt: number | null,
  record: Uint8Array | null,
];
