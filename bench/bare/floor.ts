/**
 * floor-full: the least that a durable queue over bun:sqlite can be. WAL with synchronous=FULL on
 * the main thread, one transaction per turn of the event loop for all inserts and deletes, confirms
 * after COMMIT, the ready list in memory. No TTL, timeouts, redelivery or dedupe: a floor, not a
 * product.
 */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { flushPeer, type Peer } from "./peer.ts";
import { ByKey, ByPriority, InOrder, type Ready } from "./ready.ts";

export interface PublishFrame {
  readonly id?: number;
  readonly topic: string;
  readonly payload?: unknown;
  readonly key?: string;
  readonly priority?: number;
  readonly delayMs?: number;
}

/** As much of a queue's definition as it knows; one that names a default priority uses priorities. */
export interface Definition {
  readonly bindings: readonly string[];
  readonly ordering?: string;
  readonly defaultPriority?: number;
}

export interface Row {
  readonly id: number;
  readonly messageId: string;
  readonly payload: string;
  readonly time: number;
  readonly key: string | undefined;
  readonly priority: number | undefined;
  readonly due: number | undefined;
}

interface Insert extends Row {
  readonly peer: Peer;
  readonly confirm: number | undefined;
}

const COLUMNS = "id, topic, message_id, payload, time, key, priority, due";
const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  ${["message", "dead"]
    .map(
      (table) => `CREATE TABLE IF NOT EXISTS ${table} (
        id INTEGER PRIMARY KEY, topic TEXT NOT NULL, message_id TEXT NOT NULL,
        payload TEXT NOT NULL, time INTEGER NOT NULL, key TEXT, priority INTEGER, due INTEGER
      ) STRICT;`,
    )
    .join("\n")}
`;
/** Dead letters that go back in one transaction: as many as with Warren. */
const PAGE = 256;

export class Floor {
  readonly topic: string;
  readonly #name: string;
  readonly #db: Database;
  readonly #insert;
  readonly #insertFull;
  readonly #delete;
  readonly #bury;
  readonly #ready: Ready<Row>;
  /** By the millisecond in which they are due. */
  readonly #due = new Map<number, Row[]>();
  #nextId: number;
  #inserts: Insert[] = [];
  #deletes: number[] = [];
  #buried: number[] = [];
  /** Told after the next commit. */
  #committed: (() => void)[] = [];
  #unsettled = 0;
  #consumers: Peer[] = [];
  #turn = 0;
  #scheduled = false;
  /** Called when something may have become ready. */
  onReady: () => void = () => {};

  constructor(dataDir: string, name: string, definition: Definition) {
    const { bindings, ordering, defaultPriority } = definition;
    this.topic = bindings[0] ?? "";
    this.#name = name;
    this.#ready =
      ordering === "key"
        ? new ByKey()
        : defaultPriority === undefined
          ? new InOrder()
          : new ByPriority();
    this.#db = new Database(join(dataDir, "floor.sqlite"), { create: true, strict: true });
    this.#db.run(SCHEMA);
    this.#insert = this.#db.prepare(
      "INSERT INTO message (id, topic, message_id, payload, time) VALUES (?, ?, ?, ?, ?)",
    );
    this.#insertFull = this.#db.prepare(
      `INSERT INTO message (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#delete = this.#db.prepare("DELETE FROM message WHERE id = ?");
    this.#bury = this.#db.prepare(`INSERT INTO dead SELECT ${COLUMNS} FROM message WHERE id = ?`);
    this.#nextId = this.#read("message") + 1;
  }

  publish(peer: Peer, frame: PublishFrame): void {
    const time = Date.now();
    this.#inserts.push({
      id: this.#nextId++,
      messageId: Bun.randomUUIDv7(),
      payload: JSON.stringify(frame.payload),
      time,
      key: frame.key,
      priority: frame.priority,
      due: frame.delayMs === undefined ? undefined : time + frame.delayMs,
      peer,
      confirm: frame.id,
    });
    this.#schedule();
  }

  consume(peer: Peer, credit: number): void {
    peer.credit = credit;
    this.#consumers.push(peer);
    this.#schedule();
  }

  ack(peer: Peer, tags: readonly number[]): void {
    for (const tag of tags) this.#deletes.push(tag);
    peer.credit += tags.length;
    this.#schedule();
  }

  reject(peer: Peer, tags: readonly number[]): void {
    for (const tag of tags) this.#buried.push(tag);
    this.ack(peer, tags);
  }

  /** One for somebody without a connection. */
  take(): Row | undefined {
    const row = this.#ready.shift();
    if (row !== undefined) this.#unsettled++;
    return row;
  }

  /** Resolves when they are gone from disk. */
  remove(ids: readonly number[]): Promise<void> {
    for (const id of ids) this.#deletes.push(id);
    this.#schedule();
    return new Promise((resolve) => this.#committed.push(resolve));
  }

  /** Moves all dead letters back, a page a transaction; resolves with how many. */
  async redrive(): Promise<number> {
    let moved = 0;
    for (;;) {
      const page = `SELECT id FROM dead ORDER BY id LIMIT ${PAGE}`;
      this.#db.run("BEGIN IMMEDIATE");
      this.#db.run(`INSERT INTO message SELECT ${COLUMNS} FROM dead WHERE id IN (${page})`);
      const { changes } = this.#db.run(`DELETE FROM dead WHERE id IN (${page})`);
      this.#db.run("COMMIT");
      if (changes === 0) break;
      moved += changes;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    this.#read("message");
    return moved;
  }

  leave(peer: Peer): void {
    this.#consumers = this.#consumers.filter((consumer) => consumer !== peer);
  }

  counts() {
    let delayed = 0;
    for (const rows of this.#due.values()) delayed += rows.length;
    return { ready: this.#ready.size, delayed, inFlight: this.#unsettled };
  }

  close(): void {
    if (this.#scheduled) this.#flush();
    this.#db.close();
  }

  /** Makes what is in the table ready; returns the last id. */
  #read(table: string): number {
    const rows = this.#db
      .query<Row, []>(
        `SELECT id, message_id AS messageId, payload, time, key, priority, due FROM ${table}
         ORDER BY id`,
      )
      .all();
    for (const row of rows) this.#ready.push(row);
    return rows.at(-1)?.id ?? 0;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#flush());
  }

  /** What is on disk already leaves first, so that consumers work while the commit runs. */
  #flush(): void {
    this.#scheduled = false;
    this.#dispatch();
    if (this.#inserts.length + this.#deletes.length === 0) return;
    const inserts = this.#inserts;
    const deletes = this.#deletes;
    const committed = this.#committed;
    this.#inserts = [];
    this.#deletes = [];
    this.#committed = [];
    this.#commit(inserts, deletes);
    this.#unsettled -= deletes.length;
    for (const id of deletes) this.#ready.done(id);
    const publishers = new Set<Peer>();
    for (const row of inserts) {
      if (row.due === undefined) this.#ready.push(row);
      else this.#wait(row, row.due);
      if (row.confirm === undefined) continue;
      row.peer.outbox.push(
        `{"type":"ok","id":${row.confirm},"messageId":"${row.messageId}","queues":1}`,
      );
      publishers.add(row.peer);
    }
    for (const peer of publishers) flushPeer(peer);
    for (const tell of committed) tell();
    this.#dispatch();
    this.onReady();
  }

  #wait(row: Row, due: number): void {
    const others = this.#due.get(due);
    if (others !== undefined) {
      others.push(row);
      return;
    }
    this.#due.set(due, [row]);
    setTimeout(() => this.#cameDue(due), Math.max(0, due - Date.now()));
  }

  #cameDue(due: number): void {
    for (const row of this.#due.get(due) ?? []) this.#ready.push(row);
    this.#due.delete(due);
    this.#schedule();
  }

  #commit(inserts: readonly Insert[], deletes: readonly number[]): void {
    this.#db.run("BEGIN IMMEDIATE");
    for (const row of inserts) {
      const { id, messageId, payload, time, key, priority, due } = row;
      if (key === undefined && priority === undefined && due === undefined) {
        this.#insert.run(id, this.topic, messageId, payload, time);
      } else {
        const options = [key ?? null, priority ?? null, due ?? null];
        this.#insertFull.run(id, this.topic, messageId, payload, time, ...options);
      }
    }
    for (const id of this.#buried) this.#bury.run(id);
    this.#buried = [];
    for (const id of deletes) this.#delete.run(id);
    this.#db.run("COMMIT");
  }

  /** Ready messages go to the consumers in turn, as far as their credit reaches. */
  #dispatch(): void {
    let idle = 0;
    while (this.#ready.size > 0 && idle < this.#consumers.length) {
      this.#turn = (this.#turn + 1) % this.#consumers.length;
      const peer = this.#consumers[this.#turn]!;
      if (peer.credit === 0) {
        idle++;
        continue;
      }
      idle = 0;
      peer.credit--;
      this.#unsettled++;
      peer.outbox.push(this.delivery(this.#ready.shift()!));
    }
    for (const peer of this.#consumers) flushPeer(peer);
  }

  delivery(row: Row): string {
    const key = row.key ? `"key":"${row.key}",` : "";
    const priority = row.priority === undefined ? "" : `"priority":${row.priority},`;
    return (
      `{"type":"delivery","queue":"${this.#name}","tag":${row.id},"topic":"${this.topic}",` +
      `${key}${priority}"messageId":"${row.messageId}","payload":${row.payload},` +
      `"time":${row.time},"attempt":1}`
    );
  }
}
