/** `warren consume`: works a queue, printing each message or handing it to a program. */
import { environment } from "../config.ts";
import {
  CLIENT_FLAGS,
  type Command,
  Failure,
  type Input,
  integerFlag,
  textFlag,
} from "./command.ts";
import { addressOf, Connection } from "./connection.ts";
import { interrupted } from "./interrupt.ts";
import { brief, clockTime } from "./terminal.ts";

interface Delivery extends Record<string, unknown> {
  readonly tag: number;
  readonly topic: string;
  readonly messageId: string;
  readonly attempt: number;
  readonly time: number;
  readonly payload: unknown;
  readonly payloadEncoding?: "base64";
}

export const consumeCommand: Command = {
  name: "consume",
  usage: "<queue>",
  summary: "Take messages from a queue, print and ack them, until Ctrl-C.",
  details:
    "With --exec each message is the standard input of the command, which also finds WARREN_TOPIC,\n" +
    "WARREN_MESSAGE_ID and WARREN_ATTEMPT; its exit code 0 acks, any other nacks: again, later.",
  flags: {
    ...CLIENT_FLAGS,
    credit: { type: "string", value: "N", help: "Messages held at a time; 10, or 1 with --exec." },
    count: { type: "string", value: "N", help: "End after so many messages." },
    exec: { type: "string", value: "COMMAND", help: "Run this in a shell for each message." },
  },
  args: [1, 1],
  async run(input) {
    const exec = textFlag(input, "exec");
    const credit = integerFlag(input, "credit", 1) ?? (exec === undefined ? 10 : 1);
    const count = integerFlag(input, "count", 1) ?? Number.POSITIVE_INFINITY;
    const worker = new Worker(input, input.args[0] as string, exec, credit, count);
    await worker.run();
    return 0;
  },
};

class Worker {
  readonly #input: Input;
  readonly #queue: string;
  readonly #exec: string | undefined;
  readonly #credit: number;
  readonly #count: number;
  readonly #done = Promise.withResolvers<void>();
  #connection: Connection | undefined;
  #settled = 0;

  constructor(
    input: Input,
    queue: string,
    exec: string | undefined,
    credit: number,
    count: number,
  ) {
    this.#input = input;
    this.#queue = queue;
    this.#exec = exec;
    this.#credit = credit;
    this.#count = count;
  }

  async run(): Promise<void> {
    // Before anything is said: whoever reads it may end the command at once.
    const stopped = interrupted();
    const connection = await Connection.open(addressOf(this.#input), {
      frame: (frame) => {
        if (frame.type === "delivery") this.#work(frame as unknown as Delivery);
        if (frame.type === "notice" && frame.code === "consumer_ended") {
          this.#done.reject(new Failure(`The queue stopped handing out: ${frame.reason}`));
        }
      },
    });
    this.#connection = connection;
    try {
      const queue = this.#queue;
      await connection.request({ type: "consume", queue, credit: this.#room });
      this.#input.terminal.note(`consuming ${queue}`);
      await Promise.race([this.#done.promise, stopped, connection.closed]);
    } finally {
      connection.close();
    }
  }

  /** Never more than will be settled: what is taken and not worked on would have to wait. */
  get #room(): number {
    return Math.min(this.#credit, this.#count - this.#settled);
  }

  #work(delivery: Delivery): void {
    this.#settle(delivery).catch((error) => this.#done.reject(error));
  }

  async #settle(delivery: Delivery): Promise<void> {
    const connection = this.#connection as Connection;
    print(this.#input, delivery);
    const status = this.#exec === undefined ? 0 : await execute(this.#exec, delivery);
    this.#settled++;
    if (this.#room < this.#credit) {
      await connection.request({ type: "credit", queue: this.#queue, credit: this.#room });
    }
    const tags = [delivery.tag];
    if (status === 0) await connection.request({ type: "ack", tags });
    else {
      await connection.request({ type: "nack", tags, reason: `exit ${status}` });
      // It comes again, or is a dead letter now: that is for the queue to say.
      this.#input.terminal.note(`${brief(delivery.messageId)}: exit ${status}, nacked`);
    }
    if (this.#settled >= this.#count) this.#done.resolve();
  }
}

/** Runs the command with the payload as its input; resolves to its exit code. */
async function execute(command: string, delivery: Delivery): Promise<number> {
  const { payload, payloadEncoding, topic, messageId, attempt } = delivery;
  const text = typeof payload === "string" ? payload : JSON.stringify(payload);
  const stdin =
    payloadEncoding === "base64" ? Uint8Array.fromBase64(text) : new TextEncoder().encode(text);
  const child = Bun.spawn(["sh", "-c", command], {
    stdin,
    stdout: "inherit",
    stderr: "inherit",
    env: {
      ...environment,
      WARREN_TOPIC: topic,
      WARREN_MESSAGE_ID: messageId,
      WARREN_ATTEMPT: String(attempt),
    },
  });
  return child.exited;
}

function print({ terminal }: Input, delivery: Delivery): void {
  if (terminal.json) {
    const { type, ...fields } = delivery;
    terminal.object(fields);
    return;
  }
  const again = delivery.attempt > 1 ? terminal.red(` attempt ${delivery.attempt}`) : "";
  const time = terminal.dim(clockTime(delivery.time));
  terminal.line(`${time} ${terminal.bold(delivery.topic)}${again} ${brief(delivery.payload)}`);
}
