/**
 * Cuts a byte stream into WebSocket messages. A message that its reader can count by length alone
 * is skipped without being touched or copied.
 */
export interface MessageSink {
  /** The length of the text message that begins: true when knowing it was enough. */
  skim(length: number): boolean;
  /** A whole text message; the bytes are valid during the call only. */
  message(bytes: Buffer): void;
}

export interface ControlSink {
  ping(body: Buffer): void;
  closed(code: number, reason: string): void;
}

const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

/** Bytes of the header that starts at `at`; 0 when it is not complete. */
function headerBytes(bytes: Uint8Array, at: number, end: number): number {
  if (end - at < 2) return 0;
  const short = bytes[at + 1]! & 127;
  const length = short < 126 ? 2 : short === 126 ? 4 : 10;
  return end - at < length ? 0 : length;
}

function payloadBytes(bytes: Buffer, at: number): number {
  const short = bytes[at + 1]! & 127;
  if (short < 126) return short;
  return short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
}

export class FrameReader {
  sink: MessageSink;
  readonly #control: ControlSink;
  readonly #head = Buffer.alloc(10);
  #headFilled = 0;
  #skip = 0;
  #opcode = 0;
  #held: Buffer | undefined;
  #heldFilled = 0;

  constructor(sink: MessageSink, control: ControlSink) {
    this.sink = sink;
    this.#control = control;
  }

  push(chunk: Buffer): void {
    const end = chunk.length;
    let at = 0;
    while (at < end) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, end - at);
        this.#skip -= step;
        at += step;
      } else if (this.#held !== undefined) {
        at = this.#fill(this.#held, chunk, at);
      } else if (this.#headFilled > 0) {
        this.#head[this.#headFilled++] = chunk[at++]!;
        if (headerBytes(this.#head, 0, this.#headFilled) > 0) {
          this.#headFilled = 0;
          at = this.#begin(this.#head, 0, chunk, at);
        }
      } else {
        const head = headerBytes(chunk, at, end);
        if (head > 0) {
          at = this.#begin(chunk, at, chunk, at + head);
        } else {
          this.#headFilled = chunk.copy(this.#head, 0, at, end);
          at = end;
        }
      }
    }
  }

  /** Starts the frame whose header stands in `head`; returns where reading of `chunk` goes on. */
  #begin(head: Buffer, headAt: number, chunk: Buffer, at: number): number {
    const first = head[headAt]!;
    const length = payloadBytes(head, headAt);
    if ((first & 0x80) === 0) throw new Error("the server sent a fragmented message");
    this.#opcode = first & 15;
    if (this.#opcode === TEXT ? this.sink.skim(length) : this.#opcode === PONG) {
      this.#skip = length;
      return at;
    }
    if (chunk.length - at >= length) {
      this.#deliver(chunk.subarray(at, at + length));
      return at + length;
    }
    this.#held = Buffer.allocUnsafe(length);
    this.#heldFilled = 0;
    return at;
  }

  #fill(held: Buffer, chunk: Buffer, at: number): number {
    const step = chunk.copy(held, this.#heldFilled, at);
    this.#heldFilled += step;
    if (this.#heldFilled === held.length) {
      this.#held = undefined;
      this.#deliver(held);
    }
    return at + step;
  }

  #deliver(bytes: Buffer): void {
    if (this.#opcode === TEXT) this.sink.message(bytes);
    else if (this.#opcode === PING) this.#control.ping(bytes);
    else if (this.#opcode === CLOSE) {
      const code = bytes.length >= 2 ? bytes.readUInt16BE(0) : 1005;
      this.#control.closed(code, bytes.subarray(2).toString());
    } else throw new Error(`the server sent a frame of opcode ${this.#opcode}`);
  }
}
