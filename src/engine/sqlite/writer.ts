/**
 * The writer thread: the only one that touches the database, so that an fsync never stalls live
 * traffic. It takes requests one at a time and answers each, in order.
 */
import { AckedTable } from "./acked-table.ts";
import { AuditTable } from "./audit-table.ts";
import { explain, type OpenDatabase, openDatabase } from "./database.ts";
import type { WriterReply, WriterRequest } from "./exchange.ts";
import { RowReader } from "./reader.ts";
import { RecordTable } from "./record-table.ts";
import { RingReceiver } from "./ring.ts";
import { Store } from "./store.ts";

declare const self: Worker;

let open: OpenDatabase | undefined;
let store: Store | undefined;
let reader: RowReader | undefined;
let acked: AckedTable | undefined;
let records: RecordTable | undefined;
let audit: AuditTable | undefined;
let dataDir = "";
/** Which request is next; the first message of the thread brings it. */
let ring: RingReceiver | undefined;
/** What the event loop brought and the ring has not called for yet. */
const messages: WriterRequest[] = [];
/** Buffers that the ring names by number. */
const known: SharedArrayBuffer[] = [];
let closed = false;

function handle(request: WriterRequest): WriterReply {
  switch (request.kind) {
    case "open":
      dataDir = request.dataDir;
      open = openDatabase(dataDir, request.durability);
      records = new RecordTable(open.database);
      audit = new AuditTable(open.database);
      acked = new AckedTable(open.database);
      store = new Store(open.database, { records, audit, acked });
      reader = new RowReader(open.database, acked);
      return recovered(open, store, reader, records);
    case "batch": {
      if (request.remember !== undefined) known[request.remember] = request.buffer;
      open?.assertInPlace();
      const result = opened(store).apply(request.buffer, request.bytes, request.now);
      return { kind: "committed", result };
    }
    case "read": {
      const { rows, complete, reached } = opened(reader).read(request.read, request.buffer);
      return { kind: "rows", buffer: rows.take(), bytes: rows.bytes, complete, reached };
    }
    case "audit":
      return { kind: "audit", rows: opened(audit).read(request.read) };
    case "close":
      closed = true;
      store?.checkpoint();
      open?.close();
      return { kind: "closed" };
  }
}

function recovered(
  database: OpenDatabase,
  to: Store,
  from: RowReader,
  small: RecordTable,
): WriterReply {
  const openings = to.countOpening();
  // Now that something was written, all of its files are there.
  database.assertInPlace();
  return { kind: "opened", queues: from.states(), records: small.all(), openings };
}

function opened<T>(part: T | undefined): T {
  if (part === undefined) throw new Error("the store is not open");
  return part;
}

function answer(request: WriterRequest): void {
  let reply: WriterReply;
  try {
    reply = handle(request);
  } catch (error) {
    const { message, advice, lasting } = explain(error, dataDir);
    reply = { kind: "failed", fault: { reason: message, advice, lasting } };
  }
  self.postMessage(reply);
}

/** Works off the ring; comes back when the event loop has to bring the next message first. */
function work(): void {
  while (!closed) {
    const entry = ring!.next();
    if (entry.kind === "batch") {
      answer({ ...entry, buffer: known[entry.buffer]! });
    } else {
      const request = messages.shift();
      if (request === undefined) return;
      answer(request);
    }
    ring!.done();
  }
}

self.onmessage = (event: MessageEvent<SharedArrayBuffer | WriterRequest>) => {
  if (event.data instanceof SharedArrayBuffer) ring = new RingReceiver(event.data);
  else messages.push(event.data);
  work();
};
