/**
 * New rows of a batch in the writer thread: neighbours, which nearly all are, go several in one statement,
 * since half of what a row costs is the call.
 */
import type { Database, Statement } from "bun:sqlite";
import { ID } from "./lanes.ts";

/** Rows of one statement. */
const TOGETHER = 32;

export class Inserts {
  readonly #one: Statement;
  readonly #several: Statement;
  /** Lane, first sequence, and the records of the rows that wait to go together. */
  readonly #values: (number | Uint8Array)[] = [0, 0];

  constructor(database: Database) {
    const place = ID("?1", "?2");
    const rows = Array.from({ length: TOGETHER }, (_, row) => `(${place} + ${row}, ?${row + 3})`);
    this.#one = database.prepare(`INSERT INTO messages (id, record) VALUES (${place}, ?3)`);
    this.#several = database.prepare(`INSERT INTO messages (id, record) VALUES ${rows.join(", ")}`);
  }

  /** To be written at the latest by `flush`; the record is not copied. */
  add(lane: number, sequence: number, record: Uint8Array): void {
    const values = this.#values;
    const waiting = values.length - 2;
    if (waiting > 0 && (values[0] !== lane || values[1] !== sequence - waiting)) this.flush();
    if (values.length === 2) {
      values[0] = lane;
      values[1] = sequence;
    }
    values.push(record);
    if (values.length < 2 + TOGETHER) return;
    this.#several.run(...values);
    values.length = 2;
  }

  /** Before anything that may look for what was added. */
  flush(): void {
    const values = this.#values;
    if (values.length === 2) return;
    const [lane, first, ...records] = values as [number, number, ...Uint8Array[]];
    values.length = 2;
    for (const [row, record] of records.entries()) this.#one.run(lane, first + row, record);
  }

  /** What was added and not written is forgotten with its transaction. */
  clear(): void {
    this.#values.length = 2;
  }
}
