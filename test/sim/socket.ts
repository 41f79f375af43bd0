/**
 * A WebSocket in a simulation, as the session sees it: what is sent takes its time and keeps its order,
 * until the connection is cut. What passes the broker's end is told to `tap`, exactly when it does.
 */
import { decode, encode } from "@msgpack/msgpack";
import type { Bytes, Socket } from "../../src/broker/route.ts";
import type { Random } from "../../src/clock.ts";
import type { Session } from "../../src/session/session.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";
import type { SimTime } from "./time.ts";

/** One way takes at most so long. */
const LATENCY_MS = 20;
/** What a broker sees of a connection that nobody closed. */
const LOST = 1006;
/** Between two that keep their order. */
const IN_ORDER_MS = 0.001;

/** The client's end. */
export interface SimPeer {
  readonly encoding: Encoding;
  /** The broker has read this. */
  wasRead(frame: Frame): void;
  /** The broker has sent this. */
  wasSent(frame: Frame): void;
  /** The broker knows that the connection is over; in order: the client has closed it. */
  wasEnded(inOrder: boolean): void;
  receive(frame: Frame): void;
  closed(): void;
}

export class SimSocket implements Socket {
  readonly peer: SimPeer;
  readonly #time: SimTime;
  readonly #random: Random;
  readonly #routes: Map<string, Set<SimSocket>>;
  #session: Session | undefined;
  #paused = false;
  readonly #unread: Frame[][] = [];
  #cut = false;
  #ended = false;
  /** When the last one of each way arrives: the next one does not overtake it. */
  #inAt = 0;
  #outAt = 0;

  constructor(peer: SimPeer, time: SimTime, random: Random, routes: Map<string, Set<SimSocket>>) {
    this.peer = peer;
    this.#time = time;
    this.#random = random;
    this.#routes = routes;
  }

  attach(session: Session): void {
    this.#session = session;
    session.open(this);
  }

  /** The client sends. */
  toBroker(frames: Frame[]): void {
    this.#inAt = this.#later(this.#inAt, () => {
      this.#unread.push(frames);
      this.#read();
    });
  }

  /** The network, or the client with a code, ends the connection: what is on its way is lost. */
  cut(code = LOST): void {
    if (this.#cut) return;
    this.#cut = true;
    this.#time.after(this.#random() * LATENCY_MS, () => {
      this.#end(code);
      // Then only does the client: one peer stands for one connection at a time.
      this.#time.after(this.#random() * LATENCY_MS, () => this.peer.closed());
    });
  }

  /** The broker's process is gone: its end of the connection does nothing more. */
  vanish(): void {
    this.#ended = true;
    this.cut();
  }

  send(bytes: Bytes): number {
    if (this.#ended) return bytes.length;
    const value = typeof bytes === "string" ? JSON.parse(bytes) : decode(bytes);
    const frames = (Array.isArray(value) ? value : [value]) as Frame[];
    for (const frame of frames) this.peer.wasSent(frame);
    this.#outAt = this.#later(this.#outAt, () => {
      for (const frame of frames) this.peer.receive(frame);
    });
    return bytes.length;
  }

  publish(routeName: string, bytes: Bytes): number {
    for (const other of this.#routes.get(routeName) ?? []) if (other !== this) other.send(bytes);
    return bytes.length;
  }

  subscribe(routeName: string): void {
    const members = this.#routes.get(routeName);
    if (members === undefined) this.#routes.set(routeName, new Set([this]));
    else members.add(this);
  }

  unsubscribe(routeName: string): void {
    this.#routes.get(routeName)?.delete(this);
  }

  getBufferedAmount(): number {
    return 0;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#time.after(0, () => this.#read());
  }

  ping(): number {
    this.#later(0, () => this.#session?.heard());
    return 0;
  }

  close(): void {
    this.cut();
  }

  terminate(): void {
    this.cut();
  }

  #read(): void {
    while (!this.#paused && !this.#ended && this.#unread.length > 0) {
      const frames = this.#unread.shift()!;
      for (const frame of frames) this.peer.wasRead(frame);
      const packed = this.peer.encoding === "msgpack";
      this.#session?.receive(packed ? Buffer.from(encode(frames)) : JSON.stringify(frames));
    }
  }

  #end(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const members of this.#routes.values()) members.delete(this);
    this.peer.wasEnded(code !== LOST);
    this.#session?.end(code);
  }

  #later(last: number, action: () => void): number {
    const at = Math.max(last + IN_ORDER_MS, this.#time.elapsed + this.#random() * LATENCY_MS);
    this.#time.after(at - this.#time.elapsed, () => {
      if (!this.#cut) action();
    });
    return at;
  }
}
