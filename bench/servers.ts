/**
 * Starting, reading and ending the server processes under test, each with its own empty directory.
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processCpuUs, residentBytes } from "./load/meter.ts";
import { QUEUE, QUEUE_TOPIC } from "./load/settlement.ts";
import { sleep } from "./load/timing.ts";

export type Side = "bare" | "warren";

const ROOT = join(import.meta.dir, "..");
const WARREN = join(ROOT, "src/cli/main.ts");
const BARE = join(import.meta.dir, "bare/server.ts");
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 30_000;

/** Whether there is a broker to measure. */
export const warrenExists = (): boolean => existsSync(WARREN);

/** What must not outlive the run, however it ends. */
const runningServers = new Set<ServerProcess>();
const dataDirs = new Set<string>();

/** A directory that lives as long as a measurement; several servers may run on it in turn. */
export async function withDataDir<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), "warren-bench-"));
  dataDirs.add(dir);
  try {
    return await use(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
    dataDirs.delete(dir);
  }
}

/** For a run that is interrupted: ends its servers and removes their directories. */
export async function abandonServers(): Promise<void> {
  await Promise.all([...runningServers].map((server) => server.stop()));
  for (const dir of dataDirs) rmSync(dir, { recursive: true, force: true });
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

function command(side: Side, port: number, dataDir: string, profileDir?: string): string[] {
  const profile = profileDir ? ["--cpu-prof", "--cpu-prof-md", "--cpu-prof-dir", profileDir] : [];
  const script = side === "warren" ? [WARREN, "serve"] : [BARE];
  return [process.execPath, ...profile, ...script, "--port", String(port), "--data-dir", dataDir];
}

/** Settings of the broker, as `WARREN_…` variables; the bare server knows none. */
export type Settings = Readonly<Record<`WARREN_${string}`, string>>;

/** Without the caller's own settings: the broker is measured with its defaults, or what a case sets. */
function environment(
  port: number,
  dataDir: string,
  settings: Settings,
): Record<string, string | undefined> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("WARREN_"));
  return {
    ...Object.fromEntries(inherited),
    WARREN_PORT: String(port),
    WARREN_DATA_DIR: dataDir,
    WARREN_LOG: "json",
    ...settings,
  };
}

export class ServerProcess {
  readonly port: number;
  readonly pid: number;
  /** From starting the process until `/readyz` answered 200. */
  readyMs = 0;
  /** What requests are made under. */
  token: string | undefined;
  readonly #child: Bun.Subprocess;
  readonly #logFile: string;

  private constructor(
    side: Side,
    dir: string,
    settings: Settings,
    profileDir: string | undefined,
    port: number,
  ) {
    const dataDir = join(dir, "data");
    mkdirSync(dataDir, { recursive: true });
    this.port = port;
    this.#logFile = join(dir, "server.log");
    const log = openSync(this.#logFile, "a");
    this.#child = Bun.spawn(command(side, this.port, dataDir, profileDir), {
      cwd: dir,
      env: environment(this.port, dataDir, settings),
      stdin: "ignore",
      stdout: log,
      stderr: log,
    });
    closeSync(log);
    this.pid = this.#child.pid;
    runningServers.add(this);
    void this.#child.exited.then(() => runningServers.delete(this));
  }

  static async start(
    side: Side,
    dir: string,
    settings: Settings = {},
    profileDir?: string,
    port = freePort(),
  ): Promise<ServerProcess> {
    const startedAt = performance.now();
    const server = new ServerProcess(side, dir, settings, profileDir, port);
    while (!(await server.#isReady())) {
      const failed = server.#child.exitCode !== null;
      if (failed || performance.now() - startedAt > START_LIMIT_MS) {
        await server.stop();
        throw new Error(`the ${side} server did not get ready:\n${server.logTail()}`);
      }
      await sleep(2);
    }
    server.readyMs = performance.now() - startedAt;
    return server;
  }

  async #isReady(): Promise<boolean> {
    try {
      const answer = await fetch(`http://127.0.0.1:${this.port}/readyz`);
      await answer.text();
      return answer.status === 200;
    } catch {
      return false;
    }
  }

  /** The end of what the server wrote, for the message of a failure. */
  logTail(): string {
    return readFileSync(this.#logFile, "utf8").slice(-2000);
  }

  /** Defines the queue that the queue scenarios publish to. */
  async defineQueue(settings: object = {}): Promise<void> {
    const path = `/admin/v1/queues/${QUEUE}`;
    await this.request("PUT", path, { ...settings, bindings: [QUEUE_TOPIC] });
  }

  /** One HTTP request, under the token if there is one; fails on any answer but a success. */
  async request(method: string, path: string, body?: object): Promise<unknown> {
    const { token } = this;
    const answer = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body && { "content-type": "application/json" }),
      },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }

  cpuUs(): number {
    return processCpuUs(this.pid);
  }

  residentBytes(): { now: number; peak: number } {
    return residentBytes(this.pid);
  }

  /** Resident bytes once they have stopped falling or rising for a while; bounded. */
  async settledBytes(quick: boolean): Promise<number> {
    const rounds = quick ? 4 : 20;
    let low = this.residentBytes().now;
    for (let round = 0, still = 0; round < rounds && still < 4; round++) {
      await sleep(500);
      const now = this.residentBytes().now;
      still = Math.abs(now - low) < 256 * 1024 ? still + 1 : 0;
      low = now;
    }
    return low;
  }

  /** Ends it without a word. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  /** Asks it to end, and insists after a while. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill("SIGTERM");
    const insist = setTimeout(() => this.#child.kill("SIGKILL"), STOP_LIMIT_MS);
    await this.#child.exited;
    clearTimeout(insist);
  }
}
