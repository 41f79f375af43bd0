/**
 * The writer thread's reads for queues ordered by key: rows that are the first of their key, and the
 * first row of given keys. An index over key and sequence answers both, whatever lies between.
 */
import type { Database, Statement } from "bun:sqlite";
import { BatchWriter } from "./batch.ts";
import type { Reached, Read } from "./exchange.ts";
import { ID, SEQUENCE_BITS, SEQUENCE_MASK } from "./lanes.ts";

/** Rows that one read looks at: commits wait for it. */
const LOOKED_AT_ONCE = 4096;
const NOTHING = new Uint8Array();

/** As the index has them, to the letter. */
const SEQUENCE = `("id" & ${SEQUENCE_MASK})`;
const WAITS_FOR = `(CASE WHEN "due_at" IS NULL THEN 0 WHEN "attempts" > 0 THEN 1 ELSE 2 END)`;
/**
 * Those that hold up the others of their key: what is ready and, under `block`, what waits for its retry.
 * Each of the two begins at one place of the index, so that nothing is scanned.
 */
const READY = 0;
const RETRIED = 1;

const OF_KEY = (key: string, waitsFor: number) =>
  `FROM messages WHERE ordering = ${key} AND ordering IS NOT NULL AND ${WAITS_FOR} = ${waitsFor}`;
/** Whether there is such a row before `p`. */
const HAS_OLDER = (waitsFor: number) =>
  `EXISTS (SELECT 1 ${OF_KEY("p.ordering", waitsFor)} AND ${SEQUENCE} < (p.id & ${SEQUENCE_MASK}))`;

type Found = [lane: number, sequence: number, attempts: number, expiresAt: number | null, n: 0 | 1];

type First = [
  lane: number,
  sequence: number,
  attempts: number,
  dueAt: number | null,
  expiresAt: number | null,
  record: Uint8Array,
];

export interface PackedRows {
  readonly rows: BatchWriter;
  /** There are none behind these. */
  readonly complete: boolean;
  /** The last place that was looked at, where that is of interest. */
  readonly reached?: Reached;
}

export class HeadReader {
  readonly #page: Statement;
  readonly #record: Statement;
  readonly #ready: Statement;
  readonly #retried: Statement;

  constructor(database: Database) {
    const prepare = (text: string) => database.prepare(text);
    this.#page = prepare(
      `SELECT p.id >> ${SEQUENCE_BITS}, p.id & ${SEQUENCE_MASK}, p.attempts, p.expires_at,
         p.ordering IS NOT NULL AND (${HAS_OLDER(READY)} OR (?4 AND ${HAS_OLDER(RETRIED)}))
       FROM messages AS p WHERE p.id > ${ID("?1", "?2")} AND p.id < ${ID("(?3 + 1)", "0")}
       AND p.due_at IS NULL ORDER BY p.id LIMIT ${LOOKED_AT_ONCE}`,
    );
    this.#record = prepare(`SELECT record FROM messages WHERE id = ${ID("?1", "?2")}`);
    // Without the cast SQLite compares the parameter itself with what the index has, and so prepares the
    // statement anew for each other key: that takes ten times as long as the look.
    const first = (waitsFor: number) =>
      prepare(
        `SELECT id >> ${SEQUENCE_BITS}, id & ${SEQUENCE_MASK}, attempts, due_at, expires_at, record
         ${OF_KEY("CAST(?1 AS TEXT)", waitsFor)} ORDER BY ${SEQUENCE} LIMIT 1`,
      );
    this.#ready = first(READY);
    this.#retried = first(RETRIED);
  }

  /** Packs into `buffer` as many as fit, and at least one row if there are any. */
  heads(read: Extract<Read, { kind: "heads" }>, buffer: SharedArrayBuffer): PackedRows {
    const rows = new BatchWriter(buffer);
    const { lane: from, after, lastLane, limit, block } = read;
    const found = this.#page.values(from, after, lastLane, block ? 1 : 0) as Found[];
    for (const [lane, sequence, attempts, expires, isBehind] of found) {
      if (isBehind === 1) continue;
      if (rows.operations === limit) return { rows, complete: false };
      const [[record]] = this.#record.values(lane, sequence) as [[Uint8Array]];
      if (rows.operations > 0 && !rows.fits(record.length)) return { rows, complete: false };
      const times = { attempts, dueAt: undefined, expiresAt: expires ?? undefined };
      rows.insertFull(lane, sequence, times, { header: "", payload: record });
    }
    const last = found.at(-1);
    if (last?.[4] === 1 && rows.fits(0)) {
      const times = { attempts: 0, dueAt: undefined, expiresAt: undefined };
      rows.insertFull(last[0], last[1], times, { header: "", payload: NOTHING });
    }
    return { rows, complete: found.length < LOOKED_AT_ONCE };
  }

  /** Packs into `buffer` as many as fit; `complete` when all did. */
  firsts(read: Extract<Read, { kind: "keys" }>, buffer: SharedArrayBuffer): PackedRows {
    const rows = new BatchWriter(buffer);
    for (const key of read.keys) {
      const first = this.#firstOf(key, read.block);
      if (first === undefined) continue;
      const [lane, sequence, attempts, dueAt, expiresAt, record] = first;
      if (rows.operations > 0 && !rows.fits(record.length)) return { rows, complete: false };
      const times = { attempts, dueAt: dueAt ?? undefined, expiresAt: expiresAt ?? undefined };
      rows.insertFull(lane, sequence, times, { header: "", payload: record });
    }
    return { rows, complete: true };
  }

  #firstOf(key: string, block: boolean): First | undefined {
    const [ready] = this.#ready.values(key) as First[];
    const [retried] = (block ? this.#retried.values(key) : []) as First[];
    if (ready === undefined || retried === undefined) return ready ?? retried;
    return retried[1] < ready[1] ? retried : ready;
  }
}
