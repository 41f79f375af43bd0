#!/usr/bin/env bun
/** The `warren` command: finds the command that the words name, runs it, and ends with its code [P-13.7]. */
import { ConfigError, environment } from "../config.ts";
import { auditCommand } from "./audit.ts";
import { banCommands } from "./ban.ts";
import { checkCommand } from "./check.ts";
import { type Command, Failure, helpOf, parseWords, UsageError } from "./command.ts";
import { connCommands } from "./conn.ts";
import { consumeCommand } from "./consume.ts";
import { deadCommands } from "./dead.ts";
import { explainCommand } from "./explain.ts";
import { keyCommands } from "./key.ts";
import { pubCommand } from "./pub.ts";
import { queueCommands } from "./queue.ts";
import { serveCommand } from "./serve.ts";
import { subCommand } from "./sub.ts";
import { createTerminal } from "./terminal.ts";
import { tokenCommand } from "./token.ts";
import { tokenCheckCommand } from "./token-check.ts";
import { tokenRevokeCommands } from "./token-revoke.ts";
import { versionCommand } from "./version.ts";

const COMMANDS: readonly Command[] = [
  serveCommand,
  checkCommand,
  pubCommand,
  subCommand,
  consumeCommand,
  ...queueCommands,
  ...deadCommands,
  ...connCommands,
  ...banCommands,
  auditCommand,
  explainCommand,
  ...keyCommands,
  tokenCheckCommand,
  ...tokenRevokeCommands,
  tokenCommand,
  versionCommand,
];

const outputs = { out: process.stdout, err: process.stderr };

async function main(words: readonly string[]): Promise<number> {
  const command = words[0] === "--version" ? versionCommand : find(words);
  if (command === undefined) return unknown(words);
  const rest = words.slice(command.name.split(" ").length);
  try {
    const { args, flags } = parseWords(command, rest);
    const terminal = createTerminal(outputs, flags.json === true, environment);
    if (flags.help === true) {
      outputs.out.write(helpOf(command));
      return 0;
    }
    return await command.run({ args, flags, terminal, env: environment });
  } catch (error) {
    return failed(error, command);
  }
}

function find(words: readonly string[]): Command | undefined {
  return COMMANDS.find(({ name }) => {
    const parts = name.split(" ");
    return parts.every((part, at) => words[at] === part);
  });
}

/** No such command: the list of those there are, on the right stream. */
function unknown(words: readonly string[]): number {
  const [first, second] = words;
  const group = COMMANDS.filter(({ name }) => name.startsWith(`${first} `));
  const shown = group.length > 0 ? group : COMMANDS;
  const asked = group.length > 0 ? second : first;
  const width = Math.max(...shown.map(({ name }) => name.length));
  const list = shown.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`).join("\n");
  const text =
    "Warren: live channels and durable queues in one small broker.\n\n" +
    `Usage: warren <command> [--help]\n\n${list}\n`;
  if (asked === "--help" || asked === "-h" || asked === "help") {
    outputs.out.write(text);
    return 0;
  }
  outputs.err.write(asked === undefined ? text : `There is no command ${asked}.\n\n${text}`);
  return 2;
}

function failed(error: unknown, command: Command): number {
  if (error instanceof UsageError) {
    outputs.err.write(
      `warren ${command.name}: ${error.message}\nSee: warren ${command.name} --help\n`,
    );
    return 2;
  }
  if (error instanceof Failure || error instanceof ConfigError) {
    outputs.err.write(`${error.message}\n`);
    return 1;
  }
  outputs.err.write(`${error instanceof Error ? (error.stack ?? error.message) : error}\n`);
  return 1;
}

// A reader of our output that ends early, such as `head`, is no failure of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

process.exitCode = await main(process.argv.slice(2));
