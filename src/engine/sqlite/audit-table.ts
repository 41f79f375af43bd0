/** The table of the audit trail, in the writer thread. */
import type { Database, Statement } from "bun:sqlite";
import type { AuditRead, AuditRows } from "./exchange.ts";

export class AuditTable {
  readonly #insert: Statement;
  readonly #trim: Statement;
  readonly #page: Statement;

  constructor(database: Database) {
    this.#insert = database.prepare("INSERT INTO audit (entry) VALUES (?1) RETURNING number");
    this.#trim = database.prepare("DELETE FROM audit WHERE number <= ?1");
    const fits = (field: string, place: number) =>
      `(?${place} IS NULL OR entry ->> '$.${field}' = ?${place})`;
    // Every entry of the stretch comes back, those that do not fit as NULL: so its end is known.
    this.#page = database.prepare(
      `SELECT number, CASE WHEN ${fits("action", 3)} AND ${fits("principal", 4)}
         AND ${fits("on", 5)} AND ${fits("outcome", 6)}
         AND (?7 IS NULL OR entry ->> '$.time' >= ?7) AND (?8 IS NULL OR entry ->> '$.time' <= ?8)
         THEN entry END AS entry
       FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2`,
    );
  }

  /** Keeps `limit` entries, this one among them. */
  write(entry: string, limit: number): void {
    const { number } = this.#insert.get(entry) as { number: number };
    this.#trim.run(number - limit);
  }

  /** The next stretch of entries before `read.before`, those of them that fit. */
  read({ before, stretch, query }: AuditRead): AuditRows {
    const { action, principal, on, outcome, from, to } = query;
    const filters = [action, principal, on, outcome, from, to].map((value) => value ?? null);
    const rows = this.#page.all(before, stretch, ...filters) as {
      number: number;
      entry: string | null;
    }[];
    const found = rows.filter((row): row is AuditRows["found"][number] => row.entry !== null);
    return { found, end: rows.length < stretch ? 0 : rows[rows.length - 1]!.number };
  }
}
