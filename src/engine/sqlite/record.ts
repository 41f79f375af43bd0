/**
 * How a message lies in its row: one line of JSON with everything but the payload, a newline, then the
 * payload as text or bytes. Readable with any SQLite shell: `select cast(record as text) from messages`.
 */
import type { DeathRecord, Message } from "../../message.ts";
import { PAYLOAD_FORMAT, Payload, type PayloadFormat } from "../../payload.ts";

const NEWLINE = 10;

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
  const entered = enteredAt === message.time ? undefined : enteredAt;
  const rest = optionalFields(message, entered, deaths);
  return {
    header:
      `{"id":${JSON.stringify(message.id)},"topic":${JSON.stringify(message.topic)}` +
      `,"time":${message.time}${rest}}\n`,
    payload: payload.format === PAYLOAD_FORMAT.json ? payload.json() : payload.storedBytes(),
  };
}

/** The length of a record as it will be stored. */
export function recordBytes({ header, payload }: EncodedRecord): number {
  const body = typeof payload === "string" ? Buffer.byteLength(payload) : payload.length;
  return Buffer.byteLength(header) + body;
}

/** `,"headers":{…}` and so on, or nothing: most messages have no such field. */
function optionalFields(
  message: Message,
  enteredAt: number | undefined,
  deaths: readonly DeathRecord[] | undefined,
): string {
  let out = "";
  const add = (name: string, value: unknown) => {
    if (value !== undefined) out += `,"${name}":${JSON.stringify(value)}`;
  };
  if (message.payload.format !== PAYLOAD_FORMAT.json) add("format", message.payload.format);
  add("headers", message.headers);
  add("key", message.key);
  add("priority", message.priority);
  add("expiresAt", message.expiresAt);
  add("from", message.from);
  add("replyTo", message.replyTo);
  add("correlationId", message.correlationId);
  add("contentType", message.contentType);
  add("enteredAt", enteredAt);
  add("deaths", deaths);
  return out;
}

/** Reads a record back; keeps nothing of its bytes. */
export function decodeRecord(record: Uint8Array): Stored {
  const end = record.indexOf(NEWLINE);
  const line = Buffer.from(record.buffer, record.byteOffset, end).toString();
  const { format, enteredAt, deaths, ...fields } = JSON.parse(line) as Header;
  const stored = record.subarray(end + 1);
  const payload =
    format === undefined
      ? Payload.fromStored(0, stored)
      : Payload.fromStored(format, stored.slice());
  return { message: { ...fields, payload }, enteredAt: enteredAt ?? fields.time, deaths };
}
