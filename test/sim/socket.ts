/**
 * A WebSocket in a simulation, as the session sees it: what is sent takes its time and keeps its order,
 * until the connection is cut. What passes the broker's end is told to `tap`, exactly when it does.
 */
import { encode } from "@msgpack/msgpack";
import type { Random } from "../../src/clock.ts";
import type { Session } from "../../src/session/session.ts";
import { type PretendedRoutes, PretendedSocket } from "../harness/pretended-socket.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";
import type { SimTime } from "./time.ts";

/** One way takes at most so long. */
const LATENCY_MS = 20;
/** What a broker sees of a connection that nobody closed. */
const LOST = 1006;
/** Between two that keep their order. */
const IN_ORDER_MS = 0.001;

/** Whose session it is, where that is not the same for all. */
export interface Who {
  readonly name: string;
  readonly client?: string;
}

/** The client's end. */
export interface SimPeer {
  readonly encoding: Encoding;
  readonly who?: Who;
  /** The broker has read this. */
  wasRead(frame: Frame): void;
  /** The broker has sent this. */
  wasSent(frame: Frame): void;
  /** The broker closes the connection, for a reason of its own. */
  wasClosed?(code: number): void;
  /** The broker knows that the connection is over; in order: the client has closed it. */
  wasEnded(inOrder: boolean): void;
  receive(frame: Frame): void;
  closed(): void;
}

export class SimSocket extends PretendedSocket {
  readonly peer: SimPeer;
  readonly #time: SimTime;
  readonly #random: Random;
  #session: Session | undefined;
  #paused = false;
  readonly #unread: Frame[][] = [];
  /** Nothing passes any more. */
  #cut = false;
  /** Nor does anybody tell the broker. */
  #faded = false;
  #ended = false;
  /** When the last one of each way arrives: the next one does not overtake it. */
  #inAt = 0;
  #outAt = 0;

  constructor(peer: SimPeer, time: SimTime, random: Random, routes: PretendedRoutes) {
    super(routes);
    this.peer = peer;
    this.#time = time;
    this.#random = random;
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
    this.#soon(() => {
      this.#end(code);
      // Then only does the client: one peer stands for one connection at a time.
      this.#soon(() => this.peer.closed());
    });
  }

  /** The client has moved to another network: the broker is not told, and finds out by the silence. */
  fade(): void {
    if (this.#cut) return;
    this.#cut = true;
    this.#faded = true;
    this.#soon(() => this.peer.closed());
  }

  /** An operator, or a rule of the broker, ends the connection. */
  expel(code: number): void {
    if (!this.#ended) this.#session?.close(code, "");
  }

  /** The broker's process is gone: its end of the connection does nothing more. */
  vanish(): void {
    this.#ended = true;
    this.cut();
  }

  protected sent(frames: Frame[]): void {
    if (this.#ended) return;
    for (const frame of frames) this.peer.wasSent(frame);
    this.#outAt = this.#later(this.#outAt, () => {
      for (const frame of frames) this.peer.receive(frame);
    });
  }

  override pause(): void {
    this.#paused = true;
  }

  override resume(): void {
    this.#paused = false;
    this.#time.after(0, () => this.#read());
  }

  ping(): number {
    this.#later(0, () => this.#session?.heard());
    return 0;
  }

  close(code: number): void {
    this.peer.wasClosed?.(code);
    if (!this.#faded) this.cut();
  }

  terminate(): void {
    if (this.#faded) this.#soon(() => this.#end(LOST));
    else this.cut();
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
    this.routes.removeFromAll(this);
    this.peer.wasEnded(code !== LOST);
    this.#session?.end(code);
  }

  #soon(action: () => void): void {
    this.#time.after(this.#random() * LATENCY_MS, action);
  }

  #later(last: number, action: () => void): number {
    const at = Math.max(last + IN_ORDER_MS, this.#time.elapsed + this.#random() * LATENCY_MS);
    this.#time.after(at - this.#time.elapsed, () => {
      if (!this.#cut) action();
    });
    return at;
  }
}
