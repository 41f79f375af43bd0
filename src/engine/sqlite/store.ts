/**
 * What happens in the writer thread: a batch becomes one transaction, a read becomes packed rows. It
 * knows rows and lanes, nothing of consumers or credit.
 */
import type { Database, Statement } from "bun:sqlite";
import { eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import type { AckedTable } from "./acked-table.ts";
import type { AuditTable } from "./audit-table.ts";
import { BatchReader, OPERATION } from "./batch.ts";
import type { BatchResult, Control, ControlAnswer, Purged, Recounted } from "./exchange.ts";
import { Inserts } from "./inserts.ts";
import { ID, QUEUE_LANES, SEQUENCE_MASK } from "./lanes.ts";
import { Mover } from "./mover.ts";
import type { RecordTable } from "./record-table.ts";
import type { ScheduledTable } from "./scheduled-table.ts";
import { queues } from "./schema.ts";
import type { RefusedTopic } from "./topic-exchange.ts";
import { TopicRoom } from "./topic-room.ts";
import type { TopicTable } from "./topic-table.ts";

interface Totals {
  messages: number;
  bytes: number;
}

/** What is found out while a batch is applied. */
interface Findings {
  /** The indexes of the conditional operations that changed nothing. */
  readonly without: number[];
  readonly answers: ControlAnswer[];
  readonly refused: RefusedTopic[];
}

/** What the store writes beside messages. */
export interface Tables {
  readonly records: RecordTable;
  readonly audit: AuditTable;
  readonly acked: AckedTable;
  readonly scheduled: ScheduledTable;
  readonly topics: TopicTable;
}

/** What looks at no row that this batch has written: messages are acked after the commit that stored them. */
const GO_BESIDE_INSERTS: ReadonlySet<number> = new Set([
  OPERATION.insert,
  OPERATION.insertOrdered,
  OPERATION.dedupe,
  OPERATION.delete,
  OPERATION.topic,
  OPERATION.admit,
]);

export class Store {
  readonly #database: Database;
  readonly #orm;
  readonly #records: RecordTable;
  readonly #audit: AuditTable;
  readonly #acked: AckedTable;
  readonly #scheduled: ScheduledTable;
  readonly #topics: TopicTable;
  readonly #topicRoom: TopicRoom;
  readonly #mover: Mover;
  readonly #inserts: Inserts;
  readonly #ordered: Inserts;
  readonly #insertFull: Statement;
  readonly #update: Statement;
  readonly #delete: Statement;
  readonly #order: Statement;
  readonly #isRecent: Statement;
  readonly #dedupe: Statement;
  readonly #forget: Statement;
  readonly #addTotals: Statement;
  readonly #begin: Statement;
  readonly #commit: Statement;
  /** What the transaction under way changes in each queue's totals. */
  readonly #totals = new Map<number, Totals>();
  /** What it deletes, by lane: done at its end, sorted, so that neighbours go in one statement. */
  readonly #deletes = new Map<number, number[]>();
  /** Queues whose totals cannot be had by adding up what it changes. */
  readonly #miscounted = new Set<number>();

  constructor(database: Database, { records, audit, acked, scheduled, topics }: Tables) {
    this.#database = database;
    this.#topics = topics;
    this.#topicRoom = new TopicRoom(topics, (id, now) => !this.#isNew(id, null, now));
    this.#scheduled = scheduled;
    this.#records = records;
    this.#audit = audit;
    this.#acked = acked;
    this.#mover = new Mover(database, records);
    this.#orm = drizzle({ client: database });
    const prepare = (text: string) => database.prepare(text);
    this.#inserts = new Inserts(database, ["record"]);
    this.#ordered = new Inserts(database, ["ordering", "record"]);
    this.#insertFull = prepare(
      `INSERT INTO messages (id, attempts, due_at, expires_at, record)
       VALUES (${ID("?1", "?2")}, ?3, ?4, ?5, ?6)`,
    );
    this.#update = prepare(
      `UPDATE messages SET attempts = ?3, due_at = ?4, expires_at = ?5
       WHERE id = ${ID("?1", "?2")}`,
    );
    this.#delete = prepare(
      `DELETE FROM messages WHERE id BETWEEN ${ID("?1", "?2")} AND ${ID("?1", "?3")}`,
    );
    this.#order = prepare(`UPDATE messages SET ordering = ?3 WHERE id = ${ID("?1", "?2")}`);
    this.#isRecent = prepare("SELECT 1 FROM recent_ids WHERE key = ?1 AND expires_at > ?2");
    this.#dedupe = prepare(
      `INSERT INTO recent_ids (key, expires_at) VALUES (?1, ?2) ON CONFLICT (key)
       DO UPDATE SET expires_at = excluded.expires_at WHERE recent_ids.expires_at <= ?3`,
    );
    this.#forget = prepare("DELETE FROM recent_ids WHERE expires_at <= ?1 LIMIT ?2");
    this.#addTotals = prepare(
      "UPDATE queues SET messages = messages + ?2, bytes = bytes + ?3 WHERE number = ?1",
    );
    this.#begin = prepare("BEGIN IMMEDIATE");
    this.#commit = prepare("COMMIT");
  }

  /** Applies a batch in one transaction, all or nothing; when this returns, it is durable. */
  apply(buffer: SharedArrayBuffer, end: number, now: number): BatchResult {
    const without: number[] = [];
    const answers: ControlAnswer[] = [];
    const refused: RefusedTopic[] = [];
    this.#totals.clear();
    this.#deletes.clear();
    this.#miscounted.clear();
    this.#inserts.clear();
    this.#ordered.clear();
    this.#acked.begin();
    this.#topics.begin();
    this.#begin.run();
    try {
      this.#applyAll(new BatchReader(buffer, end), now, { without, answers, refused });
      this.#insertAll();
      this.#deleteAll();
      this.#acked.countAll();
      for (const [number, { messages, bytes }] of this.#totals) {
        this.#addTotals.run(number, messages, bytes);
      }
      const recounted = [...this.#miscounted].map((number) => this.#recount(number));
      const kept = this.#topics.finish(now);
      this.#commit.run();
      const result = { void: without, answers, recounted };
      if (kept === undefined && refused.length === 0) return result;
      return { ...result, ...(kept && { kept }), ...(refused.length > 0 && { refused }) };
    } catch (error) {
      this.#topics.rolledBack();
      // Some errors have rolled back already; a second rollback then only says so.
      if (this.#database.inTransaction) this.#database.run("ROLLBACK");
      throw error;
    }
  }

  #applyAll(batch: BatchReader, now: number, { without, answers, refused }: Findings): void {
    let conditional = 0;
    let questions = 0;
    let skipped = 0;
    while (!batch.done) {
      const kind = batch.u8();
      if (!GO_BESIDE_INSERTS.has(kind)) this.#insertAll();
      switch (kind) {
        case OPERATION.dedupe: {
          const expiresAt = batch.time();
          const guarded = batch.u32();
          if (!this.#isNew(batch.text(), expiresAt, now)) {
            without.push(conditional);
            // Its inserts are read past.
            skipped = guarded;
          }
          conditional++;
          break;
        }
        case OPERATION.bury:
          if (!this.#bury(batch.u32(), batch.f64(), batch.u32())) {
            without.push(conditional);
            skipped = 1;
          }
          conditional++;
          break;
        case OPERATION.release:
          if (!this.#scheduled.release(batch.u32(), batch.f64(), batch.f64())) {
            without.push(conditional);
          }
          conditional++;
          break;
        case OPERATION.schedule:
          this.#scheduled.mark(batch.u32(), batch.f64(), batch.text());
          break;
        case OPERATION.order:
          this.#order.run(batch.u32(), batch.f64(), batch.text());
          break;
        case OPERATION.topic:
          this.#topics.enter(batch, skipped > 0);
          if (skipped > 0) skipped--;
          break;
        case OPERATION.admit:
          conditional += this.#skipIfFull(batch, now, questions++, refused);
          break;
        case OPERATION.control:
          this.#control(JSON.parse(batch.text()) as Control, answers, now);
          break;
        default:
          this.#row(kind, batch, skipped > 0);
          if (skipped > 0) skipped--;
      }
    }
  }

  /** Reads past what is guarded where there is no room; returns how many conditional operations that were. */
  #skipIfFull(batch: BatchReader, now: number, question: number, refused: RefusedTopic[]): number {
    const [bytes, conditional] = [batch.u32(), batch.u32()];
    const refusal = this.#topicRoom.refusal(batch, now);
    if (refusal === undefined) return 0;
    refused.push({ question, ...refusal });
    batch.skip(bytes);
    return conditional;
  }

  /** Whether the id was not seen; with `expiresAt` it has been from now on. */
  #isNew(key: string, expiresAt: number | null, now: number): boolean {
    if (expiresAt === null) return this.#isRecent.get(key, now) === null;
    return this.#dedupe.run(key, expiresAt, now).changes > 0;
  }

  /** Whether the message was there still. */
  #bury(lane: number, sequence: number, bytes: number): boolean {
    // What this very batch deletes is deleted at its end only.
    if (this.#deletes.get(lane)?.includes(sequence)) return false;
    if (this.#delete.run(lane, sequence, sequence).changes === 0) return false;
    this.#count(lane, -1, -bytes);
    return true;
  }

  #row(kind: number, batch: BatchReader, skip: boolean): void {
    const lane = batch.u32();
    const sequence = batch.f64();
    switch (kind) {
      case OPERATION.insert: {
        const record = batch.blob();
        if (skip) return;
        this.#inserts.add(lane, sequence, record);
        this.#count(lane, 1, record.length);
        return;
      }
      case OPERATION.insertOrdered: {
        const ordering = batch.text();
        const record = batch.blob();
        if (skip) return;
        this.#ordered.add(lane, sequence, ordering, record);
        this.#count(lane, 1, record.length);
        return;
      }
      case OPERATION.insertFull: {
        const times = [batch.u32(), batch.time(), batch.time()] as const;
        const record = batch.blob();
        if (skip) return;
        this.#insertFull.run(lane, sequence, ...times, record);
        this.#count(lane, 1, record.length);
        return;
      }
      case OPERATION.update:
        this.#update.run(lane, sequence, batch.u32(), batch.time(), batch.time());
        return;
      case OPERATION.keep: {
        const bytes = batch.u32();
        this.#acked.keep(lane, sequence, bytes, batch.f64());
        this.#deleteLater(lane, sequence);
        this.#count(lane, -1, -bytes);
        return;
      }
      case OPERATION.delete:
        this.#deleteLater(lane, sequence);
        this.#count(lane, -1, -batch.u32());
        return;
      default:
        throw new Error(`no operation ${kind}`);
    }
  }

  #insertAll(): void {
    this.#inserts.flush();
    this.#ordered.flush();
  }

  #deleteLater(lane: number, sequence: number): void {
    const sequences = this.#deletes.get(lane);
    if (sequences === undefined) this.#deletes.set(lane, [sequence]);
    else sequences.push(sequence);
  }

  #count(lane: number, messages: number, bytes: number): void {
    const number = Math.floor(lane / QUEUE_LANES);
    const totals = this.#totals.get(number);
    if (totals === undefined) {
      this.#totals.set(number, { messages, bytes });
    } else {
      totals.messages += messages;
      totals.bytes += bytes;
    }
  }

  #deleteAll(): void {
    for (const [lane, sequences] of this.#deletes) {
      const sorted = Float64Array.from(sequences).sort();
      let start = 0;
      for (let i = 1; i <= sorted.length; i++) {
        if (i < sorted.length && sorted[i] === sorted[i - 1]! + 1) continue;
        const { changes } = this.#delete.run(lane, sorted[start]!, sorted[i - 1]!);
        // Gone already: a commit whose answer was lost with the thread that made it.
        if (changes < i - start) this.#miscounted.add(Math.floor(lane / QUEUE_LANES));
        start = i;
      }
    }
  }

  #recount(number: number): Recounted {
    const of = `FROM messages WHERE id >= ${ID("?2", "0")} AND id < ${ID("?3", "0")}`;
    const lanes = [number, number * QUEUE_LANES, (number + 1) * QUEUE_LANES];
    this.#acked.recount(number);
    const recounted = this.#database
      .query<Omit<Recounted, "acked">, number[]>(
        `UPDATE queues SET (messages, bytes) =
           (SELECT count(*), coalesce(sum(length(record)), 0) ${of})
         WHERE number = ?1 RETURNING number, messages, bytes,
           (SELECT count(due_at) ${of}) AS delayed`,
      )
      .get(...lanes) as Recounted;
    return { ...recounted, acked: this.#acked.totals(number) };
  }

  #control(control: Control, answers: ControlAnswer[], now: number): void {
    if ("define" in control) {
      for (const row of control.define) {
        const { number: _number, ...changes } = row;
        this.#orm
          .insert(queues)
          .values(row)
          .onConflictDoUpdate({ target: queues.number, set: changes })
          .run();
      }
    } else if ("remove" in control) {
      for (const number of control.remove) {
        this.#orm.delete(queues).where(eq(queues.number, number)).run();
      }
    } else if ("purge" in control) {
      answers.push(this.#purge(control));
    } else if ("move" in control) {
      // It must not see what this batch has deleted already.
      this.#deleteAll();
      this.#deletes.clear();
      const count = this.#count.bind(this);
      answers.push(this.#mover.move(control.move, now, count));
    } else if ("reschedule" in control) {
      answers.push(this.#scheduled.change(control, this.#count.bind(this)));
    } else if ("trimTopics" in control) {
      answers.push(this.#topics.trim(control, now));
    } else if ("trimAcked" in control) {
      answers.push(this.#acked.trim(control));
    } else if ("records" in control) {
      this.#records.write(control.records);
    } else if ("audit" in control) {
      this.#audit.write(control.audit, control.limit);
    } else if ("forgetIdsBefore" in control) {
      const { forgetIdsBefore, limit } = control;
      const { changes: went } = this.#forget.run(forgetIdsBefore, limit);
      answers.push({ kind: "forgotten", went });
    } else {
      this.#database.run(
        "INSERT INTO health (id, probed_at) VALUES (1, ?1) ON CONFLICT DO UPDATE SET probed_at = ?1",
        [control.probe],
      );
    }
  }

  #purge({ purge, below, keep, limit }: Extract<Control, { purge: number }>): Purged {
    const lane = purge * QUEUE_LANES;
    const rows = this.#database
      .query<{ bytes: number; delayed: number }, (number | string)[]>(
        `DELETE FROM messages WHERE id IN (
           SELECT id FROM messages WHERE id >= ${ID("?1", "0")} AND id < ${ID("?2", "0")}
           AND (id & ${SEQUENCE_MASK}) < ?3 AND id NOT IN (SELECT value FROM json_each(?4)) LIMIT ?5)
         RETURNING length(record) AS bytes, due_at IS NOT NULL AS delayed`,
      )
      .all(lane, lane + QUEUE_LANES, below, `[${keep.join(",")}]`, limit);
    let bytes = 0;
    let delayed = 0;
    for (const row of rows) {
      bytes += row.bytes;
      delayed += row.delayed;
    }
    this.#count(lane, -rows.length, -bytes);
    return { kind: "purged", messages: rows.length, delayed, bytes };
  }
}
