/** A message of a queue while it is in memory: waiting, or in the hands of a consumer. */
import type { HeapItem } from "../../collections/heap.ts";
import type { DeathRecord, Message } from "../../message.ts";
import { isDeadLetterName } from "../rules.ts";
import type { Row } from "./batch.ts";
import type { SqliteConsumer } from "./consumer.ts";
import type { SqliteQueue } from "./queue.ts";
import { decodeRecord } from "./record.ts";

export class Entry implements HeapItem {
  readonly queue: SqliteQueue;
  readonly lane: number;
  readonly sequence: number;
  readonly message: Message;
  readonly enteredAt: number;
  readonly deaths: readonly DeathRecord[] | undefined;
  /** Where it stands among those of its priority: by its age, unless its key had a turn since. */
  place: number;
  /** Length of the record, as stored. */
  bytes = 0;
  /** Attempts that have been counted. */
  attempts = 0;

  /** In the heap of returned messages or of ack deadlines, never in both. */
  heapIndex = -1;
  /** While it is in flight. */
  consumer: SqliteConsumer | undefined;
  tag = 0;
  deliveredAt = 0;
  deadline = 0;
  /** Set while a settlement looks for tags that are named twice. */
  named = false;

  constructor(
    queue: SqliteQueue,
    lane: number,
    sequence: number,
    message: Message,
    enteredAt: number,
    deaths: readonly DeathRecord[] | undefined,
  ) {
    this.queue = queue;
    this.lane = lane;
    this.sequence = sequence;
    this.place = sequence;
    this.message = message;
    this.enteredAt = enteredAt;
    this.deaths = deaths;
  }

  static fromRow(queue: SqliteQueue, row: Row): Entry {
    const { message, enteredAt, deaths } = decodeRecord(row.record);
    const entry = new Entry(queue, row.lane, row.sequence, message, enteredAt, deaths);
    entry.bytes = row.record.length;
    entry.attempts = row.attempts;
    return entry;
  }

  /**
   * By the queue's time to live as it is now, or the message's own where that is shorter; a dead letter
   * has only the queue's.
   */
  get expiresAt(): number {
    const byQueue = this.enteredAt + this.queue.settings.ttlMs;
    const own = this.message.expiresAt;
    if (own === undefined || own >= byQueue || isDeadLetterName(this.queue.name)) return byQueue;
    return own;
  }
}
