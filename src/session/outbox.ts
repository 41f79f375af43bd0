/**
 * What waits for one peer and must not be dropped: replies, deliveries, notices. The frames of one turn
 * of the event loop leave as one message [P-2.1]; how far the peer is behind is looked at only when its
 * socket says that it could not take everything.
 */
import type { Bytes, Socket } from "../broker/route.ts";
import type { Limits } from "../limits.ts";
import type { FrameEncoder } from "./protocol.ts";

/** Collects the outboxes that have something, to flush them all before the routes. */
export class OutboxTurn {
  readonly #requestTurn: () => void;
  #dirty: Outbox[] = [];

  /** What is shorter leaves as it is; compressing it would cost more than it saves [P-14.13]. */
  readonly compressFrom: number;

  constructor(requestTurn: () => void, compressFrom: number) {
    this.#requestTurn = requestTurn;
    this.compressFrom = compressFrom;
  }

  add(outbox: Outbox): void {
    if (this.#dirty.length === 0) this.#requestTurn();
    this.#dirty.push(outbox);
  }

  flush(): void {
    const dirty = this.#dirty;
    if (dirty.length === 0) return;
    // What a flush leads to (a peer closed, a consumer held) may fill outboxes again: the next turn's.
    this.#dirty = [];
    for (let i = 0; i < dirty.length; i++) dirty[i]!.flush();
  }
}

/** The socket could not take everything: the owner looks at the backlog [P-4.7]. */
export interface OutboxOwner {
  backlogged(dropped: boolean): void;
}

export class Outbox {
  readonly #socket: Socket;
  readonly #encoder: FrameEncoder;
  readonly #limits: Limits;
  readonly #turn: OutboxTurn;
  readonly #owner: OutboxOwner;
  // An idle connection holds no array: there are many of them.
  #frames: Bytes[] | undefined;
  #bytes = 0;
  #closed = false;

  constructor(
    socket: Socket,
    encoder: FrameEncoder,
    limits: Limits,
    turn: OutboxTurn,
    owner: OutboxOwner,
  ) {
    this.#socket = socket;
    this.#encoder = encoder;
    this.#limits = limits;
    this.#turn = turn;
    this.#owner = owner;
  }

  push(frame: Bytes): void {
    if (this.#closed) return;
    const frames = this.#frames;
    if (frames === undefined) {
      this.#frames = [frame];
      this.#bytes = frame.length;
      this.#turn.add(this);
      return;
    }
    frames.push(frame);
    this.#bytes += frame.length;
    if (frames.length >= this.#limits.batch || this.#bytes >= this.#limits.coalescedBytes) {
      this.flush();
    }
  }

  flush(): void {
    const frames = this.#frames;
    if (frames === undefined) return;
    this.#frames = undefined;
    const bytes = frames.length === 1 ? frames[0]! : this.#encoder.batch(frames);
    const sent = this.#socket.send(bytes, bytes.length >= this.#turn.compressFrom);
    if (sent <= 0) this.#owner.backlogged(sent === 0);
  }

  /** Nothing more of it leaves. */
  discard(): void {
    this.#frames = undefined;
  }

  /** The peer is gone: nothing is taken either. */
  close(): void {
    this.#closed = true;
    this.discard();
  }
}
