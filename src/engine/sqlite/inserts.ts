/**
 * New rows of a batch in the writer thread: neighbours, which nearly all are, go several in one statement,
 * since half of what a row costs is the call.
 */
import type { Database, Statement } from "bun:sqlite";
import { ID } from "./lanes.ts";

/** Rows of one statement. */
const TOGETHER = 32;

type Value = number | string | Uint8Array;

/** Rows that have values in these columns beside their place. */
export class Inserts {
  readonly #columns: number;
  readonly #one: Statement;
  readonly #several: Statement;
  /** Lane, first sequence, and the values of the rows that wait to go together. */
  readonly #values: Value[] = [0, 0];

  constructor(database: Database, columns: readonly string[]) {
    this.#columns = columns.length;
    const place = ID("?1", "?2");
    const valuesOf = (row: number) => columns.map((_, at) => `?${3 + row * columns.length + at}`);
    const insert = (rows: number) => {
      const texts = Array.from(
        { length: rows },
        (_, row) => `(${place} + ${row}, ${valuesOf(row)})`,
      );
      return database.prepare(`INSERT INTO messages (id, ${columns}) VALUES ${texts}`);
    };
    this.#one = insert(1);
    this.#several = insert(TOGETHER);
  }

  /** To be written at the latest by `flush`; a value that is bytes is not copied. */
  add(lane: number, sequence: number, ...row: Value[]): void {
    const values = this.#values;
    const waiting = this.#waiting;
    if (waiting > 0 && (values[0] !== lane || values[1] !== sequence - waiting)) this.flush();
    if (values.length === 2) {
      values[0] = lane;
      values[1] = sequence;
    }
    values.push(...row);
    if (this.#waiting < TOGETHER) return;
    this.#several.run(...values);
    values.length = 2;
  }

  get #waiting(): number {
    return (this.#values.length - 2) / this.#columns;
  }

  /** Before anything that may look for what was added. */
  flush(): void {
    const values = this.#values;
    if (values.length === 2) return;
    const [lane, first] = values as [number, number];
    const rows = values.splice(2);
    for (let at = 0; at < rows.length; at += this.#columns) {
      const sequence = first + at / this.#columns;
      this.#one.run(lane, sequence, ...rows.slice(at, at + this.#columns));
    }
  }

  /** What was added and not written is forgotten with its transaction. */
  clear(): void {
    this.#values.length = 2;
  }
}
