/** `warren queue define`: its flags are the settings of a queue, taken from their schema. */
import { Backoff, QueueSettings } from "../../schemas/queue.ts";
import { ask } from "./admin-client.ts";
import {
  CLIENT_FLAGS,
  type Command,
  Failure,
  type Flag,
  type Input,
  integerFlag,
  listFlag,
  textFlag,
  UsageError,
} from "./command.ts";
import { printQueue, type Queue } from "./queue-view.ts";

interface Setting {
  readonly flag: string;
  readonly path: readonly string[];
  readonly type: string;
  readonly default?: unknown;
  readonly description: string;
  /** What a choice is between. */
  readonly words: readonly string[];
}

interface SettingSchema {
  readonly type?: string;
  readonly default?: unknown;
  readonly description?: string;
  readonly anyOf?: readonly { readonly const?: string }[];
}

/** `choice` is one of a few words. */
const SIMPLE_TYPES = ["integer", "number", "boolean", "choice"];

const SETTINGS: readonly Setting[] = [
  ...settingsIn(QueueSettings.properties, []),
  ...settingsIn(Backoff.properties, ["backoff"]),
  ...settingsIn(QueueSettings.properties.deadLetter.properties, ["deadLetter"]),
];

export const defineCommand: Command = {
  name: "queue define",
  usage: "<queue>",
  summary: "Make a queue, or change one; what is left out stays as it is.",
  flags: {
    ...CLIENT_FLAGS,
    binding: {
      type: "string",
      multiple: true,
      value: "FILTER",
      help: "Topics it keeps a copy of; repeatable, and together they replace the present ones.",
    },
    ...Object.fromEntries(SETTINGS.map((setting) => [setting.flag, flagOf(setting)])),
    file: {
      type: "string",
      value: "FILE",
      help: "The whole definition as JSON, instead of flags.",
    },
  },
  args: [1, 1],
  async run(input) {
    const file = textFlag(input, "file");
    const definition = file === undefined ? fromFlags(input) : await fromFile(file);
    const path = `/admin/v1/queues/${encodeURIComponent(input.args[0] as string)}`;
    printQueue(input.terminal, await ask<Queue>(input, "PUT", path, definition));
    return 0;
  },
};

function settingsIn(properties: object, parents: readonly string[]): Setting[] {
  return Object.entries(properties as Record<string, SettingSchema>).flatMap(
    ([name, { anyOf, default: fallback, ...schema }]) => {
      const type = anyOf?.every(({ const: choice }) => choice !== undefined)
        ? "choice"
        : schema.type;
      if (type === undefined || !SIMPLE_TYPES.includes(type)) return [];
      const path = [...parents, name];
      const words = type === "choice" ? (anyOf ?? []).map(({ const: word = "" }) => word) : [];
      const { description = "" } = schema;
      const flag = path.join("-").replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      return [{ flag, path, type, default: fallback, description, words }];
    },
  );
}

function flagOf(setting: Setting): Flag {
  const { type, description } = setting;
  const fallback = setting.default === undefined ? "no bound" : setting.default;
  return {
    type: type === "boolean" ? "boolean" : "string",
    ...(type === "boolean" ? {} : { value: placeholderOf(setting) }),
    help: `${description} [${fallback}]`,
  };
}

function placeholderOf({ path, words }: Setting): string {
  if (words.length > 0) return words.join("|");
  return path.at(-1)?.endsWith("Ms") ? "MS" : "N";
}

function fromFlags(input: Input): object {
  const definition: Record<string, unknown> = {};
  for (const { flag, path, type } of SETTINGS) {
    const given = input.flags[flag];
    if (given === undefined) continue;
    const value =
      type === "boolean" || type === "choice"
        ? given
        : type === "integer"
          ? integerFlag(input, flag)
          : numberOf(flag, given);
    const [first, second] = path as [string, string | undefined];
    if (second === undefined) definition[first] = value;
    else definition[first] = { ...(definition[first] as object | undefined), [second]: value };
  }
  const bindings = listFlag(input, "binding");
  return bindings.length === 0 ? definition : { ...definition, bindings };
}

function numberOf(flag: string, given: unknown): number {
  const value = Number(given);
  if (typeof given === "string" && given.trim() !== "" && Number.isFinite(value)) return value;
  throw new UsageError(`--${flag} must be a number`);
}

async function fromFile(path: string): Promise<object> {
  try {
    return await Bun.file(path).json();
  } catch (error) {
    throw new Failure(`Cannot read ${path}: ${(error as Error).message}`);
  }
}
