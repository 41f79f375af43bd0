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
/** Of the messages that it schedules far ahead so many are put off or taken back. */
const CHANGED = 0.6;
const FAR_MS = 1500;
/** Every so many go to a queue that is full all the time. */
const SMALL = 9;

interface Change {
  readonly message: string;
  readonly change: number;
}

export class Publisher {
  readonly #options: PublisherOptions;
  /** Not answered yet, in the order of their numbers: by the first one, several of an atomic batch. */
  readonly #open = new Map<number, readonly Sent[]>();
  /** Changes of scheduled messages without an answer, by the id of the request. */
  readonly #changes = new Map<string, Change>();
  /** Codes of publishes that were refused. */
  readonly refusals: string[] = [];
  #number = 0;
  #left = 0;
  #connection: Connection | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Publishes `count` more messages through this broker, or as many as its life allows. */
  async start(url: string, count: number): Promise<void> {
    const { encoding, ids } = this.#options;
    this.#left = count;
    this.#connection = await Connection.open(url, encoding, (frame) => this.#take(frame));
    this.#changes.clear();
    if (!ids) this.#open.clear();
    const again = [...this.#open.values()];
    for (const sent of again.flat()) this.#options.record({ ...sent, at: Date.now() });
    for (let i = 0; i < again.length; i += BATCH) {
      this.#connection.send(again.slice(i, i + BATCH).map((group) => this.#frame(group)));
    }
    this.#pump();
  }

  get closed(): Promise<number> {
    return this.#connection?.closed ?? Promise.resolve(0);
  }

  #pump(): void {
    const { window, random, record } = this.#options;
    while (this.#left > 0 && this.#open.size < window) {
      const news: Sent[] = [];
      const size = 1 + Math.floor(random() * BATCH);
      while (news.length < size && this.#left > 0) {
        this.#left--;
        news.push(this.#next());
      }
      const batch = `${this.#options.stream}/${news[0]?.number}`;
      const groups =
        random() < 0.2
          ? [news.map((sent) => ({ ...sent, batch }))]
          : news.map((sent) => [sent] as const);
      for (const group of groups) {
        if (group[0] === undefined) continue;
        this.#open.set(group[0].number, group);
        for (const sent of group) record(sent);
      }
      this.#connection?.send(groups.map((group) => this.#frame(group)));
    }
  }

  #next(): Sent {
    const { stream, random } = this.#options;
    const number = ++this.#number;
    const chance = random();
    const queues = queuesOf(number);
    // What is delayed gives way to nobody: it would fill the small queues.
    const isSmall = number % SMALL === 0;
    const isFar = !isSmall && chance > 0.04 && chance < 0.16;
    const isNear = !isSmall && chance < 0.04;
    return {
      kind: "sent",
      message: `${stream}/${number}`,
      stream,
      number,
      queues,
      priority: number % 7 === 0 ? 8 : 4,
      delayMs: isFar ? FAR_MS : isNear ? 1 + Math.floor(random() * 150) : 0,
      ...(chance > 0.97 && { ttlMs: 1 + Math.floor(random() * 150) }),
      at: Date.now(),
    };
  }

  #frame(group: readonly Sent[]): Frame {
    const publish = group.map((sent) => this.#body(sent));
    const id = group[0]?.number;
    if (group[0]?.batch !== undefined) return { type: "batch", id, publish };
    return { type: "publish", id, ...publish[0] };
  }

  #body({ stream, number, message, queues, priority, delayMs, ttlMs }: Sent): Frame {
    return {
      topic: topicOf(queues, stream),
      payload: payloadOf(stream, number),
      ...(this.#options.ids && { messageId: message }),
      ...(priority !== 4 && { priority }),
      ...(delayMs > 0 && { delayMs }),
      ...(ttlMs !== undefined && { ttlMs }),
    };
  }

  #take(frame: Frame): void {
    this.#takeChange(frame);
    const group = this.#open.get(frame.id);
    if (group === undefined) return;
    this.#open.delete(frame.id);
    for (const [at, sent] of group.entries()) {
      const { message } = sent;
      if (frame.type === "ok") {
        const { duplicate = false, displaced = 0 } = frame.results?.[at] ?? frame;
        this.#options.record({ kind: "confirmed", message, duplicate, displaced });
        if (this.#options.ids && sent.delayMs === FAR_MS) this.#change(sent, 1);
      } else {
        this.#options.record({ kind: "failed", message, code: frame.code });
      }
    }
    if (frame.type !== "ok") this.refusals.push(frame.code);
    if (this.#open.size * 2 <= this.#options.window) this.#pump();
  }

  /** Puts off what it has scheduled, or takes it back. */
  #change({ message, queues, stream }: Sent, change: number): void {
    const { random, record } = this.#options;
    if (random() > CHANGED) return;
    const dueAt = random() < 0.4 ? null : Date.now() + Math.floor(random() * FAR_MS);
    const id = `${message} ${change}`;
    this.#changes.set(id, { message, change });
    record({ kind: "changing", message, change, dueAt });
    const named = { id, topic: topicOf(queues, stream), messageId: message };
    const frame =
      dueAt === null
        ? { type: "unschedule", ...named }
        : { type: "reschedule", ...named, deliverAt: dueAt, headers: { change: `${change}` } };
    this.#connection?.send([frame]);
  }

  #takeChange(frame: Frame): void {
    const asked = this.#changes.get(frame.id);
    if (asked === undefined) return;
    this.#changes.delete(frame.id);
    const { record } = this.#options;
    if (frame.type === "ok") record({ kind: "changed", ...asked, copies: frame.queues });
    else record({ kind: "unchanged", ...asked, code: frame.code });
    if (frame.type !== "ok" && frame.code !== "not_found") this.refusals.push(frame.code);
  }
}

/** Where the messages of a load go: mostly to `jobs`, now and then to queues that are full all the time. */
function queuesOf(number: number): readonly string[] {
  if (number % SMALL === 0) return [number % 2 === 0 ? "newest" : "few"];
  return number % 4 === 0 ? ["jobs", "audit"] : ["jobs"];
}

function topicOf(queues: readonly string[], stream: string): string {
  return `load/${queues.join("-")}/${stream}`;
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
