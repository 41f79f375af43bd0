/**
 * How a message lies in its row: one line of JSON with everything but the payload, a newline, then the
 * payload as text or bytes. Readable with any SQLite shell: `select cast(record as text) from messages`.
 */
import type { DeathRecord, Message } from "../../message.ts";
import { PAYLOAD_FORMAT, Payload, type PayloadFormat } from "../../payload.ts";
import { LastNumber, LastQuoted, quoted } from "../../quoted.ts";

const NEWLINE = 10;
/** The topic that was written last. */
const lastWritten = new LastQuoted();
const lastTime = new LastNumber();

interface Header {
  id: string;
  topic: string;
  time: number;
  format?: PayloadFormat;
  headers?: Readonly<Record<string, string>>;
  key?: string;
  priority?: number;
  expiresAt?: number;
  from?: string;
  replyTo?: string;
  correlationId?: string;
  contentType?: string;
  /** When it came into this queue, where that is not the time of its publishing. */
  enteredAt?: number;
  deaths?: readonly DeathRecord[];
}

/** What is in a row's record beside the message itself. */
export interface Stored {
  readonly message: Message;
  readonly enteredAt: number;
  readonly deaths: readonly DeathRecord[] | undefined;
}

/** A record ready to be written, however many queues take it. */
export interface EncodedRecord {
  /** The line of JSON with its newline. */
  readonly header: string;
  /** Text for JSON, else bytes. */
  readonly payload: string | Uint8Array;
}

export function encodeRecord(
  message: Message,
  enteredAt: number,
  deaths: readonly DeathRecord[] | undefined,
): EncodedRecord {
  const { payload } = message;
  const { format } = payload;
  return {
    header: encodeHeader(message, format, enteredAt, deaths),
    payload: format === PAYLOAD_FORMAT.json ? payload.json() : payload.storedBytes(),
  };
}

/** A message without its payload. */
export type Envelope = Omit<Message, "payload">;

function encodeHeader(
  message: Envelope,
  format: PayloadFormat,
  enteredAt: number,
  deaths: readonly DeathRecord[] | undefined,
): string {
  let rest = "";
  if (format !== PAYLOAD_FORMAT.json) rest += `,"format":${format}`;
  if (enteredAt !== message.time) rest += `,"enteredAt":${enteredAt}`;
  if (deaths !== undefined) rest += `,"deaths":${JSON.stringify(deaths)}`;
  const topic = lastWritten.of(message.topic);
  const time = lastTime.of(message.time);
  return `{"id":${quoted(message.id)},"topic":${topic},"time":${time}${rest}${optional(message)}}\n`;
}

/** What a message id is remembered and found by: it counts per topic [P-3.5]. */
export function messageKey(topic: string, messageId: string): string {
  return `${topic}\0${messageId}`;
}

/** The length of a record as it will be stored. */
export function recordBytes({ header, payload }: EncodedRecord): number {
  const body = typeof payload === "string" ? Buffer.byteLength(payload) : payload.length;
  return Buffer.byteLength(header) + body;
}

/** `,"headers":{…}` and so on, or nothing: most messages have no such field. */
function optional(message: Envelope): string {
  const { headers, key, priority, expiresAt, from } = message;
  const { replyTo, correlationId, contentType } = message;
  let fields = "";
  if (headers !== undefined) fields += `,"headers":${JSON.stringify(headers)}`;
  if (key !== undefined) fields += `,"key":${JSON.stringify(key)}`;
  if (priority !== undefined) fields += `,"priority":${priority}`;
  if (expiresAt !== undefined) fields += `,"expiresAt":${expiresAt}`;
  if (from !== undefined) fields += `,"from":${JSON.stringify(from)}`;
  if (replyTo !== undefined) fields += `,"replyTo":${JSON.stringify(replyTo)}`;
  if (correlationId !== undefined) fields += `,"correlationId":${JSON.stringify(correlationId)}`;
  if (contentType !== undefined) fields += `,"contentType":${JSON.stringify(contentType)}`;
  return fields;
}

/** Reads a record back; keeps nothing of its bytes. */
export function decodeRecord(record: Buffer): Stored {
  // One piece of text for both parts: most records are JSON to their end.
  const text = record.toString();
  const end = text.indexOf("\n");
  const plain = plainMessage(text, end);
  if (plain !== undefined) return { message: plain, enteredAt: plain.time, deaths: undefined };
  const header = JSON.parse(text.slice(0, end)) as Header & { payload?: Payload };
  const { format, enteredAt, deaths, time, topic } = header;
  if (format === undefined) {
    header.payload = Payload.fromJson(text.slice(end + 1));
  } else {
    const stored = record.subarray(record.indexOf(NEWLINE) + 1);
    // Not `slice`: of a Buffer that is no copy, and the page is used again.
    header.payload = Payload.fromStored(format, new Uint8Array(stored));
  }
  // What is left is the message, with nothing beside it in nearly every case.
  if (format !== undefined) delete header.format;
  if (enteredAt !== undefined) delete header.enteredAt;
  if (deaths !== undefined) delete header.deaths;
  if (topic !== lastTopic) {
    lastTopic = topic;
    betweenIdAndTime = `","topic":${JSON.stringify(topic)},"time":`;
  }
  return { message: header as Message, enteredAt: enteredAt ?? time, deaths };
}

/** The line of JSON by itself: what there is to choose messages by without their payloads. */
export interface StoredHeader {
  /** With the other fields of the line beside its own. */
  readonly message: Envelope;
  readonly enteredAt: number;
  readonly deaths: readonly DeathRecord[] | undefined;
}

export function decodeHeader(text: string): StoredHeader {
  const header = JSON.parse(text) as Header;
  const { time, enteredAt = time, deaths } = header;
  return { message: header, enteredAt, deaths };
}

const ENTERED = ',"enteredAt":';
/** A time of the usual length and what ends it. */
const TIME = /^\d{13}[,}]$/;

/**
 * The header, as `encodeRecord` wrote it (with or without its newline), of the same message that came in at
 * another time; with `keepsExpiry` false its own expiry is left out.
 */
export function reenteredHeader(text: string, enteredAt: number, keepsExpiry: boolean): string {
  const at = text.indexOf(ENTERED) + ENTERED.length;
  const end = at + TIME_DIGITS;
  // In a value the quotes would be escaped, and what follows it as a header's name is no number.
  if (keepsExpiry && at >= ENTERED.length && TIME.test(text.slice(at, end + 1))) {
    return `${text.slice(0, at)}${enteredAt}${text.slice(end)}`;
  }
  const { format = PAYLOAD_FORMAT.json, expiresAt, deaths, ...rest } = JSON.parse(text) as Header;
  const message = keepsExpiry && expiresAt !== undefined ? { ...rest, expiresAt } : rest;
  return encodeHeader(message, format, enteredAt, deaths);
}

const ID_AT = '{"id":"'.length;
const ID_END = ID_AT + 36;
const TIME_DIGITS = 13;
const SMALLEST_TIME = 10 ** (TIME_DIGITS - 1);
let lastTopic = "";
let betweenIdAndTime = "";

/**
 * The message of a header that has nothing but an id of the usual length, the topic that was read last
 * and a time; undefined for any other. Most of a page is of this kind, and to parse it took most of the
 * time of a drain.
 */
function plainMessage(text: string, end: number): Message | undefined {
  const timeAt = ID_END + betweenIdAndTime.length;
  const timeEnd = timeAt + TIME_DIGITS;
  if (end !== timeEnd + 1 || !text.startsWith(betweenIdAndTime, ID_END)) return undefined;
  const id = text.slice(ID_AT, ID_END);
  const time = Number(text.slice(timeAt, timeEnd));
  // Fields that only happen to be as long, and ids with escapes.
  if (!(time >= SMALLEST_TIME) || id.includes('"') || id.includes("\\")) return undefined;
  return { id, topic: lastTopic, time, payload: Payload.fromJson(text.slice(end + 1)) };
}
