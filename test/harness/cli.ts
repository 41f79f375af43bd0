/** The real command line as a child process, with what it prints. */
import { join } from "node:path";
import { eventually } from "./eventually.ts";

const MAIN = join(import.meta.dir, "../../src/cli/main.ts");

export interface CliOptions {
  /** Beside `PATH` the child sees only this. */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** A file that is loaded before everything else. */
  readonly preload?: string;
}

export interface CliResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command to its end. */
export async function runCli(
  words: readonly string[],
  options: CliOptions = {},
): Promise<CliResult> {
  await using child = startCli(words, options);
  const code = await child.exited;
  return { code, out: child.out, err: child.err };
}

export interface RunningCli extends AsyncDisposable {
  readonly pid: number;
  readonly exited: Promise<number>;
  /** What it has printed so far; all of it once `exited` has resolved. */
  readonly out: string;
  readonly err: string;
  kill(signal: NodeJS.Signals): void;
  /** Resolves when standard output and errors together hold this. */
  printed(text: string): Promise<void>;
}

/** Starts a command that goes on; it is killed at the end of the scope. */
export function startCli(words: readonly string[], options: CliOptions = {}): RunningCli {
  const first = options.preload === undefined ? [] : ["--preload", options.preload];
  const child = Bun.spawn([process.execPath, ...first, MAIN, ...words], {
    stdin: new Blob([options.stdin ?? ""]),
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: process.env.PATH ?? "", ...options.env },
  });
  const text = { out: "", err: "" };
  const collect = async (stream: ReadableStream<Uint8Array>, to: "out" | "err") => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) text[to] += decoder.decode(chunk, { stream: true });
  };
  const reading = Promise.all([collect(child.stdout, "out"), collect(child.stderr, "err")]);
  const exited = reading.then(() => child.exited);
  return {
    pid: child.pid,
    exited,
    get out() {
      return text.out;
    },
    get err() {
      return text.err;
    },
    kill: (signal) => child.kill(signal),
    printed: (what) =>
      eventually(
        () => `${text.out}${text.err}`.includes(what),
        () => `${what} in: ${text.out}${text.err}`,
      ),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** The values of the JSON lines. */
// biome-ignore lint/suspicious/noExplicitAny: tests say what they expect
export function jsonLines(text: string): any[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}
