/** `warren ban …`: who is shut out. */
import type { Ban } from "../../schemas/bans.ts";
import { systemClock } from "../clock.ts";
import { ask } from "./admin-client.ts";
import {
  CLIENT_FLAGS,
  type Command,
  type Input,
  integerFlag,
  textFlag,
  UsageError,
} from "./command.ts";
import { table } from "./terminal.ts";

const PAGE = 1000;
const BANS = "/admin/v1/bans";

const listCommand: Command = {
  name: "ban list",
  usage: "",
  summary: "List the bans in force, those made by rules against abuse too.",
  flags: CLIENT_FLAGS,
  args: [0, 0],
  async run(input) {
    const { terminal } = input;
    const rows: string[][] = [];
    let after = "";
    do {
      const path = `${BANS}?limit=${PAGE}${after}`;
      const page = await ask<{ bans: Ban[]; next?: string }>(input, "GET", path);
      for (const ban of page.bans) {
        if (terminal.json) terminal.object(ban);
        rows.push(rowOf(ban));
      }
      after = page.next === undefined ? "" : `&after=${encodeURIComponent(page.next)}`;
    } while (after !== "");
    if (terminal.json) return 0;
    if (rows.length === 0) terminal.line("Nobody is banned.");
    else {
      const titles = ["BAN", "PRINCIPAL", "CLIENT", "ADDRESS", "UNTIL", "REASON"];
      terminal.line(table(terminal, titles, rows));
    }
    return 0;
  },
};

const addCommand: Command = {
  name: "ban add",
  usage: "<id>",
  summary: "Shut somebody out, live connections too; of several of whom, all must fit.",
  flags: {
    ...CLIENT_FLAGS,
    principal: { type: "string", value: "NAME", help: "Whom: a principal." },
    client: { type: "string", value: "ID", help: "Whom: a client, as its token names it." },
    address: { type: "string", value: "RANGE", help: "Whom: an address or a range." },
    "for-ms": { type: "string", value: "MS", help: "For how long; for ever if absent." },
    reason: { type: "string", value: "TEXT", help: "Why; whoever is banned is told." },
  },
  args: [1, 1],
  async run(input) {
    const given = ["principal", "client", "address", "reason"].flatMap((name) => {
      const value = textFlag(input, name);
      return value === undefined ? [] : [[name, value]];
    });
    const body: Record<string, unknown> = Object.fromEntries(given);
    if (!("principal" in body || "client" in body || "address" in body)) {
      throw new UsageError("say whom: --principal, --client or --address");
    }
    const forMs = integerFlag(input, "for-ms", 1);
    if (forMs !== undefined) body.expiresAt = systemClock.now() + forMs;
    const ban = await ask<Ban>(input, "PUT", pathOf(input), body);
    if (input.terminal.json) input.terminal.object(ban);
    else input.terminal.line(`banned: ${ban.id}`);
    return 0;
  },
};

const removeCommand: Command = {
  name: "ban remove",
  usage: "<id>",
  summary: "Let them in again.",
  flags: CLIENT_FLAGS,
  args: [1, 1],
  async run(input) {
    await ask(input, "DELETE", pathOf(input));
    if (input.terminal.json) input.terminal.object({ removed: input.args[0] });
    else input.terminal.line(`removed ${input.args[0]}`);
    return 0;
  },
};

export const banCommands: readonly Command[] = [listCommand, addCommand, removeCommand];

function rowOf({ id, principal, client, address, expiresAt, reason }: Ban): string[] {
  const until = expiresAt === undefined ? "for ever" : new Date(expiresAt).toISOString();
  return [id, principal ?? "", client ?? "", address ?? "", until, reason ?? ""];
}

function pathOf(input: Input): string {
  return `${BANS}/${encodeURIComponent(input.args[0] as string)}`;
}
