/** Starting other people's brokers, each in a directory of its own, as their manuals say. */
import { existsSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { sleep } from "../load/timing.ts";
import type { PeerName } from "./names.ts";

const START_LIMIT_MS = 90_000;
const STOP_LIMIT_MS = 30_000;
/** The release that is measured; installed into a directory of its own, never into the project's. */
const BUNQUEUE = "bunqueue@2.9.5";
const RABBIT = "/usr/lib/rabbitmq/bin/rabbitmq-server";

export interface PeerServer {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

interface Start {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Where the process that does the work writes its id, when it is not the one that is started. */
  readonly pidFile?: string;
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

const redis = (port: number, dir: string, fsync: string): Start => ({
  command: [
    ...["redis-server", "--port", String(port), "--bind", "127.0.0.1", "--dir", dir],
    ...["--save", "", "--appendonly", "yes", "--appendfsync", fsync],
  ],
});

async function jetstream(port: number, dir: string, sync: string): Promise<Start> {
  const file = join(dir, "nats.conf");
  const text = `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${dir}/store"\n${sync}\n}\n`;
  await Bun.write(file, text);
  return { command: ["nats-server", "-c", file] };
}

function rabbit(port: number, dir: string): Start {
  const pidFile = join(dir, "pid");
  return {
    command: [RABBIT],
    pidFile,
    env: {
      HOME: homedir(),
      RABBITMQ_NODENAME: "bench@localhost",
      RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
      RABBITMQ_NODE_PORT: String(port),
      RABBITMQ_DIST_PORT: String(freePort()),
      RABBITMQ_MNESIA_BASE: join(dir, "data"),
      RABBITMQ_LOG_BASE: join(dir, "log"),
      RABBITMQ_PID_FILE: pidFile,
      RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, "plugins"),
      ERL_EPMD_ADDRESS: "127.0.0.1",
    },
  };
}

/** Installs it where it stays between runs, outside the project. */
function bunqueueHome(): string {
  const home = join(tmpdir(), "warren-bench-bunqueue");
  const main = join(home, "node_modules/bunqueue/dist/main.js");
  if (existsSync(main)) return main;
  mkdirSync(home, { recursive: true });
  const install = ["npm", "install", "--prefix", home, "--ignore-scripts", BUNQUEUE];
  const { exitCode, stderr } = Bun.spawnSync(install, { cwd: home });
  if (exitCode !== 0) throw new Error(`${BUNQUEUE} could not be installed: ${stderr}`);
  return main;
}

const bunqueue = (port: number, dir: string): Start => ({
  command: [process.execPath, bunqueueHome()],
  env: {
    HOST: "127.0.0.1",
    TCP_PORT: String(port),
    HTTP_PORT: String(freePort()),
    DATA_PATH: join(dir, "bunqueue.db"),
    // Its default of 10,000 requests a minute is not what is measured.
    RATE_LIMIT_MAX_REQUESTS: "1000000000",
    LOG_LEVEL: "error",
  },
});

async function startOf(name: PeerName, port: number, dir: string): Promise<Start> {
  switch (name) {
    case "redis-always":
      return redis(port, dir, "always");
    case "redis-everysec":
      return redis(port, dir, "everysec");
    case "jetstream-always":
      return await jetstream(port, dir, "sync_interval: always");
    case "jetstream-default":
      return await jetstream(port, dir, "");
    case "rabbit-quorum":
    case "rabbit-classic":
      return rabbit(port, dir);
    case "bunqueue-durable":
    case "bunqueue-buffered":
      return bunqueue(port, dir);
  }
}

async function accepts(port: number): Promise<boolean> {
  try {
    const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } });
    socket.terminate();
    return true;
  } catch {
    return false;
  }
}

/** The program that a peer needs, when it is not installed here. */
export function missingProgram(name: PeerName): string | undefined {
  if (name.startsWith("rabbit")) return existsSync(RABBIT) ? undefined : RABBIT;
  const program = name.startsWith("redis") ? "redis-server" : "nats-server";
  if (name.startsWith("bunqueue")) return undefined;
  return Bun.which(program) === null ? program : undefined;
}

/** Starts it and waits until it takes connections. */
export async function startPeer(name: PeerName, dir: string): Promise<PeerServer> {
  const port = freePort();
  mkdirSync(dir, { recursive: true });
  const { command, env, pidFile } = await startOf(name, port, dir);
  const logFile = join(dir, "server.log");
  const log = openSync(logFile, "a");
  const child = Bun.spawn([...command], {
    cwd: dir,
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: log,
    stderr: log,
  });
  const startedAt = performance.now();
  const running = () => child.exitCode === null && performance.now() - startedAt < START_LIMIT_MS;
  const ready = async () => (await accepts(port)) && (pidFile === undefined || existsSync(pidFile));
  while (!(await ready())) {
    if (!running()) {
      child.kill("SIGKILL");
      throw new Error(`${name} did not start:\n${readFileSync(logFile, "utf8").slice(-1000)}`);
    }
    await sleep(50);
  }
  const pid = pidFile === undefined ? child.pid : Number(readFileSync(pidFile, "utf8"));
  return {
    port,
    pid,
    async stop() {
      process.kill(pid, "SIGTERM");
      const insist = setTimeout(() => process.kill(pid, "SIGKILL"), STOP_LIMIT_MS);
      await child.exited;
      clearTimeout(insist);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
