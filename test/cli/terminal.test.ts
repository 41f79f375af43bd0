/** What people see at a terminal, and what a pipe gets [P-13.7]. */
import { describe, expect, test } from "bun:test";
import { printMessages, printQueue, type Queue } from "../../src/cli/queue-view.ts";
import { brief, createTerminal, printWhole, table } from "../../src/cli/terminal.ts";
import { completeSettings } from "../../src/engine/rules.ts";

function terminalOf(isTTY: boolean, env: Record<string, string> = {}, json = false) {
  const lines: string[] = [];
  const write = (text: string) => void lines.push(text);
  const terminal = createTerminal({ out: { write, isTTY }, err: { write } }, json, env);
  return { terminal, text: () => lines.join("") };
}

const RATES = { published: 1.5, delivered: 0, acked: 0 };

const queue: Queue = {
  ...completeSettings({}),
  name: "jobs",
  bindings: ["a/#"],
  createdAt: 0,
  counts: { ready: 12, delayed: 0, inFlight: 1, dead: 3, bytes: 99, consumers: 2, retained: 0 },
  counters: {
    ...{ published: 13, delivered: 2, redelivered: 0, acked: 0, nacked: 0, rejected: 0 },
    ...{ timedOut: 0, expired: 0, deadLettered: 0, displaced: 0, redriven: 0 },
  },
  rates: { over10s: RATES, over60s: RATES },
};

describe("[P-13.7] the terminal", () => {
  test("[P-13.7] colour at a terminal only, and never with NO_COLOR", () => {
    expect(terminalOf(true).terminal.bold("x")).toBe("\u001b[1mx\u001b[0m");
    expect(terminalOf(true, { NO_COLOR: "1" }).terminal.bold("x")).toBe("x");
    expect(terminalOf(true, { NO_COLOR: "" }).terminal.red("x")).toBe("\u001b[31mx\u001b[0m");
    expect(terminalOf(false).terminal.dim("x")).toBe("x");
  });

  test("[P-13.7] JSON in a pipe or with --json, text otherwise", () => {
    expect(terminalOf(true).terminal.json).toBe(false);
    expect(terminalOf(false).terminal.json).toBe(true);
    expect(terminalOf(true, {}, true).terminal.json).toBe(true);
  });

  test("[P-13.7] tables are aligned, numbers to the right", () => {
    const { terminal } = terminalOf(true, { NO_COLOR: "1" });
    const rows = [
      ["jobs", 7, "a/#"],
      ["much.longer", 1234, ""],
    ];
    expect(table(terminal, ["QUEUE", "READY", "BINDINGS"], rows)).toBe(
      "QUEUE        READY  BINDINGS\njobs             7  a/#\nmuch.longer   1234",
    );
  });

  test("[P-13.7] a queue and its messages, for people", () => {
    const { terminal, text } = terminalOf(true, { NO_COLOR: "1" });
    printQueue(terminal, queue);
    expect(text()).toContain("12 ready, 0 delayed, 1 in flight, 99 bytes");
    expect(text()).toMatch(/\n {2}so far +13 published, 2 delivered\n/);
    expect(text()).toContain("1.5 published, 0 delivered, 0 acked in 10 s");
    expect(text()).toMatch(/\n {2}maxDeliveries +5\n/);
    const death = {
      queue: "jobs",
      reason: "rejected",
      attempts: 1,
      firstAt: 0,
      lastAt: 0,
    } as const;
    printMessages(terminal, [
      {
        topic: "a/b",
        messageId: "m1",
        payload: { x: "line\nbreak" },
        time: 0,
        state: "ready",
        attempts: 2,
        deaths: [{ ...death, detail: "why" }],
      },
    ]);
    expect(text()).toContain('m1 a/b {"x":"line\\nbreak"} (ready, 2 attempts)');
    expect(text()).toContain("    rejected after 1 attempt in jobs: why\n");
  });

  test("[P-13.7] long payloads are cut", () => {
    expect(brief("x".repeat(500))).toHaveLength(161);
    expect(brief("a\n b")).toBe("a b");
  });

  test("[P-13.7] a message that is shown whole steers nothing either", () => {
    const { terminal, text } = terminalOf(true);
    printWhole(terminal, { payload: "\u001b[2J \u009b2J \u007f end" });
    expect(text()).toBe('{\n  "payload": "\\u001b[2J \\u009b2J \\u007f end"\n}\n');
  });

  test("[P-13.7] a message cannot steer the terminal of whoever looks at it", () => {
    expect(brief("\u001b[2J\u009b31mgone\u0007")).toBe("\ufffd[2J\ufffd31mgone\ufffd");
  });
});
