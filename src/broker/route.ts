/**
 * The way from the broker out to live subscribers. The interfaces are the broker's; protocols, sessions
 * and listeners implement them, so that nothing here knows an encoding or a socket.
 */
import type { ServerFrame } from "../../schemas/frames.ts";
import type { Position } from "../engine/topics.ts";
import type { Message } from "../message.ts";

/** Bytes as a WebSocket takes them: text for JSON, binary for MessagePack. */
export type Bytes = string | Uint8Array<ArrayBuffer>;

/** Makes the bytes of events for one encoding; the same bytes go to everyone on a route. */
export interface EventEncoder {
  /** Short and unique, such as `json`; part of the name of its routes. */
  readonly name: string;
  /** Any other frame. */
  frame(frame: ServerFrame): Bytes;
  /**
   * One event; `filter` is left out where it equals the topic, and the position where the topic keeps no
   * history [P-4.2].
   */
  event(message: Message, filter: string | undefined, position?: Position): Bytes;
  /** Several frames as one message: an array of frames [P-2.1]. A single one stays as it is. */
  batch(frames: readonly Bytes[]): Bytes;
}

/** Hands bytes to every socket that subscribed to the route; Bun's `server.publish` is one. */
export interface RoutePublisher {
  /**
   * Spares `except`, which is on the route. Returns the bytes sent, -1 when a subscriber has backpressure, 0 when it
   * was dropped for one (or there is none).
   */
  publish(routeName: string, bytes: Bytes, except?: Socket): number;
}

/**
 * What the broker and the session need of a peer's socket; Bun's `ServerWebSocket` is one as it stands.
 */
export interface Socket {
  send(bytes: Bytes, compress?: boolean): number;
  /** To the others on the route, not to this socket. */
  publish(routeName: string, bytes: Bytes, compress?: boolean): number;
  subscribe(routeName: string): void;
  unsubscribe(routeName: string): void;
  getBufferedAmount(): number;
  pause(): void;
  resume(): void;
  ping(): number;
  close(code: number, reason: string): void;
  terminate(): void;
}

/** Someone with live subscriptions: a session. */
export interface Subscriber {
  readonly socket: Socket;
  /**
   * A route this subscriber is on has a reader with backpressure: whoever has too much waiting lets
   * itself be suspended, or leaves [P-4.7].
   */
  checkBacklog(): void;
}

/**
 * One filter in one encoding: everyone on it gets the same bytes, made once and handed to Bun once.
 */
export class Route {
  readonly name: string;
  readonly filter: string;
  readonly encoder: EventEncoder;
  readonly members = new Set<Subscriber>();
  /** Members that have too much waiting, with `events` at the time they were taken off the air. */
  lagging: Map<Subscriber, number> | undefined;
  /** How many events this route has seen. */
  events = 0;
  /** Whether the sockets of its members are subscribed to its name. */
  aired = false;
  /** Events of this turn, encoded, not yet handed to Bun; of most routes there never are any. */
  pending: Bytes[] | undefined;
  pendingBytes = 0;
  /** Whom the pending events are kept from: the publisher of `echo: false` [P-3.2]. */
  pendingExcept: Subscriber | undefined;

  /** `kind` tells it from the route of the events of that filter. */
  constructor(filter: string, encoder: EventEncoder, kind = "") {
    this.name = `${encoder.name}${kind}:${filter}`;
    this.filter = filter;
    this.encoder = encoder;
  }

  /** Members that Bun's publish reaches, or will. */
  get listening(): number {
    return this.members.size - (this.lagging?.size ?? 0);
  }
}
