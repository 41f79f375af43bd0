/** Which messages: the flags by which they are looked for, redriven and replayed, the same everywhere. */
import { type Flags, type Input, listFlag, textFlag, UsageError } from "./command.ts";

const WORDS = ["topic", "reason", "search"] as const;

export const FILTER_FLAGS: Flags = {
  topic: { type: "string", value: "FILTER", help: "Only topics that match." },
  reason: { type: "string", value: "REASON", help: "Only what died of it: rejected, expired, …" },
  search: { type: "string", value: "WORDS", help: "Only with all these words somewhere." },
  header: {
    type: "string",
    multiple: true,
    value: "NAME=VALUE",
    help: "Only with this header; repeatable, and all must be there.",
  },
};

/** The filters as the body of a request has them; times are not among them. */
export function filtersOf(input: Input): Record<string, string | readonly string[]> {
  const filters: Record<string, string | readonly string[]> = {};
  for (const name of WORDS) {
    const value = textFlag(input, name);
    if (value !== undefined) filters[name] = value;
  }
  const headers = listFlag(input, "header");
  if (headers.length > 0) filters.header = headers;
  return filters;
}

/** The same as a query. */
export function filterQuery(input: Input): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filtersOf(input))) {
    for (const one of typeof value === "string" ? [value] : value) query.append(name, one);
  }
  return query;
}

/** A time in milliseconds since 1970: so written, or as a date (`2026-11-21T03:00Z`). */
export function timeFlag(input: Input, name: string): number | undefined {
  const text = textFlag(input, name);
  if (text === undefined) return undefined;
  // Fewer digits are seconds, which would be a day in 1970, or a year that a parser makes of them.
  const isNumber = /^\d+$/.test(text);
  const time = isNumber ? Number(text) : Date.parse(text);
  if (isNumber ? /^\d{12,15}$/.test(text) : Number.isFinite(time)) return time;
  throw new UsageError(`--${name} must be a date such as 2026-11-21T03:00Z, or milliseconds`);
}
