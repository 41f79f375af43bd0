/** The gate itself: `.ci/run` with a stand-in for npm, so that each way to fail is shown to fail. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "warren-gate-"));
  await mkdir(join(folder, ".ci"));
  await mkdir(join(folder, "bin"));
  await copyFile(join(root, ".ci/run"), join(folder, ".ci/run"));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

interface Run {
  status: number;
  lastLine: string;
  errors: string;
}

/** Runs the gate where `npm install` does nothing and `npm test` prints `output` and ends so. */
async function gate(output: string, status = 0, lockFile = "{}"): Promise<Run> {
  const npm = join(folder, "bin/npm");
  await writeFile(join(folder, "package-lock.json"), lockFile);
  await writeFile(join(folder, "output"), output);
  await writeFile(
    npm,
    `#!/bin/sh\n[ "$1" = install ] && exit 0\ncat '${folder}/output'\nexit ${status}\n`,
  );
  await chmod(npm, 0o755);
  const child = Bun.spawn(["bash", join(folder, ".ci/run")], {
    env: { ...process.env, PATH: `${join(folder, "bin")}:${process.env.PATH}` },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { status: await child.exited, lastLine: out.trimEnd().split("\n").at(-1) ?? "", errors };
}

const summary = (pass: number, fail: number, skip = 0) =>
  ` ${pass} pass\n${skip > 0 ? ` ${skip} skip\n` : ""} ${fail} fail\n 9 expect() calls\n` +
  `Ran ${pass + fail + skip} tests across 2 files. [1.00s]\n`;

test("the gate passes when all tests pass, and adds up several summaries", async () => {
  const run = await gate(summary(5, 0) + summary(2, 0));
  expect(run).toMatchObject({ status: 0, lastLine: "7 passed, 0 failed" });
});

test("the gate ignores counts that are no summary", async () => {
  const run = await gate(` 400 pass\n 400 pass\n${summary(3, 0)} 50 pass\n`);
  expect(run).toMatchObject({ status: 0, lastLine: "3 passed, 0 failed" });
});

test("the gate fails with the number of failed tests", async () => {
  const run = await gate(summary(5, 2), 1);
  expect(run).toMatchObject({ status: 1, lastLine: "5 passed, 2 failed" });
});

const FAULTS: [name: string, output: string, status: number, lastLine: string, says: string][] = [
  ["a crash without a summary", "boom\n", 0, "0 passed, 2 failed", "no summary"],
  ["zero tests", summary(0, 0), 0, "0 passed, 1 failed", "no test ran"],
  ["a failing step that is no test", summary(4, 0), 2, "4 passed, 1 failed", "status 2"],
  [
    "a test skipped for want of a program",
    `SKIPPED-MISSING-PROGRAM: chromium\n${summary(4, 0, 1)}`,
    0,
    "4 passed, 1 failed",
    "want of a program",
  ],
  [
    "a summary whose counts do not add up",
    " 3 pass\n 0 fail\nRan 9 tests across 1 file. [1.00s]\n",
    0,
    "3 passed, 1 failed",
    "do not make its total",
  ],
];

for (const [name, output, status, lastLine, says] of FAULTS) {
  test(`the gate fails on ${name}`, async () => {
    const run = await gate(output, status);
    expect(run).toMatchObject({ status: 1, lastLine });
    expect(run.errors).toContain(says);
  });
}

test("the gate fails on a lock file with download addresses", async () => {
  const lock = JSON.stringify({ packages: { a: { resolved: "https://example.test/a-1.tgz" } } });
  const run = await gate(summary(4, 0), 0, lock);
  expect(run).toMatchObject({ status: 1, lastLine: "4 passed, 1 failed" });
  expect(run.errors).toContain("download addresses");
});
