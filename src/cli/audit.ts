/** `warren audit`: who changed what over the operator's plane, and what was refused [P-14.8]. */
import { ask } from "./admin-client.ts";
import { CLIENT_FLAGS, type Command, type Input, integerFlag, textFlag } from "./command.ts";
import { timeFlag } from "./message-filters.ts";
import { brief, table } from "./terminal.ts";

const PAGE = 1000;
const EXACT = ["action", "principal", "on", "outcome"] as const;

interface Entry {
  readonly time: number;
  readonly action: string;
  readonly outcome: string;
  readonly principal?: string;
  readonly address?: string;
  readonly on?: string;
  readonly code?: string;
  readonly count?: number;
}

export const auditCommand: Command = {
  name: "audit",
  usage: "",
  summary: "Who changed what, and what was refused; the newest first.",
  flags: {
    ...CLIENT_FLAGS,
    action: { type: "string", value: "NAME", help: "Only this, such as queue.purge." },
    principal: { type: "string", value: "NAME", help: "Only what this principal did." },
    on: { type: "string", value: "NAME", help: "Only what was done to this." },
    outcome: { type: "string", value: "WORD", help: "Only done, refused or failed." },
    from: { type: "string", value: "TIME", help: "Only since then: a date, or milliseconds." },
    to: { type: "string", value: "TIME", help: "Only until then." },
    limit: { type: "string", value: "N", help: "At most so many; 50 if absent." },
  },
  args: [0, 0],
  run: audit,
};

async function audit(input: Input): Promise<number> {
  const { terminal } = input;
  let left = integerFlag(input, "limit", 1) ?? 50;
  const query = new URLSearchParams();
  for (const name of EXACT) {
    const value = textFlag(input, name);
    if (value !== undefined) query.set(name, value);
  }
  for (const name of ["from", "to"]) {
    const time = timeFlag(input, name);
    if (time !== undefined) query.set(name, `${time}`);
  }
  const entries: Entry[] = [];
  for (let more = true; more && left > 0; ) {
    query.set("limit", String(Math.min(left, PAGE)));
    const path = `/admin/v1/audit?${query}`;
    const page = await ask<{ entries: Entry[]; next?: string }>(input, "GET", path);
    if (terminal.json) for (const entry of page.entries) terminal.object(entry);
    else entries.push(...page.entries);
    left -= page.entries.length;
    more = page.next !== undefined;
    query.set("after", page.next ?? "");
  }
  if (terminal.json) return 0;
  if (entries.length === 0) terminal.line("Nothing there.");
  else terminal.line(tableOf(input, entries));
  return 0;
}

function tableOf({ terminal }: Input, entries: readonly Entry[]): string {
  const titles = ["TIME", "WHO", "FROM", "ACTION", "ON", "OUTCOME", "COUNT"];
  const rows = entries.map(({ time, principal, address, action, on, outcome, code, count }) => [
    new Date(time).toISOString(),
    brief(principal ?? "", 40),
    address ?? "",
    action,
    brief(on ?? "", 60),
    code === undefined ? outcome : `${outcome}: ${code}`,
    count === undefined ? "" : `${count}`,
  ]);
  return table(terminal, titles, rows);
}
