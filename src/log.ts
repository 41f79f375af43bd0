/**
 * Log lines: one JSON object a line, or text for people. Nothing is logged per message, and whatever
 * looks like a credential is taken out of every line before it is written, wherever it came from.
 */
import pino from "pino";
import pretty from "pino-pretty";

/** What the broker asks of a log; `fields` are data beside the sentence. */
export interface Logger {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export interface LogOptions {
  readonly format: "pretty" | "json";
  readonly level: "debug" | "info" | "warn" | "error" | "silent";
  /** Values that must never be seen, such as the secret that signs tokens; of six characters and more. */
  readonly secrets: readonly string[];
  /** Takes whole lines; standard output when absent. */
  readonly write?: (line: string) => void;
}

/** API keys, JSON Web Tokens, and tokens in URLs, headers and subprotocols [P-1.3]. */
const CREDENTIALS: readonly (readonly [RegExp, string])[] = [
  [/\bwk_([A-Za-z0-9]+)_[A-Za-z0-9_-]+/g, "wk_$1_[redacted]"],
  [/\beyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*/g, "[redacted]"],
  [/\b(access_token=)[^&\s"'\\]+/gi, "$1[redacted]"],
  [/\b(Bearer )[^\s"'\\]+/gi, "$1[redacted]"],
  [/(warren\.token\.)[^\s,"'\\]+/g, "$1[redacted]"],
  [/\b(warren_token=)[^;\s"'\\]+/g, "$1[redacted]"],
];

const SECRET_LENGTH_MIN = 6;

/** The text without anything that looks like a credential, or that is one of `secrets`. */
export function redact(text: string, secrets: readonly string[] = []): string {
  let clean = text;
  for (const secret of secrets) clean = clean.replaceAll(secret, "[redacted]");
  for (const [pattern, instead] of CREDENTIALS) clean = clean.replace(pattern, instead);
  return clean;
}

/**
 * The secrets as lines hold them: a line is JSON, and so may be a text in it, and both write quotes, backslashes and
 * line breaks in their own way. What is shorter than any secret, such as a header's `1`, would break the lines.
 */
function inLines(secrets: readonly string[]): readonly string[] {
  const escaped = (text: string) => JSON.stringify(text).slice(1, -1);
  const long = secrets.filter(({ length }) => length >= SECRET_LENGTH_MIN);
  const all = long.flatMap((text) => [text, escaped(text), escaped(escaped(text))]);
  // Of two, one of which begins the other, the longer one goes first, so that nothing of it is left.
  return [...new Set(all)].sort((a, b) => b.length - a.length);
}

/** A logger that writes each line before it returns, so that the last words of a process are kept. */
export function createLogger(options: LogOptions): Logger {
  const secrets = inLines(options.secrets);
  const sink = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: pino.stdSerializers.err },
      hooks: { streamWrite: (line) => redact(line, secrets) },
    },
    destination(options),
  );
  const at =
    (level: "debug" | "info" | "warn" | "error") =>
    (message: string, fields?: Readonly<Record<string, unknown>>) =>
      sink[level](fields ?? {}, message);
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** Says nothing. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

function destination(options: LogOptions): pino.DestinationStream {
  const write = options.write;
  const raw = write === undefined ? pino.destination({ dest: 1, sync: true }) : { write };
  if (options.format === "json") return raw;
  const format = pretty.prettyFactory({
    colorize: write === undefined && pretty.isColorSupported && process.stdout.isTTY === true,
    translateTime: "SYS:HH:MM:ss.l",
    singleLine: true,
  });
  return { write: (line: string) => raw.write(format(line)) };
}
