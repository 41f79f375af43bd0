/**
 * A publisher that goes on from one life of the broker to the next: it counts up in one stream, keeps
 * a window of publishes on their way, and sends again what was not answered when it gave ids.
 */
import type { Random } from "../../src/clock.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";
import { Connection } from "./connection.ts";
import type { HistoryEvent, Sent } from "./history.ts";

export interface PublisherOptions {
  readonly stream: string;
  readonly encoding: Encoding;
  /** Its messages have ids, so that what was not answered can be sent again [P-3.5]. */
  readonly ids: boolean;
  /** Publishes on their way at once. */
  readonly window: number;
  readonly random: Random;
  readonly record: (event: HistoryEvent) => void;
}

/** Frames in one WebSocket message. */
const BATCH = 8;

export class Publisher {
  readonly #options: PublisherOptions;
  /** Not answered yet, in the order of their numbers. */
  readonly #open = new Map<number, Sent>();
  /** Codes of publishes that were refused. */
  readonly refusals: string[] = [];
  #number = 0;
  #left = 0;
  #connection: Connection | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  get open(): number {
    return this.#open.size;
  }

  /** Publishes `count` more messages through this broker, or as many as its life allows. */
  async start(url: string, count: number): Promise<void> {
    const { encoding, ids } = this.#options;
    this.#left = count;
    this.#connection = await Connection.open(url, encoding, (frame) => this.#take(frame));
    if (!ids) this.#open.clear();
    const again = [...this.#open.values()];
    for (const sent of again) this.#options.record({ ...sent, at: Date.now() });
    for (let i = 0; i < again.length; i += BATCH) {
      this.#connection.send(again.slice(i, i + BATCH).map((sent) => this.#frame(sent)));
    }
    this.#pump();
  }

  /** Starts no more publishes. */
  finish(): void {
    this.#left = 0;
  }

  async stop(): Promise<void> {
    this.#left = 0;
    this.#connection?.close();
    await this.#connection?.closed;
  }

  get closed(): Promise<number> {
    return this.#connection?.closed ?? Promise.resolve(0);
  }

  #pump(): void {
    const { window, random, record } = this.#options;
    while (this.#left > 0 && this.#open.size < window) {
      const frames: Frame[] = [];
      const size = 1 + Math.floor(random() * BATCH);
      while (frames.length < size && this.#left > 0 && this.#open.size < window) {
        const sent = this.#next();
        this.#left--;
        this.#open.set(sent.number, sent);
        record(sent);
        frames.push(this.#frame(sent));
      }
      this.#connection?.send(frames);
    }
  }

  #next(): Sent {
    const { stream, random } = this.#options;
    const number = ++this.#number;
    const chance = random();
    return {
      kind: "sent",
      message: `${stream}/${number}`,
      stream,
      number,
      queues: number % 4 === 0 ? ["jobs", "audit"] : ["jobs"],
      priority: number % 7 === 0 ? 8 : 4,
      delayMs: chance < 0.04 ? 1 + Math.floor(random() * 150) : 0,
      ...(chance > 0.97 && { ttlMs: 1 + Math.floor(random() * 150) }),
      at: Date.now(),
    };
  }

  #frame(sent: Sent): Frame {
    const { stream, number, message, priority, delayMs, ttlMs } = sent;
    return {
      type: "publish",
      id: number,
      topic: `load/${sent.queues.length > 1 ? "both" : "one"}/${stream}`,
      payload: payloadOf(stream, number),
      ...(this.#options.ids && { messageId: message }),
      ...(priority !== 4 && { priority }),
      ...(delayMs > 0 && { delayMs }),
      ...(ttlMs !== undefined && { ttlMs }),
    };
  }

  #take(frame: Frame): void {
    const sent = this.#open.get(frame.id);
    if (sent === undefined) return;
    this.#open.delete(sent.number);
    if (frame.type === "ok") {
      const duplicate = frame.duplicate === true;
      this.#options.record({ kind: "confirmed", message: sent.message, duplicate });
    } else {
      this.#options.record({ kind: "failed", message: sent.message, code: frame.code });
      this.refusals.push(frame.code);
    }
    if (this.#open.size * 2 <= this.#options.window) this.#pump();
  }
}

export interface LoadPayload {
  readonly stream: string;
  readonly number: number;
  readonly filler: string;
}

/** Mostly small, now and then larger than a page of the database. */
export function payloadOf(stream: string, number: number): LoadPayload {
  const length = number % 50 === 0 ? 6000 + (number % 977) : number % 120;
  return { stream, number, filler: `${number}é`.repeat(Math.ceil(length / 4)) };
}

export function isIntact(payload: LoadPayload): boolean {
  return payload.filler === payloadOf(payload.stream, payload.number).filler;
}
