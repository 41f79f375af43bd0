/** What a reader of the papers has: terminals at the root of the repository, and a broker in one. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missingLine } from "./blocks.ts";

const ROOT = join(import.meta.dir, "../..");
const DEFAULT_ADDRESS = /(?:127\.0\.0\.1|localhost):7070/g;
const PATIENCE_MS = 30_000;

/** A folder for the broker's files and a port that was free a moment ago. */
export class Desk implements AsyncDisposable {
  readonly port = freePort();
  readonly address = `127.0.0.1:${this.port}`;
  readonly #terminals: Terminal[] = [];
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(): Promise<Desk> {
    return new Desk(await mkdtemp(join(tmpdir(), "warren-docs-")));
  }

  terminal(commands: string): Terminal {
    const terminal = new Terminal(commands.replaceAll(DEFAULT_ADDRESS, this.address), {
      ...process.env,
      WARREN_PORT: `${this.port}`,
      WARREN_DATA_DIR: join(this.#folder, "data"),
      WARREN_URL: `http://${this.address}`,
      NO_COLOR: "1",
    });
    this.#terminals.push(terminal);
    return terminal;
  }

  async metric(name: string): Promise<number> {
    const text = await (await fetch(`http://${this.address}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1] ?? Number.NaN);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const terminal of this.#terminals.reverse()) await terminal.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** One shell with what was typed into it. */
export class Terminal {
  output = "";
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #read: Promise<unknown>;

  constructor(commands: string, env: Record<string, string | undefined>) {
    this.#child = Bun.spawn(["bash", "-euo", "pipefail", "-c", commands], {
      cwd: ROOT,
      env,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      // A process group of its own, so that what npm starts ends with it.
      detached: true,
    });
    this.#read = Promise.all([
      this.#collect(this.#child.stdout),
      this.#collect(this.#child.stderr),
    ]);
  }

  get hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Resolves to the exit status once all output is read. */
  async finished(): Promise<number> {
    await this.#read;
    return await this.#child.exited;
  }

  /** Waits until the expected lines were printed. */
  async printed(expected: string): Promise<void> {
    await until(
      () => missingLine(this.output, expected) === undefined,
      () => `${missingLine(this.output, expected)}\n--- in:\n${this.output}`,
    );
  }

  async close(): Promise<void> {
    if (!this.hasExited) process.kill(-this.#child.pid, "SIGTERM");
    await this.#child.exited;
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) this.output += decoder.decode(chunk, { stream: true });
  }
}

/** Looks again each turn of a short timer until it is so; throws with what was missing. */
export async function until(
  isSo: () => boolean | Promise<boolean>,
  missing: () => string,
): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for: ${missing()}`);
    await new Promise((next) => setTimeout(next, 20));
  }
}

function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}
