/** What hostile peers have in common: their connections, of which those that are closed come again at a pace. */
import { connect, type Socket } from "node:net";
import { constants, deflateRawSync } from "node:zlib";

export interface Target {
  readonly port: number;
  readonly token: string;
}

/** What is done every 10 ms. */
export type Step = () => void;
export type Start = (target: Target, hostile: Hostile) => Step;

export interface Attack {
  readonly name: string;
  /** Beside what its harm is seen: the bare server under the same flood, or what honest peers do as much of. */
  readonly control: Control;
  readonly start: Start;
  /** How long it takes, where it takes long until there are enough of it. */
  readonly floodMs?: number;
  readonly compression?: true;
  /** Rates have nothing to do with it: no frame and no handshake is ever whole. */
  readonly unrated?: true;
}

export interface Control {
  readonly name: string;
  readonly side: "bare" | "warren";
  readonly start: Start;
}

export const sameToBare = (start: Start): Control => ({
  name: "bare, the same",
  side: "bare",
  start,
});

/** Where hostile peers seem to come from, for a broker that trusts what stands before it. */
export const HOSTILE_ADDRESS = "203.0.113.7";

export const head = (path: string, ...lines: string[]) =>
  [`GET ${path} HTTP/1.1`, "Host: 127.0.0.1", `X-Forwarded-For: ${HOSTILE_ADDRESS}`, ...lines].join(
    "\r\n",
  );

const UPGRADE = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

export const upgradeHead = ({ token }: Target, ...lines: string[]) =>
  `${head(`/ws?access_token=${token}`, ...UPGRADE, ...lines)}\r\n\r\n`;

export const OPCODE = {
  continuation: 0,
  text: 0x81,
  begin: 0x01,
  end: 0x80,
  packed: 0xc1,
} as const;

/** A WebSocket frame of this first byte; the mask is zero. It may say a length that is not its own. */
export function frameOf(first: number, payload: string | Uint8Array, length?: number): Buffer {
  const bytes = Buffer.from(payload);
  const stated = length ?? bytes.length;
  const head = Buffer.alloc(stated < 126 ? 6 : stated < 65_536 ? 8 : 14);
  head[0] = first;
  head[1] = 0x80 | (stated < 126 ? stated : stated < 65_536 ? 126 : 127);
  if (head.length === 8) head.writeUInt16BE(stated, 2);
  if (head.length === 14) head.writeBigUInt64BE(BigInt(stated), 2);
  return Buffer.concat([head, bytes]);
}

/** A compressed message, as RFC 7692 has it. */
export function packedFrame(text: string): Buffer {
  const bytes = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH });
  return frameOf(OPCODE.packed, bytes.subarray(0, bytes.length - 4));
}

export class Hostile {
  readonly #sockets = new Set<Socket>();
  readonly #lines: WebSocket[] = [];
  closed = 0;

  /** A bare TCP connection. */
  socket({ port }: Target, text: string): Socket {
    const socket = connect(port, "127.0.0.1");
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => {
      this.closed++;
      this.#sockets.delete(socket);
    });
    if (text !== "") socket.write(text);
    return socket;
  }

  /** So many WebSockets; the function gives those that are open now, and opens anew those that were closed. */
  lines(target: Target, count: number, protocol?: string): () => WebSocket[] {
    const { port, token } = target;
    const url = `ws://127.0.0.1:${port}/ws?access_token=${token}`;
    const headers = { "X-Forwarded-For": HOSTILE_ADDRESS };
    const lines = this.#lines;
    const open = (at: number) => {
      const line = new WebSocket(url, {
        headers,
        ...(protocol !== undefined && { protocols: [protocol] }),
      });
      line.onclose = () => this.closed++;
      line.onmessage = () => undefined;
      lines[at] = line;
    };
    for (let at = 0; at < count; at++) open(at);
    return () => {
      for (const [at, line] of lines.entries()) if (line.readyState === WebSocket.CLOSED) open(at);
      return lines.filter(({ readyState }) => readyState === WebSocket.OPEN);
    };
  }

  /** The same of sockets whose bytes the caller makes: those that have been upgraded. */
  rawLines(target: Target, count: number, ...heads: string[]): () => Socket[] {
    const upgraded = new Set<Socket>();
    const sockets: Socket[] = [];
    const open = (at: number) => {
      const socket = this.socket(target, upgradeHead(target, ...heads));
      socket.once("data", () => upgraded.add(socket));
      socket.on("data", () => undefined);
      socket.once("close", () => upgraded.delete(socket));
      sockets[at] = socket;
    };
    for (let at = 0; at < count; at++) open(at);
    return () => {
      for (const [at, socket] of sockets.entries()) if (socket.destroyed) open(at);
      return sockets.filter((socket) => upgraded.has(socket) && socket.writable);
    };
  }

  end(): void {
    for (const line of this.#lines.splice(0)) line.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Honest ones who come, say something and go, 500 a second: what coming and going costs by itself. */
export const comingAndGoing: Control = {
  name: "bare, as many who come and go",
  side: "bare",
  start(target, hostile) {
    const lines = hostile.lines(target, 5);
    return () => {
      for (const line of lines()) {
        line.send('{"type":"ping","id":1}');
        line.close();
      }
    };
  },
};
