/** The project's files as the checks see them. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { maskCode } from "./mask.ts";

export const ROOT = join(import.meta.dir, "../..");

export interface Source {
  /** From the root of the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
  /** The text without comments and the insides of strings, same length, same lines. */
  readonly code: string;
}

/** A fault: `path:line: what is wrong; what to do instead`. */
export type Finding = string;

export function source(path: string, text: string): Source {
  return { path, text, code: path.endsWith(".ts") ? maskCode(text) : text };
}

/** All TypeScript files below the folders, sorted. */
export function readSources(...folders: string[]): Source[] {
  return filesBelow(...folders)
    .filter((path) => path.endsWith(".ts") && !path.endsWith(".d.ts"))
    .map((path) => source(path, readText(path)));
}

export function filesBelow(...folders: string[]): string[] {
  return folders
    .filter((folder) => existsSync(join(ROOT, folder)))
    .flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + 1)),
    )
    .sort();
}

export function readText(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

export function lineOf(text: string, index: number): number {
  let line = 1;
  for (let i = 0; i < index; i++) if (text.charCodeAt(i) === 10) line++;
  return line;
}

export function finding(file: Source, index: number, sentence: string): Finding {
  return `${file.path}:${lineOf(file.text, index)}: ${sentence}`;
}

export interface Import {
  /** A path from the root for a file of the project, else the package's name. */
  readonly target: string;
  readonly local: boolean;
  /** Loaded together with the file: not for its types only, not by `import()`, not as a worker. */
  readonly loaded: boolean;
  readonly index: number;
}

const IMPORT = /(?:\bfrom\s*|\bimport\s*\(?\s*|\bnew URL\(\s*|\bnew Worker\(\s*)"/g;

/** What a file imports, also by `import()` and as a worker. */
export function importsOf(file: Source): Import[] {
  const imports: Import[] = [];
  for (const match of file.code.matchAll(IMPORT)) {
    const start = match.index + match[0].length;
    const specifier = file.text.slice(start, file.code.indexOf('"', start));
    const local = specifier.startsWith(".");
    const isUrl = match[0].startsWith("new ");
    if (isUrl && !(local && specifier.endsWith(".ts"))) continue;
    const target = local
      ? normalize(join(dirname(file.path), specifier))
      : specifier.replace(/^((?:@[^/]+\/)?[^/]+).*$/, "$1");
    const loaded = !match[0].includes("(") && !ofTypesOnly(file.code, match.index);
    imports.push({ target, local, loaded, index: match.index });
  }
  return imports;
}

/** Whether the statement whose `from` stands at the index begins with `import type` or `export type`. */
function ofTypesOnly(code: string, index: number): boolean {
  const begin = Math.max(
    code.lastIndexOf("\nimport ", index),
    code.lastIndexOf("\nexport ", index),
  );
  return /^(?:import|export) type\b/.test(code.slice(begin + 1));
}
