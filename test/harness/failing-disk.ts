/**
 * A small ext4 file system that finds an error in itself and becomes read-only under whoever has files
 * open on it, as disks that die do. It takes root and a loop device.
 */
import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

const MEGABYTES = 24;

export class FailingDisk implements AsyncDisposable {
  readonly path: string;
  readonly #folder: string;
  readonly #image: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#image = join(folder, "image");
    this.path = join(folder, "mounted");
  }

  /** Whether this machine lets us; says so where it does not. */
  static async available(): Promise<boolean> {
    try {
      await using disk = await FailingDisk.mount();
      await disk.fail();
      return true;
    } catch {
      console.log("SKIPPED: no ext4 on a loop device here, so none that becomes read-only");
      return false;
    }
  }

  static async mount(): Promise<FailingDisk> {
    const disk = new FailingDisk(await mkdtemp(join(tmpdir(), "warren-ext4-")));
    try {
      await writeFile(disk.#image, "");
      await truncate(disk.#image, MEGABYTES * 1024 * 1024);
      await run("mkfs.ext4", "-q", "-F", disk.#image);
      await mkdir(disk.path);
      await disk.#mount();
    } catch (error) {
      await rm(disk.#folder, { recursive: true });
      throw error;
    }
    return disk;
  }

  /** It finds an error in itself. From now on it is read-only, until it is repaired. */
  async fail(): Promise<void> {
    const device = basename((await run("findmnt", "-n", "-o", "SOURCE", this.path)).trim());
    await writeFile(`/sys/fs/ext4/${device}/trigger_fs_error`, "1");
  }

  /** As an operator does: it must not be in use. */
  async repair(): Promise<void> {
    await run("umount", this.path);
    // 1: errors were found, and corrected.
    await run("sh", "-c", `fsck.ext4 -fy "$0" || [ $? -eq 1 ]`, this.#image);
    await this.#mount();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", this.path);
    await rm(this.#folder, { recursive: true });
  }

  async #mount(): Promise<void> {
    await run("mount", "-o", "loop,errors=remount-ro", this.#image, this.path);
  }
}

async function run(...words: string[]): Promise<string> {
  const child = Bun.spawn(words, { stdout: "pipe", stderr: "pipe" });
  const said = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(`${words.join(" ")}: ${said[1]}`);
  return said[0];
}
