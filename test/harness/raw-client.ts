/**
 * A WebSocket client over a bare TCP socket, which reads only when told to and sends whatever bytes the
 * test likes. JSON only.
 */
import { connect, type Socket } from "node:net";
import { eventually } from "./eventually.ts";
import { firstFrame, protocolFrames, type RawFrame } from "./raw-frames.ts";
import type { Frame } from "./wire-client.ts";

export class RawClient implements Disposable {
  readonly socket: Socket;
  /** Frames that came, in order. */
  readonly frames: Frame[] = [];
  /** The code of the close frame, once one came. */
  closeCode: number | undefined;
  /** The TCP connection has ended. */
  ended = false;
  #bytes = Buffer.alloc(0);
  #upgraded = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("close", () => {
      this.ended = true;
    });
    socket.on("error", () => undefined);
  }

  static async connect(wsUrl: string): Promise<RawClient> {
    const { hostname, port, host, pathname, search } = new URL(wsUrl);
    const client = new RawClient(connect(Number(port), hostname));
    client.socket.write(
      `GET ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await client.until(({ type }) => type === "welcome");
    return client;
  }

  send(frame: Frame): void {
    this.sendBytes(0x81, Buffer.from(JSON.stringify(frame)));
  }

  /** One WebSocket frame with this first byte, masked with zeros. */
  sendBytes(first: number, payload: Uint8Array): void {
    const { length } = payload;
    const size = length < 126 ? [0x80 | length] : [0x80 | 126, length >> 8, length & 0xff];
    this.socket.write(Buffer.concat([Buffer.from([first, ...size, 0, 0, 0, 0]), payload]));
  }

  stopReading(): void {
    this.socket.pause();
  }

  readOn(): void {
    this.socket.resume();
  }

  /** Resolves with the first frame, come or to come, for which this holds. */
  async until(wanted: (frame: Frame) => boolean): Promise<Frame> {
    await eventually(
      () => this.frames.some(wanted),
      () => `a frame; the last ones are ${JSON.stringify(this.frames.slice(-3)).slice(0, 500)}`,
    );
    return this.frames.find(wanted)!;
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    if (!this.#upgraded) {
      const end = this.#bytes.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.#upgraded = true;
      this.#bytes = this.#bytes.subarray(end + 4);
    }
    for (let one = firstFrame(this.#bytes); one; one = firstFrame(this.#bytes)) {
      this.#bytes = one.rest;
      this.#take(one);
    }
  }

  #take({ opcode, payload }: RawFrame): void {
    // One without a code counts as 1005 (RFC 6455, 7.1.5).
    if (opcode === 8) this.closeCode = payload.length < 2 ? 1005 : payload.readUInt16BE(0);
    if (opcode === 1) this.frames.push(...protocolFrames<Frame>(payload));
  }
}
