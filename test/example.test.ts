/** The example, as its reader runs it: whatever it shows must add up. */
import { expect, test } from "bun:test";
import { join } from "node:path";

const root = join(import.meta.dir, "..");

test("the telemetry example balances to the last message", async () => {
  const child = Bun.spawn(["npm", "run", "--silent", "example"], {
    cwd: root,
    env: process.env,
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect({ status: await child.exited, errors, out }).toMatchObject({
    status: 0,
    out: expect.stringContaining("All books balance."),
  });
}, 120_000);
