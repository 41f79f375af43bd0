/** The writer in the test's own thread, on a file: it says how often it was asked, and fails when told to. */
import { openDatabase } from "../../src/engine/sqlite/database.ts";
import { StoreDesk } from "../../src/engine/sqlite/desk.ts";
import type { WriterReply, WriterRequest } from "../../src/engine/sqlite/exchange.ts";
import type { StartWriter } from "../../src/engine/sqlite/thread.ts";

const FULL = { reason: "the disk is full", advice: "", lasting: false };

export class LocalWriter {
  /** Nothing can be written; reading goes on. */
  isFailing = false;
  /** Batches that it was given. */
  batches = 0;
  /** Reads that it was asked for, by kind. */
  readonly reads = new Map<string, number>();

  readonly start: StartWriter = () => {
    const desk = new StoreDesk(openDatabase);
    const answer = (request: WriterRequest): WriterReply => {
      if (request.kind === "batch") this.batches++;
      if (request.kind === "read") {
        this.reads.set(request.read.kind, (this.reads.get(request.read.kind) ?? 0) + 1);
      }
      if (request.kind === "batch" && this.isFailing) return { kind: "failed", fault: FULL };
      return desk.answer(request);
    };
    return {
      request: (request, reply) => void setImmediate(() => reply(answer(request))),
      stop: () => undefined,
    };
  };
}

/** Lets so many turns of the event loop pass. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}
