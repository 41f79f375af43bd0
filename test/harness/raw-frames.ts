/** Cuts the bytes of a TCP connection into WebSocket frames of a server: not masked, in one piece. */

export interface RawFrame {
  readonly opcode: number;
  readonly payload: Buffer<ArrayBuffer>;
  /** Its payload is deflated (RFC 7692). */
  readonly compressed: boolean;
  /** What came behind it. */
  readonly rest: Buffer<ArrayBuffer>;
}

/** The frame at the start of `bytes`; undefined while it is not whole. */
export function firstFrame(bytes: Buffer<ArrayBuffer>): RawFrame | undefined {
  if (bytes.length < 2) return undefined;
  const short = bytes[1]! & 0x7f;
  const head = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < head) return undefined;
  const size =
    short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < head + size) return undefined;
  const payload = bytes.subarray(head, head + size);
  const [first = 0] = bytes;
  const compressed = (first & 0x40) !== 0;
  return { opcode: first & 0x0f, payload, compressed, rest: bytes.subarray(head + size) };
}

/** The frames of the protocol in one text message: one, or those of an array [P-2.1]. */
export function protocolFrames<Frame>(text: Buffer): Frame[] {
  const value = JSON.parse(text.toString());
  return Array.isArray(value) ? value : [value];
}
