/** The table of small records, in the writer thread. */
import type { Database, Statement } from "bun:sqlite";
import type { RecordRow } from "./exchange.ts";

export class RecordTable {
  readonly #put: Statement;
  readonly #remove: Statement;
  readonly #all: Statement<RecordRow, []>;

  constructor(database: Database) {
    this.#put = database.prepare(
      `INSERT INTO records (collection, key, value) VALUES (?1, ?2, ?3)
       ON CONFLICT (collection, key) DO UPDATE SET value = excluded.value`,
    );
    this.#remove = database.prepare("DELETE FROM records WHERE collection = ?1 AND key = ?2");
    this.#all = database.query("SELECT collection, key, value FROM records ORDER BY number");
  }

  write(rows: readonly RecordRow[]): void {
    for (const { collection, key, value } of rows) {
      if (value === null) this.#remove.run(collection, key);
      else this.#put.run(collection, key, value);
    }
  }

  /** In the order of their first writing. */
  all(): RecordRow[] {
    return this.#all.all();
  }
}
