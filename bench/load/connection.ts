/**
 * A cheap WebSocket client over a raw socket: it frames and counts, and parses only what it must,
 * so that the generator is not what is measured. Set-up talks in parsed frames; then a sink takes
 * over.
 */
import type { Socket } from "bun";
import { FrameReader, type MessageSink } from "./reader.ts";
import { pongFrame, textFrame } from "./wire.ts";

/** A parsed frame of the server; only the fields that the generator looks at. */
export interface ServerFrame {
  readonly type: string;
  readonly id?: number | string;
  readonly code?: string;
  readonly message?: string;
  readonly tag?: number;
  readonly reconnectAfterMs?: number;
  readonly payload?: { readonly seq: number; readonly sent: number };
}

/** Any fault on any connection ends the job; a run with a fault has no result. */
export type Fail = (error: Error) => void;

/** The upgrade was answered with something else than 101. */
export class UpgradeRefused extends Error {
  readonly status: number;
  /** What `Retry-After` says, in milliseconds; undefined without one. */
  readonly retryAfterMs: number | undefined;

  constructor(head: string) {
    const line = head.slice(0, head.indexOf("\r\n"));
    super(`the upgrade was refused: ${line}`);
    this.status = Number(line.split(" ")[1]);
    const seconds = /\r\nretry-after: *(\d+)/i.exec(head)?.[1];
    this.retryAfterMs = seconds === undefined ? undefined : Number(seconds) * 1000;
  }
}

/** The server closed a connection that was open; 1006 is a socket that ended without a close frame. */
export class ConnectionClosed extends Error {
  readonly code: number;

  constructor(code: number, reason: string) {
    super(`the server closed a connection: ${code} ${reason}`);
    this.code = code;
  }
}

export function parseFrames(bytes: Buffer): ServerFrame[] {
  const parsed: unknown = JSON.parse(bytes.toString());
  return (Array.isArray(parsed) ? parsed : [parsed]) as ServerFrame[];
}

const REQUEST_HEAD = [
  "GET /ws HTTP/1.1",
  "Host: 127.0.0.1",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",
].join("\r\n");

function requestHead(credential: string | undefined): Buffer {
  const authorization = credential === undefined ? "" : `\r\nAuthorization: Bearer ${credential}`;
  return Buffer.from(`${REQUEST_HEAD}${authorization}\r\n\r\n`);
}

const END_OF_HEAD = Buffer.from("\r\n\r\n");

export class Connection implements MessageSink {
  readonly #fail: Fail;
  readonly #reader: FrameReader;
  #socket: Socket<Connection> | undefined;
  #head: Buffer | undefined = Buffer.alloc(0);
  #unsent: Buffer[] = [];
  #welcomed: (() => void) | undefined;
  readonly #replies = new Map<number | string, () => void>();
  #nextId = 1;
  #closing = false;

  private constructor(fail: Fail) {
    this.#fail = fail;
    this.#reader = new FrameReader(this, {
      ping: (body) => this.send(pongFrame(body)),
      closed: (code, reason) => {
        if (!this.#closing) fail(new ConnectionClosed(code, reason));
      },
    });
  }

  /** Resolves after `welcome`. */
  static async open(port: number, fail: Fail, credential?: string): Promise<Connection> {
    const connection = new Connection(fail);
    const welcomed = new Promise<void>((resolve) => {
      connection.#welcomed = resolve;
    });
    connection.#socket = await Bun.connect<Connection>({
      hostname: "127.0.0.1",
      port,
      data: connection,
      socket: HANDLERS,
    });
    connection.#socket.setNoDelay(true);
    connection.send(requestHead(credential));
    await welcomed;
    return connection;
  }

  /** From now on messages go to `sink`; it hands back with `slow` what it does not know. */
  listen(sink: MessageSink): void {
    this.#reader.sink = sink;
  }

  /** Sends a frame with an id and resolves with its `ok`; an `error` fails the job. */
  request(frame: Record<string, unknown>): Promise<void> {
    const id = this.#nextId++;
    return new Promise<void>((resolve) => {
      this.#replies.set(id, resolve);
      this.send(textFrame(JSON.stringify({ ...frame, id })));
    });
  }

  /**
   * Sends now or, when the socket is full, as soon as it drains; the bytes may be reused at once.
   */
  send(bytes: Buffer): void {
    if (this.#unsent.length > 0) {
      this.#unsent.push(Buffer.from(bytes));
      return;
    }
    const written = Math.max(this.#socket!.write(bytes), 0);
    if (written < bytes.length) this.#unsent.push(Buffer.from(bytes.subarray(written)));
  }

  /** A frame outside the hot path: a reply to a request of the set-up, or a fault. */
  slow(frame: ServerFrame): void {
    if (frame.type === "welcome") this.#welcomed?.();
    else if (frame.type === "ok" && frame.id !== undefined) {
      this.#replies.get(frame.id)?.();
      this.#replies.delete(frame.id);
    } else this.#fail(new Error(`unexpected frame: ${JSON.stringify(frame).slice(0, 300)}`));
  }

  skim(): boolean {
    return false;
  }

  message(bytes: Buffer): void {
    for (const frame of parseFrames(bytes)) this.slow(frame);
  }

  close(): void {
    this.#closing = true;
    this.#socket?.terminate();
  }

  /** Bytes from the socket: the answer to the upgrade first, then frames. */
  received(chunk: Buffer): void {
    try {
      if (this.#head === undefined) this.#reader.push(chunk);
      else this.#receivedHead(chunk);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #receivedHead(chunk: Buffer): void {
    const head = Buffer.concat([this.#head!, chunk]);
    const end = head.indexOf(END_OF_HEAD);
    this.#head = head;
    if (end < 0) return;
    this.#head = undefined;
    const answer = head.subarray(0, end + END_OF_HEAD.length).toString();
    if (!answer.startsWith("HTTP/1.1 101 ")) throw new UpgradeRefused(answer);
    this.#reader.push(head.subarray(end + END_OF_HEAD.length));
  }

  drained(): void {
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

  ended(): void {
    if (!this.#closing) this.#fail(new ConnectionClosed(1006, "without a close frame"));
  }
}

const HANDLERS = {
  data: (socket: Socket<Connection>, chunk: Buffer) => socket.data.received(chunk),
  drain: (socket: Socket<Connection>) => socket.data.drained(),
  close: (socket: Socket<Connection>) => socket.data.ended(),
};

/** Opens many, a bounded number at a time. */
export async function openMany(
  count: number,
  port: number,
  fail: Fail,
  credential?: string,
): Promise<Connection[]> {
  const connections: Connection[] = [];
  const AT_ONCE = 50;
  while (connections.length < count) {
    const step = Math.min(AT_ONCE, count - connections.length);
    connections.push(
      ...(await Promise.all(
        Array.from({ length: step }, () => Connection.open(port, fail, credential)),
      )),
    );
  }
  return connections;
}
