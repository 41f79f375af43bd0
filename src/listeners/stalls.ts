/**
 * Peers of the gate who take nothing more and say nothing [P-9.2]. While something waits for a peer nothing is
 * read from the server, so that its end of the connection goes unnoticed: the gate has to look by itself.
 */
import type { Socket } from "node:net";
import type { Clock, Timer } from "../clock.ts";

/** Looks in the time after which a peer is given up. */
const LOOKS = 4;

interface Watched {
  readonly socket: Socket;
  /** Whether anything came from it since the last look. */
  heard: boolean;
  /** Bytes that waited for it at the last look. */
  waiting: number;
  /** Looks in a row at which nothing had moved. */
  still: number;
}

export class Stalls {
  readonly #clock: Clock;
  readonly #lookMs: number;
  readonly #all = new Set<Watched>();
  #timer: Timer | undefined;

  /** Gives up those to whom and from whom nothing got through for so long. */
  constructor(clock: Clock, silenceMs: number) {
    this.#clock = clock;
    this.#lookMs = silenceMs / LOOKS;
  }

  /** Destroys the socket should it stall, until it is closed. */
  watch(socket: Socket): void {
    const watched: Watched = { socket, heard: false, waiting: 0, still: 0 };
    this.#all.add(watched);
    socket.on("data", () => {
      watched.heard = true;
    });
    socket.once("close", () => this.#all.delete(watched));
    this.#timer ??= this.#clock.after(this.#lookMs, () => this.#look());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#all.clear();
  }

  #look(): void {
    this.#timer = undefined;
    for (const watched of this.#all) {
      const { socket, heard, waiting } = watched;
      watched.heard = false;
      watched.waiting = socket.writableLength;
      const isStill = !heard && watched.waiting > 0 && watched.waiting === waiting;
      watched.still = isStill ? watched.still + 1 : 0;
      if (watched.still >= LOOKS) socket.destroy();
    }
    if (this.#all.size > 0) this.#timer = this.#clock.after(this.#lookMs, () => this.#look());
  }
}
