/** bunqueue over its own TCP protocol: MessagePack objects behind a length of four bytes. */
import { Packr } from "msgpackr";
import type { Fail } from "../load/connection.ts";
import { Link } from "./link.ts";
import type { Confirmed, Delivered, Peer } from "./peer.ts";

const QUEUE = "bench";
const LOCK_MS = 30_000;
const packr = new Packr({ useRecords: false });

interface Answer {
  readonly ok: boolean;
  readonly error?: string;
  readonly jobs?: readonly { readonly id: string; readonly data: unknown }[];
  readonly tokens?: readonly string[];
}

function framed(command: object): Buffer {
  const body = packr.pack(command);
  const bytes = Buffer.alloc(4 + body.length);
  bytes.writeUInt32BE(body.length);
  bytes.set(body, 4);
  return bytes;
}

function reader(answered: (answer: Answer, raw: Buffer) => void) {
  return (bytes: Buffer): number => {
    let at = 0;
    while (bytes.length - at >= 4) {
      const end = at + 4 + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      const raw = bytes.subarray(at + 4, end);
      const answer = packr.unpack(raw) as Answer;
      if (!answer.ok) throw new Error(`bunqueue: ${answer.error}`);
      answered(answer, raw);
      at = end;
    }
    return at;
  };
}

function openPublisher(durable: boolean): Peer["openPublisher"] {
  return async (
    port: number,
    _index: number,
    payload: string,
    confirmed: Confirmed,
    fail: Fail,
  ) => {
    const link = await Link.open(
      port,
      reader(() => confirmed(1)),
      fail,
    );
    return {
      // The payload as text, so that its numbers can be patched like everybody else's.
      frame: framed({ cmd: "PUSH", queue: QUEUE, data: { text: payload }, durable }),
      send: (bytes: Buffer) => link.send(bytes),
      close: () => link.close(),
    };
  };
}

async function openConsumer(
  port: number,
  index: number,
  credit: number,
  delivered: Delivered,
  fail: Fail,
) {
  const pull = framed({
    cmd: "PULLB",
    queue: QUEUE,
    count: credit,
    timeout: 5000,
    owner: `worker-${index}`,
    lockTtl: LOCK_MS,
  });
  const link: Link = await Link.open(
    port,
    reader(({ jobs, tokens }, raw) => {
      if (jobs === undefined) return;
      if (jobs.length > 0) {
        delivered(jobs.length, raw);
        link.send(framed({ cmd: "ACKB", ids: jobs.map((job) => job.id), tokens }));
      }
      link.send(pull);
    }),
    fail,
  );
  link.send(pull);
  return link;
}

const setUp = async () => {};
export const bunqueueBuffered: Peer = { setUp, openPublisher: openPublisher(false), openConsumer };
export const bunqueueDurable: Peer = { setUp, openPublisher: openPublisher(true), openConsumer };
