/** The papers' commands, run as they stand there against a real broker. */
import { describe, expect, test } from "bun:test";
import { type Block, missingLine, shellBlocks } from "./docs/blocks.ts";
import { Desk, type Terminal, until } from "./docs/terminal.ts";
import { readText } from "./tidy/sources.ts";

const PAPERS = ["README.md", "CONTRIBUTING.md", "docs/OPERATING.md", "docs/ARCHITECTURE.md"];

for (const paper of PAPERS) {
  const blocks = shellBlocks(readText(paper));
  const runnable = blocks.filter(({ kind }) => kind !== "not run");
  if (runnable.length === 0) continue;
  test(`the commands in ${paper} do what it says`, async () => {
    await using desk = await Desk.open();
    const left: [Block, Terminal][] = [];
    for (const block of runnable) {
      if (block.kind === "start") await startBroker(desk, block);
      else if (block.kind === "background") left.push([block, await leaveRunning(desk, block)]);
      else await run(desk, block, paper);
    }
    for (const [{ prints }, terminal] of left) if (prints) await terminal.printed(prints);
  }, 180_000);
}

/** The reader has installed; the test does not do so again. */
async function startBroker(desk: Desk, { commands }: Block): Promise<void> {
  const terminal = desk.terminal(commands.replace(/^npm install && /, ""));
  const isReady = async () => (await fetch(`http://${desk.address}/readyz`)).ok;
  await until(
    () => {
      if (terminal.hasExited) throw new Error(`the broker did not start:\n${terminal.output}`);
      return isReady().catch(() => false);
    },
    () => `the broker\n${terminal.output}`,
  );
}

/** Another terminal, which is at its work when the broker knows its subscription. */
async function leaveRunning(desk: Desk, { commands }: Block): Promise<Terminal> {
  const before = await desk.metric("warren_subscriptions");
  const terminal = desk.terminal(commands);
  await until(
    async () => {
      if (terminal.hasExited) throw new Error(`it ended:\n${terminal.output}`);
      return (await desk.metric("warren_subscriptions")) > before;
    },
    () => `a subscription by ${commands}\n${terminal.output}`,
  );
  return terminal;
}

async function run(desk: Desk, { commands, prints, line }: Block, paper: string): Promise<void> {
  const terminal = desk.terminal(commands);
  const status = await terminal.finished();
  expect(status, `${paper}:${line}\n${terminal.output}`).toBe(0);
  if (prints) expect(missingLine(terminal.output, prints), terminal.output).toBeUndefined();
}

describe("reading blocks", () => {
  const fence = "```";
  test("knows what is to be run and what it prints", () => {
    const paper = `a\n${fence}sh\nls\n${fence}\n\n${fence}text\nx\n${fence}\n${fence}json\n1\n${fence}\n`;
    expect(shellBlocks(paper)).toEqual([{ kind: "run", line: 2, commands: "ls\n", prints: "x\n" }]);
  });
  test("knows what the other terminal prints", () => {
    const paper = `${fence}sh background\nls\n${fence}\na\n${fence}text background\nx\n${fence}\n`;
    expect(shellBlocks(paper)).toMatchObject([{ kind: "background", prints: "x\n" }]);
  });
  test("refuses a block that would be left out without a reason", () => {
    expect(() => shellBlocks(`${fence}sh not run:\nls\n${fence}\n`)).toThrow("line 1");
    expect(() => shellBlocks(`${fence}sh later\nls\n${fence}\n`)).toThrow("line 1");
  });
  test("finds what is missing in an output", () => {
    expect(missingLine("a 1 b\nc\n", "a … b\nc")).toBeUndefined();
    expect(missingLine("c\na\n", "a\nc")).toBe("c");
  });
});
