/** A JetStream work queue: a file-backed stream with acked publishes, one pull consumer for all. */
import type { Fail } from "../load/connection.ts";
import { Link } from "./link.ts";
import type { Confirmed, Delivered, Peer } from "./peer.ts";

const STREAM = "BENCH";
const SUBJECT = "bench.work";
const CONSUMER = "workers";
const HELLO = 'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n';
const API = "$JS.API";
/** Nanoseconds that a pull request stands. */
const PULL_EXPIRES = 30_000_000_000;

interface Message {
  readonly replyTo: string | undefined;
  /** A message with headers only says how a request ended. */
  readonly status: boolean;
  readonly from: number;
  readonly to: number;
}

/** Reads what the server sends, line by line; answers how much was whole. */
function reader(
  pong: () => void,
  message: (bytes: Buffer, message: Message) => void,
  flush: () => void,
) {
  return (bytes: Buffer): number => {
    let at = 0;
    for (;;) {
      const end = bytes.indexOf("\r\n", at, "latin1");
      if (end < 0) break;
      const words = bytes.toString("latin1", at, end).split(" ");
      const next = end + 2;
      const [verb] = words;
      if (verb === "MSG" || verb === "HMSG") {
        const to = next + Number(words[words.length - 1]);
        if (to + 2 > bytes.length) break;
        const status = verb === "HMSG";
        const withReply = words.length === (status ? 6 : 5);
        message(bytes, { replyTo: withReply ? words[3] : undefined, status, from: next, to });
        at = to + 2;
        continue;
      }
      if (verb === "PING") pong();
      else if (verb?.startsWith("-ERR")) throw new Error(`nats: ${words.join(" ")}`);
      at = next;
    }
    flush();
    return at;
  };
}

async function open(
  port: number,
  fail: Fail,
  message: (bytes: Buffer, message: Message) => void,
  flush: () => void = () => {},
): Promise<Link> {
  const take = reader(() => link.send("PONG\r\n"), message, flush);
  const link: Link = await Link.open(port, take, fail);
  link.send(HELLO);
  return link;
}

const publish = (subject: string, replyTo: string, body: string) =>
  `PUB ${subject} ${replyTo} ${Buffer.byteLength(body)}\r\n${body}\r\n`;

async function setUp(port: number, fail: Fail): Promise<void> {
  let answered: (text: string) => void = () => {};
  const link = await open(port, fail, (bytes, { from, to }) =>
    answered(bytes.toString("utf8", from, to)),
  );
  link.send("SUB _INBOX.setup 1\r\n");
  const request = async (subject: string, body: object) => {
    const answer = new Promise<string>((resolve) => {
      answered = resolve;
    });
    link.send(publish(`${API}.${subject}`, "_INBOX.setup", JSON.stringify(body)));
    const text = await answer;
    if (text.includes('"error"')) throw new Error(`${subject}: ${text}`);
  };
  await request(`STREAM.CREATE.${STREAM}`, {
    name: STREAM,
    subjects: [SUBJECT],
    retention: "workqueue",
    storage: "file",
    num_replicas: 1,
  });
  await request(`CONSUMER.DURABLE.CREATE.${STREAM}.${CONSUMER}`, {
    stream_name: STREAM,
    config: { durable_name: CONSUMER, ack_policy: "explicit", max_ack_pending: 20_000 },
  });
  link.close();
}

async function openPublisher(
  port: number,
  index: number,
  payload: string,
  confirmed: Confirmed,
  fail: Fail,
) {
  const inbox = `_INBOX.publisher${index}`;
  let acked = 0;
  const link = await open(
    port,
    fail,
    (bytes, { from, to, status }) => {
      if (status || bytes.subarray(from, to).includes('"error"')) {
        throw new Error(`publish: ${bytes.toString("utf8", from, to)}`);
      }
      acked++;
    },
    () => {
      if (acked > 0) confirmed(acked);
      acked = 0;
    },
  );
  link.send(`SUB ${inbox} 1\r\n`);
  return {
    frame: Buffer.from(publish(SUBJECT, inbox, payload)),
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
  const inbox = `_INBOX.worker${index}`;
  const batch = Math.ceil(credit / 2);
  const request = publish(
    `${API}.CONSUMER.MSG.NEXT.${STREAM}.${CONSUMER}`,
    inbox,
    JSON.stringify({ batch, expires: PULL_EXPIRES }),
  );
  let toCome = 0;
  /** Acks and requests of one chunk leave together. */
  let out = "";
  const pull = () => {
    toCome += batch;
    out += request;
  };
  const flush = () => {
    if (out !== "") link.send(out);
    out = "";
  };
  const link: Link = await open(
    port,
    fail,
    (bytes, { replyTo, status, from, to }) => {
      if (status) {
        toCome = 0;
        pull();
        return;
      }
      delivered(1, bytes.subarray(from, to));
      toCome--;
      out += `PUB ${replyTo} 4\r\n+ACK\r\n`;
      if (toCome <= batch) pull();
    },
    flush,
  );
  link.send(`SUB ${inbox} 1\r\n`);
  pull();
  pull();
  flush();
  return link;
}

export const jetstream: Peer = { setUp, openPublisher, openConsumer };
