/** What a result was measured on. Neither host names nor paths: results are published. */
import { closeSync, fdatasyncSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";

export interface Machine {
  readonly cores: number;
  readonly cpu: string;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly bun: string;
  /** The file system that the servers write to. On tmpfs an fsync means nothing. */
  readonly fileSystem: string;
  /** Append 4 KiB and fdatasync, microseconds: what one commit on its own must wait for. */
  readonly fdatasyncP50Us: number;
  readonly fdatasyncP99Us: number;
}

const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  61267: "ext4",
  16914836: "tmpfs",
  1481003842: "xfs",
  2435016766: "btrfs",
  2035054128: "overlay",
};

function fdatasyncTimes(): number[] {
  const file = join(tmpdir(), `warren-bench-fsync-${process.pid}`);
  const fd = openSync(file, "w");
  const page = Buffer.alloc(4096, 1);
  const times: number[] = [];
  for (let round = 0; round < 300; round++) {
    const at = performance.now();
    writeSync(fd, page);
    fdatasyncSync(fd);
    times.push((performance.now() - at) * 1000);
  }
  closeSync(fd);
  rmSync(file);
  return times.sort((a, b) => a - b);
}

export function describeMachine(): Machine {
  const times = fdatasyncTimes();
  const type = statfsSync(tmpdir()).type;
  return {
    cores: cpus().length,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    bun: Bun.version,
    fileSystem: FILE_SYSTEMS[type] ?? `0x${type.toString(16)}`,
    fdatasyncP50Us: Math.round(times[150]!),
    fdatasyncP99Us: Math.round(times[297]!),
  };
}

/** A short name for file names, such as `2x-intel-xeon-2.80ghz`. */
export function machineSlug(machine: Machine): string {
  const cpu = machine.cpu
    .replace(/\((R|TM)\)|\b(CPU|Processor)\b|@/gi, " ")
    .trim()
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, "-");
  return `${machine.cores}x-${cpu}`;
}
