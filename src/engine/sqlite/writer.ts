/**
 * The writer thread: the only one that touches the database, so that an fsync never stalls live
 * traffic. It takes requests one at a time and answers each, in order.
 */
import { openDatabase } from "./database.ts";
import { StoreDesk } from "./desk.ts";
import type { WriterReply, WriterRequest } from "./exchange.ts";
import { RingReceiver } from "./ring.ts";

declare const self: Worker;

const desk = new StoreDesk(openDatabase);
/** Which request is next; the first message of the thread brings it. */
let ring: RingReceiver | undefined;
/** What the event loop brought and the ring has not called for yet. */
const messages: WriterRequest[] = [];
/** Buffers that the ring names by number. */
const known: SharedArrayBuffer[] = [];

/** Nearly every answer says no more than that the batch is durable: `null` says so and needs no copy. */
function tell(reply: WriterReply): void {
  self.postMessage(isPlain(reply) ? null : reply);
}

function isPlain(reply: WriterReply): boolean {
  if (reply.kind !== "committed") return false;
  const { void: without, answers, recounted, kept, refused } = reply.result;
  const isSilent = without.length + answers.length + recounted.length === 0;
  return isSilent && kept === undefined && refused === undefined;
}

/** Works off the ring; comes back when the event loop has to bring the next message first. */
function work(): void {
  while (!desk.closed) {
    const entry = ring!.next();
    if (entry.kind === "batch") {
      tell(desk.answer({ ...entry, buffer: known[entry.buffer]! }));
    } else {
      const request = messages.shift();
      if (request === undefined) return;
      if (request.kind === "batch" && request.remember !== undefined) {
        known[request.remember] = request.buffer;
      }
      tell(desk.answer(request));
    }
    ring!.done();
  }
}

self.onmessage = (event: MessageEvent<SharedArrayBuffer | WriterRequest>) => {
  if (event.data instanceof SharedArrayBuffer) ring = new RingReceiver(event.data);
  else messages.push(event.data);
  work();
};
