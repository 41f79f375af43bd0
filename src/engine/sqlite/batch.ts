/**
 * The one packed buffer in which a batch of operations crosses to the writer thread, and the one in
 * which rows come back: a hundred rows as objects would cost ten times as much to hand over. The memory
 * is shared, in turn used by one side: a transfer copies it, all of it and not only what is used.
 */

import type { Message } from "../../message.ts";
import type { HistoryBounds } from "../topics.ts";
import type { EncodedRecord } from "./record.ts";
import type { TopicQuestion } from "./topic-exchange.ts";

/** Kinds of operations; each is followed by its fields as `BatchWriter` writes them. */
export const OPERATION = {
  insert: 1,
  insertFull: 2,
  /** With the key by which its queue orders it. */
  insertOrdered: 13,
  update: 3,
  delete: 4,
  /** A message was acked and is kept: its row moves. */
  keep: 10,
  /** A message waits for its time no longer. */
  release: 5,
  /** The message inserted before waits for its first due time, to be found by its key. */
  schedule: 12,
  /** Guards the inserts that follow: they are left out when the id was seen. */
  dedupe: 6,
  /** A message dies: the insert that follows, its dead letter, is left out when it is gone already. */
  bury: 9,
  /** The key by which its queue orders it; nothing where there is no such message. */
  order: 11,
  /** What a topic keeps of a message: see topic-table.ts. */
  topic: 14,
  /** Whether there is room for topics: if not, what is guarded by it is left out. See topic-room.ts. */
  admit: 15,
  /** A rare operation as JSON: see `Control` in store.ts. */
  control: 7,
} as const;

const START_BYTES = 256 * 1024;
/** A buffer that grew beyond this is not used again, so that one large batch is not kept for ever. */
const REUSE_BYTES = 1024 * 1024;
/** What a packed row takes beside its record. */
const ROW_BYTES = 64;

export interface RowTimes {
  readonly attempts: number;
  readonly dueAt: number | undefined;
  readonly expiresAt: number | undefined;
}

/** Writes operations one after the other; `take` gives the buffer away. */
export class BatchWriter {
  #buffer: Buffer<SharedArrayBuffer>;
  #view: DataView<SharedArrayBuffer>;
  #at = 0;
  operations = 0;
  /** Those of them that may turn out to change nothing. */
  #conditional = 0;

  constructor(recycled?: SharedArrayBuffer) {
    this.#buffer = Buffer.from(recycled ?? new SharedArrayBuffer(START_BYTES));
    this.#view = new DataView(this.#buffer.buffer);
  }

  get bytes(): number {
    return this.#at;
  }

  /** Returns the length of the record in bytes. */
  insert(lane: number, sequence: number, record: EncodedRecord): number {
    this.#start(OPERATION.insert, 12);
    this.#place(lane, sequence);
    return this.#record(record);
  }

  insertFull(lane: number, sequence: number, times: RowTimes, record: EncodedRecord): number {
    this.#start(OPERATION.insertFull, 32);
    this.#place(lane, sequence);
    this.#times(times);
    return this.#record(record);
  }

  insertOrdered(lane: number, sequence: number, ordering: string, record: EncodedRecord): number {
    this.#start(OPERATION.insertOrdered, 12);
    this.#place(lane, sequence);
    this.#text(ordering);
    return this.#record(record);
  }

  update(lane: number, sequence: number, times: RowTimes): void {
    this.#start(OPERATION.update, 32);
    this.#place(lane, sequence);
    this.#times(times);
  }

  keep(lane: number, sequence: number, bytes: number, ackedAt: number): void {
    this.#start(OPERATION.keep, 24);
    this.#place(lane, sequence);
    this.#u32(bytes);
    this.#f64(ackedAt);
  }

  delete(lane: number, sequence: number, bytes: number): void {
    this.#start(OPERATION.delete, 16);
    this.#place(lane, sequence);
    this.#u32(bytes);
  }

  /**
   * A conditional operation: the item is told when there is no such message any more, and the one
   * operation that follows is left out then.
   */
  bury(lane: number, sequence: number, bytes: number): void {
    this.#conditional++;
    this.#start(OPERATION.bury, 16);
    this.#place(lane, sequence);
    this.#u32(bytes);
  }

  /** A conditional operation: the item is told when there is no such message that is due by then. */
  release(lane: number, sequence: number, dueAt: number): void {
    this.#conditional++;
    this.#start(OPERATION.release, 20);
    this.#place(lane, sequence);
    this.#f64(dueAt);
  }

  /** Beside the insert of a message; nothing where that was left out. */
  schedule(lane: number, sequence: number, key: string): void {
    this.#start(OPERATION.schedule, 12);
    this.#place(lane, sequence);
    this.#text(key);
  }

  /**
   * A conditional operation: the item is told when the id was seen. `guarded` is how many of the
   * operations that follow belong to the message; without `expiresAt` the id is only looked up.
   */
  dedupe(key: string, expiresAt: number | undefined, guarded: number): void {
    this.#conditional++;
    this.#start(OPERATION.dedupe, 12);
    this.#f64(expiresAt ?? Number.NaN);
    this.#u32(guarded);
    this.#text(key);
  }

  /** Beside the insert of a message, or for one that is there already. */
  order(lane: number, sequence: number, ordering: string): void {
    this.#start(OPERATION.order, 12);
    this.#place(lane, sequence);
    this.#text(ordering);
  }

  /** What the topic keeps of a message: `does` is the sum of what it does, as topic-table.ts has it. */
  topic(
    does: number,
    { topic, time, expiresAt }: Message,
    { maxMessages, maxAgeMs, maxBytes }: HistoryBounds,
    channel: string,
    record: EncodedRecord,
  ): void {
    this.#start(OPERATION.topic, 41);
    this.#view.setUint8(this.#at, does);
    this.#at += 1;
    this.#f64(time);
    this.#f64(expiresAt ?? Number.NaN);
    this.#f64(maxMessages);
    this.#f64(maxAgeMs ?? Number.NaN);
    this.#f64(maxBytes ?? Number.NaN);
    this.#text(topic);
    this.#text(channel);
    this.#record(record);
  }

  /** What `guarded` writes is left out when the answer is no. */
  admit({ keptTopics, candidates }: TopicQuestion, guarded: () => void): void {
    this.#start(OPERATION.admit, 20);
    const place = this.#at;
    this.#at += 8;
    this.#f64(keptTopics);
    this.#u32(candidates.length);
    for (const { makesKnown, isRemembered, maxTopics, channel, topic, id } of candidates) {
      this.#reserve(10);
      this.#view.setUint8(this.#at++, makesKnown ? 1 : 0);
      this.#view.setUint8(this.#at++, isRemembered ? 1 : 0);
      this.#f64(maxTopics);
      this.#text(channel);
      this.#text(topic);
      this.#text(id);
    }
    const start = this.#at;
    const conditional = this.#conditional;
    guarded();
    this.#view.setUint32(place, this.#at - start, true);
    this.#view.setUint32(place + 4, this.#conditional - conditional, true);
  }

  control(control: object): void {
    this.#start(OPERATION.control, 0);
    this.#text(JSON.stringify(control));
  }

  /** Whether a row with a record of so many bytes fits without another buffer. */
  fits(recordBytes: number): boolean {
    return this.#at + recordBytes + ROW_BYTES <= this.#buffer.length;
  }

  take(): SharedArrayBuffer {
    return this.#buffer.buffer;
  }

  #start(kind: number, bytes: number): void {
    this.#reserve(bytes + 1);
    this.#view.setUint8(this.#at, kind);
    this.#at += 1;
    this.operations++;
  }

  #place(lane: number, sequence: number): void {
    this.#u32(lane);
    this.#f64(sequence);
  }

  #times({ attempts, dueAt, expiresAt }: RowTimes): void {
    this.#u32(attempts);
    this.#f64(dueAt ?? Number.NaN);
    this.#f64(expiresAt ?? Number.NaN);
  }

  #u32(value: number): void {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  #f64(value: number): void {
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }

  #text(text: string): void {
    this.#reserve(4 + 3 * text.length);
    const length = this.#buffer.write(text, this.#at + 4);
    this.#u32(length);
    this.#at += length;
  }

  /** Header and payload one after the other: joining the strings first would copy both again. */
  #record({ header, payload }: EncodedRecord): number {
    const isText = typeof payload === "string";
    this.#reserve(4 + 3 * header.length + (isText ? 3 : 1) * payload.length);
    const start = this.#at + 4;
    let end = header === "" ? start : start + this.#buffer.write(header, start);
    if (isText) {
      end += this.#buffer.write(payload, end);
    } else {
      this.#buffer.set(payload, end);
      end += payload.length;
    }
    this.#u32(end - start);
    this.#at = end;
    return end - start;
  }

  #reserve(bytes: number): void {
    const need = this.#at + bytes;
    if (need <= this.#buffer.length) return;
    const larger = Buffer.from(new SharedArrayBuffer(Math.max(need, 2 * this.#buffer.length)));
    larger.set(this.#buffer.subarray(0, this.#at));
    this.#buffer = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** Whether a buffer that came back is worth keeping for the next batch. */
export function reusable(buffer: SharedArrayBuffer): boolean {
  return buffer.byteLength <= REUSE_BYTES;
}

/** Reads what `BatchWriter` wrote, field by field. */
export class BatchReader {
  readonly #buffer: Buffer<SharedArrayBuffer>;
  readonly #view: DataView<SharedArrayBuffer>;
  readonly #end: number;
  #at = 0;

  constructor(buffer: SharedArrayBuffer, end: number) {
    this.#buffer = Buffer.from(buffer);
    this.#view = new DataView(buffer);
    this.#end = end;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  u8(): number {
    return this.#view.getUint8(this.#at++);
  }

  u32(): number {
    const value = this.#view.getUint32(this.#at, true);
    this.#at += 4;
    return value;
  }

  f64(): number {
    const value = this.#view.getFloat64(this.#at, true);
    this.#at += 8;
    return value;
  }

  /** Reads past so much. */
  skip(bytes: number): void {
    this.#at += bytes;
  }

  /** A time that may be absent. */
  time(): number | null {
    const value = this.f64();
    return Number.isNaN(value) ? null : value;
  }

  /** A view of the buffer, valid until it is given back. */
  blob(): Buffer<SharedArrayBuffer> {
    const length = this.u32();
    const blob = this.#buffer.subarray(this.#at, this.#at + length);
    this.#at += length;
    return blob;
  }

  text(): string {
    const length = this.u32();
    const text = this.#buffer.toString("utf8", this.#at, this.#at + length);
    this.#at += length;
    return text;
  }
}

/** A row as it comes back from the writer thread. */
export interface Row {
  readonly lane: number;
  readonly sequence: number;
  readonly attempts: number;
  readonly dueAt: number | undefined;
  readonly expiresAt: number | undefined;
  readonly record: Buffer;
}

/** Unpacks the rows of a read; the records are views of `buffer`. */
export function unpackRows(buffer: SharedArrayBuffer, end: number): Row[] {
  const reader = new BatchReader(buffer, end);
  const rows: Row[] = [];
  while (!reader.done) {
    reader.u8();
    rows.push({
      lane: reader.u32(),
      sequence: reader.f64(),
      attempts: reader.u32(),
      dueAt: reader.time() ?? undefined,
      expiresAt: reader.time() ?? undefined,
      record: reader.blob(),
    });
  }
  return rows;
}
