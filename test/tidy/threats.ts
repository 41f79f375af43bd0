/** The threat model against the tests: what defends is shown by a test that there is. */
import type { Finding, Source } from "./sources.ts";

const SECURITY = "docs/SECURITY.md";

/** Rows of the threat model without a test, and tests that it names and that there are not. */
export function unshownThreats(security: string, tests: readonly Source[]): Finding[] {
  const titles = new Set(
    tests.flatMap(({ text }) =>
      [...text.matchAll(/\b(?:test|describe)\(\s*["`]([^"`]+)["`]/g)].map((match) => match[1]!),
    ),
  );
  const threats = threatsOf(security);
  if (threats.length === 0) return [`${SECURITY}: has no table of threats`];
  return threats.flatMap(([threat = "", , shownBy = ""]) => {
    const named = [...shownBy.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
    if (named.length === 0) return [`${SECURITY}: no test is named for "${threat}"`];
    return named
      .filter((title) => !titles.has(title))
      .map((title) => `${SECURITY}: for "${threat}" there is no test "${title}"`);
  });
}

/** The cells of each row of the tables below the heading. */
function threatsOf(security: string): string[][] {
  const [, model = ""] = security.split(/^## Threats\n/m);
  const rows = model.split(/^## /m)[0]!.split("\n");
  return rows
    .filter((row) => row.startsWith("| ") && !/^\| (threat|-)/.test(row))
    .map((row) =>
      row
        .slice(1, -1)
        .split("|")
        .map((cell) => cell.trim()),
    );
}
