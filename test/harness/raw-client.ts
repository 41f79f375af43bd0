/**
 * A WebSocket client over a bare TCP socket, which reads only when told to and sends whatever bytes the
 * test likes. JSON only.
 */
import { connect, type Socket } from "node:net";
import { eventually } from "./eventually.ts";
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
    const { hostname, port, host } = new URL(wsUrl);
    const client = new RawClient(connect(Number(port), hostname));
    client.socket.write(
      `GET /ws HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
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
    for (let whole = this.#next(); whole; whole = this.#next());
  }

  /** Takes one WebSocket frame off what was read, if it is whole. */
  #next(): boolean {
    const bytes = this.#bytes;
    if (bytes.length < 2) return false;
    const short = bytes[1]! & 0x7f;
    const head = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < head) return false;
    const size =
      short < 126
        ? short
        : short === 126
          ? bytes.readUInt16BE(2)
          : Number(bytes.readBigUInt64BE(2));
    if (bytes.length < head + size) return false;
    const payload = bytes.subarray(head, head + size);
    this.#bytes = bytes.subarray(head + size);
    const opcode = bytes[0]! & 0x0f;
    if (opcode === 8) this.closeCode = payload.readUInt16BE(0);
    if (opcode === 1) {
      const value = JSON.parse(payload.toString());
      this.frames.push(...(Array.isArray(value) ? value : [value]));
    }
    return true;
  }
}
