/** The writer thread as the event loop sees it: requests in order, each answered in order. */
import { reusable } from "./batch.ts";
import type { WriterReply, WriterRequest } from "./exchange.ts";
import { newRing, RING_PLACES, RingSender } from "./ring.ts";

type Reply = (reply: WriterReply) => void;

interface Waiting {
  readonly request: WriterRequest;
  readonly reply: Reply;
}

/** Whoever takes requests and answers each in order: the thread, or what stands for it in a simulation. */
export interface Writer {
  request(request: WriterRequest, reply: Reply): void;
  /** To be called when everything was answered. */
  stop(): void;
}

/** `onLost` is called when it ends unasked; what it did not answer is answered as failed. */
export type StartWriter = (onLost: (reason: string) => void) => Writer;

/** What `null` stands for: durable, and nothing more to be told. */
const COMMITTED: WriterReply = {
  kind: "committed",
  result: { void: [], answers: [], recounted: [] },
};

/** Buffers that the writer remembers. */
const KNOWN_BUFFERS = 8;

export class WriterThread implements Writer {
  readonly #worker: Worker;
  readonly #ring: RingSender;
  readonly #onLost: (reason: string) => void;
  /** Requests on their way, and those that wait for a place in the ring. */
  readonly #expected: Reply[] = [];
  readonly #unsent: Waiting[] = [];
  readonly #known = new Map<SharedArrayBuffer, number>();
  #over = false;

  constructor(onLost: (reason: string) => void) {
    const ring = newRing();
    this.#onLost = onLost;
    this.#ring = new RingSender(ring);
    this.#worker = new Worker(new URL("./writer.ts", import.meta.url).href);
    this.#worker.onmessage = ({ data }: MessageEvent<WriterReply | null>) =>
      this.#answered(data ?? COMMITTED);
    this.#worker.onerror = (event) => this.#lost(event.message);
    this.#worker.addEventListener("close", () => this.#lost("it ended"));
    this.#worker.postMessage(ring);
  }

  request(request: WriterRequest, reply: Reply): void {
    if (this.#over) reply(gone("the store is closed"));
    else if (this.#expected.length >= RING_PLACES) this.#unsent.push({ request, reply });
    else this.#send(request, reply);
  }

  stop(): void {
    this.#over = true;
    this.#worker.terminate();
  }

  #send(request: WriterRequest, reply: Reply): void {
    this.#expected.push(reply);
    if (request.kind === "batch") {
      const buffer = this.#known.get(request.buffer);
      if (buffer !== undefined) {
        this.#ring.batch(buffer, request.bytes, request.now, request.era);
        return;
      }
      if (this.#known.size < KNOWN_BUFFERS && reusable(request.buffer)) {
        const remember = this.#known.size;
        this.#known.set(request.buffer, remember);
        this.#post({ ...request, remember });
        return;
      }
    }
    this.#post(request);
  }

  #post(request: WriterRequest): void {
    this.#worker.postMessage(request);
    this.#ring.message();
  }

  #answered(reply: WriterReply): void {
    this.#expected.shift()?.(reply);
    const next = this.#unsent.shift();
    if (next !== undefined) this.request(next.request, next.reply);
  }

  #lost(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    // After an error it may live on, and must not write beside the one that is started next.
    this.#worker.terminate();
    const failed = gone(`the writer thread was lost: ${reason}`);
    this.#onLost(failed.fault.reason);
    for (const reply of this.#expected.splice(0)) reply(failed);
    for (const { reply } of this.#unsent.splice(0)) reply(failed);
  }
}

function gone(reason: string): Extract<WriterReply, { kind: "failed" }> {
  const advice = "It is started again; look at the log if this repeats.";
  return { kind: "failed", fault: { reason, advice, lasting: false } };
}
