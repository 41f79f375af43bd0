/**
 * A peer that sends whatever bytes the test likes over a bare TCP connection and notes what comes back:
 * an HTTP answer, WebSocket frames, an end.
 */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { constants, inflateRawSync } from "node:zlib";
import { eventually } from "../harness/eventually.ts";
import { firstFrame, protocolFrames, type RawFrame } from "../harness/raw-frames.ts";
import type { Frame } from "../harness/wire-client.ts";

export const OPCODE = {
  continuation: 0,
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
} as const;

export interface FrameShape {
  readonly opcode: number;
  readonly payload?: string | Uint8Array;
  /** The last fragment of its message; true when absent. */
  readonly final?: boolean;
  /** The three reserved bits, 0 to 7; 0 when absent. */
  readonly reserved?: number;
  /** False leaves the mask out, which no client may. */
  readonly masked?: boolean;
  /** A length that is not the payload's. */
  readonly statedLength?: number;
}

const MASK = [0x37, 0xfa, 0x21, 0x3d] as const;

/** The bytes of one WebSocket frame. */
export function webSocketFrame(shape: FrameShape): Buffer {
  const { opcode, final = true, reserved = 0, masked = true } = shape;
  const payload = Buffer.from(shape.payload ?? "");
  const length = shape.statedLength ?? payload.length;
  const maskBit = masked ? 0x80 : 0;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  head[0] = (final ? 0x80 : 0) | (reserved << 4) | opcode;
  head[1] = maskBit | (length < 126 ? length : length < 65_536 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
  if (!masked) return Buffer.concat([head, payload]);
  const hidden = payload.map((byte, i) => byte ^ MASK[i & 3]!);
  return Buffer.concat([head, Buffer.from(MASK), hidden]);
}

export function textFrame(value: unknown): Buffer {
  const payload = typeof value === "string" ? value : JSON.stringify(value);
  return webSocketFrame({ opcode: OPCODE.text, payload });
}

/** A `GET /ws` that asks for a WebSocket, with these header lines besides. */
export function upgradeRequest(host: string, ...lines: string[]): string {
  const asked = [
    "GET /ws HTTP/1.1",
    `Host: ${host}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...lines,
  ];
  return `${asked.join("\r\n")}\r\n\r\n`;
}

export class HostilePeer implements Disposable {
  readonly socket: Socket;
  /** As in a `Host` header. */
  readonly host: string;
  /** The broker's frames, in order, arrays taken apart. */
  readonly frames: Frame[] = [];
  readonly opcodes: number[] = [];
  /** Payloads of compressed text messages, as they came. */
  readonly compressed: Buffer[] = [];
  /** The head of the answer to the upgrade. */
  head = "";
  closeCode: number | undefined;
  ended = false;
  #bytes = Buffer.alloc(0);
  #upgraded = false;

  private constructor(socket: Socket, host: string) {
    this.socket = socket;
    this.host = host;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("close", () => {
      this.ended = true;
    });
    socket.on("error", () => undefined);
  }

  /** A TCP connection and nothing else; with `tls`, what may be trusted, one over TLS. */
  static async dial(url: string, tls?: { readonly ca: string }): Promise<HostilePeer> {
    const { hostname, port, host } = new URL(url);
    const at = { port: Number(port), host: hostname };
    const socket = tls === undefined ? connect(at) : connectTls({ ...at, ...tls });
    const peer = new HostilePeer(socket, host);
    await new Promise<void>((resolve, reject) => {
      socket.once(tls === undefined ? "connect" : "secureConnect", () => resolve());
      socket.once("error", reject);
    });
    return peer;
  }

  /** A WebSocket, upgraded in the right way; `welcome` has come. */
  static async upgrade(url: string, ...lines: string[]): Promise<HostilePeer> {
    const peer = await HostilePeer.dial(url);
    peer.write(upgradeRequest(peer.host, ...lines));
    await eventually(
      () => peer.frames.length > 0 || peer.opcodes.length > 0 || peer.ended,
      () => `a welcome; there is ${peer.text}`,
    );
    return peer;
  }

  /** What came and is no whole WebSocket frame: before an upgrade, the HTTP answers. */
  get text(): string {
    return this.#bytes.toString("latin1");
  }

  write(bytes: string | Uint8Array): void {
    if (!this.ended) this.socket.write(bytes);
  }

  send(...frames: unknown[]): void {
    this.write(Buffer.concat(frames.map(textFrame)));
  }

  /** Resolves with the first frame, come or to come, for which this holds. */
  async until(wanted: (frame: Frame) => boolean): Promise<Frame> {
    await eventually(
      () => this.frames.some(wanted) || this.ended,
      () => `a frame; the last are ${JSON.stringify(this.frames.slice(-3)).slice(0, 500)}`,
    );
    const found = this.frames.find(wanted);
    if (found === undefined) throw new Error(`it ended, with ${this.closeCode}`);
    return found;
  }

  /** Resolves with the close code when the TCP connection has ended; undefined when there was none. */
  async over(): Promise<number | undefined> {
    await eventually(
      () => this.ended,
      () => `an end; close code ${this.closeCode}, ${JSON.stringify(this.frames.slice(-2))}`,
    );
    return this.closeCode;
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    if (!this.#upgraded) {
      const end = this.#bytes.indexOf("\r\n\r\n");
      if (end < 0 || !this.text.startsWith("HTTP/1.1 101")) return;
      this.#upgraded = true;
      this.head = this.#bytes.subarray(0, end).toString("latin1");
      this.#bytes = this.#bytes.subarray(end + 4);
    }
    for (let one = firstFrame(this.#bytes); one; one = firstFrame(this.#bytes)) {
      this.#bytes = one.rest;
      this.#take(one);
    }
  }

  #take({ opcode, payload, compressed }: RawFrame): void {
    this.opcodes.push(opcode);
    if (opcode === OPCODE.close && payload.length >= 2) this.closeCode = payload.readUInt16BE(0);
    if (opcode !== OPCODE.text) return;
    if (compressed) this.compressed.push(Buffer.from(payload));
    this.frames.push(...protocolFrames<Frame>(compressed ? inflate(payload) : payload));
  }
}

/** One message of permessage-deflate, by itself: with anything of an earlier one in it this fails. */
function inflate(payload: Uint8Array): Buffer {
  const whole = Buffer.concat([payload, Buffer.from([0, 0, 0xff, 0xff])]);
  return inflateRawSync(whole, { finishFlush: constants.Z_SYNC_FLUSH });
}
