/** `warren token revoke` and what belongs to it: credentials that are taken back [P-14.4]. */
import type { Revocation } from "../../schemas/revocations.ts";
import { systemClock } from "../clock.ts";
import { ask } from "./admin-client.ts";
import { CLIENT_FLAGS, type Command, integerFlag, textFlag, UsageError } from "./command.ts";
import { timeFlag } from "./message-filters.ts";
import { table } from "./terminal.ts";

const PAGE = 1000;
const REVOCATIONS = "/admin/v1/revocations";

const revokeCommand: Command = {
  name: "token revoke",
  usage: "",
  summary: "Take tokens back; of several of whom, all must fit.",
  flags: {
    ...CLIENT_FLAGS,
    jti: { type: "string", value: "ID", help: "Which: the token with this id." },
    principal: { type: "string", value: "NAME", help: "Whose: a principal's." },
    client: { type: "string", value: "ID", help: "Whose: a client's." },
    "issued-before": {
      type: "string",
      value: "TIME",
      help: "Only those from before then: a date, or milliseconds; now if absent.",
    },
    "reauth-ms": { type: "string", value: "MS", help: "Time for connections to send another." },
    "for-ms": { type: "string", value: "MS", help: "Until it is forgotten; never if absent." },
    reason: { type: "string", value: "TEXT", help: "Why; whoever holds one is told." },
  },
  args: [0, 0],
  async run(input) {
    const body: Record<string, unknown> = {};
    for (const name of ["jti", "principal", "client", "reason"]) {
      const value = textFlag(input, name);
      if (value !== undefined) body[name] = value;
    }
    if (!("jti" in body || "principal" in body || "client" in body)) {
      throw new UsageError("say which: --jti, --principal or --client");
    }
    const issuedBefore = timeFlag(input, "issued-before");
    if (issuedBefore !== undefined) body.issuedBefore = issuedBefore;
    const reauthMs = integerFlag(input, "reauth-ms");
    if (reauthMs !== undefined) body.reauthMs = reauthMs;
    const forMs = integerFlag(input, "for-ms", 1);
    if (forMs !== undefined) body.expiresAt = systemClock.now() + forMs;
    const made = await ask<Revocation>(input, "POST", REVOCATIONS, body);
    if (input.terminal.json) input.terminal.object(made);
    else input.terminal.line(`revoked: ${made.id}`);
    return 0;
  },
};

const listCommand: Command = {
  name: "token revocations",
  usage: "",
  summary: "List what has been taken back.",
  flags: CLIENT_FLAGS,
  args: [0, 0],
  async run(input) {
    const { terminal } = input;
    const rows: string[][] = [];
    for (let next: string | undefined = ""; next !== undefined; ) {
      const path = `${REVOCATIONS}?limit=${PAGE}${next && `&after=${encodeURIComponent(next)}`}`;
      const page: Page = await ask<Page>(input, "GET", path);
      for (const one of page.revocations) {
        if (terminal.json) terminal.object(one);
        else rows.push(rowOf(one));
      }
      next = page.next;
    }
    if (terminal.json) return 0;
    const titles = ["REVOCATION", "TOKEN", "PRINCIPAL", "CLIENT", "ISSUED BEFORE", "REASON"];
    terminal.line(rows.length === 0 ? "Nothing is revoked." : table(terminal, titles, rows));
    return 0;
  },
};

const restoreCommand: Command = {
  name: "token restore",
  usage: "<revocation>",
  summary: "Undo a revocation: what it took back and has not expired is good again.",
  flags: CLIENT_FLAGS,
  args: [1, 1],
  async run(input) {
    const id = input.args[0] as string;
    await ask(input, "DELETE", `${REVOCATIONS}/${encodeURIComponent(id)}`);
    if (input.terminal.json) input.terminal.object({ restored: id });
    else input.terminal.line(`restored ${id}`);
    return 0;
  },
};

export const tokenRevokeCommands: readonly Command[] = [revokeCommand, listCommand, restoreCommand];

interface Page {
  readonly revocations: readonly Revocation[];
  readonly next?: string;
}

function rowOf({ id, jti, principal, client, issuedBefore, reason }: Revocation): string[] {
  const before = issuedBefore === undefined ? "" : new Date(issuedBefore).toISOString();
  return [id, jti ?? "", principal ?? "", client ?? "", before, reason ?? ""];
}
