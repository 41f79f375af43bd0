/**
 * floor-full: the least that a durable queue over bun:sqlite can be. WAL with synchronous=FULL on
 * the main thread, one transaction per turn of the event loop for all inserts and deletes, confirms
 * after COMMIT, the ready list in memory. No TTL, timers, redelivery, dead letters or dedupe: a
 * floor, not a product.
 */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { flushPeer, type Peer } from "./peer.ts";

export interface PublishFrame {
  readonly id?: number;
  readonly topic: string;
  readonly payload?: unknown;
}

interface Row {
  readonly id: number;
  readonly messageId: string;
  readonly payload: string;
  readonly time: number;
}

interface Insert extends Row {
  readonly peer: Peer;
  readonly confirm: number | undefined;
}

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, message_id TEXT NOT NULL,
    payload TEXT NOT NULL, time INTEGER NOT NULL
  ) STRICT;
`;

export class Floor {
  readonly topic: string;
  readonly #name: string;
  readonly #db: Database;
  readonly #insert;
  readonly #delete;
  #nextId: number;
  #inserts: Insert[] = [];
  #deletes: number[] = [];
  #ready: Row[] = [];
  #readyAt = 0;
  #unsettled = 0;
  #consumers: Peer[] = [];
  #turn = 0;
  #scheduled = false;

  constructor(dataDir: string, name: string, topic: string) {
    this.topic = topic;
    this.#name = name;
    this.#db = new Database(join(dataDir, "floor.sqlite"), { create: true, strict: true });
    this.#db.run(SCHEMA);
    this.#insert = this.#db.prepare(
      "INSERT INTO message (id, topic, message_id, payload, time) VALUES (?, ?, ?, ?, ?)",
    );
    this.#delete = this.#db.prepare("DELETE FROM message WHERE id = ?");
    this.#ready = this.#db
      .query<Row, []>("SELECT id, message_id AS messageId, payload, time FROM message ORDER BY id")
      .all();
    this.#nextId = (this.#ready.at(-1)?.id ?? 0) + 1;
  }

  publish(peer: Peer, frame: PublishFrame): void {
    this.#inserts.push({
      id: this.#nextId++,
      messageId: Bun.randomUUIDv7(),
      payload: JSON.stringify(frame.payload),
      time: Date.now(),
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

  leave(peer: Peer): void {
    this.#consumers = this.#consumers.filter((consumer) => consumer !== peer);
  }

  counts() {
    return { ready: this.#ready.length - this.#readyAt, delayed: 0, inFlight: this.#unsettled };
  }

  close(): void {
    if (this.#scheduled) this.#flush();
    this.#db.close();
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
    this.#inserts = [];
    this.#deletes = [];
    this.#commit(inserts, deletes);
    this.#unsettled -= deletes.length;
    const publishers = new Set<Peer>();
    for (const row of inserts) {
      this.#ready.push(row);
      if (row.confirm === undefined) continue;
      row.peer.outbox.push(
        `{"type":"ok","id":${row.confirm},"messageId":"${row.messageId}","queues":1}`,
      );
      publishers.add(row.peer);
    }
    for (const peer of publishers) flushPeer(peer);
    this.#dispatch();
  }

  #commit(inserts: readonly Insert[], deletes: readonly number[]): void {
    this.#db.run("BEGIN IMMEDIATE");
    for (const row of inserts) {
      this.#insert.run(row.id, this.topic, row.messageId, row.payload, row.time);
    }
    for (const id of deletes) this.#delete.run(id);
    this.#db.run("COMMIT");
  }

  /** Ready messages go to the consumers in turn, as far as their credit reaches. */
  #dispatch(): void {
    let idle = 0;
    while (this.#readyAt < this.#ready.length && idle < this.#consumers.length) {
      this.#turn = (this.#turn + 1) % this.#consumers.length;
      const peer = this.#consumers[this.#turn]!;
      if (peer.credit === 0) {
        idle++;
        continue;
      }
      idle = 0;
      peer.credit--;
      this.#unsettled++;
      peer.outbox.push(this.#delivery(this.#ready[this.#readyAt++]!));
    }
    if (this.#readyAt > 1024 && this.#readyAt * 2 > this.#ready.length) {
      this.#ready = this.#ready.slice(this.#readyAt);
      this.#readyAt = 0;
    }
    for (const peer of this.#consumers) flushPeer(peer);
  }

  #delivery(row: Row): string {
    return (
      `{"type":"delivery","queue":"${this.#name}","tag":${row.id},"topic":"${this.topic}",` +
      `"messageId":"${row.messageId}","payload":${row.payload},"time":${row.time},"attempt":1}`
    );
  }
}
