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
import { counted, printMessages, type QueueMessage } from "./queue-view.ts";
import { table } from "./terminal.ts";

const PAGE = 1000;
const FILTERS = ["topic", "reason", "search", "header"] as const;

const filterFlags: Flags = {
  topic: { type: "string", value: "FILTER", help: "Only topics that match." },
  reason: { type: "string", value: "REASON", help: "Only what died of it: rejected, expired, …" },
  search: { type: "string", value: "WORDS", help: "Only with all these words somewhere." },
  header: { type: "string", value: "NAME=VALUE", help: "Only with this header." },
  limit: { type: "string", value: "N", help: "At most so many." },
};

interface Task {
  readonly id: string;
  readonly kind: string;
  readonly queue: string;
  readonly state: string;
  readonly moved: number;
  readonly held: number;
  readonly failed: number;
  readonly total?: number;
}

export const deadCommands: readonly Command[] = [
  {
    name: "dead list",
    usage: "<queue>",
    summary: "List dead letters and why they died.",
    flags: { ...CLIENT_FLAGS, ...filterFlags },
    args: [1, 1],
    run: (input) => list(input, textFlag(input, "search")),
  },
  {
    name: "dead search",
    usage: "<queue> <words>",
    summary: "Find dead letters by words in topic, headers, payload or reason.",
    flags: { ...CLIENT_FLAGS, ...filterFlags },
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
      const message = await ask<QueueMessage>(input, "GET", messagePath(input));
      if (input.terminal.json) input.terminal.object(message);
      else input.terminal.line(JSON.stringify(message, null, 2));
      return 0;
    },
  },
  {
    name: "dead redrive",
    usage: "<queue> [messageId…]",
    summary: "Send dead letters back to work: all, those that fit, or those that are named.",
    flags: {
      ...CLIENT_FLAGS,
      ...filterFlags,
      rate: { type: "string", value: "N", help: "So many a second." },
      to: { type: "string", value: "QUEUE", help: "Into this queue; else the one they died in." },
      "dry-run": { type: "boolean", help: "Only count them." },
    },
    args: [1, PAGE],
    run: redrive,
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
  const query = new URLSearchParams(filtersOf(input));
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

async function redrive(input: Input): Promise<number> {
  const ids = input.args.slice(1);
  const limit = integerFlag(input, "limit", 1);
  const ratePerSecond = integerFlag(input, "rate", 1);
  const to = textFlag(input, "to");
  const task = await ask<Task>(input, "POST", `${queuePath(input)}/redrive`, {
    ...filtersOf(input),
    ...(ids.length === 0 ? {} : { ids }),
    ...(limit === undefined ? {} : { limit }),
    ...(ratePerSecond === undefined ? {} : { ratePerSecond }),
    ...(to === undefined ? {} : { to }),
    ...(input.flags["dry-run"] === true ? { dryRun: true } : {}),
  });
  const { moved, held, id } = task;
  const sentence =
    task.state === "running"
      ? `task ${id} is running; see: warren dead tasks`
      : `${counted(moved, "message")} would go, ${held} are held`;
  tell(input, task, sentence);
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
  const { terminal } = input;
  const page = await ask<{ tasks: Task[] }>(input, "GET", `/admin/v1/tasks?limit=${PAGE}`);
  if (terminal.json) {
    for (const task of page.tasks) terminal.object(task);
  } else if (page.tasks.length === 0) {
    terminal.line("There are no tasks.");
  } else {
    const titles = ["TASK", "KIND", "QUEUE", "STATE", "MOVED", "HELD", "FAILED", "OF"];
    const rows = page.tasks.map(({ id, kind, queue, state, moved, held, failed, total }) => {
      return [id, kind, queue, state, moved, held, failed, total ?? moved];
    });
    terminal.line(table(terminal, titles, rows));
  }
  return 0;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Failure("The payload is not JSON; text needs quotes of its own: '\"text\"'.");
  }
}

function filtersOf(input: Input): Record<string, string> {
  const filters: Record<string, string> = {};
  for (const name of FILTERS) {
    const value = textFlag(input, name);
    if (value !== undefined) filters[name] = value;
  }
  return filters;
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
