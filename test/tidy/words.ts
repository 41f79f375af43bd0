/** Words that do not belong in the source, and calls that have one home. */
import { type Finding, finding, type Source } from "./sources.ts";

interface Ban {
  readonly what: RegExp;
  readonly homes: readonly string[];
  readonly advice: string;
}

const CLOCK = { homes: ["src/clock.ts"], advice: "take a Clock or Random as an argument" };
const DOORS = ["src/main.ts", "src/cli/"];

const BANS: readonly Ban[] = [
  { what: /\bDate\.now\b/g, ...CLOCK },
  { what: /\bnew Date\(\s*\)/g, ...CLOCK },
  { what: /\bMath\.random\b/g, ...CLOCK },
  { what: /\b(?:setTimeout|setInterval|setImmediate)\s*\(/g, ...CLOCK },
  { what: /\bBun\.sleep(?:Sync)?\b/g, homes: [], advice: "wait for what you mean" },
  {
    what: /\b(?:process|Bun|import\.meta)\.env\b/g,
    homes: ["src/config.ts"],
    advice: "settings come from src/config.ts",
  },
  { what: /\bconsole\.\w+/g, homes: DOORS, advice: "log through src/log.ts" },
  { what: /\bprocess\.exit\b/g, homes: DOORS, advice: "throw; the doors decide about the end" },
  { what: /\bBun\.serve\b/g, homes: ["src/listeners/"], advice: "listeners own the network" },
  { what: /\bdebugger\b/g, homes: [], advice: "remove it" },
  { what: /@ts-(?:ignore|nocheck|expect-error)/g, homes: [], advice: "mend the type" },
  { what: /\bas any\b|:\s*any\b/g, homes: [], advice: "say what it is, or unknown" },
];

export function bannedCalls(files: readonly Source[]): Finding[] {
  return files.flatMap((file) =>
    BANS.filter(({ homes }) => !homes.some((home) => file.path.startsWith(home))).flatMap(
      ({ what, advice }) =>
        [...searched(what, file).matchAll(what)].map((match) =>
          finding(file, match.index, `${match[0].trim()} is banned here; ${advice}`),
        ),
    ),
  );
}

/** Compiler directives stand in comments, everything else in code. */
function searched(what: RegExp, file: Source): string {
  return what.source.startsWith("@") ? file.text : file.code;
}

const LEFTOVER = /\b(?:TODO|FIXME|XXX|HACK)\b|\bnot (?:yet )?implemented\b/g;
const FOCUSED = /\b(?:test|it|describe)\.(?:only|todo)\b/g;
const SLEEP = /\bBun\.sleep(?:Sync)?\b|\bsetTimeout\(\s*(?:resolve|done|r)\b/g;

/** Left open in any file. */
export function leftovers(files: readonly Source[]): Finding[] {
  return files.flatMap((file) => [
    ...[...file.text.matchAll(LEFTOVER)].map((match) =>
      finding(file, match.index, `${match[0]}: do it, or write it down where it is decided`),
    ),
    ...[...file.code.matchAll(FOCUSED)].map((match) =>
      finding(file, match.index, `${match[0]} leaves other tests or itself out`),
    ),
  ]);
}

/** Tests that wait for time instead of for what they mean. */
export function sleeps(files: readonly Source[]): Finding[] {
  return files.flatMap((file) =>
    [...file.code.matchAll(SLEEP)].map((match) =>
      finding(file, match.index, "a test sleeps; wait for the condition, with a bound"),
    ),
  );
}

const VAGUE_NAME = /(?:^|\/)(?:utils?|helpers?|common|misc)(?:\.ts$|\/)/;

export function vagueNames(files: readonly Source[]): Finding[] {
  return files
    .filter(({ path }) => VAGUE_NAME.test(path))
    .map(({ path }) => `${path}:1: name the file for what it is`);
}

/** Sources whose first thing is not a sentence about what they own. */
export function headless(files: readonly Source[]): Finding[] {
  return files
    .filter(({ text }) => !/^(?:#!.*\n)?\/(?:\*\*|\/)/.test(text))
    .map(({ path }) => `${path}:1: begins without a sentence on what it owns`);
}

/** Paths of somebody's machine; `/home/bun` is the home in Bun's container image. */
const MACHINE_PATH = /(?:^|[\s"'`=(:])\/(?:root|work|home\/(?!bun\b)\w+|Users\/\w+)\/[\w.-]/g;

export function machinePaths(files: readonly Source[]): Finding[] {
  return files.flatMap((file) =>
    [...file.text.matchAll(MACHINE_PATH)].map((match) =>
      finding(file, match.index, `names a path of one machine: ${match[0].trim()}`),
    ),
  );
}
