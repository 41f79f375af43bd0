/** `warren explain`: why somebody may do something, or not [P-14.7]. */
import { DENIABLE } from "../../schemas/access.ts";
import { ask } from "./admin-client.ts";
import { CLIENT_FLAGS, type Command, textFlag, UsageError } from "./command.ts";
import type { Terminal } from "./terminal.ts";

interface Explained {
  readonly principal: string;
  readonly action: string;
  readonly on: string;
  readonly subjects: readonly {
    readonly session?: string;
    readonly key?: string;
    readonly allowed: boolean;
    readonly reason: string;
    readonly rule?: object;
  }[];
  readonly ended: readonly {
    readonly time: number;
    readonly action: string;
    readonly on: string;
    readonly reason: string;
  }[];
}

export const explainCommand: Command = {
  name: "explain",
  usage: "<action> <on>",
  summary: "Say why somebody may do something, or not, and which rule decides.",
  details:
    `Actions: ${DENIABLE.join(", ")}.\n` +
    "Who: --principal with a session or a key here, or --session; with --roles or --grants somebody\n" +
    "thought up who has those. Ends with 0 when all of them may, and with 1 when one may not.",
  flags: {
    ...CLIENT_FLAGS,
    principal: { type: "string", value: "NAME", help: "Who." },
    client: { type: "string", value: "ID", help: "Only this device; or the value of {client}." },
    session: { type: "string", value: "ID", help: "Who, by a session." },
    roles: {
      type: "string",
      value: "NAMES",
      help: "As somebody with these roles, commas between.",
    },
    grants: { type: "string", value: "JSON", help: "As somebody with these grants." },
    claims: { type: "string", value: "JSON", help: "Values of {claims.<name>}." },
  },
  args: [2, 2],
  async run(input) {
    const [action = "", on = ""] = input.args;
    if (!(DENIABLE as readonly string[]).includes(action)) {
      throw new UsageError(`there is no action ${action}; there are ${DENIABLE.join(", ")}`);
    }
    const query = new URLSearchParams({ action, on });
    for (const name of ["principal", "client", "session", "roles", "grants", "claims"]) {
      const value = textFlag(input, name);
      if (value !== undefined) query.set(name, value);
    }
    if (!query.has("principal") && !query.has("session")) {
      throw new UsageError("say who: --principal or --session");
    }
    const said = await ask<Explained>(input, "GET", `/admin/v1/access/explain?${query}`);
    if (input.terminal.json) input.terminal.object(said);
    else show(input.terminal, said);
    return said.subjects.every(({ allowed }) => allowed) ? 0 : 1;
  },
};

function show(terminal: Terminal, { principal, action, on, subjects, ended }: Explained): void {
  for (const { session, key, allowed, reason, rule } of subjects) {
    const who = session === undefined ? key && `key ${key}` : `session ${session}`;
    const answer = terminal.bold(allowed ? "may" : "may NOT");
    terminal.line(`${principal}${who ? ` (${who})` : ""} ${answer} ${action} ${on}: ${reason}`);
    if (rule !== undefined) terminal.line(terminal.dim(`  by ${JSON.stringify(rule)}`));
  }
  for (const { time, action: what, on: where, reason } of ended) {
    const at = new Date(time).toISOString();
    terminal.line(terminal.dim(`  ended at ${at}: ${what} ${where}. ${reason}`));
  }
}
