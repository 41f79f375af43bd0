/**
 * A durable RabbitMQ queue over AMQP 0-9-1: persistent messages, publisher confirms, an ack for each
 * delivery. Only the few methods that this needs.
 */
import type { Fail } from "../load/connection.ts";
import { Link } from "./link.ts";
import type { Confirmed, Delivered, Peer } from "./peer.ts";

const QUEUE = "bench";
const FRAME = { method: 1, header: 2, body: 3, heartbeat: 8 } as const;
const END = 0xce;
const BASIC = 60;
const PERSISTENT = 2;

const u8 = (value: number) => Buffer.of(value);
function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
const u64 = (value: number) => Buffer.concat([u32(Math.floor(value / 2 ** 32)), u32(value >>> 0)]);
const short = (text: string) => Buffer.concat([u8(text.length), Buffer.from(text)]);
const long = (text: string) => Buffer.concat([u32(text.length), Buffer.from(text)]);
const NO_TABLE = u32(0);

function frame(kind: number, channel: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([u8(kind), u16(channel), u32(body.length), body, u8(END)]);
}

const method = (channel: number, group: number, id: number, ...fields: readonly Buffer[]) =>
  frame(FRAME.method, channel, u16(group), u16(id), ...fields);

/** A connection with one channel; `method` takes everything after the channel is open. */
interface Handlers {
  method(group: number, id: number, bytes: Buffer, at: number): void;
  body(bytes: Buffer, from: number, to: number): void;
  flush(): void;
}

async function open(port: number, fail: Fail, handlers: Handlers): Promise<Link> {
  const opened = Promise.withResolvers<void>();
  const shake = (group: number, id: number, bytes: Buffer, at: number) => {
    if (group === 10 && id === 10) {
      link.send(
        method(0, 10, 11, NO_TABLE, short("PLAIN"), long("\0guest\0guest"), short("en_US")),
      );
    } else if (group === 10 && id === 30) {
      link.send(method(0, 10, 31, bytes.subarray(at, at + 6), u16(0)));
      link.send(method(0, 10, 40, short("/"), short(""), u8(0)));
    } else if (group === 10 && id === 41) {
      link.send(method(1, 20, 10, short("")));
    } else if (group === 20 && id === 11) {
      opened.resolve();
    } else if ((group === 10 && id === 50) || (group === 20 && id === 40)) {
      throw new Error(`rabbitmq closes: ${bytes.toString("latin1", at + 3, at + 200)}`);
    } else {
      handlers.method(group, id, bytes, at);
    }
  };
  const take = (bytes: Buffer): number => {
    let at = 0;
    while (bytes.length - at >= 8) {
      const size = bytes.readUInt32BE(at + 3);
      const end = at + 7 + size + 1;
      if (end > bytes.length) break;
      const kind = bytes[at];
      if (kind === FRAME.method) {
        shake(bytes.readUInt16BE(at + 7), bytes.readUInt16BE(at + 9), bytes, at + 11);
      } else if (kind === FRAME.body) {
        handlers.body(bytes, at + 7, end - 1);
      }
      at = end;
    }
    handlers.flush();
    return at;
  };
  const link: Link = await Link.open(port, take, fail);
  link.send("AMQP\x00\x00\x09\x01");
  await opened.promise;
  return link;
}

/** Sends a method and waits for the answer `id` of the same group. */
function caller() {
  let waiting: { group: number; id: number; resolve: () => void } | undefined;
  return {
    heard(group: number, id: number): boolean {
      if (waiting?.group !== group || waiting.id !== id) return false;
      waiting.resolve();
      waiting = undefined;
      return true;
    },
    call(link: Link, bytes: Buffer, group: number, id: number): Promise<void> {
      link.send(bytes);
      return new Promise((resolve) => {
        waiting = { group, id, resolve };
      });
    },
  };
}

function setUp(kind: "classic" | "quorum"): Peer["setUp"] {
  return async (port, fail) => {
    const calls = caller();
    const link = await open(port, fail, {
      method: (group, id) => void calls.heard(group, id),
      body: () => {},
      flush: () => {},
    });
    const type = Buffer.concat([short("x-queue-type"), Buffer.from("S"), long(kind)]);
    const table = Buffer.concat([u32(type.length), type]);
    const DURABLE = 2;
    const declare = method(1, 50, 10, u16(0), short(QUEUE), u8(DURABLE), table);
    await calls.call(link, declare, 50, 11);
    link.close();
  };
}

async function openPublisher(
  port: number,
  _index: number,
  payload: string,
  confirmed: Confirmed,
  fail: Fail,
) {
  const calls = caller();
  let acked = 0;
  let count = 0;
  const link = await open(port, fail, {
    method(group, id, bytes, at) {
      if (calls.heard(group, id)) return;
      if (group !== BASIC || id !== 80) throw new Error(`unexpected method ${group}.${id}`);
      const tag = Number(bytes.readBigUInt64BE(at));
      // `multiple` confirms all up to the tag; else one, and in which order does not matter here.
      const multiple = (bytes[at + 8]! & 1) === 1;
      count += multiple ? Math.max(tag - acked, 0) : 1;
      acked = multiple ? Math.max(tag, acked) : acked + 1;
    },
    body: () => {},
    flush: () => {
      if (count > 0) confirmed(count);
      count = 0;
    },
  });
  await calls.call(link, method(1, 85, 10, u8(0)), 85, 11);
  const properties = Buffer.concat([u16(0x1000), u8(PERSISTENT)]);
  const publish = Buffer.concat([
    method(1, BASIC, 40, u16(0), short(""), short(QUEUE), u8(0)),
    frame(FRAME.header, 1, u16(BASIC), u16(0), u64(payload.length), properties),
    frame(FRAME.body, 1, Buffer.from(payload)),
  ]);
  return {
    frame: publish,
    send: (bytes: Buffer) => link.send(bytes),
    close: () => link.close(),
  };
}

async function openConsumer(
  port: number,
  index: number,
  credit: number,
  delivered: Delivered,
  fail: Fail,
) {
  const calls = caller();
  const ack = method(1, BASIC, 80, u64(0), u8(0));
  const TAG_AT = 11;
  let acks: Buffer[] = [];
  let tag = 0n;
  const link: Link = await open(port, fail, {
    method(group, id, bytes, at) {
      // The answer to `consume` may come before the first delivery or not at all: no one waits for it.
      if (calls.heard(group, id) || (group === BASIC && id === 21)) return;
      if (group !== BASIC || id !== 60) throw new Error(`unexpected method ${group}.${id}`);
      tag = bytes.readBigUInt64BE(at + 1 + bytes[at]!);
    },
    body(bytes, from, to) {
      delivered(1, bytes.subarray(from, to));
      const own = Buffer.from(ack);
      own.writeBigUInt64BE(tag, TAG_AT);
      acks.push(own);
    },
    flush() {
      if (acks.length > 0) link.send(Buffer.concat(acks));
      acks = [];
    },
  });
  await calls.call(link, method(1, BASIC, 10, u32(0), u16(credit), u8(0)), BASIC, 11);
  const name = short(`worker-${index}`);
  link.send(method(1, BASIC, 20, u16(0), short(QUEUE), name, u8(0), NO_TABLE));
  return link;
}

const shared = { openPublisher, openConsumer };
export const rabbitClassic: Peer = { setUp: setUp("classic"), ...shared };
export const rabbitQuorum: Peer = { setUp: setUp("quorum"), ...shared };
