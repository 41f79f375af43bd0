/** Floods of messages that are deep, wide, huge, false, or much larger than they look. */
import {
  type Attack,
  type Control,
  comingAndGoing,
  frameOf,
  OPCODE,
  packedFrame,
  type Start,
  sameToBare,
} from "./hostile.ts";

const publish = (payload: string) => `{"type":"publish","topic":"flood","payload":${payload}}`;
const nested = (levels: number) => `${"[".repeat(levels)}${"]".repeat(levels)}`;

const LENGTH = 20_000;
const DEEP = publish(nested(LENGTH / 2));
/** Deep and wide as is just allowed: the costliest JSON that there is. */
const WIDE = publish(`[${new Array(Math.floor(LENGTH / 128)).fill(nested(63)).join()}]`);
const ROW =
  '{"id":123,"name":"sensor-123","value":20.51,"tags":["a","b"],"note":"some words of it"}';
const ROWS = publish(`[${new Array(Math.floor(LENGTH / (ROW.length + 1))).fill(ROW).join()}]`);

const DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate";
const TEXT_250_KB = publish(`"${"x".repeat(250_000)}"`);
const OVER_THE_BOUND = publish(`"${"x".repeat(10_000_000)}"`);

/** One message on each of five connections every 10 ms. */
function each(texts: readonly (string | Buffer<ArrayBuffer>)[], protocol?: string): Start {
  return (target, hostile) => {
    const lines = hostile.lines(target, 5, protocol);
    let at = 0;
    return () => {
      for (const line of lines()) line.send(texts[at++ % texts.length]!);
    };
  };
}

/** These bytes on each of `count` connections every 10 ms. */
function bytes(count: number, messages: readonly Buffer[], ...heads: string[]): Start {
  return (target, hostile) => {
    const lines = hostile.rawLines(target, count, ...heads);
    let at = 0;
    return () => {
      for (const line of lines()) line.write(messages[at++ % messages.length]!);
    };
  };
}

const honest = (name: string, start: Start): Control => ({ name, side: "warren", start });

/** Lies about lengths, extension types, and nesting without end. */
const BOMBS = [
  Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]),
  Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff]),
  Buffer.from([0xc7, 1, 5, 0]),
  Buffer.from([0xc9, 0xff, 0xff, 0xff, 0xff, 5]),
  Buffer.alloc(100_000, 0x91),
];

const LARGE = [
  frameOf(OPCODE.text, "x", 2 ** 40),
  frameOf(OPCODE.text, "x".repeat(65_536), 2 ** 30),
  frameOf(OPCODE.text, "x".repeat(262_145)),
];

/** A message of a hundred fragments of a byte, more or less, and never its end. */
const FRAGMENTS = Buffer.concat(
  Array.from({ length: 100 }, () => frameOf(OPCODE.continuation, "x")),
);
const fragments: Start = (target, hostile) => {
  const lines = hostile.rawLines(target, 5);
  const begun = new WeakSet();
  return () => {
    for (const line of lines()) {
      if (!begun.has(line)) line.write(frameOf(OPCODE.begin, "x"));
      begun.add(line);
      line.write(FRAGMENTS);
    }
  };
};

const rows = honest("rows of as many bytes", each([ROWS]));

export const PAYLOADS: readonly Attack[] = [
  { name: "payloads 10,000 deep, 20 KB, 500 a second", start: each([DEEP]), control: rows },
  {
    name: "payloads of 63 levels side by side, allowed, 20 KB, 500 a second",
    start: each([WIDE]),
    control: rows,
  },
  {
    name: "MessagePack bombs, extensions, 100,000 levels, 500 a second",
    start: each(BOMBS, "warren.v1.msgpack"),
    control: comingAndGoing,
  },
  {
    name: "frames over the bound, or that say so, 500 a second",
    start: bytes(5, LARGE),
    control: comingAndGoing,
  },
  {
    name: "messages without end, 50,000 fragments of a byte a second",
    start: fragments,
    control: sameToBare(fragments),
  },
  {
    name: "compressed, 10 MB unpacked, 500 a second",
    start: bytes(5, [packedFrame(OVER_THE_BOUND)], DEFLATE),
    control: comingAndGoing,
    compression: true,
  },
  {
    name: "compressed, 250 KB unpacked, allowed, 100 a second",
    start: bytes(1, [packedFrame(TEXT_250_KB)], DEFLATE),
    control: honest("the same, not compressed", bytes(1, [frameOf(OPCODE.text, TEXT_250_KB)])),
    compression: true,
  },
];
