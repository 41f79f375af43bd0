/** The papers against the code: what docs/ says must be so. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { CLOSE, ERRORS, type ErrorRule } from "../../schemas/errors.ts";
import { clientLimits, DEFAULT_LIMITS } from "../../src/limits.ts";
import { type Finding, finding, ROOT, type Source } from "./sources.ts";

const PROTOCOL = "docs/PROTOCOL.md";

/** Rows of the error table that differ from `schemas/errors.ts`, and codes without a row. */
export function errorTableFaults(
  protocol: string,
  errors: Readonly<Record<string, ErrorRule>> = ERRORS,
): Finding[] {
  const rows = new Map<string, string[]>();
  for (const match of protocol.matchAll(/^\| `([a-z_]+)` \|(.*)\|$/gm)) {
    const cells = match[2]!.split("|").map((cell) => cell.trim());
    if (cells.length === 4 && /^\d{3}$/.test(cells[0]!)) rows.set(match[1]!, cells);
  }
  const faults = Object.entries(errors).flatMap(([code, rule]) => {
    const row = rows.get(code);
    if (row === undefined) return [`${PROTOCOL}: the error code ${code} is not in its table`];
    const want = [`${rule.status}`, rule.retry ? "yes" : "no", `${rule.close ?? ""}`, rule.meaning];
    if (row.join("|") === want.join("|")) return [];
    return [`${PROTOCOL}: the row of ${code} must read | ${want.join(" | ")} |`];
  });
  const unknown = [...rows.keys()].filter((code) => !(code in errors));
  return [...faults, ...unknown.map((code) => `${PROTOCOL}: there is no error code ${code}`)];
}

export function closeCodeFaults(
  protocol: string,
  codes: Readonly<Record<string, number>> = CLOSE,
): Finding[] {
  return Object.entries(codes)
    .filter(([, code]) => !new RegExp(`^\\| ${code} \\|`, "m").test(protocol))
    .map(([name, code]) => `${PROTOCOL}: the close code ${code} (${name}) is not in its table`);
}

/** Limits that clients must respect whose default in the table of [P-11.1] is another one. */
export function limitsTableFaults(
  protocol: string,
  limits: Readonly<Record<string, number>> = { ...clientLimits(DEFAULT_LIMITS) },
): Finding[] {
  const table = new Map(
    [...protocol.matchAll(/^\| `(\w+)` \| ([\d ]+)[^|]*\| [^|]+\|$/gm)].map(([, name, digits]) => [
      name!,
      Number(digits!.replaceAll(" ", "")),
    ]),
  );
  return Object.entries(limits)
    .filter(([name, value]) => table.get(name) !== value)
    .map(([name, value]) => `${PROTOCOL}: the default of ${name} is ${value}`);
}

/** Clause numbers of the protocol; `later` ones are decided and not built. */
export function clausesOf(protocol: string): { clause: string; later: boolean }[] {
  return [...protocol.matchAll(/^- \*\*(P-\d+\.\d+)\*\*( \*\(later\)\*)?/gm)].map((match) => ({
    clause: match[1]!,
    later: match[2] !== undefined,
  }));
}

const TITLE =
  /\b(?:test|it|describe)(?:\.(?!skip\b|todo\b)\w+)*(?:\([^)]*\))?\(\s*(["'`])((?:\\.|(?!\1)[^\\])*)\1/g;

/** Clauses that titles of tests cite, as in `[P-3.2]` or `[P-3.2, P-3.4]`. */
export function citedClauses(tests: readonly Source[]): Set<string> {
  const cited = new Set<string>();
  for (const { text } of tests) {
    for (const title of text.matchAll(TITLE)) {
      for (const clause of title[2]!.matchAll(/\bP-\d+\.\d+\b/g)) cited.add(clause[0]);
    }
  }
  return cited;
}

export function unprovenClauses(protocol: string, tests: readonly Source[]): Finding[] {
  const cited = citedClauses(tests);
  return clausesOf(protocol)
    .filter(({ clause, later }) => !later && !cited.has(clause))
    .map(({ clause }) => `${PROTOCOL}: [${clause}] is in force and no test title cites it`);
}

/** Clauses cited in code or tests that the protocol does not have. */
export function unknownClauses(protocol: string, files: readonly Source[]): Finding[] {
  const known = new Set(clausesOf(protocol).map(({ clause }) => clause));
  return files.flatMap((file) =>
    [...file.text.matchAll(/\[[^\]\n]*\bP-\d+\.\d+[^\]\n]*\]/g)].flatMap((citation) =>
      [...citation[0].matchAll(/\bP-\d+\.\d+\b/g)]
        .filter((match) => !known.has(match[0]))
        .map((match) =>
          finding(file, citation.index, `cites ${match[0]}, which ${PROTOCOL} does not have`),
        ),
    ),
  );
}

/**
 * Rows `| 1 | `path` `name` `name` | …` of the life of a message: the file must be there and declare
 * the names.
 */
export function lifeOfAMessageFaults(
  architecture: string,
  readSource: (path: string) => string | undefined,
): Finding[] {
  const where = "docs/ARCHITECTURE.md";
  const rows = [...architecture.matchAll(/^\| \w+ \| `(src\/[\w./-]+\.ts)` ((?:`[\w#]+` ?)+)\|/gm)];
  if (rows.length < 5) return [`${where}: the life of a message names ${rows.length} hops, not 5`];
  return rows.flatMap(([, path, names]) => {
    const text = readSource(path!);
    if (text === undefined) return [`${where}: names ${path}, which is not there`];
    return [...names!.matchAll(/`([\w#]+)`/g)]
      .map((match) => match[1]!)
      .filter((name) => !declares(text, name))
      .map((name) => `${where}: ${path} declares no ${name}`);
  });
}

function declares(text: string, name: string): boolean {
  const word = name.replace("#", "\\#");
  return new RegExp(
    `(?:\\b(?:function|const|let|class)\\s+${word}\\b)|(?:^\\s+(?:(?:private|async|static|readonly)\\s+)*` +
      `${word}\\s*(?:<[^>]*>)?(?:\\(|[:=]\\s*(?:async\\s*)?\\())`,
    "m",
  ).test(text);
}

/** Links in a paper to files that are not there. */
export function brokenLinks(
  path: string,
  text: string,
  exists: (path: string) => boolean = (target) => existsSync(join(ROOT, target)),
): Finding[] {
  return [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)/g)]
    .filter((match) => !exists(join(dirname(path), match[1]!)))
    .map((match) => `${path}: links to ${match[1]}, which is not there`);
}

/** Papers that a source names and that are not there; a decision may be named by its number alone. */
export function lostPapers(files: readonly Source[], papers: readonly string[]): Finding[] {
  return files.flatMap((file) =>
    [...file.text.matchAll(/(?<![./\w])docs\/[\w/-]+(?:\.md)?/g)]
      .filter(([name]) => !papers.some((paper) => paper.startsWith(name)))
      .map((match) => finding(file, match.index, `names ${match[0]}, which is not there`)),
  );
}

const FENCE = /^```(\S*) ?(.*)$/gm;

/**
 * Shell blocks are run by test/docs.test.ts, unless they say why not: ```` ```sh not run: … ````.
 * Other names for a shell would slip past it.
 */
export function fenceFaults(path: string, text: string): Finding[] {
  return [...text.matchAll(FENCE)]
    .filter((match) => /^(?:bash|shell|console|zsh|shellscript)$/.test(match[1]!))
    .map((match) => `${path}: write \`\`\`sh, not \`\`\`${match[1]}, so that the block is run`);
}

/** A lock file with download addresses ties everyone to one registry. */
export function lockFileFaults(text: string): Finding[] {
  return [...text.matchAll(/"resolved"|https?:\/\/[^"]*\.tgz/g)].map(
    (match) => `package-lock.json: holds ${match[0]}; .npmrc leaves addresses out`,
  );
}
