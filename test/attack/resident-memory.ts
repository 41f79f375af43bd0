/** How much memory a process holds, as the operating system sees it. */

const MEBIBYTE = 1024 * 1024;

/** Resident memory in MiB. */
export async function residentMiB(pid: number): Promise<number> {
  const child = Bun.spawn(["ps", "-o", "rss=", "-p", String(pid)], { stdout: "pipe" });
  const kibibytes = Number(await child.stdout.text());
  if (!(kibibytes > 0)) throw new Error(`ps knows nothing of process ${pid}`);
  return (kibibytes * 1024) / MEBIBYTE;
}
