/**
 * The writer thread: the only one that touches the database, so that an fsync never stalls live
 * traffic. It takes messages one at a time and answers each, in order.
 */
import { explain, type OpenDatabase, openDatabase } from "./database.ts";
import type { WriterReply, WriterRequest } from "./exchange.ts";
import { RowReader } from "./reader.ts";
import { Store } from "./store.ts";

declare const self: Worker;

let open: OpenDatabase | undefined;
let store: Store | undefined;
let reader: RowReader | undefined;
let dataDir = "";

function handle(request: WriterRequest): WriterReply {
  switch (request.kind) {
    case "open":
      dataDir = request.dataDir;
      open = openDatabase(dataDir, request.durability);
      store = new Store(open.database);
      reader = new RowReader(open.database);
      return { kind: "opened", queues: reader.states(), openings: store.countOpening() };
    case "batch": {
      const result = opened(store).apply(request.buffer, request.bytes, request.now);
      return { kind: "committed", result };
    }
    case "read": {
      const { rows, complete } = opened(reader).read(request.read, request.buffer);
      return { kind: "rows", buffer: rows.take(), bytes: rows.bytes, complete };
    }
    case "close":
      store?.checkpoint();
      open?.close();
      return { kind: "closed" };
  }
}

function opened<T>(part: T | undefined): T {
  if (part === undefined) throw new Error("the store is not open");
  return part;
}

self.onmessage = (event: MessageEvent<WriterRequest>) => {
  let reply: WriterReply;
  try {
    reply = handle(event.data);
  } catch (error) {
    const { message, advice } = explain(error, dataDir);
    reply = { kind: "failed", fault: { reason: message, advice } };
  }
  self.postMessage(reply);
};
