/** How the command line is used, and its exit codes [P-13.7]. */
import { describe, expect, test } from "bun:test";
import { version } from "../../package.json";
import { runCli } from "../harness/cli.ts";

const COMMANDS = [
  "serve",
  "check",
  "pub",
  "sub",
  "consume",
  "queue list",
  "queue show",
  "queue define",
  "queue delete",
  "queue peek",
  "queue dead",
  "queue purge",
  "queue pause",
  "queue resume",
  "token",
  "version",
];

describe("[P-13.7] usage", () => {
  test("[P-13.7] --help lists every command, and exits with 0", async () => {
    const { code, out, err } = await runCli(["--help"]);
    expect([code, err]).toEqual([0, ""]);
    for (const command of COMMANDS) expect(out).toContain(`\n  ${command} `);
  });

  test.each(COMMANDS)(
    "[P-13.7] %s has --help with its flags, among them --json",
    async (command) => {
      const { code, out, err } = await runCli([...command.split(" "), "--help"]);
      expect([code, err]).toEqual([0, ""]);
      expect(out).toContain(`Usage: warren ${command}`);
      expect(out).toContain("--json");
    },
  );

  test.each([
    [["nonsense"], "There is no command nonsense."],
    [[], "Usage:"],
    [["queue"], "queue define"],
    [["queue", "burn"], "There is no command burn."],
    [["pub"], "too few arguments"],
    [["pub", "a", "b", "c"], "too much: c"],
    [["sub", "a", "--cuont", "3"], "--cuont"],
    [["sub", "a", "--count", "many"], "--count must be an integer"],
    [["pub", "a", "b", "--header", "x"], "--header must be NAME=VALUE"],
    [["pub", "a", "b", "--url", "ftp://x"], "--url"],
    [["token", "me", "--allow", "fly=#"], "fly is no action"],
  ])("[P-13.7] wrong usage is exit code 2 and says what: %j", async (words, sentence) => {
    const { code, out, err } = await runCli(words);
    expect([code, out]).toEqual([2, ""]);
    expect(err).toContain(sentence);
  });

  test("[P-13.7] a broker that is not there is exit code 1, with what to do", async () => {
    for (const words of [
      ["pub", "a", "1"],
      ["sub", "a"],
      ["consume", "a"],
      ["queue", "list"],
    ]) {
      const { code, err } = await runCli([...words, "--url", "http://127.0.0.1:9"]);
      expect(code).toBe(1);
      expect(err).toContain("Nothing answers at http://127.0.0.1:9. Is the broker running?");
    }
  });

  test("[P-13.7] version, as text and as JSON", async () => {
    expect((await runCli(["version"])).out).toBe(`warren ${version} (bun ${Bun.version})\n`);
    const { out } = await runCli(["version", "--json"]);
    expect(JSON.parse(out)).toEqual({ version, bun: Bun.version });
  });
});
