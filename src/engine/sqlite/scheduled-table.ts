/**
 * Scheduled messages in the writer thread: rows that carry the key of their message for as long as they
 * wait for their first due time, and their changes [P-5.13].
 */
import type { Database, Statement } from "bun:sqlite";
import { Payload, type PayloadFormat } from "../../payload.ts";
import { expiresAtOf, storedSettings } from "../rules.ts";
import { changedMessage, expiresTooEarly, type ScheduleChange } from "../schedule.ts";
import type { PackedScheduleChange, Reschedule, Rescheduled, ScheduledCopy } from "./exchange.ts";
import { ID, queueNumberOf, SEQUENCE_BITS, SEQUENCE_MASK } from "./lanes.ts";
import { decodeRecord, encodeRecord } from "./record.ts";

interface Found {
  readonly lane: number;
  readonly sequence: number;
  readonly dueAt: number;
  readonly record: Uint8Array;
}

/** How a row will look. */
interface Changed extends ScheduledCopy {
  readonly expiresAt: number | null;
  readonly record: Buffer;
}

export class ScheduledTable {
  readonly #mark: Statement;
  readonly #release: Statement;
  readonly #find: Statement<Found, [string, number]>;
  readonly #update: Statement;
  readonly #delete: Statement;
  readonly #settings: Statement<{ settings: string }, [number]>;

  constructor(database: Database) {
    const prepare = (text: string) => database.prepare(text);
    const atPlace = `WHERE id = ${ID("?1", "?2")}`;
    this.#mark = prepare(`UPDATE messages SET scheduled = ?3 ${atPlace}`);
    this.#release = prepare(
      `UPDATE messages SET due_at = NULL, scheduled = NULL ${atPlace} AND due_at <= ?3`,
    );
    this.#find = database.query(
      `SELECT id >> ${SEQUENCE_BITS} AS lane, id & ${SEQUENCE_MASK} AS sequence, due_at AS dueAt, record
       FROM messages WHERE scheduled = ?1 ORDER BY id LIMIT ?2`,
    );
    this.#update = prepare(
      `UPDATE messages SET due_at = ?3, expires_at = ?4, record = ?5 ${atPlace}`,
    );
    this.#delete = prepare(`DELETE FROM messages ${atPlace}`);
    this.#settings = database.query("SELECT settings FROM queues WHERE number = ?1");
  }

  /** The row waits for its first due time; nothing where there is no such row. */
  mark(lane: number, sequence: number, key: string): void {
    this.#mark.run(lane, sequence, key);
  }

  /** The row waits no longer, if its time has come by `dueAt`: it may wait for a later one by now. */
  release(lane: number, sequence: number, dueAt: number): boolean {
    return this.#release.run(lane, sequence, dueAt).changes > 0;
  }

  /** `count` is told how the messages and bytes of a lane's queue change. */
  change(
    { reschedule: key, change, only, limit, dryRun }: Reschedule,
    count: (lane: number, messages: number, bytes: number) => void,
  ): Rescheduled {
    const meant = only === null ? undefined : new Set(only);
    const rows = this.#find
      .all(key, limit + 1)
      .filter(({ lane, sequence }) => meant?.has(`${lane}.${sequence}`) ?? true);
    if (rows.length > limit) return answer([], "too many");
    if (change === null) {
      const gone = rows.map(({ lane, sequence, dueAt, record }) => {
        this.#delete.run(lane, sequence);
        count(lane, -1, -record.length);
        return { lane, sequence, dueAt, growth: -record.length };
      });
      return answer(gone);
    }
    const unpacked = unpackedChange(change);
    const copies: Changed[] = [];
    for (const row of rows) {
      const changed = this.#changed(row, unpacked);
      if (changed === undefined) return answer([], "too early");
      copies.push(changed);
    }
    if (!dryRun) {
      for (const { lane, sequence, dueAt, expiresAt, record, growth } of copies) {
        this.#update.run(lane, sequence, dueAt, expiresAt, record);
        count(lane, 0, growth);
      }
    }
    const expiries = copies.map(({ expiresAt }) => expiresAt ?? Number.POSITIVE_INFINITY);
    return answer(
      copies.map(({ lane, sequence, dueAt, growth }) => ({ lane, sequence, dueAt, growth })),
      null,
      Math.min(...expiries),
    );
  }

  /** Undefined: it would expire before it is due. */
  #changed(row: Found, change: ScheduleChange): Changed | undefined {
    const { lane, sequence } = row;
    const before = Buffer.from(row.record.buffer, row.record.byteOffset, row.record.length);
    const { message, enteredAt } = decodeRecord(before);
    const changed = changedMessage(message, change);
    const dueAt = change.dueAt ?? row.dueAt;
    if (expiresTooEarly(changed, dueAt)) return undefined;
    const { header, payload } = encodeRecord(changed, enteredAt, undefined);
    const record = Buffer.concat([Buffer.from(header), Buffer.from(payload as Uint8Array)]);
    const { settings = "{}" } = this.#settings.get(queueNumberOf(lane)) ?? {};
    // As `SqliteQueue.times` has it.
    const ends = expiresAtOf(changed, storedSettings(settings), enteredAt);
    const expiresAt = ends < dueAt ? ends : (changed.expiresAt ?? null);
    return { lane, sequence, dueAt, expiresAt, record, growth: record.length - before.length };
  }
}

function answer(
  copies: readonly ScheduledCopy[],
  refused: Rescheduled["refused"] = null,
  ownExpiry = Number.POSITIVE_INFINITY,
): Rescheduled {
  const earliest = Number.isFinite(ownExpiry) ? ownExpiry : null;
  return { kind: "rescheduled", copies, refused, ownExpiry: earliest };
}

function unpackedChange({ payload, ...rest }: PackedScheduleChange): ScheduleChange {
  if (payload === undefined) return rest;
  const bytes = new Uint8Array(Buffer.from(payload.base64, "base64"));
  return { ...rest, payload: Payload.fromStored(payload.format as PayloadFormat, bytes) };
}
