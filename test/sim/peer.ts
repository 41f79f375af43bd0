/** What every peer of a simulation is: it connects, loses its connection, and connects again. */
import type { Random } from "../../src/clock.ts";
import type { HistoryEvent } from "../durability/history.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";
import type { Life } from "./life.ts";
import type { SimPeer, SimSocket } from "./socket.ts";
import type { SimTime } from "./time.ts";

/** Never empty, kept where it should not be, more than there may be; gone too early or too late; presence. */
export type OtherFaultKind =
  | "stuck"
  | "left"
  | "retained"
  | "over_bound"
  | "lapsed_early"
  | "outlived"
  | "presence";

/** What peers need of the world around them. */
export interface Surroundings {
  readonly time: SimTime;
  readonly random: Random;
  /** Faults are over: what is left is finished, and nothing new begun. */
  readonly healed: boolean;
  record(event: HistoryEvent): void;
  /** Something has happened that is not in the history, but is the same for the same seed. */
  note(what: unknown): void;
  /** Something is wrong that the history does not show. */
  fault(kind: OtherFaultKind, text: string): void;
  /** A new connection; undefined while there is no broker. */
  connect(peer: SimPeer): SimSocket | undefined;
  /** The broker as it is now, for requests over HTTP. */
  readonly broker: Life | undefined;
  /** How often somebody set the clock. */
  readonly clockSet: number;
}

export const AGAIN_MS = 300;

export abstract class Peer implements SimPeer {
  readonly name: string;
  readonly encoding: Encoding;
  protected readonly world: Surroundings;
  protected socket: SimSocket | undefined;
  /** Counts its connections. */
  protected life = 0;

  constructor(world: Surroundings, name: string, encoding: Encoding) {
    this.world = world;
    this.name = name;
    this.encoding = encoding;
  }

  /** Connects, now or as soon as there is a broker. */
  start(): void {
    this.life++;
    this.socket = this.world.connect(this);
    if (this.socket === undefined) this.later(AGAIN_MS, () => this.start());
    else this.connected();
  }

  cut(): void {
    this.socket?.cut();
  }

  /** Closes its connection as a program does that shuts down. */
  goodbye(): void {
    this.socket?.cut(1000);
  }

  closed(): void {
    this.socket = undefined;
    this.later(this.world.random() * AGAIN_MS, () => this.start());
  }

  protected later(ms: number, action: () => void): void {
    this.world.time.after(ms, action);
  }

  /** Later, if this connection is still there. */
  protected laterHere(ms: number, action: () => void): void {
    const { life } = this;
    this.later(ms, () => {
      if (this.life === life && this.socket !== undefined) action();
    });
  }

  protected chance(probability: number): boolean {
    return this.world.random() < probability;
  }

  protected upTo(most: number): number {
    return Math.floor(this.world.random() * (most + 1));
  }

  protected abstract connected(): void;
  abstract wasRead(frame: Frame): void;
  abstract wasSent(frame: Frame): void;
  abstract wasEnded(inOrder: boolean): void;
  abstract receive(frame: Frame): void;
}
