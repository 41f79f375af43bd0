/** Runs one case against a server under Bun's CPU profiler and says where the profile lies. */
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { measureOnce } from "./measure.ts";
import type { Case } from "./scenario.ts";
import type { Side } from "./servers.ts";

/**
 * Returns the files of the profile. The profiler costs time: figures of such a run are no result.
 */
export async function profile(label: string, item: Case, side: Side): Promise<string[]> {
  const stamp = new Date().toISOString().replace(/[:.]/g, "-");
  const dir = join(import.meta.dir, "profiles", `${label.replaceAll("/", "-")}-${side}-${stamp}`);
  mkdirSync(dir, { recursive: true });
  await measureOnce(item, side, { quick: false, verify: false }, [], dir);
  return readdirSync(dir).map((file) => join(dir, file));
}
