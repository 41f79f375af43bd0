/** `warren dead …`: what an operator does with the messages that a queue gave up on [P-13.9], [P-13.10]. */
import { ask } from "./admin-client.ts";
import {
  CLIENT_FLAGS,
  type Command,
  Failure,
  type Flags,
  type Input,
  integerFlag,
  textFlag,
} from "./command.ts";
import { FILTER_FLAGS, filterQuery } from "./message-filters.ts";
import { counted, printMessages, type QueueMessage } from "./queue-view.ts";
import { begin, printTasks, TASK_FLAGS, type Task, tellTask } from "./task-view.ts";
import { printWhole } from "./terminal.ts";

const PAGE = 1000;
const LIST_FLAGS: Flags = {
  ...CLIENT_FLAGS,
  ...FILTER_FLAGS,
  limit: { type: "string", value: "N", help: "At most so many." },
};

export const deadCommands: readonly Command[] = [
  {
    name: "dead list",
    usage: "<queue>",
    summary: "List dead letters and why they died.",
    flags: LIST_FLAGS,
    args: [1, 1],
    run: (input) => list(input, textFlag(input, "search")),
  },
  {
    name: "dead search",
    usage: "<queue> <words>",
    summary: "Find dead letters by words in topic, headers, payload or reason.",
    flags: LIST_FLAGS,
    args: [2, 2],
    run: (input) => list(input, input.args[1]),
  },
  {
    name: "dead show",
    usage: "<queue> <messageId>",
    summary: "Show one dead letter whole.",
    flags: CLIENT_FLAGS,
    args: [2, 2],
    async run(input) {
      printWhole(input.terminal, await ask<QueueMessage>(input, "GET", messagePath(input)));
      return 0;
    },
  },
  {
    name: "dead redrive",
    usage: "<queue> [messageId…]",
    summary: "Send dead letters back to work: all, those that fit, or those that are named.",
    flags: { ...CLIENT_FLAGS, ...TASK_FLAGS },
    args: [1, PAGE],
    run: (input) => begin(input, `${queuePath(input)}/redrive`, "redrive"),
  },
  {
    name: "dead resend",
    usage: "<queue> <messageId>",
    summary: "Change one dead letter and send it again.",
    flags: {
      ...CLIENT_FLAGS,
      payload: { type: "string", value: "JSON", help: "Another payload." },
      topic: { type: "string", value: "TOPIC", help: "Another topic." },
      to: { type: "string", value: "QUEUE", help: "Into this queue; else the one it died in." },
    },
    args: [2, 2],
    run: resend,
  },
  {
    name: "dead delete",
    usage: "<queue> <messageId…>",
    summary: "Remove dead letters for good.",
    flags: CLIENT_FLAGS,
    args: [2, PAGE],
    async run(input) {
      const ids = input.args.slice(1);
      for (const id of ids) await ask(input, "DELETE", messagePath(input, id));
      tell(input, { deleted: ids.length }, `removed ${counted(ids.length, "message")}`);
      return 0;
    },
  },
  {
    name: "dead purge",
    usage: "<queue>",
    summary: "Remove all dead letters of a queue for good.",
    flags: CLIENT_FLAGS,
    args: [1, 1],
    async run(input) {
      const { purged } = await ask<{ purged: number }>(input, "POST", `${queuePath(input)}/purge`);
      tell(input, { purged }, `removed ${counted(purged, "message")}`);
      return 0;
    },
  },
  {
    name: "dead tasks cancel",
    usage: "<task>",
    summary: "End a redrive or a replay where it is.",
    flags: CLIENT_FLAGS,
    args: [1, 1],
    run: cancel,
  },
  {
    name: "dead tasks",
    usage: "",
    summary: "List redrives and replays, and how far they are.",
    flags: CLIENT_FLAGS,
    args: [0, 0],
    run: tasks,
  },
];

async function list(input: Input, search: string | undefined): Promise<number> {
  let left = integerFlag(input, "limit", 1) ?? 20;
  const query = filterQuery(input);
  if (search !== undefined) query.set("search", search);
  let found = 0;
  for (let more = true; more && left > 0; ) {
    query.set("limit", String(Math.min(left, PAGE)));
    const path = `${queuePath(input)}/messages?${query}`;
    const page = await ask<{ messages: QueueMessage[]; next?: string }>(input, "GET", path);
    printMessages(input.terminal, page.messages);
    found += page.messages.length;
    left -= page.messages.length;
    more = page.next !== undefined;
    query.set("after", page.next ?? "");
  }
  if (found === 0 && !input.terminal.json) input.terminal.line("Nothing there.");
  return 0;
}

async function resend(input: Input): Promise<number> {
  const body: Record<string, unknown> = {};
  for (const name of ["topic", "to"]) {
    const value = textFlag(input, name);
    if (value !== undefined) body[name] = value;
  }
  const payload = textFlag(input, "payload");
  if (payload !== undefined) body.payload = parsed(payload);
  const path = `${messagePath(input)}/resend`;
  const sent = await ask<{ messageId: string; queue: string }>(input, "POST", path, body);
  tell(input, sent, `sent ${sent.messageId} to ${sent.queue}`);
  return 0;
}

async function tasks(input: Input): Promise<number> {
  const page = await ask<{ tasks: Task[] }>(input, "GET", `/admin/v1/tasks?limit=${PAGE}`);
  printTasks(input, page.tasks);
  return 0;
}

async function cancel(input: Input): Promise<number> {
  const path = `/admin/v1/tasks/${encodeURIComponent(input.args[0] as string)}`;
  tellTask(input, await ask<Task>(input, "DELETE", path));
  return 0;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Failure("The payload is not JSON; text needs quotes of its own: '\"text\"'.");
  }
}

/** The dead-letter queue of the named queue, which may be named itself. */
function queuePath(input: Input): string {
  const name = input.args[0] as string;
  return `/admin/v1/queues/${encodeURIComponent(name.endsWith(".dead") ? name : `${name}.dead`)}`;
}

function messagePath(input: Input, id = input.args[1] as string): string {
  return `${queuePath(input)}/messages/${encodeURIComponent(id)}`;
}

function tell({ terminal }: Input, value: object, sentence: string): void {
  if (terminal.json) terminal.object(value);
  else terminal.line(sentence);
}
