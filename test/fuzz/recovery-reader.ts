/**
 * A subscriber that comes, goes and recovers at random, and holds everything it is sent against what it may be
 * sent: no gap, nothing twice, nothing after it left.
 */
import { decode, encode } from "@msgpack/msgpack";
import { filterMatches } from "../../src/topic.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";
import type { Dice } from "./dice.ts";

/** Messages that the history of each topic keeps. */
export const KEPT = 60;
const LAST = [1, 5, 20, 40];

/** What was asked for with one frame. */
interface Asked {
  readonly kind: "subscribe" | "unsubscribe" | "history";
  readonly filter: string;
  readonly recover?: { readonly epoch: string; readonly offset: number };
  readonly last?: number;
}

interface Subscription {
  /** The next offset of each topic, from its first event on. */
  readonly next: Map<string, number>;
  /** The newest value that was seen of each topic. */
  readonly values: Map<string, number>;
  /** Everything that is kept from here on has to be seen. */
  readonly isWhole: boolean;
}

export class RecoveryReader {
  readonly faults: string[] = [];
  readonly subscriptions = new Map<string, Subscription>();
  /** What was seen, for the one who knows what was published: topic, offset, payload. */
  readonly seen: (readonly [string, number, number])[] = [];
  recoveries = 0;
  readonly #url: string;
  readonly #encoding: Encoding;
  readonly #asked = new Map<number, Asked>();
  /** The last offset that was seen of a topic. */
  readonly #places = new Map<string, { epoch: string; offset: number }>();
  #socket: WebSocket | undefined;
  #nextId = 1;

  constructor(url: string, encoding: Encoding) {
    this.#url = url;
    this.#encoding = encoding;
  }

  get open(): number {
    return this.#asked.size;
  }

  async connect(): Promise<void> {
    const socket = new WebSocket(this.#url, [`warren.v1.${this.#encoding}`]);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.#socket) return;
      const text = typeof data === "string";
      const value = text ? JSON.parse(data) : decode(new Uint8Array(data as ArrayBuffer));
      for (const frame of Array.isArray(value) ? value : [value]) this.#take(frame as Frame);
    });
    await new Promise((resolve) => socket.addEventListener("open", resolve));
  }

  /** The connection is lost, with all that was under way. */
  lose(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#asked.clear();
    this.subscriptions.clear();
    socket?.close();
  }

  subscribe(filter: string, dice: Dice): void {
    const isTopic = !/[+#]/.test(filter) && !filter.startsWith("v");
    const place = this.#places.get(filter);
    if (isTopic && place !== undefined && dice.chance(0.6)) {
      this.#ask({ kind: "subscribe", filter, recover: { ...place } });
    } else if (isTopic && dice.chance(0.4)) {
      this.#ask({ kind: "subscribe", filter, last: dice.pick(LAST) });
    } else this.#ask({ kind: "subscribe", filter });
  }

  unsubscribe(filter: string): void {
    this.#ask({ kind: "unsubscribe", filter });
  }

  history(topic: string): void {
    this.#ask({ kind: "history", filter: topic });
  }

  #ask(asked: Asked): void {
    const id = this.#nextId++;
    this.#asked.set(id, asked);
    const { kind, filter, recover, last } = asked;
    const on = kind === "history" ? { topic: filter } : { filter };
    const frame = { type: kind, id, ...on, ...(recover && { recover }), ...(last && { last }) };
    this.#socket?.send(this.#encoding === "json" ? JSON.stringify(frame) : encode(frame));
  }

  #take(frame: Frame): void {
    if (frame.type === "event") this.#event(frame);
    else if (frame.type === "ok" || frame.type === "error") {
      const asked = this.#asked.get(frame.id);
      this.#asked.delete(frame.id);
      if (asked === undefined) this.#fault("an answer to nothing", frame);
      else if (frame.type === "error") this.#refused(asked, frame);
      else this.#answered(asked, frame);
    } else if (frame.code === "unsubscribed") {
      // The history went on faster than it was read.
      if (frame.reason !== "conflict") this.#fault("ended", frame);
      this.subscriptions.delete(frame.filter);
    } else if (frame.type === "notice" && frame.code !== "retained_sent") {
      this.#fault("a notice", frame);
    }
  }

  #refused({ kind }: Asked, frame: Frame): void {
    // Another was under way, or it was taken back before it took effect.
    if (kind !== "subscribe" || frame.code !== "conflict") this.#fault("refused", frame);
  }

  #answered({ kind, filter, recover, last }: Asked, ok: Frame): void {
    if (kind === "unsubscribe") {
      this.subscriptions.delete(filter);
    } else if (kind === "history") {
      const offsets = ok.messages.map(({ offset }: Frame) => offset);
      const expected = offsets.map((_: number, at: number) => offsets[0] + at);
      if (String(offsets) !== String(expected)) this.#fault("a page with a gap", ok);
    } else if (recover !== undefined) {
      const holds = recover.offset <= ok.offset && ok.offset - KEPT <= recover.offset;
      if (ok.recovered !== holds) this.#fault(`recovered from ${recover.offset}`, ok);
      if (ok.recovered) this.recoveries++;
      this.#begin(
        filter,
        ok.recovered ? recover.offset + 1 : ok.offset + 1,
        ok.recovered === false,
      );
    } else if (last !== undefined) {
      this.#begin(filter, Math.max(0, ok.offset - last, ok.offset - KEPT) + 1, true);
    } else if (!this.subscriptions.has(filter)) {
      this.#begin(filter, ok.offset === undefined ? undefined : ok.offset + 1, true);
    }
  }

  #begin(filter: string, next: number | undefined, isWhole: boolean): void {
    this.subscriptions.set(filter, {
      next: new Map(next === undefined ? [] : [[filter, next]]),
      values: new Map(),
      isWhole,
    });
  }

  #event(event: Frame): void {
    const { topic, filter = topic, offset, epoch, payload, retained } = event;
    const subscription = this.subscriptions.get(filter);
    if (subscription === undefined || !filterMatches(filter, topic)) {
      this.#fault("an event of no subscription", event);
      return;
    }
    if (payload.value) {
      const before = subscription.values.get(topic) ?? 0;
      if (payload.n < before) this.#fault(`a value that is older than ${before}`, event);
      subscription.values.set(topic, Math.max(before, payload.n));
    }
    if (retained || offset === undefined) return;
    const next = subscription.next.get(topic);
    if (next !== undefined && offset !== next) this.#fault(`${next} is next`, event);
    subscription.next.set(topic, offset + 1);
    this.seen.push([topic, offset, payload.n]);
    if (filter === topic) this.#places.set(topic, { epoch, offset });
  }

  #fault(what: string, frame: Frame): void {
    if (this.faults.length < 10) this.faults.push(`${what}: ${JSON.stringify(frame)}`);
  }
}
