/** `warren key …`: API keys that the broker keeps [P-14.2]. */
import type { KeyView } from "../../schemas/http-keys.ts";
import { systemClock } from "../clock.ts";
import { keyId } from "../security/keys.ts";
import { ask } from "./admin-client.ts";
import { CLIENT_FLAGS, type Command, type Input, integerFlag, textFlag } from "./command.ts";
import { printWhole, table } from "./terminal.ts";
import { RIGHTS_FLAGS, rights } from "./token.ts";

const PAGE = 1000;
const KEYS = "/admin/v1/keys";

const createCommand: Command = {
  name: "key create",
  usage: "<principal>",
  summary: "Make an API key; it is printed once.",
  details: "Grants are ACTIONS=FILTER, such as --allow publish='devices/{principal}/#'.",
  flags: {
    ...CLIENT_FLAGS,
    ...RIGHTS_FLAGS,
    "ttl-ms": { type: "string", value: "MS", help: "How long it is good; for ever if absent." },
  },
  args: [1, 1],
  async run(input) {
    const ttlMs = integerFlag(input, "ttl-ms", 1);
    const client = textFlag(input, "client");
    const body = {
      principal: input.args[0],
      ...(client !== undefined && { client }),
      ...rights(input),
      ...(ttlMs !== undefined && { expiresAt: systemClock.now() + ttlMs }),
    };
    return shown(input, await ask<NewKey>(input, "POST", KEYS, body));
  },
};

const rotateCommand: Command = {
  name: "key rotate",
  usage: "<id>",
  summary: "Give a key another secret, printed once; the one until now stays good for a while.",
  flags: {
    ...CLIENT_FLAGS,
    "grace-ms": {
      type: "string",
      value: "MS",
      help: "For how long; an hour if absent, and with 0 all older ones end at once.",
    },
  },
  args: [1, 1],
  async run(input) {
    const graceMs = integerFlag(input, "grace-ms");
    const body = graceMs === undefined ? {} : { graceMs };
    return shown(input, await ask<NewKey>(input, "POST", `${pathOf(input)}/rotate`, body));
  },
};

const listCommand: Command = {
  name: "key list",
  usage: "",
  summary: "List API keys, by their ids.",
  flags: {
    ...CLIENT_FLAGS,
    principal: { type: "string", value: "NAME", help: "Only those of this principal." },
  },
  args: [0, 0],
  async run(input) {
    const { terminal } = input;
    const principal = textFlag(input, "principal");
    const query = new URLSearchParams({ limit: String(PAGE), ...(principal && { principal }) });
    const rows: string[][] = [];
    for (let next: string | undefined = ""; next !== undefined; ) {
      if (next !== "") query.set("after", next);
      const path = `${KEYS}?${query}`;
      const page: Page = await ask<Page>(input, "GET", path);
      for (const key of page.keys) {
        if (terminal.json) terminal.object(key);
        else rows.push(rowOf(key));
      }
      next = page.next;
    }
    if (terminal.json) return 0;
    if (rows.length === 0) terminal.line("There are no keys.");
    else {
      const titles = ["KEY", "PRINCIPAL", "CLIENT", "ROLES", "UNTIL", "LAST USED"];
      terminal.line(table(terminal, titles, rows));
    }
    return 0;
  },
};

const showCommand: Command = {
  name: "key show",
  usage: "<id>",
  summary: "Show what is known of a key; not the key itself, which nobody knows.",
  flags: CLIENT_FLAGS,
  args: [1, 1],
  async run(input) {
    printWhole(input.terminal, await ask<KeyView>(input, "GET", pathOf(input)));
    return 0;
  },
};

const revokeCommand: Command = {
  name: "key revoke",
  usage: "<id>",
  summary: "End a key at once, and the connections that came in with it.",
  flags: CLIENT_FLAGS,
  args: [1, 1],
  async run(input) {
    const id = idOf(input);
    await ask(input, "DELETE", pathOf(input));
    if (input.terminal.json) input.terminal.object({ revoked: id });
    else input.terminal.line(`revoked ${id}`);
    return 0;
  },
};

export const keyCommands: readonly Command[] = [
  createCommand,
  listCommand,
  showCommand,
  rotateCommand,
  revokeCommand,
];

interface NewKey extends KeyView {
  readonly key: string;
}

interface Page {
  readonly keys: readonly KeyView[];
  readonly next?: string;
}

/** Plain even in a pipe: KEY=$(warren key create svc). */
function shown({ flags, terminal }: Input, made: NewKey): number {
  if (flags.json === true) terminal.object(made);
  else {
    terminal.line(made.key);
    terminal.note(`The key ${made.id} of ${made.principal}. It is not shown again.`);
  }
  return 0;
}

function rowOf({ id, principal, client, roles, expiresAt, lastUsedAt }: KeyView): string[] {
  const until = expiresAt === undefined ? "for ever" : new Date(expiresAt).toISOString();
  const used = lastUsedAt === undefined ? "never" : new Date(lastUsedAt).toISOString();
  return [id, principal, client ?? "", roles?.join(",") ?? "", until, used];
}

/** Of a whole key its id: the secret in it is nobody's business on the way. */
function idOf({ args }: Input): string {
  const given = args[0] as string;
  return keyId(given) ?? given;
}

function pathOf(input: Input): string {
  return `${KEYS}/${encodeURIComponent(idOf(input))}`;
}
