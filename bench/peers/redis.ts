/** Redis Streams as a work queue: XADD; XREADGROUP, then XACK and XDEL of what was read. */
import type { Fail } from "../load/connection.ts";
import { readDigits } from "../load/counting.ts";
import { Link } from "./link.ts";
import type { Confirmed, Delivered, Peer } from "./peer.ts";

const STREAM = "bench";
const GROUP = "workers";
const CR = 13;
const MINUS = 45;
const ARRAY = 42;
const BULK = 36;

function command(...parts: readonly string[]): Buffer {
  const words = parts.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
  return Buffer.from(`*${parts.length}\r\n${words.join("")}`);
}

/** Walks one reply from `at`; the texts of its bulk strings go to `bulk`. -1 when it is not whole. */
function walk(bytes: Buffer, at: number, bulk: (from: number, to: number) => void): number {
  const end = bytes.indexOf(CR, at);
  if (end < 0 || end + 2 > bytes.length) return -1;
  const kind = bytes[at];
  const next = end + 2;
  if (kind === MINUS) throw new Error(`redis: ${bytes.toString("latin1", at, end)}`);
  if (bytes[at + 1] === MINUS) return next;
  if (kind === BULK) {
    const to = next + readDigits(bytes, at + 1);
    if (to + 2 > bytes.length) return -1;
    bulk(next, to);
    return to + 2;
  }
  if (kind !== ARRAY) return next;
  let place = next;
  for (let left = readDigits(bytes, at + 1); left > 0 && place >= 0; left--) {
    place = walk(bytes, place, bulk);
  }
  return place;
}

async function setUp(port: number, fail: Fail): Promise<void> {
  const made = Promise.withResolvers<void>();
  const link = await Link.open(
    port,
    (bytes) => {
      if (walk(bytes, 0, () => {}) < 0) return 0;
      made.resolve();
      return bytes.length;
    },
    fail,
  );
  link.send(command("XGROUP", "CREATE", STREAM, GROUP, "$", "MKSTREAM"));
  await made.promise;
  link.close();
}

async function openPublisher(
  port: number,
  _index: number,
  payload: string,
  confirmed: Confirmed,
  fail: Fail,
) {
  const take = (bytes: Buffer): number => {
    let at = 0;
    let count = 0;
    while (at < bytes.length) {
      const next = walk(bytes, at, () => {});
      if (next < 0) break;
      at = next;
      count++;
    }
    if (count > 0) confirmed(count);
    return at;
  };
  const link = await Link.open(port, take, fail);
  return {
    frame: command("XADD", STREAM, "*", "d", payload),
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
  const read = command(
    ...["XREADGROUP", "GROUP", GROUP, `worker-${index}`, "COUNT", String(credit)],
    ...["BLOCK", "5000", "STREAMS", STREAM, ">"],
  );
  const take = (bytes: Buffer): number => {
    let used = 0;
    while (used < bytes.length) {
      const ids: string[] = [];
      // The entry's id, the name of its one field, the payload: every third text is an id.
      let texts = -1;
      const next = walk(bytes, used, (from, to) => {
        if (texts >= 0 && texts % 3 === 0) ids.push(bytes.toString("latin1", from, to));
        texts++;
      });
      if (next < 0) return used;
      if (ids.length > 0) {
        delivered(ids.length, bytes.subarray(used, next));
        link.send(
          Buffer.concat([
            command("XACK", STREAM, GROUP, ...ids),
            command("XDEL", STREAM, ...ids),
            read,
          ]),
        );
      } else if (bytes[used] === ARRAY) {
        link.send(read);
      }
      used = next;
    }
    return used;
  };
  const link = await Link.open(port, take, fail);
  link.send(read);
  return link;
}

export const redis: Peer = { setUp, openPublisher, openConsumer };
