/** `warren queue …`: what an operator does with queues. */
import { ask } from "./admin-client.ts";
import {
  CLIENT_FLAGS,
  type Command,
  Failure,
  type Input,
  integerFlag,
  textFlag,
} from "./command.ts";
import { FILTER_FLAGS, filterQuery, timeFlag } from "./message-filters.ts";
import { defineCommand } from "./queue-define.ts";
import { scheduleCommands } from "./queue-schedule.ts";
import { counted, printMessages, printQueue, type Queue, type QueueMessage } from "./queue-view.ts";
import { begin, TASK_FLAGS } from "./task-view.ts";
import { table } from "./terminal.ts";

const PAGE = 1000;

const listCommand: Command = {
  name: "queue list",
  usage: "",
  summary: "List the queues and how much is in them.",
  flags: CLIENT_FLAGS,
  args: [0, 0],
  async run(input) {
    const { terminal } = input;
    const rows: (string | number)[][] = [];
    let after = "";
    do {
      const page = await ask<{ queues: Queue[]; next?: string }>(
        input,
        "GET",
        `/admin/v1/queues?limit=${PAGE}${after}`,
      );
      for (const queue of page.queues) {
        const { ready, delayed, inFlight, dead, consumers } = queue.counts;
        const { published, acked } = queue.rates.over10s;
        if (terminal.json) terminal.object(queue);
        const bindings = queue.bindings.join(" ");
        const counts = [ready, delayed, inFlight, dead, consumers, published, acked];
        rows.push([queue.name, ...counts, bindings]);
      }
      after = page.next === undefined ? "" : `&after=${encodeURIComponent(page.next)}`;
    } while (after !== "");
    if (terminal.json) return 0;
    if (rows.length === 0) terminal.line("There are no queues. Make one: warren queue define");
    else {
      const counts = ["READY", "DELAYED", "IN FLIGHT", "DEAD", "CONSUMERS", "IN/S", "ACKED/S"];
      const titles = ["QUEUE", ...counts, "BINDINGS"];
      terminal.line(table(terminal, titles, rows));
    }
    return 0;
  },
};

const showCommand: Command = {
  name: "queue show",
  usage: "<queue>",
  summary: "Show one queue: settings, bindings, counts.",
  flags: CLIENT_FLAGS,
  args: [1, 1],
  async run(input) {
    printQueue(input.terminal, await ask<Queue>(input, "GET", pathOf(input)));
    return 0;
  },
};

const deleteCommand: Command = {
  name: "queue delete",
  usage: "<queue>",
  summary: "Remove a queue and its dead-letter queue.",
  flags: { ...CLIENT_FLAGS, force: { type: "boolean", help: "Even if they hold messages." } },
  args: [1, 1],
  async run(input) {
    const force = input.flags.force === true ? "?force=true" : "";
    await ask(input, "DELETE", `${pathOf(input)}${force}`).catch((error) => {
      if (!(error instanceof Failure)) throw error;
      throw new Failure(error.message.replace("?force=true", "--force"));
    });
    done(input, { deleted: input.args[0] }, `deleted ${input.args[0]}`);
    return 0;
  },
};

const peekFlags: Command["flags"] = {
  ...CLIENT_FLAGS,
  state: {
    type: "string",
    value: "STATE",
    help: "Only ready, delayed or inflight ones; or the acked ones that are kept.",
  },
  ...FILTER_FLAGS,
  from: { type: "string", value: "TIME", help: "Only what came since then, died or was acked." },
  to: { type: "string", value: "TIME", help: "Only until then: a date, or milliseconds." },
  limit: { type: "string", value: "N", help: "At most so many; 20 if absent." },
};

const peekCommand: Command = {
  name: "queue peek",
  usage: "<queue>",
  summary: "Look at the messages of a queue without taking them.",
  flags: peekFlags,
  args: [1, 1],
  run: (input) => peek(input, input.args[0] as string),
};

const deadCommand: Command = {
  name: "queue dead",
  usage: "<queue>",
  summary: "Look at the messages that a queue gave up on, and why.",
  flags: peekFlags,
  args: [1, 1],
  run: (input) => peek(input, `${input.args[0]}.dead`),
};

const replayCommand: Command = {
  name: "queue replay",
  usage: "<queue> [messageId…]",
  summary: "Work once more on acked messages that were kept: copies them back to work.",
  flags: { ...CLIENT_FLAGS, ...TASK_FLAGS },
  args: [1, PAGE],
  run: (input) => begin(input, `${pathOf(input)}/replay`, "replay"),
};

const purgeCommand: Command = {
  name: "queue purge",
  usage: "<queue>",
  summary: "Remove all messages of a queue that are not in flight.",
  flags: CLIENT_FLAGS,
  args: [1, 1],
  async run(input) {
    const { purged } = await ask<{ purged: number }>(input, "POST", `${pathOf(input)}/purge`);
    done(input, { purged }, `removed ${counted(purged, "message")}`);
    return 0;
  },
};

export const queueCommands: readonly Command[] = [
  listCommand,
  showCommand,
  defineCommand,
  deleteCommand,
  peekCommand,
  deadCommand,
  purgeCommand,
  replayCommand,
  ...scheduleCommands,
  switchCommand("pause", "Stop handing out messages; they are still stored."),
  switchCommand("drain", "Let nothing more in; hand out what is there."),
  switchCommand("resume", "End a pause or a drain."),
];

function switchCommand(verb: "pause" | "drain" | "resume", summary: string): Command {
  return {
    name: `queue ${verb}`,
    usage: "<queue>",
    summary,
    flags: CLIENT_FLAGS,
    args: [1, 1],
    async run(input) {
      const queue = await ask<Queue>(input, "POST", `${pathOf(input)}/${verb}`);
      done(input, queue, `${verb === "drain" ? "draining" : `${verb}d`} ${queue.name}`);
      return 0;
    },
  };
}

async function peek(input: Input, queue: string): Promise<number> {
  const limit = integerFlag(input, "limit", 1) ?? 20;
  const query = filterQuery(input);
  query.set("limit", String(Math.min(limit, PAGE)));
  const state = textFlag(input, "state");
  if (state !== undefined) query.set("state", state);
  for (const name of ["from", "to"]) {
    const time = timeFlag(input, name);
    if (time !== undefined) query.set(name, `${time}`);
  }
  let left = limit;
  let found = 0;
  do {
    const path = `/admin/v1/queues/${encodeURIComponent(queue)}/messages?${query}`;
    const page = await ask<{ messages: QueueMessage[]; next?: string }>(input, "GET", path);
    printMessages(input.terminal, page.messages.slice(0, left));
    found += page.messages.length;
    left -= page.messages.length;
    if (page.next === undefined) break;
    query.set("after", page.next);
  } while (left > 0);
  if (found === 0 && !input.terminal.json) input.terminal.line("Nothing there.");
  return 0;
}

function pathOf(input: Input): string {
  return `/admin/v1/queues/${encodeURIComponent(input.args[0] as string)}`;
}

function done({ terminal }: Input, value: object, sentence: string): void {
  if (terminal.json) terminal.object(value);
  else terminal.line(sentence);
}
