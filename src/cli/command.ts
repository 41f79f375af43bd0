/**
 * What a command is, and how its words become arguments and flags: Node's own parser over one small table
 * for each command (docs/decisions/0010-cli.md).
 */
import { parseArgs } from "node:util";
import type { Terminal } from "./terminal.ts";

export interface Flag {
  readonly type: "string" | "boolean";
  readonly short?: string;
  /** May be given several times. */
  readonly multiple?: true;
  /** What stands for the value in the help, such as `N`. */
  readonly value?: string;
  readonly help: string;
}

export type Flags = Readonly<Record<string, Flag>>;
export type FlagValue = string | boolean | readonly string[];

export interface Input {
  readonly args: readonly string[];
  readonly flags: Readonly<Record<string, FlagValue | undefined>>;
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface Command {
  /** One word, or more for what is done to one kind of thing; of two that fit the first is taken. */
  readonly name: string;
  /** The arguments, such as `<topic> [payload]`. */
  readonly usage: string;
  readonly summary: string;
  /** More than one line, below the flags of the help. */
  readonly details?: string;
  readonly flags: Flags;
  /** How many arguments it takes, least and most. */
  readonly args: readonly [least: number, most: number];
  /** Resolves to the exit code: 0 done, 1 failed [P-13.7]. */
  run(input: Input): Promise<number>;
}

/** The words make no sense: exit code 2. */
export class UsageError extends Error {}

/** It did not work, and this sentence says why: exit code 1. */
export class Failure extends Error {}

const COMMON: Flags = {
  json: {
    type: "boolean",
    help: "Print JSON, one object a line; so does output that is no terminal.",
  },
  help: { type: "boolean", short: "h", help: "Print this." },
};

/** Flags of the commands that talk to a broker. */
export const CLIENT_FLAGS: Flags = {
  url: {
    type: "string",
    value: "URL",
    help: "The broker; else WARREN_URL, else http://127.0.0.1:7070.",
  },
  token: { type: "string", value: "TOKEN", help: "A token or API key; else WARREN_TOKEN." },
};

/** The arguments and flags of one command; throws `UsageError`. */
export function parseWords(
  command: Command,
  words: readonly string[],
): { args: string[]; flags: Record<string, FlagValue | undefined> } {
  const options = Object.fromEntries(
    Object.entries({ ...command.flags, ...COMMON }).map(([name, { type, short, multiple }]) => [
      name,
      { type, ...(short === undefined ? {} : { short }), multiple: multiple === true },
    ]),
  );
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({ args: [...words], options, allowPositionals: true, strict: true });
  } catch (error) {
    // What follows is about words that begin with a dash, which are seldom meant.
    throw new UsageError((error as Error).message.replace(/\. To specify a positional.*$/s, ""));
  }
  const args = parsed.positionals;
  const flags = parsed.values as Record<string, FlagValue | undefined>;
  const [least, most] = command.args;
  if (flags.help !== true && (args.length < least || args.length > most)) {
    const found =
      args.length < least ? "too few arguments" : `too much: ${args.slice(most).join(" ")}`;
    const whole = `warren ${command.name} ${command.usage}`.trimEnd();
    throw new UsageError(`${found}; it is: ${whole}`);
  }
  return { args, flags };
}

/** The help of one command. */
export function helpOf(command: Command): string {
  const flags = Object.entries({ ...command.flags, ...COMMON }).map(([name, flag]) => {
    const short = flag.short === undefined ? "" : `-${flag.short}, `;
    const value = flag.type === "boolean" ? "" : ` ${flag.value ?? "VALUE"}`;
    return [`${short}--${name}${value}`, flag.help] as const;
  });
  const width = Math.min(34, Math.max(...flags.map(([left]) => left.length)));
  const lines = flags.map(([left, help]) => `  ${left.padEnd(width)}  ${help}`);
  const details = command.details === undefined ? "" : `\n${command.details}\n`;
  return (
    `${command.summary}\n\nUsage: warren ${command.name} ${command.usage}`.trimEnd() +
    `\n\n${lines.join("\n")}\n${details}`
  );
}

/** The integer that a flag gives, or its default; throws `UsageError`. */
export function integerFlag(input: Input, name: string, least = 0): number | undefined {
  const text = input.flags[name];
  if (text === undefined) return undefined;
  if (typeof text === "string" && /^\d{1,15}$/.test(text) && Number(text) >= least) {
    return Number(text);
  }
  throw new UsageError(`--${name} must be an integer of at least ${least}`);
}

export function textFlag(input: Input, name: string): string | undefined {
  const value = input.flags[name];
  return typeof value === "string" ? value : undefined;
}

export function listFlag(input: Input, name: string): readonly string[] {
  const value = input.flags[name];
  return Array.isArray(value) ? value : [];
}
