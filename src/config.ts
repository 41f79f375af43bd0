/**
 * Settings: the only reader of the environment and of the configuration file [P-13.6]. Flags win over
 * `WARREN_…` variables, those over the file, that over the defaults. All faults are found before the
 * first is reported, each by the path of its key and the place it came from.
 */
import { Value, ValueErrorType } from "@sinclair/typebox/value";
import { type Config, ConfigSchema } from "../schemas/config.ts";
import { type Leaf, settingLeaves } from "./config-leaves.ts";
import { limitFaults } from "./limits.ts";

export type { Config };

/** The process's environment, for those that take it as an argument. */
export const environment: Readonly<Record<string, string | undefined>> = process.env;

/** Variables of the command-line clients, which are no settings of the broker. */
const CLIENT_VARIABLES = ["WARREN_URL", "WARREN_TOKEN", "WARREN_CONFIG"];

/** One thing that is wrong with the settings. */
export interface ConfigFault {
  /** The key's path, such as `limits.frameBytes`. */
  readonly path: string;
  readonly problem: string;
  /** Where the value came from: a flag, a variable or the file; absent for a default. */
  readonly source?: string;
}

/** The settings cannot be used; the message lists every fault. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: readonly ConfigFault[];

  constructor(faults: readonly ConfigFault[]) {
    const lines = faults.map(
      (fault) =>
        `  ${fault.path}: ${fault.problem}${fault.source === undefined ? "" : ` (from ${fault.source})`}`,
    );
    super(`The settings cannot be used:\n${lines.join("\n")}`);
    this.faults = faults;
  }
}

export interface ConfigSources {
  /** Values of the flags by path, such as `{"limits.frameBytes": "65536", host: "0.0.0.0"}`. */
  readonly flags: Readonly<Record<string, string | boolean | readonly string[]>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The value of `--config`; wins over `WARREN_CONFIG`. */
  readonly file?: string;
}

type Tree = Record<string, unknown>;

/** Reads everything and returns frozen settings, or throws one `ConfigError` with every fault. */
export async function loadConfig(sources: ConfigSources): Promise<Config> {
  const faults: ConfigFault[] = [];
  const origins = new Map<string, string>();
  const path = sources.file ?? sources.env.WARREN_CONFIG;
  const tree = path === undefined ? {} : await readFile(path, faults, origins);
  applyEnvironment(tree, sources.env, faults, origins);
  applyFlags(tree, sources.flags, faults, origins);
  return finish(tree, faults, origins);
}

/** Settings from one object, as tests and embedding programs give them. */
export function configFrom(settings: Readonly<Record<string, unknown>>): Config {
  return finish(structuredClone(settings) as Tree, [], new Map());
}

/** Every secret in the settings, so that logs can leave it out by its value. */
export function configSecrets({ jwt, issuers, queues }: Config): string[] {
  const keys = [jwt, ...issuers].flatMap(({ secret, previousSecret }) => [secret, previousSecret]);
  const hooks = Object.values(queues).flatMap(({ webhook }) => [
    webhook?.secret,
    ...Object.values(webhook?.headers ?? {}),
  ]);
  return [...keys, ...hooks].filter((text) => text !== undefined);
}

/** The settings with every secret replaced, for people to read. */
export function publicConfig(config: Config): Record<string, unknown> {
  const hidden = new Set(["secret", "previousSecret", "hash", "headers"]);
  return JSON.parse(
    JSON.stringify(config, (name, value) =>
      hidden.has(name) && value !== undefined ? "[redacted]" : value,
    ),
  );
}

async function readFile(
  path: string,
  faults: ConfigFault[],
  origins: Map<string, string>,
): Promise<Tree> {
  try {
    const text = await Bun.file(path).text();
    const tree: unknown = path.endsWith(".json") ? JSON.parse(text) : Bun.TOML.parse(text);
    if (!isTree(tree)) throw new Error("it does not hold a table of settings");
    origins.set("", path);
    return tree;
  } catch (error) {
    // A parser may quote what it tripped over, and that may be a secret.
    const reason = (error instanceof Error ? error.message : String(error)).replace(
      /"[^"]*"/g,
      "…",
    );
    faults.push({ path: "config", problem: `cannot read ${path}: ${reason}` });
    return {};
  }
}

function applyEnvironment(
  tree: Tree,
  env: ConfigSources["env"],
  faults: ConfigFault[],
  origins: Map<string, string>,
): void {
  const leaves = new Map(settingLeaves().map((leaf) => [leaf.variable, leaf]));
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith("WARREN_") || text === undefined) continue;
    if (CLIENT_VARIABLES.includes(name)) continue;
    const leaf = leaves.get(name);
    if (leaf === undefined) {
      faults.push({ path: name, problem: `is no setting${didYouMean(name, leaves.keys())}` });
      continue;
    }
    put(tree, leaf, parse(leaf, text), name, origins);
  }
}

function applyFlags(
  tree: Tree,
  flags: ConfigSources["flags"],
  faults: ConfigFault[],
  origins: Map<string, string>,
): void {
  const leaves = new Map(settingLeaves().map((leaf) => [leaf.path, leaf]));
  for (const [path, given] of Object.entries(flags)) {
    const leaf = leaves.get(path);
    if (leaf?.flag === undefined) {
      faults.push({ path, problem: "is no setting that a flag can give" });
      continue;
    }
    const value = typeof given === "string" ? parse(leaf, given) : given;
    put(tree, leaf, value, `--${leaf.flag}`, origins);
  }
}

/** What the text means for this setting; text that does not fit stays text, and the schema refuses it. */
function parse(leaf: Leaf, text: string): unknown {
  if (leaf.kind === "integer" && /^-?\d{1,15}$/.test(text)) return Number(text);
  if (leaf.kind === "boolean" && /^(true|1)$/.test(text)) return true;
  if (leaf.kind === "boolean" && /^(false|0)$/.test(text)) return false;
  if (leaf.kind === "list") return text.split(",").map((item) => item.trim());
  if (leaf.kind === "json") {
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }
  return text;
}

function put(
  tree: Tree,
  leaf: Leaf,
  value: unknown,
  source: string,
  origins: Map<string, string>,
): void {
  const keys = leaf.path.split(".");
  let node = tree;
  for (const key of keys.slice(0, -1)) {
    // A value of the wrong kind in the file is left for the schema to refuse.
    if (node[key] === undefined) node[key] = {};
    if (!isTree(node[key])) return;
    node = node[key];
  }
  node[keys.at(-1) as string] = value;
  origins.set(leaf.path, source);
}

function finish(tree: Tree, faults: ConfigFault[], origins: Map<string, string>): Config {
  // What a queue's definition leaves out stays out: it keeps what operators set while it ran.
  const queues = structuredClone(tree.queues ?? {});
  const settings = Value.Default(ConfigSchema, tree) as Tree;
  settings.queues = queues;
  const seen = new Set<string>();
  for (const error of Value.Errors(ConfigSchema, settings)) {
    const path = error.path.slice(1).replaceAll("/", ".");
    // One fault for one value: a union reports each of its members too.
    if (seen.has(path)) continue;
    seen.add(path);
    const source = origins.get(path) ?? (has(tree, path) ? origins.get("") : undefined);
    const problem = describe(error.type, error.message, error.schema, error.value, path);
    faults.push({ path, problem, ...(source === undefined ? {} : { source }) });
  }
  if (faults.length === 0) {
    const config = settings as unknown as Config;
    for (const sentence of limitFaults(config.limits)) {
      faults.push({ path: sentence.split(" ", 1)[0] as string, problem: sentence });
    }
  }
  if (faults.length > 0) throw new ConfigError(faults);
  return deepFreeze(settings as unknown as Config);
}

function describe(
  type: ValueErrorType,
  message: string,
  schema: { readonly [key: string]: unknown },
  value: unknown,
  path: string,
): string {
  if (type === ValueErrorType.ObjectAdditionalProperties) {
    const known = settingLeaves().flatMap((leaf) => [leaf.path, leaf.path.split(".")[0] as string]);
    return `is no setting${didYouMean(path, new Set(known))}`;
  }
  const options = schema.anyOf;
  const wanted = Array.isArray(options)
    ? options
        .map((option: { const?: unknown }) => option.const)
        .filter((text) => text !== undefined)
    : [];
  const advice = typeof schema["x-advice"] === "string" ? `; ${schema["x-advice"]}` : "";
  const said =
    wanted.length > 0 ? `expected one of ${wanted.join(", ")}` : message.replace(/^E/, "e");
  const what = said + advice;
  const hidden = schema["x-secret"] === true || path.startsWith("keys.");
  if (hidden || typeof value === "object" || value === undefined) return what;
  const text = String(value);
  const kubernetes = path === "port" && text.startsWith("tcp://");
  return (
    `${what}, got ${JSON.stringify(text.slice(0, 80))}` +
    (kubernetes
      ? "; Kubernetes sets this for a service named warren: enableServiceLinks: false"
      : "")
  );
}

/** The nearest of the known names, where it is near enough to be a slip of the hand. */
function didYouMean(name: string, known: Iterable<string>): string {
  let best: string | undefined;
  let least = 4;
  for (const candidate of known) {
    const apart = distance(name.toLowerCase(), candidate.toLowerCase());
    if (apart < least) {
      least = apart;
      best = candidate;
    }
  }
  return best === undefined ? "" : `; did you mean ${best}?`;
}

/** Levenshtein's distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

function has(tree: Tree, path: string): boolean {
  let node: unknown = tree;
  for (const key of path.split(".")) {
    if (!isTree(node) && !Array.isArray(node)) return false;
    node = (node as Tree)[key];
  }
  return node !== undefined;
}

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    for (const item of Object.values(value)) deepFreeze(item);
    Object.freeze(value);
  }
  return value;
}
