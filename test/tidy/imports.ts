/** Who may import whom (docs/ARCHITECTURE.md, "The rule of direction"), and that nothing is left over. */
import { type Finding, finding, type Import, importsOf, type Source } from "./sources.ts";

/** Each folder imports itself and what is named here, besides the leaf files and the schemas. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  listeners: ["protocols", "session", "broker", "engine", "security", "webhooks"],
  // A consumer like a session, whose peer is a URL.
  webhooks: ["broker", "engine"],
  protocols: ["session", "broker", "engine"],
  session: ["broker", "engine", "security"],
  broker: ["engine"],
  engine: [],
  security: [],
  // Plain data structures, which know nothing of messages.
  collections: [],
};

/** Packages with one home each: a second one would be a second way to do the same thing. */
const PACKAGE_HOMES: Readonly<Record<string, readonly string[]>> = {
  "bun:sqlite": ["src/engine/sqlite/"],
  "drizzle-orm": ["src/engine/sqlite/"],
  msgpackr: ["src/packing.ts", "src/unpacking.ts"],
  ajv: ["src/broker/payload-schema.ts"],
  re2js: ["src/broker/payload-schema.ts"],
  jose: ["src/security/", "src/cli/"],
  pino: ["src/log.ts"],
  "pino-pretty": ["src/log.ts"],
  "prom-client": ["src/metrics.ts"],
};

/** Files that are started, and what puts the broker together for them; nothing else imports them. */
const DOORS = ["src/main.ts", "src/assembly.ts", "src/cli/main.ts"];
/** The memory engine explains the seam and serves the tests of the layers above it. */
const ENTRIES = [...DOORS, "src/engine/memory/engine.ts", "schemas/generate.ts"];

/** The house's room of a path: a folder of src, `leaf`, `schemas`, or `door` for what may do anything. */
function roomOf(path: string): string {
  if (path.startsWith("schemas/")) return "schemas";
  if (DOORS.includes(path) || path.startsWith("src/cli/")) return "door";
  return /^src\/([^/]+)\//.exec(path)?.[1] ?? (path.startsWith("src/") ? "leaf" : "outside");
}

export function wrongDirections(files: readonly Source[]): Finding[] {
  return files.flatMap((file) =>
    importsOf(file).flatMap((one) => {
      const fault = directionFault(file.path, one);
      return fault === undefined ? [] : [finding(file, one.index, fault)];
    }),
  );
}

function directionFault(path: string, one: Import): string | undefined {
  const from = roomOf(path);
  if (!one.local) {
    const homes = PACKAGE_HOMES[one.target];
    if (homes === undefined || homes.some((home) => path.startsWith(home))) return undefined;
    return `imports ${one.target}; only ${homes.join(" and ")} may`;
  }
  if (!one.target.endsWith(".ts") && !/\.(sql|json|html|css|txt)$/.test(one.target)) {
    return `imports ${one.target} without its .ts ending`;
  }
  const to = roomOf(one.target);
  if (to === "outside" && !/^package\.json$/.test(one.target)) {
    return `imports ${one.target}, which is not part of the broker`;
  }
  if (from === "door" || to === "outside") return undefined;
  if (to === "door") return `imports ${one.target}; nothing depends on the doors`;
  if (to === "schemas") return undefined;
  if (from === "schemas" && one.target === "src/limits.ts") return undefined;
  if (from === "schemas") return `imports ${one.target}; schemas depend on schemas only`;
  return roomFault(from, one.target, to);
}

function roomFault(from: string, target: string, to: string): string | undefined {
  if (from === "collections" && to !== from) return `imports ${target}; it knows nothing else`;
  if (to === "leaf" || to === "collections") return undefined;
  if (from === "leaf") return `imports ${target}; a leaf file depends on leaf files only`;
  if (from === "security" && /^src\/broker\/(?:access|roles)\.ts$/.test(target)) return undefined;
  if (to === "engine" && from !== "engine" && !/^src\/engine\/[^/]+$/.test(target)) {
    return `imports ${target}; of an engine others see the seam, the files right in src/engine/`;
  }
  const allowed = MAY_IMPORT[from];
  if (allowed === undefined) return `is in src/${from}/, a room without a rule`;
  if (from === to || allowed.includes(to)) return undefined;
  return `imports ${target}: src/${from}/ may import ${[from, ...allowed].join(", ")} and leaves`;
}

/**
 * Things that are knit together: a whole and its parts, each in a file of its own, that know each other's types.
 * Everything else is built upon what is there before it.
 */
const KNIT: readonly RegExp[] = [
  /^src\/session\//,
  /^src\/engine\/memory\//,
  /^src\/engine\/sqlite\//,
  /^src\/broker\/(?:publication|router|topic-cache)\.ts$/,
];

/** Files that import each other in a circle: never where they are loaded, for types within what is knit. */
export function circles(files: readonly Source[]): Finding[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const ahead = (path: string, follows: (one: Import) => boolean): Set<string> => {
    const seen = new Set<string>();
    const waiting = [path];
    for (let from = waiting.pop(); from !== undefined; from = waiting.pop()) {
      const file = byPath.get(from);
      for (const one of file === undefined ? [] : importsOf(file).filter(follows)) {
        if (!seen.has(one.target)) waiting.push(one.target);
        seen.add(one.target);
      }
    }
    return seen;
  };
  return files.flatMap((file) => {
    const { path } = file;
    const knit = KNIT.find((thing) => thing.test(path));
    const apart = (one: Import) => knit?.test(one.target) !== true;
    const found = [];
    for (const one of importsOf(file)) {
      if (one.loaded && ahead(one.target, ({ loaded }) => loaded).has(path)) {
        found.push(finding(file, one.index, `is loaded in a circle with ${one.target}`));
      } else if (apart(one) && ahead(one.target, () => true).has(path)) {
        found.push(finding(file, one.index, `imports ${one.target}, which imports it in turn`));
      }
    }
    return found;
  });
}

/** Packages that the broker imports without depending on them at run time. */
export function undeclared(
  files: readonly Source[],
  dependencies: Readonly<Record<string, string>>,
): Finding[] {
  return files.flatMap((file) =>
    importsOf(file)
      .filter(({ local, target }) => !local && !/^(?:bun|node)(?::|$)/.test(target))
      .filter(({ target }) => !Object.hasOwn(dependencies, target))
      .map(({ index, target }) =>
        finding(file, index, `imports ${target}, which is not among the dependencies`),
      ),
  );
}

/** Files of src and schemas that no entry reaches. */
export function unreached(files: readonly Source[], entries = ENTRIES): Finding[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const seen = new Set<string>();
  const waiting = entries.filter((entry) => byPath.has(entry));
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    const file = byPath.get(path);
    if (file !== undefined) waiting.push(...importsOf(file).map((one) => one.target));
  }
  return files
    .filter((file) => !seen.has(file.path))
    .map((file) => `${file.path}:1: is imported by nothing that is started; use it or remove it`);
}

/** What the `warren` command loads whatever its words are, of the broker's rooms: a client needs none of them. */
export function loadedByClients(files: readonly Source[]): Finding[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const seen = new Set<string>();
  const waiting = ["src/cli/main.ts"];
  const found: Finding[] = [];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const file = byPath.get(path);
    if (seen.has(path) || file === undefined) continue;
    seen.add(path);
    for (const { target, index, loaded } of importsOf(file)) {
      if (!loaded) continue;
      if (/^src\/(?:main|assembly|broker\/|engine\/|session\/|listeners\/)/.test(target)) {
        found.push(
          finding(file, index, `loads ${target} for every command; import() it when it runs`),
        );
      }
      waiting.push(target);
    }
  }
  return found;
}
