/**
 * Moves one page of messages from a queue, or of its acked ones, to another queue, in the writer thread:
 * it chooses, writes and counts within the transaction, so that the count is exact [P-13.10].
 */
import type { Database, Statement } from "bun:sqlite";
import type { Message } from "../../message.ts";
import { Payload, type PayloadFormat } from "../../payload.ts";
import { type Candidate, deathsIn, matcherOf } from "../selection.ts";
import { arriving, type MessageEdit } from "../transfer.ts";
import type { Move, Moved, MoveTarget, PackedEdit } from "./exchange.ts";
import { ID, laneOf, orderingOf, QUEUE_LANES, SEQUENCE_MASK } from "./lanes.ts";
import {
  decodeHeader,
  decodeRecord,
  encodeRecord,
  reenteredHeader,
  type Stored,
  type StoredHeader,
} from "./record.ts";
import type { RecordTable } from "./record-table.ts";
import { fitStep, isByHeader, rowsOfStep } from "./step.ts";

const AFTER = `id > ${ID("?1", "?2")} AND id <= ${ID("?1", "?3")} ORDER BY id LIMIT ?4`;

/** A row that is looked at: all of it, or its header alone, whose newline is at byte `headerBytes`. */
interface Found {
  readonly lane: number;
  readonly sequence: number;
  readonly dueAt: number | null;
  readonly ackedAt: number | null;
  readonly bytes: number;
  readonly headerBytes: number;
  readonly content: string | Uint8Array;
}

type FoundValues = [number, number | null, number | null, number, number, string | Uint8Array];

/** The rows of a lane behind a place, up to a sequence, and how long their records are. */
interface Lane {
  readonly sum: Statement<{ rows: number; bytes: number | null }, number[]>;
  readonly lengths: Statement<unknown, number[]>;
  readonly headers: Statement<unknown, number[]>;
  readonly whole: Statement<unknown, number[]>;
  /** Writes a new row with another header and the payload of one that was found. */
  readonly copy: Statement;
}

/** Counts of a page while it is made. */
interface Tally {
  moved: number;
  held: number;
  failed: number;
  delayed: number;
  bytes: number;
  arrivedBytes: number;
  readonly gone: [lane: number, first: number, last: number][];
  readonly lanes: Set<number>;
  ownExpiry: number;
}

type Count = (lane: number, messages: number, bytes: number) => void;

/** Of one table the statements that a move needs. */
function laneOfTable(database: Database, table: string, dueAt: string, ackedAt: string): Lane {
  const columns = `id & ${SEQUENCE_MASK}, ${dueAt}, ${ackedAt}, length(record)`;
  return {
    sum: database.query(
      `SELECT count(*) AS rows, sum(length(record)) AS bytes
       FROM (SELECT record FROM ${table} WHERE ${AFTER})`,
    ),
    lengths: database.query(`SELECT length(record) FROM ${table} WHERE ${AFTER}`),
    headers: database.query(
      `SELECT ${columns}, instr(record, x'0a'),
       CAST(substr(record, 1, instr(record, x'0a') - 1) AS TEXT) FROM ${table} WHERE ${AFTER}`,
    ),
    whole: database.query(`SELECT ${columns}, 0, record FROM ${table} WHERE ${AFTER}`),
    copy: database.prepare(
      `INSERT INTO messages (id, attempts, expires_at, record, ordering)
       SELECT ${ID("?1", "?2")}, 0, ?3, CAST(?4 || substr(record, ?5) AS BLOB), ?8
       FROM ${table} WHERE id = ${ID("?6", "?7")}`,
    ),
  };
}

export class Mover {
  readonly #records: RecordTable;
  readonly #waiting: Lane;
  readonly #acked: Lane;
  readonly #last: Statement<{ sequence: number }, [number]>;
  readonly #insert: Statement;
  readonly #remove: Statement;

  constructor(database: Database, records: RecordTable) {
    this.#records = records;
    this.#waiting = laneOfTable(database, "messages", "due_at", "NULL");
    this.#acked = laneOfTable(database, "acked", "NULL", "acked_at");
    this.#last = database.query(
      `SELECT id & ${SEQUENCE_MASK} AS sequence FROM acked WHERE id >= ${ID("?1", "0")}
       AND id < ${ID("(?1 + 1)", "0")} ORDER BY id DESC LIMIT 1`,
    );
    this.#insert = database.prepare(
      `INSERT INTO messages (id, attempts, expires_at, record, ordering)
       VALUES (${ID("?1", "?2")}, 0, ?3, ?4, ?5)`,
    );
    this.#remove = database.prepare(
      `DELETE FROM messages WHERE id BETWEEN ${ID("?1", "?2")} AND ${ID("?1", "?3")}`,
    );
  }

  /** `count` is told how the messages and bytes of a lane's queue change. */
  move(move: Move, now: number, count: Count): Moved {
    const tally: Tally = {
      moved: 0,
      held: 0,
      failed: 0,
      delayed: 0,
      bytes: 0,
      arrivedBytes: 0,
      gone: [],
      lanes: new Set(),
      ownExpiry: Number.POSITIVE_INFINITY,
    };
    const first = move.queue * QUEUE_LANES;
    const through = move.through ?? this.#lastAcked(first);
    const { rows, isLast } = this.#step(move, through);
    const { seen, isFull } = this.#takeRows(move, rows, now, tally, count);
    for (const [lane, from, to] of tally.gone) this.#remove.run(lane, from, to);
    const last = rows[seen - 1];
    const place = last ?? { lane: move.lane, sequence: move.after };
    const complete = isLast && seen === rows.length;
    const next = complete ? null : `${through}.${place.lane - first}.${place.sequence}`;
    this.#record(move, tally, next);
    const { lanes, ownExpiry, ...counts } = tally;
    return {
      kind: "moved",
      ...counts,
      isFull,
      lanes: [...lanes],
      ownExpiry: Number.isFinite(ownExpiry) ? ownExpiry : null,
      next,
    };
  }

  /** How many of the rows were seen to, and whether the target had no room for the next. */
  #takeRows(
    move: Move,
    rows: readonly Found[],
    now: number,
    tally: Tally,
    count: Count,
  ): { seen: number; isFull: boolean } {
    const wanted = matcherOf(move.select);
    const keep = new Set(move.keep);
    let goneAt = -1;
    for (let seen = 0; seen < rows.length; seen++) {
      if (tally.moved >= move.limit || tally.arrivedBytes >= move.bytes) {
        return { seen, isFull: false };
      }
      const row = rows[seen]!;
      const stored = storedOf(row);
      const candidate = { ...stored, at: row.ackedAt ?? stored.enteredAt };
      if (keep.size > 0 && keep.has(`${row.lane}.${row.sequence}`)) continue;
      if (!wanted(candidate)) continue;
      const taken = this.#take(move, row, candidate, now, tally, count);
      if (taken === "no room") return { seen, isFull: true };
      if (taken === "stays" || move.state !== "waiting" || move.dryRun) continue;
      depart(row, tally, goneAt === seen - 1);
      count(row.lane, -1, -row.bytes);
      goneAt = seen;
    }
    return { seen: rows.length, isFull: false };
  }

  /**
   * The next rows, lane by lane: what came to a lane since the first page is behind all that the move looks
   * for, and is not read.
   */
  #step(move: Move, through: number): { rows: Found[]; isLast: boolean } {
    const table = this.#tableOf(move);
    const read = isByHeader(move) ? table.headers : table.whole;
    const rows: Found[] = [];
    let bytes = 0;
    const end = (move.queue + 1) * QUEUE_LANES;
    for (let lane = move.lane; lane < end; lane++) {
      const after = lane === move.lane ? move.after : 0;
      const places = [lane, after, through, move.scan - rows.length] as const;
      const sum = table.sum.get(...places);
      const found = sum?.rows ?? 0;
      let fitting = found;
      if (!fitStep(bytes + (sum?.bytes ?? 0))) {
        const lengths = table.lengths.values(...places).map(([length]) => Number(length));
        fitting = rowsOfStep(lengths, bytes);
      }
      if (fitting > 0) {
        for (const values of read.values(lane, after, through, fitting)) {
          rows.push(foundOf(lane, values as FoundValues));
        }
      }
      bytes += sum?.bytes ?? 0;
      if (fitting < found || rows.length >= move.scan) return { rows, isLast: false };
    }
    return { rows, isLast: true };
  }

  #tableOf({ state }: Move): Lane {
    return state === "acked" ? this.#acked : this.#waiting;
  }

  #lastAcked(lane: number): number {
    return this.#last.get(lane)?.sequence ?? 0;
  }

  /** One message, which leaves its place afterwards if it was taken. */
  #take(
    move: Move,
    row: Found,
    { message, deaths }: Candidate,
    now: number,
    tally: Tally,
    count: Count,
  ): "taken" | "stays" | "no room" {
    const { target } = move;
    if (move.heldFrom !== null && deathsIn(move.heldQueue, deaths) >= move.heldFrom) {
      tally.held++;
      return "stays";
    }
    if (target !== null) {
      const arrival = arrivalOf(move, row, message, deaths, now);
      if (arrival.bytes > target.maxBytes) {
        tally.failed++;
        return "stays";
      }
      if (tally.arrivedBytes + arrival.bytes > target.roomBytes) return "no room";
      if (!move.dryRun) this.#arrive(move, target, row, arrival, tally, count);
      tally.arrivedBytes += arrival.bytes;
    }
    tally.moved++;
    return "taken";
  }

  #arrive(
    move: Move,
    target: MoveTarget,
    row: Found,
    { priority, key, expiresAt, bytes, header, record }: Arrival,
    tally: Tally,
    count: Count,
  ): void {
    const lane = laneOf(target.queue, priority ?? target.defaultPriority);
    const sequence = target.firstSequence + tally.moved;
    const isOrdered = target.isIndexed && key !== undefined;
    const ordering = isOrdered ? orderingOf(target.queue, key) : null;
    if (record !== undefined) this.#insert.run(lane, sequence, expiresAt, record, ordering);
    else {
      const place = [row.headerBytes + 1, row.lane, row.sequence] as const;
      this.#tableOf(move).copy.run(lane, sequence, expiresAt, header, ...place, ordering);
    }
    count(lane, 1, bytes);
    tally.lanes.add(lane);
    if (expiresAt !== null) tally.ownExpiry = Math.min(tally.ownExpiry, expiresAt);
  }

  #record(move: Move, { moved, held, failed }: Tally, next: Moved["next"]): void {
    if (move.record === null) return;
    const { collection, key, value } = move.record;
    const page = { moved, held, failed, ...(next === null ? {} : { next }) };
    this.#records.write([{ collection, key, value: JSON.stringify({ ...value, page }) }]);
  }
}

/** A message as it comes to its target: with a record of its own, or a header before the payload it has. */
interface Arrival {
  readonly priority: number | undefined;
  readonly key: string | undefined;
  readonly expiresAt: number | null;
  readonly bytes: number;
  readonly header: string;
  readonly record: Buffer | undefined;
}

function arrivalOf(
  move: Move,
  row: Found,
  message: Candidate["message"],
  deaths: Candidate["deaths"],
  now: number,
): Arrival {
  if (typeof row.content === "string") {
    const { priority, key, expiresAt } = message;
    const keepsExpiry = expiresAt === undefined || expiresAt > now;
    const text = reenteredHeader(row.content, now, keepsExpiry);
    const header = text.endsWith("\n") ? text : `${text}\n`;
    const bytes = Buffer.byteLength(header) + row.bytes - row.headerBytes;
    const own = keepsExpiry ? (expiresAt ?? null) : null;
    return { priority, key, expiresAt: own, bytes, header, record: undefined };
  }
  const arrived = arriving(message as Message, editOf(move.edit), now);
  const { header, payload } = encodeRecord(arrived, now, deaths);
  const record = Buffer.concat([Buffer.from(header), Buffer.from(payload as Uint8Array)]);
  const { priority, key, expiresAt = null } = arrived;
  return { priority, key, expiresAt, bytes: record.length, header, record };
}

function foundOf(lane: number, values: FoundValues): Found {
  const [sequence, dueAt, ackedAt, bytes, headerBytes, content] = values;
  return { lane, sequence, dueAt, ackedAt, bytes, headerBytes, content };
}

function storedOf({ content }: Found): Stored | StoredHeader {
  if (typeof content === "string") return decodeHeader(content);
  return decodeRecord(Buffer.from(content.buffer, content.byteOffset, content.length));
}

/** It leaves its place, beside the one before it or by itself. */
function depart({ lane, sequence, dueAt, bytes }: Found, tally: Tally, isNext: boolean): void {
  const last = tally.gone.at(-1);
  // Between neighbours that both go there is no other row.
  if (isNext && last?.[0] === lane) last[2] = sequence;
  else tally.gone.push([lane, sequence, sequence]);
  tally.bytes += bytes;
  if (dueAt !== null) tally.delayed++;
}

function editOf(edit: PackedEdit | null): MessageEdit | undefined {
  if (edit === null) return undefined;
  const { payload, ...rest } = edit;
  if (payload === undefined) return rest;
  const format = payload.format as PayloadFormat;
  const bytes = new Uint8Array(Buffer.from(payload.base64, "base64"));
  return { ...rest, payload: Payload.fromStored(format, bytes) };
}
