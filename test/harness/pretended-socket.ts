/**
 * A WebSocket as a session sees it, where there is no network: it is on routes, and what is sent to it is
 * frames again. When these arrive, and how such a connection ends, is for each kind of it to say.
 */
import { decode } from "@msgpack/msgpack";
import type { Bytes, Socket } from "../../src/broker/route.ts";
import type { Frame } from "./wire-client.ts";

/** What `server.publish` is to real sockets. */
export class PretendedRoutes {
  readonly #members = new Map<string, Set<PretendedSocket>>();

  publish(route: string, bytes: Bytes, spared?: Socket): number {
    for (const socket of this.#members.get(route) ?? []) if (socket !== spared) socket.send(bytes);
    return bytes.length;
  }

  /** As a listener publishes. */
  readonly publishAll = (route: string, bytes: Bytes, _compress: boolean, spared?: Socket) =>
    this.publish(route, bytes, spared);

  add(route: string, socket: PretendedSocket): void {
    const members = this.#members.get(route);
    if (members === undefined) this.#members.set(route, new Set([socket]));
    else members.add(socket);
  }

  remove(route: string, socket: PretendedSocket): void {
    this.#members.get(route)?.delete(socket);
  }

  /** Its connection has ended. */
  removeFromAll(socket: PretendedSocket): void {
    for (const members of this.#members.values()) members.delete(socket);
  }
}

export abstract class PretendedSocket implements Socket {
  protected readonly routes: PretendedRoutes;

  constructor(routes: PretendedRoutes) {
    this.routes = routes;
  }

  send(bytes: Bytes): number {
    const value = typeof bytes === "string" ? JSON.parse(bytes) : decode(bytes);
    this.sent((Array.isArray(value) ? value : [value]) as Frame[]);
    return bytes.length;
  }

  publish(route: string, bytes: Bytes): number {
    return this.routes.publish(route, bytes, this);
  }

  subscribe(route: string): void {
    this.routes.add(route, this);
  }

  unsubscribe(route: string): void {
    this.routes.remove(route, this);
  }

  getBufferedAmount(): number {
    return 0;
  }

  pause(): void {}

  resume(): void {}

  /** The broker has sent these, all of them together. */
  protected abstract sent(frames: Frame[]): void;
  abstract ping(): number;
  abstract close(code: number): void;
  abstract terminate(): void;
}
