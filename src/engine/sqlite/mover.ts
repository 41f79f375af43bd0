/**
 * Moves one page of messages from a queue, or of its acked ones, to another queue, in the writer thread:
 * it chooses, writes and counts within the transaction, so that the count is exact [P-13.10].
 */
import type { Database, Statement } from "bun:sqlite";
import { Payload, type PayloadFormat } from "../../payload.ts";
import { type Candidate, deathsIn, matcherOf } from "../selection.ts";
import { arriving, type MessageEdit } from "../transfer.ts";
import type { Move, Moved, MoveTarget, PackedEdit } from "./exchange.ts";
import { ID, laneOf, QUEUE_LANES, SEQUENCE_BITS, SEQUENCE_MASK } from "./lanes.ts";
import { decodeRecord, encodeRecord } from "./record.ts";
import type { RecordTable } from "./record-table.ts";
import { rowsOfStep } from "./step.ts";

const PLACE = `id >> ${SEQUENCE_BITS} AS lane, id & ${SEQUENCE_MASK} AS sequence`;
const AFTER = `id > ${ID("?1", "?2")} AND id <= ${ID("?1", "?3")} ORDER BY id LIMIT ?4`;

interface Found {
  readonly lane: number;
  readonly sequence: number;
  readonly dueAt: number | null;
  readonly ackedAt: number | null;
  readonly record: Uint8Array;
}

/** The rows of a lane behind a place, up to a sequence, and how long their records are. */
interface Lane {
  readonly lengths: Statement<unknown, number[]>;
  readonly rows: Statement<Found, number[]>;
}

/** Counts of a page while it is made. */
interface Tally {
  moved: number;
  held: number;
  failed: number;
  delayed: number;
  bytes: number;
  arrivedBytes: number;
  readonly gone: [lane: number, sequence: number][];
  readonly lanes: Set<number>;
  ownExpiry: number;
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
    this.#waiting = {
      lengths: database.query<unknown, number[]>(
        `SELECT length(record) FROM messages WHERE ${AFTER}`,
      ),
      rows: database.query(
        `SELECT ${PLACE}, due_at AS dueAt, NULL AS ackedAt, record FROM messages WHERE ${AFTER}`,
      ),
    };
    this.#acked = {
      lengths: database.query<unknown, number[]>(`SELECT length(record) FROM acked WHERE ${AFTER}`),
      rows: database.query(
        `SELECT ${PLACE}, NULL AS dueAt, acked_at AS ackedAt, record FROM acked WHERE ${AFTER}`,
      ),
    };
    this.#last = database.query(
      `SELECT id & ${SEQUENCE_MASK} AS sequence FROM acked WHERE id >= ${ID("?1", "0")}
       AND id < ${ID("(?1 + 1)", "0")} ORDER BY id DESC LIMIT 1`,
    );
    this.#insert = database.prepare(
      `INSERT INTO messages (id, attempts, expires_at, record)
       VALUES (${ID("?1", "?2")}, 0, ?3, ?4)`,
    );
    this.#remove = database.prepare(`DELETE FROM messages WHERE id = ${ID("?1", "?2")}`);
  }

  /** `count` is told how the messages and bytes of a lane's queue change. */
  move(
    move: Move,
    now: number,
    count: (lane: number, messages: number, bytes: number) => void,
  ): Moved {
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
    const wanted = matcherOf(move.select);
    const keep = new Set(move.keep);
    let place = { lane: move.lane, after: move.after };
    let seen = 0;
    let isFull = false;
    for (const row of rows) {
      if (tally.moved >= move.limit || tally.arrivedBytes >= move.bytes) break;
      const { message, deaths, enteredAt } = decodeRecord(
        Buffer.from(row.record.buffer, row.record.byteOffset, row.record.length),
      );
      const candidate = { message, deaths, at: row.ackedAt ?? enteredAt };
      if (!keep.has(`${row.lane}.${row.sequence}`) && wanted(candidate)) {
        isFull = !this.#take(move, row, candidate, now, tally, count);
        if (isFull) break;
      }
      place = { lane: row.lane, after: row.sequence };
      seen++;
    }
    const complete = isLast && seen === rows.length;
    const next = complete ? null : `${through}.${place.lane - first}.${place.after}`;
    this.#record(move, tally, next);
    const { gone, lanes, ownExpiry, ...counts } = tally;
    return {
      kind: "moved",
      ...counts,
      isFull,
      gone,
      lanes: [...lanes],
      ownExpiry: Number.isFinite(ownExpiry) ? ownExpiry : null,
      next,
    };
  }

  /**
   * The next rows, lane by lane: what came to a lane since the first page is behind all that the move looks
   * for, and is not read.
   */
  #step(move: Move, through: number): { rows: Found[]; isLast: boolean } {
    const read = move.state === "acked" ? this.#acked : this.#waiting;
    const rows: Found[] = [];
    let bytes = 0;
    const end = (move.queue + 1) * QUEUE_LANES;
    for (let lane = move.lane; lane < end; lane++) {
      const after = lane === move.lane ? move.after : 0;
      const limit = move.scan - rows.length;
      const lengths = read.lengths
        .values(lane, after, through, limit)
        .map(([length]) => Number(length));
      const count = rowsOfStep(lengths, bytes);
      if (count > 0) rows.push(...read.rows.all(lane, after, through, count));
      for (let i = 0; i < count; i++) bytes += lengths[i]!;
      if (count < lengths.length || rows.length >= move.scan) return { rows, isLast: false };
    }
    return { rows, isLast: true };
  }

  #lastAcked(lane: number): number {
    return this.#last.get(lane)?.sequence ?? 0;
  }

  /** One message; false when there is no room for it now. */
  #take(
    move: Move,
    row: Found,
    { message, deaths }: Candidate,
    now: number,
    tally: Tally,
    count: (lane: number, messages: number, bytes: number) => void,
  ): boolean {
    const { target } = move;
    if (move.heldFrom !== null && deathsIn(move.heldQueue, deaths) >= move.heldFrom) {
      tally.held++;
      return true;
    }
    if (target !== null) {
      const arrived = arriving(message, editOf(move.edit), now);
      const { header, payload } = encodeRecord(arrived, now, deaths);
      const record = Buffer.concat([Buffer.from(header), Buffer.from(payload as Uint8Array)]);
      if (record.length > target.maxBytes) {
        tally.failed++;
        return true;
      }
      if (tally.arrivedBytes + record.length > target.roomBytes) return false;
      if (!move.dryRun) this.#arrive(target, arrived, record, tally, count);
      tally.arrivedBytes += record.length;
    }
    if (move.state === "waiting" && !move.dryRun) {
      this.#remove.run(row.lane, row.sequence);
      count(row.lane, -1, -row.record.length);
      tally.gone.push([row.lane, row.sequence]);
      tally.bytes += row.record.length;
      if (row.dueAt !== null) tally.delayed++;
    }
    tally.moved++;
    return true;
  }

  #arrive(
    target: MoveTarget,
    message: Candidate["message"],
    record: Buffer,
    tally: Tally,
    count: (lane: number, messages: number, bytes: number) => void,
  ): void {
    const priority = message.priority ?? target.defaultPriority;
    const lane = laneOf(target.queue, priority);
    const { expiresAt = null } = message;
    this.#insert.run(lane, target.firstSequence + tally.moved, expiresAt, record);
    count(lane, 1, record.length);
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

function editOf(edit: PackedEdit | null): MessageEdit | undefined {
  if (edit === null) return undefined;
  const { payload, ...rest } = edit;
  if (payload === undefined) return rest;
  const format = payload.format as PayloadFormat;
  const bytes = new Uint8Array(Buffer.from(payload.base64, "base64"));
  return { ...rest, payload: Payload.fromStored(format, bytes) };
}
