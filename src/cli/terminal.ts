/**
 * Where commands print: text and colour for people at a terminal, JSON lines for everything else, so
 * that a pipe never has to parse a table.
 */

export interface Terminal {
  /** Whether to print JSON lines instead of text. */
  readonly json: boolean;
  /** A line of text, as it is. */
  line(text: string): void;
  /** A line of JSON. */
  object(value: unknown): void;
  /** Beside the output: problems and progress. */
  note(text: string): void;
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
}

export interface Outputs {
  readonly out: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly err: { write(text: string): unknown };
}

export function createTerminal(
  outputs: Outputs,
  json: boolean,
  env: Readonly<Record<string, string | undefined>>,
): Terminal {
  const { out, err } = outputs;
  const isTerminal = out.isTTY === true;
  // https://no-color.org: any value but none.
  const colour = isTerminal && (env.NO_COLOR ?? "") === "";
  const paint = (code: number) => (text: string) =>
    colour ? `\u001b[${code}m${text}\u001b[0m` : text;
  return {
    json: json || !isTerminal,
    line: (text) => void out.write(`${text}\n`),
    object: (value) => void out.write(`${JSON.stringify(value)}\n`),
    note: (text) => void err.write(`${text}\n`),
    bold: paint(1),
    dim: paint(2),
    red: paint(31),
  };
}

/** Columns under their titles, numbers to the right. */
export function table(
  terminal: Terminal,
  titles: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const widths = titles.map((title, at) =>
    Math.max(title.length, ...rows.map((row) => String(row[at] ?? "").length)),
  );
  const fit = (value: string | number, at: number) =>
    typeof value === "number"
      ? String(value).padStart(widths[at] as number)
      : value.padEnd(widths[at] as number);
  const isNumber = (at: number) => typeof rows[0]?.[at] === "number";
  const head = titles.map((title, at) =>
    isNumber(at) ? title.padStart(widths[at] as number) : title.padEnd(widths[at] as number),
  );
  const body = rows.map((row) => row.map(fit).join("  ").trimEnd());
  return [terminal.bold(head.join("  ").trimEnd()), ...body].join("\n");
}

/** `HH:MM:SS.mmm`, in the terminal's time zone. */
export function clockTime(time: number): string {
  const date = new Date(time);
  const two = (value: number) => String(value).padStart(2, "0");
  const ms = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}

/**
 * One thing whole, as JSON over several lines. JSON escapes what steers terminals save for the upper control
 * characters, which some terminals obey too.
 */
export function printWhole(terminal: Terminal, value: unknown): void {
  if (terminal.json) {
    terminal.object(value);
    return;
  }
  const text = JSON.stringify(value, null, 2);
  terminal.line(
    text.replace(/[\u007f-\u009f]/g, (one) => `\\u00${one.charCodeAt(0).toString(16)}`),
  );
}

/**
 * A stranger's text on one line, cut where a terminal's line would be. What steers terminals is taken
 * out: a message must not be able to move the cursor of whoever looks at it.
 */
export function brief(value: unknown, most = 160): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  const flat = text.replace(/\s+/g, " ").replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
  return flat.length > most ? `${flat.slice(0, most)}…` : flat;
}
