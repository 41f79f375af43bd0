/** A raw TCP connection: bytes out with back-pressure, bytes in as they come. */
import type { Socket } from "bun";
import type { Fail } from "../load/connection.ts";

export class Link {
  readonly #fail: Fail;
  /** Takes what has arrived and answers how much of it was used; the rest comes again with more. */
  readonly #take: (bytes: Buffer) => number;
  #socket: Socket<Link> | undefined;
  #rest: Buffer | undefined;
  #unsent: Buffer[] = [];
  #closing = false;

  private constructor(take: (bytes: Buffer) => number, fail: Fail) {
    this.#take = take;
    this.#fail = fail;
  }

  static async open(port: number, take: (bytes: Buffer) => number, fail: Fail): Promise<Link> {
    const link = new Link(take, fail);
    link.#socket = await Bun.connect<Link>({
      hostname: "127.0.0.1",
      port,
      data: link,
      socket: {
        data: (_, chunk) => link.#received(chunk),
        drain: () => link.#drained(),
        close: () => {
          if (!link.#closing) fail(new Error("a connection ended"));
        },
      },
    });
    link.#socket.setNoDelay(true);
    return link;
  }

  /** Sends now or as soon as the socket drains; the bytes may be used again at once. */
  send(bytes: Buffer | string): void {
    const buffer = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    if (this.#unsent.length > 0) {
      this.#unsent.push(Buffer.from(buffer));
      return;
    }
    const written = Math.max(this.#socket!.write(buffer), 0);
    if (written < buffer.length) this.#unsent.push(Buffer.from(buffer.subarray(written)));
  }

  close(): void {
    this.#closing = true;
    this.#socket?.terminate();
  }

  #received(chunk: Buffer): void {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    try {
      const used = this.#take(bytes);
      this.#rest = used === bytes.length ? undefined : Buffer.from(bytes.subarray(used));
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #drained(): void {
    while (this.#unsent.length > 0) {
      const bytes = this.#unsent[0]!;
      const written = Math.max(this.#socket!.write(bytes), 0);
      if (written < bytes.length) {
        this.#unsent[0] = bytes.subarray(written);
        return;
      }
      this.#unsent.shift();
    }
  }
}
