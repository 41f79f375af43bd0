/** `warren pub`: publishes one message, a file, or every line of standard input. */
import {
  CLIENT_FLAGS,
  type Command,
  Failure,
  type Input,
  integerFlag,
  listFlag,
  textFlag,
  UsageError,
} from "./command.ts";
import { addressOf, Connection, type Reply, type Request } from "./connection.ts";
import { timeFlag } from "./message-filters.ts";

/** Publishes of one run that are not answered yet; reading standard input waits for them. */
const IN_FLIGHT = 256;

export const pubCommand: Command = {
  name: "pub",
  usage: "<topic> [payload]",
  summary: "Publish a message, a file, or each line of standard input.",
  details:
    "The payload is JSON if it reads as JSON, else text. Without a payload and a file, every line of\n" +
    "standard input is a message. Each is answered when it is on disk, where a queue keeps it. With\n" +
    "--atomic all lines are stored and seen together, or none is.",
  flags: {
    ...CLIENT_FLAGS,
    file: { type: "string", value: "FILE", help: "The payload is what this file holds." },
    atomic: { type: "boolean", help: "All lines of standard input, or none." },
    text: { type: "boolean", help: "The payload is text, even if it reads as JSON." },
    key: { type: "string", value: "KEY", help: "The ordering key." },
    header: { type: "string", multiple: true, value: "NAME=VALUE", help: "A header; repeatable." },
    priority: { type: "string", value: "N", help: "0 (last) to 9 (first)." },
    "ttl-ms": { type: "string", value: "MS", help: "How long it is worth delivering." },
    "delay-ms": { type: "string", value: "MS", help: "How long queues hold it back." },
    at: { type: "string", value: "TIME", help: "Until when: a date, or milliseconds since 1970." },
    retain: { type: "boolean", help: "It becomes the topic's value; null takes that away." },
    "message-id": { type: "string", value: "ID", help: "Makes a repetition harmless." },
    "reply-to": { type: "string", value: "TOPIC", help: "Where answers go." },
    "correlation-id": { type: "string", value: "ID", help: "Which question an answer is for." },
    "content-type": { type: "string", value: "TYPE", help: "What the payload is." },
  },
  args: [1, 2],
  async run(input) {
    const { args, terminal } = input;
    const topic = args[0] as string;
    const options = optionsOf(input);
    const given = await givenPayload(input);
    const connection = await Connection.open(addressOf(input), {});
    try {
      if (given !== undefined) {
        const ok = await connection.request({ type: "publish", topic, ...given, ...options });
        report(input, ok);
      } else {
        const frame = { type: "publish", topic, ...options } as const;
        const publish = input.flags.atomic === true ? publishTogether : publishLines;
        const sent = await publish(input, connection, frame);
        if (!terminal.json) terminal.line(`published ${sent} messages`);
      }
      return 0;
    } finally {
      connection.close();
    }
  },
};

type PublishRequest = Extract<Request, { type: "publish" }>;
type Payload = Pick<PublishRequest, "payload" | "payloadEncoding">;

/** The payload of the words or the file; undefined when it is to be read from standard input. */
async function givenPayload(input: Input): Promise<Payload | undefined> {
  const [, word] = input.args;
  const file = textFlag(input, "file");
  if (word !== undefined && file !== undefined) {
    throw new UsageError("a payload and --file do not go together");
  }
  if (input.flags.atomic === true && (word ?? file) !== undefined) {
    throw new UsageError("--atomic is for the lines of standard input");
  }
  if (word !== undefined) return payloadOf(input, word);
  if (file === undefined) return undefined;
  const bytes = await bytesOf(file);
  try {
    return payloadOf(input, new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return { payload: bytes.toBase64(), payloadEncoding: "base64" };
  }
}

async function bytesOf(file: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await Bun.file(file).bytes();
  } catch (error) {
    throw new Failure(`Cannot read ${file}: ${(error as Error).message}`);
  }
}

function payloadOf(input: Input, text: string): Payload {
  if (input.flags.text === true) return { payload: text };
  try {
    return { payload: JSON.parse(text) };
  } catch {
    return { payload: text };
  }
}

async function publishLines(
  input: Input,
  connection: Connection,
  frame: PublishRequest,
): Promise<number> {
  const waiting: Promise<Reply>[] = [];
  let sent = 0;
  for await (const line of inputLines()) {
    const answer = connection.request({ ...frame, ...payloadOf(input, line) });
    // It is awaited in its turn; until then a failure must not count as unhandled.
    answer.catch(() => undefined);
    waiting.push(answer);
    sent++;
    if (waiting.length >= IN_FLIGHT) reportLine(input, await (waiting.shift() as Promise<Reply>));
  }
  for (const answer of waiting) reportLine(input, await answer);
  return sent;
}

/** One frame for all lines: as many as the broker takes in one. */
async function publishTogether(
  input: Input,
  connection: Connection,
  { type: _, ...frame }: PublishRequest,
): Promise<number> {
  const { batch = Number.POSITIVE_INFINITY } = connection.limits;
  const publish: Omit<PublishRequest, "type">[] = [];
  for await (const line of inputLines()) {
    if (publish.length >= batch) throw new Failure(`The broker takes ${batch} at a time, no more.`);
    publish.push({ ...frame, ...payloadOf(input, line) });
  }
  if (publish.length === 0) return 0;
  const { results = [] } = await connection.request({ type: "batch", publish });
  for (const result of results) reportLine(input, result);
  return publish.length;
}

/** Lines without their ends; the last one need not have any. */
async function* inputLines(): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of Bun.stdin.stream()) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() as string;
    yield* lines.map((line) => line.replace(/\r$/, ""));
  }
  if (rest !== "") yield rest;
}

type Published = Pick<
  Reply,
  "messageId" | "queues" | "duplicate" | "displaced" | "invalid" | "offset" | "epoch"
>;

function report({ terminal }: Input, published: Published): void {
  const { messageId, queues, duplicate, displaced, invalid, offset, epoch } = published;
  if (terminal.json) {
    const rest = { displaced, invalid, offset, epoch };
    terminal.object({ messageId, queues, ...(duplicate && { duplicate }), ...rest });
  } else {
    const dead = `dead-lettered in ${queues} ${plural(queues)}: it does not fit its channel`;
    const kept = invalid
      ? dead
      : queues === 0
        ? "no queue keeps it"
        : `kept in ${queues} ${plural(queues)}`;
    const place = offset === undefined ? "" : `, at ${offset} of its history`;
    const gave = displaced === undefined ? "" : `, ${displaced} gave way`;
    terminal.line(
      `${messageId} ${terminal.dim(duplicate ? "published before" : kept + gave + place)}`,
    );
  }
}

function reportLine(input: Input, published: Published): void {
  if (input.terminal.json) report(input, published);
}

function plural(queues: number | undefined): string {
  return queues === 1 ? "queue" : "queues";
}

function optionsOf(input: Input): Partial<PublishRequest> {
  const options: Record<string, unknown> = {
    key: textFlag(input, "key"),
    priority: integerFlag(input, "priority"),
    ttlMs: integerFlag(input, "ttl-ms", 1),
    delayMs: integerFlag(input, "delay-ms"),
    deliverAt: timeFlag(input, "at"),
    messageId: textFlag(input, "message-id"),
    replyTo: textFlag(input, "reply-to"),
    correlationId: textFlag(input, "correlation-id"),
    contentType: textFlag(input, "content-type"),
    retain: input.flags.retain === true ? true : undefined,
  };
  const headers = listFlag(input, "header").map((text) => {
    const at = text.indexOf("=");
    if (at < 1) throw new UsageError(`--header must be NAME=VALUE, not ${text}`);
    return [text.slice(0, at), text.slice(at + 1)] as const;
  });
  if (headers.length > 0) options.headers = Object.fromEntries(headers);
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
