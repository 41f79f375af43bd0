/** `warren conn …`: who is connected. */
import { ask } from "./admin-client.ts";
import {
  CLIENT_FLAGS,
  type Command,
  type Flags,
  type Input,
  integerFlag,
  textFlag,
  UsageError,
} from "./command.ts";
import { brief, table } from "./terminal.ts";

interface Connection {
  readonly session: string;
  readonly principal?: string;
  readonly client?: string;
  readonly address: string;
  readonly state: string;
  readonly encoding: string;
  readonly connectedAt: number;
  readonly subscriptions: number;
  readonly consumers: number;
}

const PAGE = 1000;
const CONNECTIONS = "/admin/v1/connections";

const WHOSE_FLAGS: Flags = {
  principal: { type: "string", value: "NAME", help: "Only those of this principal." },
  client: { type: "string", value: "ID", help: "Only those of this client." },
  address: { type: "string", value: "RANGE", help: "Only those from this address or range." },
};

const listCommand: Command = {
  name: "conn list",
  usage: "",
  summary: "List the open connections, the oldest first.",
  flags: {
    ...CLIENT_FLAGS,
    ...WHOSE_FLAGS,
    limit: { type: "string", value: "N", help: "At most so many; 100 if absent." },
  },
  args: [0, 0],
  async run(input) {
    const { terminal } = input;
    let left = integerFlag(input, "limit", 1) ?? 100;
    const query = new URLSearchParams();
    for (const name of ["principal", "client", "address"]) {
      const value = textFlag(input, name);
      if (value !== undefined) query.set(name, value);
    }
    const rows: (string | number)[][] = [];
    for (let more = true; more && left > 0; ) {
      query.set("limit", String(Math.min(left, PAGE)));
      const page = await ask<{ connections: Connection[]; next?: string }>(
        input,
        "GET",
        `${CONNECTIONS}?${query}`,
      );
      for (const one of page.connections) {
        if (terminal.json) terminal.object(one);
        rows.push(rowOf(one));
      }
      left -= page.connections.length;
      more = page.next !== undefined;
      query.set("after", page.next ?? "");
    }
    if (terminal.json) return 0;
    if (rows.length === 0) terminal.line("There are no such connections.");
    else {
      const titles = ["SESSION", "PRINCIPAL", "CLIENT", "ADDRESS", "STATE", "SUBS", "CONSUMERS"];
      terminal.line(table(terminal, titles, rows));
    }
    return 0;
  },
};

const showCommand: Command = {
  name: "conn show",
  usage: "<session>",
  summary: "Show one connection, with its filters and queues.",
  flags: CLIENT_FLAGS,
  args: [1, 1],
  async run(input) {
    const { terminal } = input;
    const one = await ask<Connection>(input, "GET", pathOf(input));
    if (terminal.json) terminal.object(one);
    else for (const [key, value] of Object.entries(one)) terminal.line(`${key}  ${brief(value)}`);
    return 0;
  },
};

const kickCommand: Command = {
  name: "conn kick",
  usage: "[session]",
  summary: "End a connection, or all of somebody; to keep them out, see: warren ban add.",
  details:
    "Which: a session, or --principal, --client and --address, of which all that are given must fit.",
  flags: {
    ...CLIENT_FLAGS,
    ...WHOSE_FLAGS,
    reason: { type: "string", value: "TEXT", help: "Why; the client is told." },
  },
  args: [0, 1],
  async run(input) {
    const { args, terminal } = input;
    const query = new URLSearchParams();
    const whose = Object.keys(WHOSE_FLAGS);
    for (const name of [...whose, "reason"]) {
      const value = textFlag(input, name);
      if (value !== undefined) query.set(name, value);
    }
    const [session] = args;
    if ((session === undefined) !== whose.some((name) => query.has(name))) {
      throw new UsageError("say which: a session, or --principal, --client or --address");
    }
    const place = session === undefined ? CONNECTIONS : pathOf(input);
    const ended = await ask<{ kicked: number }>(input, "DELETE", `${place}?${query}`);
    if (terminal.json) terminal.object({ kicked: session ?? ended.kicked });
    else terminal.line(`ended ${session ?? `${ended.kicked} connections`}`);
    return 0;
  },
};

export const connCommands: readonly Command[] = [listCommand, showCommand, kickCommand];

function rowOf(one: Connection): (string | number)[] {
  const { session, principal = "", client = "", address, state } = one;
  return [session, principal, client, address, state, one.subscriptions, one.consumers];
}

function pathOf(input: Input): string {
  return `${CONNECTIONS}/${encodeURIComponent(input.args[0] as string)}`;
}
