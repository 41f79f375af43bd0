/** A file system of its own for a test, small enough to fill; it takes root, as continuous integration is. */
import { mkdtemp, rm, rmdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class SmallDisk implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Whether this machine lets us; says so where it does not. */
  static async available(): Promise<boolean> {
    try {
      await using disk = await SmallDisk.mount(1);
      return disk.path !== "";
    } catch {
      console.log("SKIPPED-MISSING-PROGRAM: mount");
      return false;
    }
  }

  static async mount(megabytes: number): Promise<SmallDisk> {
    const path = await mkdtemp(join(tmpdir(), "warren-disk-"));
    try {
      await run("mount", "-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", path);
    } catch (error) {
      await rmdir(path);
      throw error;
    }
    return new SmallDisk(path);
  }

  /** Leaves not a byte. */
  async fill(): Promise<void> {
    const chunk = Buffer.alloc(64 * 1024);
    for (;;) {
      try {
        await writeFile(this.#filler, chunk, { flag: "a" });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOSPC") return;
        throw error;
      }
    }
  }

  /** Gives the space of `fill` back. */
  free(): Promise<void> {
    return rm(this.#filler);
  }

  /** Only while nothing on it is open for writing. */
  makeReadOnly(): Promise<void> {
    return run("mount", "-o", "remount,ro", this.path);
  }

  makeWritable(): Promise<void> {
    return run("mount", "-o", "remount,rw", this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", this.path);
    await rmdir(this.path);
  }

  get #filler(): string {
    return join(this.path, "filler");
  }
}

async function run(...words: string[]): Promise<void> {
  const child = Bun.spawn(words, { stdout: "ignore", stderr: "pipe" });
  const [code, said] = await Promise.all([child.exited, new Response(child.stderr).text()]);
  if (code !== 0) throw new Error(`${words.join(" ")}: ${said}`);
}
