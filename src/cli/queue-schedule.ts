/** `warren queue reschedule | unschedule`: messages that were published for later [P-5.13]. */
import { ask } from "./admin-client.ts";
import { CLIENT_FLAGS, type Command, type Input, integerFlag, textFlag } from "./command.ts";
import { timeFlag } from "./message-filters.ts";
import { counted } from "./queue-view.ts";

interface Answer {
  readonly messageId: string;
  readonly queues: number;
}

const rescheduleCommand: Command = {
  name: "queue reschedule",
  usage: "<topic> <messageId>",
  summary: "Change when a message that waits for its time comes, or what it says.",
  flags: {
    ...CLIENT_FLAGS,
    at: { type: "string", value: "TIME", help: "When: a date, or milliseconds since 1970." },
    "delay-ms": { type: "string", value: "MS", help: "Instead: in so many milliseconds." },
    payload: { type: "string", value: "PAYLOAD", help: "Instead of its own; JSON if it reads so." },
    "ttl-ms": { type: "string", value: "MS", help: "How long it is worth delivering, from now." },
  },
  args: [2, 2],
  async run(input) {
    const deliverAt = timeFlag(input, "at");
    const delayMs = integerFlag(input, "delay-ms");
    const ttlMs = integerFlag(input, "ttl-ms", 1);
    const payload = textFlag(input, "payload");
    const answer = await ask<Answer>(input, "PATCH", pathOf(input), {
      ...(deliverAt !== undefined && { deliverAt }),
      ...(delayMs !== undefined && { delayMs }),
      ...(ttlMs !== undefined && { ttlMs }),
      ...(payload !== undefined && { payload: payloadOf(payload) }),
    });
    return report(input, answer, "changed");
  },
};

const unscheduleCommand: Command = {
  name: "queue unschedule",
  usage: "<topic> <messageId>",
  summary: "Take back a message that waits for its time.",
  flags: CLIENT_FLAGS,
  args: [2, 2],
  async run(input) {
    return report(input, await ask<Answer>(input, "DELETE", pathOf(input)), "taken back");
  },
};

export const scheduleCommands: readonly Command[] = [rescheduleCommand, unscheduleCommand];

function pathOf({ args }: Input): string {
  const [topic = "", messageId = ""] = args.map(encodeURIComponent);
  return `/v1/scheduled/${messageId}?topic=${topic}`;
}

function payloadOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function report({ terminal }: Input, answer: Answer, what: string): number {
  if (terminal.json) terminal.object(answer);
  else
    terminal.line(
      `${answer.messageId} ${terminal.dim(`${what} in ${counted(answer.queues, "queue")}`)}`,
    );
  return 0;
}
