/**
 * The writer thread: the only one that touches the database, so that an fsync never stalls live
 * traffic. It takes messages one at a time and answers each, in order.
 */
import { type Durability, explain, type OpenDatabase, openDatabase } from "./database.ts";
import { type BatchResult, type QueueState, type Read, Store } from "./store.ts";

export type WriterRequest =
  | { readonly kind: "open"; readonly dataDir: string; readonly durability: Durability }
  | {
      readonly kind: "batch";
      readonly buffer: ArrayBuffer;
      readonly bytes: number;
      readonly now: number;
    }
  | { readonly kind: "read"; readonly read: Read }
  | { readonly kind: "close" };

export interface WriterFault {
  readonly reason: string;
  readonly advice: string;
}

export type WriterReply =
  | {
      readonly kind: "opened";
      readonly queues: readonly QueueState[];
      /** How often the store has been opened, this time included. */
      readonly openings: number;
    }
  /** The batch is durable; its buffer comes back to be used again. */
  | { readonly kind: "committed"; readonly buffer: ArrayBuffer; readonly result: BatchResult }
  | {
      readonly kind: "rows";
      readonly buffer: ArrayBuffer;
      readonly bytes: number;
      /** There are no more behind these. */
      readonly complete: boolean;
    }
  | { readonly kind: "closed" }
  /** Nothing of the request took effect. */
  | { readonly kind: "failed"; readonly fault: WriterFault };

declare const self: Worker;

let open: OpenDatabase | undefined;
let store: Store | undefined;
let dataDir = "";

function handle(request: WriterRequest): WriterReply {
  switch (request.kind) {
    case "open":
      dataDir = request.dataDir;
      open = openDatabase(dataDir, request.durability);
      store = new Store(open.database);
      return { kind: "opened", queues: store.states(), openings: store.countOpening() };
    case "batch": {
      const result = opened().apply(request.buffer, request.bytes, request.now);
      return { kind: "committed", buffer: request.buffer, result };
    }
    case "read": {
      const { rows, complete } = opened().read(request.read);
      return { kind: "rows", buffer: rows.take(), bytes: rows.bytes, complete };
    }
    case "close":
      store?.checkpoint();
      open?.close();
      return { kind: "closed" };
  }
}

function opened(): Store {
  if (store === undefined) throw new Error("the store is not open");
  return store;
}

self.onmessage = (event: MessageEvent<WriterRequest>) => {
  let reply: WriterReply;
  try {
    reply = handle(event.data);
  } catch (error) {
    const { message, advice } = explain(error, dataDir);
    reply = { kind: "failed", fault: { reason: message, advice } };
  }
  self.postMessage(reply, "buffer" in reply ? [reply.buffer] : []);
};
