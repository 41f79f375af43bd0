/**
 * Messages by their id, in the writer thread. There is no index of ids, since it would cost every message
 * (docs/decisions/0004): rows are gone through in the order in which they lie, and told apart by the first
 * bytes of their records, which SQLite does by itself.
 */
import type { Database, Statement } from "bun:sqlite";
import { quoted } from "../../quoted.ts";
import type { Read } from "./exchange.ts";
import { ID, SEQUENCE_BITS, SEQUENCE_MASK } from "./lanes.ts";

/** Rows that one look goes through: commits that come meanwhile wait for it. */
export const NAMED_AT_ONCE = 4096;

const PLACE = `id >> ${SEQUENCE_BITS} AS lane, id & ${SEQUENCE_MASK} AS sequence`;
const AFTER = `id > ${ID("?1", "?2")}`;

/** How far a look has come; null when there was nothing to look at. */
type Extent = readonly [lane: number | null, sequence: number | null, rows: number];

interface Table {
  readonly extent: Statement;
  readonly row: Statement;
}

export class NamedRows {
  readonly #tables: Readonly<Record<"messages" | "acked", Table>>;

  constructor(database: Database) {
    const tableOf = (name: string, times: string): Table => ({
      extent: database.prepare(
        `SELECT max(id) >> ${SEQUENCE_BITS}, max(id) & ${SEQUENCE_MASK}, count(*) FROM (SELECT id
         FROM ${name} WHERE ${AFTER} AND id < ${ID("(?3 + 1)", "0")} ORDER BY id LIMIT ?4)`,
      ),
      row: database.prepare(
        `SELECT ${PLACE}, attempts, ${times}, record FROM ${name} WHERE ${AFTER}
         AND id <= ${ID("?3", "?4")} AND substr(record, 1, length(?5)) = ?5 ORDER BY id LIMIT 1`,
      ),
    });
    this.#tables = {
      messages: tableOf("messages", "due_at, expires_at"),
      acked: tableOf("acked", "acked_at, NULL"),
    };
  }

  /** The first such row among those that one look goes through, whether these are all, and the last of them. */
  look({ table, id, lane, after, lastLane }: Extract<Read, { kind: "named" }>): {
    readonly values: readonly unknown[] | undefined;
    readonly complete: boolean;
    readonly reached: { readonly lane: number; readonly after: number } | undefined;
  } {
    const { extent, row } = this.#tables[table];
    const [found] = extent.values(lane, after, lastLane, NAMED_AT_ONCE) as unknown as Extent[];
    const [toLane, to, rows] = found ?? [null, null, 0];
    if (toLane === null || to === null) {
      return { values: undefined, complete: true, reached: undefined };
    }
    // As `encodeRecord` begins a record.
    const start = Buffer.from(`{"id":${quoted(id)},`);
    const [values] = row.values(lane, after, toLane, to, start) as unknown[][];
    return { values, complete: rows < NAMED_AT_ONCE, reached: { lane: toLane, after: to } };
  }
}
