/** The table of acked messages that queues keep, in the writer thread [P-5.15]. */
import type { Database, Statement } from "bun:sqlite";
import type { AckedTotals, Control, Trimmed } from "./exchange.ts";
import { ID, QUEUE_LANES, SEQUENCE_MASK } from "./lanes.ts";

const OF_QUEUE = `id >= ${ID("?1", "0")} AND id < ${ID("(?1 + 1)", "0")}`;

interface Kept {
  messages: number;
  bytes: number;
}

export class AckedTable {
  /** By queue, what the transaction under way has kept and not counted yet. */
  readonly #changes = new Map<number, Kept>();
  readonly #keep: Statement;
  readonly #count: Statement;
  readonly #kept: Statement<Kept, [number]>;
  readonly #recount: Statement;
  readonly #oldest: Statement<{ at: number }, [number]>;
  readonly #first: Statement<{ sequence: number; at: number; bytes: number }, [number, number]>;
  readonly #remove: Statement;

  constructor(database: Database) {
    const prepare = (text: string) => database.prepare(text);
    this.#keep = prepare(
      `INSERT INTO acked (id, attempts, acked_at, record)
       SELECT coalesce((SELECT id FROM acked WHERE id >= ${ID("?3", "0")}
           AND id < ${ID("(?3 + 1)", "0")} ORDER BY id DESC LIMIT 1), ${ID("?3", "0")}) + 1,
         attempts, ?4, record FROM messages WHERE id = ${ID("?1", "?2")}`,
    );
    this.#count = prepare(
      `UPDATE queues SET acked_messages = acked_messages + ?2, acked_bytes = acked_bytes + ?3
       WHERE number = ?1`,
    );
    this.#kept = database.query(
      "SELECT acked_messages AS messages, acked_bytes AS bytes FROM queues WHERE number = ?1",
    );
    this.#recount = prepare(
      `UPDATE queues SET (acked_messages, acked_bytes) =
         (SELECT count(*), coalesce(sum(length(record)), 0) FROM acked WHERE ${OF_QUEUE})
       WHERE number = ?1 / ${QUEUE_LANES}`,
    );
    this.#oldest = database.query(
      `SELECT acked_at AS at FROM acked WHERE ${OF_QUEUE} ORDER BY id LIMIT 1`,
    );
    this.#first = database.query(
      `SELECT id & ${SEQUENCE_MASK} AS sequence, acked_at AS at, length(record) AS bytes
       FROM acked WHERE ${OF_QUEUE} ORDER BY id LIMIT ?2`,
    );
    this.#remove = prepare(
      `DELETE FROM acked WHERE id >= ${ID("?1", "0")} AND id <= ${ID("?1", "?2")}`,
    );
  }

  /** Copies the message's row, of so many bytes; its own goes by another operation. */
  keep(lane: number, sequence: number, bytes: number, ackedAt: number): void {
    const first = lane - (lane % QUEUE_LANES);
    this.#keep.run(lane, sequence, first, ackedAt);
    const queueNumber = first / QUEUE_LANES;
    const change = this.#changes.get(queueNumber);
    if (change === undefined) {
      this.#changes.set(queueNumber, { messages: 1, bytes });
    } else {
      change.messages++;
      change.bytes += bytes;
    }
  }

  /** A transaction begins. */
  begin(): void {
    this.#changes.clear();
  }

  /** Writes the totals of what was kept since it began. */
  countAll(): void {
    for (const [queueNumber, { messages, bytes }] of this.#changes) {
      this.#count.run(queueNumber, messages, bytes);
    }
    this.#changes.clear();
  }

  recount(queueNumber: number): void {
    this.#recount.run(queueNumber * QUEUE_LANES);
  }

  totals(queueNumber: number): AckedTotals {
    const { messages, bytes } = this.#kept.get(queueNumber) ?? { messages: 0, bytes: 0 };
    if (messages === 0) return { messages, bytes, oldestAt: null };
    const oldestAt = this.#oldest.get(queueNumber * QUEUE_LANES)?.at ?? null;
    return { messages, bytes, oldestAt };
  }

  trim(control: Extract<Control, { trimAcked: number }>): Trimmed {
    const { trimAcked: queueNumber, before, maxBytes, limit } = control;
    const lane = queueNumber * QUEUE_LANES;
    this.countAll();
    let over = this.totals(queueNumber).bytes - maxBytes;
    let went = 0;
    let bytes = 0;
    let last = 0;
    for (const row of this.#first.all(lane, limit)) {
      if (row.at > before && over <= 0) break;
      went++;
      bytes += row.bytes;
      over -= row.bytes;
      last = row.sequence;
    }
    if (went > 0) {
      this.#remove.run(lane, last);
      this.#count.run(queueNumber, -went, -bytes);
    }
    return { kind: "trimmed", went, ...this.totals(queueNumber) };
  }
}
