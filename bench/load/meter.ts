/**
 * What the processes of a run cost, from /proc: whole processes, all threads, user and system time.
 */
import { readFileSync } from "node:fs";

/** Clock ticks of /proc are 10 ms on every Linux that Bun runs on. */
const TICK_US = 10_000;

/** User and system time of a process since it started, in microseconds. */
export function processCpuUs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The second field is the name in parentheses and may hold spaces: count from behind it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}

/** Time that all cores spent on anything but idling, in microseconds. */
function machineBusyUs(): number {
  const line = readFileSync("/proc/stat", "latin1").split("\n", 1)[0]!;
  const [user, nice, system, , , irq, softirq, steal] = line
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user! + nice! + system! + irq! + softirq! + steal!) * TICK_US;
}

/** Resident memory of a process, in bytes: now, and the most it ever was. */
export function residentBytes(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const field = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * 1024;
  return { now: field("VmRSS"), peak: field("VmHWM") };
}

/** Cores in use during a window; `other` is what disturbs, and should be near zero. */
export interface CoresUsed {
  readonly server: number;
  readonly generator: number;
  readonly other: number;
}

export interface Window {
  readonly seconds: number;
  readonly serverCpuUs: number;
  readonly cores: CoresUsed;
}

/** Starts measuring; call the result to end it. Processes in `ours` count as the generator. */
export function startMeter(serverPid: number, ours: readonly number[] = []): () => Window {
  const at = performance.now();
  const oursUs = () => ours.reduce((sum, pid) => sum + processCpuUs(pid), 0);
  const before = oursUs();
  const server = processCpuUs(serverPid);
  const own = process.cpuUsage();
  const busy = machineBusyUs();
  return () => {
    const us = (performance.now() - at) * 1000;
    const serverCpuUs = processCpuUs(serverPid) - server;
    const used = process.cpuUsage(own);
    const ownUs = used.user + used.system + oursUs() - before;
    const otherUs = Math.max(0, machineBusyUs() - busy - serverCpuUs - ownUs);
    return {
      seconds: us / 1e6,
      serverCpuUs,
      cores: { server: serverCpuUs / us, generator: ownUs / us, other: otherUs / us },
    };
  };
}
