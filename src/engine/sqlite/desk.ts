/** What the writer thread does with a request, whatever way it came: one answer each, never a throw. */
import { AckedTable } from "./acked-table.ts";
import { AuditTable } from "./audit-table.ts";
import { type Durability, explain, type OpenDatabase } from "./database.ts";
import type { WriterFault, WriterReply, WriterRequest } from "./exchange.ts";
import { checkpoint, closeKeeping, countOpening, openKeeping } from "./keeping.ts";
import { RowReader } from "./reader.ts";
import { RecordTable } from "./record-table.ts";
import { ScheduledTable } from "./scheduled-table.ts";
import { Store } from "./store.ts";
import { TopicReader } from "./topic-reader.ts";
import { TopicTable } from "./topic-table.ts";

type Open = (dataDir: string, durability: Durability) => OpenDatabase;

/** The parts that work on the open database. */
interface House {
  readonly database: OpenDatabase;
  readonly store: Store;
  readonly reader: RowReader;
  readonly records: RecordTable;
  readonly audit: AuditTable;
  readonly topics: TopicTable;
  readonly topicReader: TopicReader;
}

export class StoreDesk {
  closed = false;
  readonly #open: Open;
  #dataDir = "";
  #house: House | undefined;
  /** The last commit that failed, and its era: later batches of that era were built upon it. */
  #failed: { readonly era: number; readonly fault: WriterFault } | undefined;

  constructor(open: Open) {
    this.#open = open;
  }

  answer(request: WriterRequest): WriterReply {
    const era = request.kind === "batch" ? request.era : undefined;
    if (era !== undefined && this.#failed?.era === era) {
      return { kind: "failed", fault: this.#failed.fault };
    }
    try {
      return this.#handle(request);
    } catch (error) {
      const { message, advice, lasting } = explain(error, this.#dataDir);
      const fault = { reason: message, advice, lasting };
      if (era !== undefined) this.#failed = { era, fault };
      return { kind: "failed", fault };
    }
  }

  #handle(request: WriterRequest): WriterReply {
    switch (request.kind) {
      case "open":
        this.#dataDir = request.dataDir;
        this.#house = furnish(this.#open(request.dataDir, request.durability));
        return recovered(this.#house);
      case "batch": {
        const { database, store } = this.#opened();
        database.assertInPlace();
        return {
          kind: "committed",
          result: store.apply(request.buffer, request.bytes, request.now),
        };
      }
      case "read": {
        const { reader } = this.#opened();
        const { rows, complete, reached } = reader.read(request.read, request.buffer);
        return { kind: "rows", buffer: rows.take(), bytes: rows.bytes, complete, reached };
      }
      case "audit":
        return { kind: "audit", rows: this.#opened().audit.read(request.read) };
      case "kept":
        return {
          kind: "kept",
          answer: this.#opened().topicReader.read(request.read, request.buffer),
        };
      case "close":
        this.closed = true;
        if (this.#house !== undefined) {
          closeKeeping(this.#house.database.database);
          checkpoint(this.#house.database.database);
          this.#house.database.close();
        }
        return { kind: "closed" };
    }
  }

  #opened(): House {
    if (this.#house === undefined) throw new Error("the store is not open");
    return this.#house;
  }
}

function furnish(open: OpenDatabase): House {
  const { database } = open;
  const records = new RecordTable(database);
  const audit = new AuditTable(database);
  const acked = new AckedTable(database);
  const topics = new TopicTable(database);
  const scheduled = new ScheduledTable(database);
  const store = new Store(database, { records, audit, acked, scheduled, topics });
  const reader = new RowReader(database, acked);
  const topicReader = new TopicReader(database, topics);
  return { database: open, store, reader, records, audit, topics, topicReader };
}

function recovered({ database, reader, records, topics }: House): WriterReply {
  const openings = countOpening(database.database);
  const name = openKeeping(database.database, database.inode);
  topics.prepare();
  // Now that something was written, all of its files are there.
  database.assertInPlace();
  return {
    kind: "opened",
    queues: reader.states(),
    records: records.all(),
    openings,
    kept: { store: name, totals: topics.totals, channels: topics.channels.all },
  };
}
