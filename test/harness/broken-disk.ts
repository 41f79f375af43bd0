/** Data directories whose disk can be broken under a running broker, each in its own way, and mended. */
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Served } from "./served.ts";
import { SmallDisk } from "./small-disk.ts";

export interface BrokenDisk extends AsyncDisposable {
  readonly dataDir: string;
  /** The environment of a broker on it. */
  readonly env: Readonly<Record<string, string>>;
  breakIt(broker: Served): Promise<void>;
  mendIt(broker: Served): Promise<void>;
}

export interface BrokenDiskKind {
  readonly title: string;
  /** What the log says of it. */
  readonly reason: string;
  /** What was refused had been written, and may be found by the next start. */
  readonly keepsRefused: boolean;
  readonly possible: boolean;
  open(): Promise<BrokenDisk>;
}

async function full(): Promise<BrokenDisk> {
  const disk = await SmallDisk.mount(16);
  return {
    dataDir: disk.path,
    env: {},
    breakIt: () => disk.fill(),
    mendIt: () => disk.free(),
    [Symbol.asyncDispose]: () => disk[Symbol.asyncDispose](),
  };
}

/** The system refuses to let any file of the broker grow. */
async function growthless(): Promise<BrokenDisk> {
  const dataDir = await mkdtemp(join(tmpdir(), "warren-fault-"));
  const limit = async ({ child }: Served, bytes: string) => {
    const words = ["prlimit", "--pid", `${child.pid}`, `--fsize=${bytes}:unlimited`];
    if ((await Bun.spawn(words, { stderr: "ignore" }).exited) !== 0)
      throw new Error("prlimit failed");
  };
  return {
    dataDir,
    env: {},
    breakIt: async (broker) => limit(broker, `${(await stat(`${dataDir}/warren.db-wal`)).size}`),
    mendIt: (broker) => limit(broker, "unlimited"),
    [Symbol.asyncDispose]: () => rm(dataDir, { recursive: true, force: true }),
  };
}

const SHIM = join(import.meta.dir, "../durability/fixtures/failing-writes.c");
/** As the system numbers it, on every Linux. */
const EIO = 5;

/** The calls themselves fail, by a library between the broker and the system's. */
const failing = (call: "write" | "sync") => async (): Promise<BrokenDisk> => {
  const folder = await mkdtemp(join(tmpdir(), "warren-fault-"));
  const library = join(folder, "failing-writes.so");
  const words = ["gcc", "-shared", "-fPIC", "-O1", "-nostdlib", "-o", library, SHIM];
  const { exitCode, stderr } = Bun.spawnSync(words);
  if (exitCode !== 0) throw new Error(`gcc: ${stderr}`);
  const control = join(folder, "control");
  return {
    dataDir: join(folder, "data"),
    env: { LD_PRELOAD: library, FAILING_WRITES: control },
    breakIt: () => writeFile(control, `${call} ${EIO}`),
    mendIt: () => rm(control),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
};

const hasLimits = Bun.which("prlimit") !== null;
if (!hasLimits) console.log("SKIPPED-MISSING-PROGRAM: prlimit");
const hasCompiler = Bun.which("gcc") !== null;
if (!hasCompiler) console.log("SKIPPED-MISSING-PROGRAM: gcc");
const isLinux = process.platform === "linux";

const ERROR = "the disk reports an error";

export const BROKEN_DISKS: readonly BrokenDiskKind[] = [
  {
    title: "the disk is full",
    reason: "the disk is full",
    keepsRefused: false,
    possible: await SmallDisk.available(),
    open: full,
  },
  {
    title: "no file can grow",
    reason: ERROR,
    keepsRefused: false,
    possible: hasLimits,
    open: growthless,
  },
  {
    title: "every write fails",
    reason: `${ERROR} (SQLITE_IOERR_WRITE)`,
    keepsRefused: false,
    possible: hasCompiler && isLinux,
    open: failing("write"),
  },
  {
    title: "every fsync fails",
    reason: `${ERROR} (SQLITE_IOERR_FSYNC)`,
    keepsRefused: true,
    possible: hasCompiler && isLinux,
    open: failing("sync"),
  },
];
