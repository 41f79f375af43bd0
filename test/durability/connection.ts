/** One WebSocket of a load: frames go out in batches and come in one by one. */
import { decode, encode } from "@msgpack/msgpack";
import type { Encoding, Frame } from "../harness/wire-client.ts";

export class Connection {
  /** Resolves when it is closed, by whomever; everything that came was taken before. */
  readonly closed: Promise<number>;
  readonly #socket: WebSocket;
  readonly #encoding: Encoding;

  private constructor(socket: WebSocket, encoding: Encoding, closed: Promise<number>) {
    this.#socket = socket;
    this.#encoding = encoding;
    this.closed = closed;
  }

  /** Resolves when it is welcome, or rejects. `take` is called for every frame after that. */
  static async open(
    url: string,
    encoding: Encoding,
    take: (frame: Frame) => void,
  ): Promise<Connection> {
    const address = `${url.replace("http", "ws")}/ws`;
    const socket = new WebSocket(address, [`warren.v1.${encoding}`]);
    socket.binaryType = "arraybuffer";
    const welcome = Promise.withResolvers<void>();
    const closed = new Promise<number>((resolve) => {
      socket.addEventListener("close", ({ code }) => {
        welcome.reject(new Error(`closed with ${code} before it was welcome`));
        resolve(code);
      });
    });
    socket.addEventListener("message", ({ data }) => {
      const came =
        typeof data === "string" ? JSON.parse(data) : decode(new Uint8Array(data as ArrayBuffer));
      for (const frame of (Array.isArray(came) ? came : [came]) as Frame[]) {
        if (frame.type === "welcome") welcome.resolve();
        else take(frame);
      }
    });
    await welcome.promise;
    return new Connection(socket, encoding, closed);
  }

  send(frames: readonly Frame[]): void {
    if (frames.length === 0 || this.#socket.readyState !== WebSocket.OPEN) return;
    this.#socket.send(this.#encoding === "json" ? JSON.stringify(frames) : encode(frames));
  }

  close(): void {
    this.#socket.close(1000);
  }
}
