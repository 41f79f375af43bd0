/** `queue …`, `token` and `check` as an operator types them [P-13.7]. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hashKey } from "../../src/security/keys.ts";
import { jsonLines, runCli } from "../harness/cli.ts";
import { startTestWarren } from "../harness/warren.ts";

describe("[P-13.7] queue", () => {
  test("[P-13.7] define, list, show, peek, pause, resume, purge, delete", async () => {
    await using broker = await startTestWarren();
    const queue = async (...words: string[]) => {
      const { code, out, err } = await runCli(["queue", ...words], {
        env: { WARREN_URL: broker.url },
      });
      return { code, err, values: jsonLines(out) };
    };
    const flags = [
      "--max-deliveries",
      "3",
      "--backoff-factor",
      "1.5",
      "--dead-letter-ttl-ms",
      "99",
    ];
    const bindings = ["--binding", "a/#", "--binding", "b"];
    expect((await queue("define", "jobs", ...bindings, ...flags)).values).toMatchObject([
      {
        name: "jobs",
        bindings: ["a/#", "b"],
        maxDeliveries: 3,
        backoff: { factor: 1.5, minMs: 1000 },
        deadLetter: { ttlMs: 99 },
      },
    ]);
    expect((await queue("define", "jobs", "--ack-timeout-ms", "5000")).values[0]).toMatchObject({
      bindings: ["a/#", "b"],
      maxDeliveries: 3,
      ackTimeoutMs: 5000,
    });
    await broker.json("POST", "/v1/publish", [{ topic: "a", payload: "x" }, { topic: "b" }]);
    expect((await queue("list")).values).toMatchObject([
      { name: "jobs", counts: { ready: 2 } },
      { name: "jobs.dead", deadLetterOf: "jobs" },
    ]);
    expect((await queue("show", "jobs")).values[0].counts.ready).toBe(2);
    expect((await queue("peek", "jobs", "--topic", "a/#")).values).toMatchObject([
      { payload: "x" },
    ]);
    expect((await queue("peek", "jobs", "--limit", "1")).values).toHaveLength(1);
    expect((await queue("dead", "jobs")).values).toEqual([]);
    expect((await queue("pause", "jobs")).values[0].paused).toBe(true);
    expect((await queue("drain", "jobs")).values[0]).toMatchObject({
      paused: true,
      draining: true,
    });
    expect((await queue("resume", "jobs")).values[0]).toMatchObject({
      paused: false,
      draining: false,
    });
    const refused = await queue("delete", "jobs");
    expect([refused.code, refused.values]).toEqual([1, []]);
    expect(refused.err).toContain("conflict: ");
    expect((await queue("purge", "jobs")).values).toEqual([{ purged: 2 }]);
    expect((await queue("delete", "jobs", "--force")).values).toEqual([{ deleted: "jobs" }]);
    expect((await queue("list")).values).toEqual([]);
    const unknown = await queue("show", "jobs");
    expect([unknown.code, unknown.err]).toEqual([
      1,
      "unknown_queue: There is no queue of this name. (jobs)\n",
    ]);
    expect((await queue("define", "jobs", "--max-deliveries", "0")).err).toContain(
      "/maxDeliveries",
    );
  });
});

describe("[P-13.7] token", () => {
  const secret = "a secret of more than thirty-two characters";

  test("[P-13.1] a token opens what it was made for", async () => {
    await using broker = await startTestWarren({ jwt: { secret }, queues: { jobs: {} } });
    const { code, out } = await runCli(["token", "ops", "--allow", "admin=queues", "--json"], {
      env: { WARREN_JWT_SECRET: secret },
    });
    expect(code).toBe(0);
    const { token, claims } = JSON.parse(out);
    expect(claims).toMatchObject({ sub: "ops", grants: [{ allow: ["admin"], on: ["queues"] }] });
    const list = await runCli(["queue", "list", "--url", broker.url, "--token", token]);
    expect(jsonLines(list.out).map(({ name }) => name)).toEqual(["jobs", "jobs.dead"]);
  });

  test("[P-13.2] --key makes a key, and what the settings need of it", async () => {
    const { code, out } = await runCli(["token", "meter", "--key", "--role", "devices", "--json"]);
    expect(code).toBe(0);
    const { key, settings } = JSON.parse(out);
    expect(settings).toEqual({
      id: expect.any(String),
      hash: hashKey(key),
      principal: "meter",
      roles: ["devices"],
    });
    expect(key).toStartWith(`wk_${settings.id}_`);
  });

  test("[P-13.7] no secret is exit code 1, with what to do", async () => {
    const { code, err } = await runCli(["token", "me"]);
    expect(code).toBe(1);
    expect(err).toContain("WARREN_JWT_SECRET");
  });
});

describe("[P-13.6] check", () => {
  test("[P-13.6] good settings are 0, faults are 1 with every one of them by path", async () => {
    expect(await runCli(["check"])).toEqual({ code: 0, out: "The settings are good.\n", err: "" });
    const env = { WARREN_PORT: "x", WARREN_LOGS: "json", WARREN_LIMITS_BATCH: "0" };
    const bad = await runCli(["check", "--durability", "hope"], { env });
    expect(bad.code).toBe(1);
    for (const path of ["port", "WARREN_LOGS", "limits.batch", "durability"]) {
      expect(bad.err).toContain(`  ${path}: `);
    }
    const json = await runCli(["check", "--json"], { env });
    expect(JSON.parse(json.out).faults).toHaveLength(3);
  });

  test("[P-13.6] what no schema can see is checked too", async () => {
    const dir = await mkdtemp(join(tmpdir(), "warren-check-"));
    const file = join(dir, "warren.toml");
    await writeFile(
      file,
      'host = "0.0.0.0"\n[queues.jobs]\nbindings = ["a/#/b"]\n' +
        "[queues.slow.backoff]\nminMs = 10\nmaxMs = 5\n" +
        '[[roles.r.grants]]\nallow = ["publish"]\non = ["{nobody}"]\n',
    );
    const { code, err } = await runCli(["check", "--config", file]);
    await rm(dir, { recursive: true });
    expect(code).toBe(1);
    expect(err).toContain("WARREN_JWT_SECRET");
    expect(err).toContain("queues.jobs: ");
    expect(err).toContain("queues.slow: ");
    expect(err).toContain("roles.r.grants.0.on.0: ");
  });

  test("[P-13.6] it starts nothing and leaves nothing behind", async () => {
    const dir = await mkdtemp(join(tmpdir(), "warren-check-"));
    const dataDir = join(dir, "data");
    expect((await runCli(["check", "--data-dir", dataDir])).code).toBe(0);
    expect(await Bun.file(join(dataDir, "warren.db")).exists()).toBe(false);
    await rm(dir, { recursive: true });
  });
});

describe("[P-13.7] what cannot be done is said in a sentence that says about what", () => {
  const cases: readonly [words: readonly string[], code: number, sentence: string][] = [
    [["queue", "show", "gone"], 1, "unknown_queue: There is no queue of this name. (gone)"],
    [["consume", "gone"], 1, "unknown_queue: There is no queue of this name. (gone)"],
    [
      ["queue", "define", "jobs", "--max-messages", "0"],
      1,
      "greater or equal to 1 at /maxMessages",
    ],
    [
      ["queue", "define", "jobs", "--bind", "a"],
      2,
      "warren queue define: Unknown option '--bind'\n",
    ],
    [["queue", "define", "jobs", "--overflow", "drop"], 1, "Expected reject, drop-oldest or"],
    [["queue", "delete", "jobs"], 1, "hold 1 messages; --force removes them too."],
    [["pub", "a", "x", "--priority", "11"], 1, "less or equal to 9 at /priority."],
    [["pub", "a", "--file", "/no/such/file"], 1, "Cannot read /no/such/file: "],
  ];

  test("[P-13.7] by its name, its place or what to do instead", async () => {
    await using broker = await startTestWarren({ queues: { jobs: { bindings: ["jobs/#"] } } });
    await broker.json("POST", "/v1/publish", { topic: "jobs/a" });
    const env = { WARREN_URL: broker.url };
    for (const [words, code, sentence] of cases) {
      const result = await runCli(words, { env });
      expect([words, result.code, result.err]).toEqual([
        ...[words, code],
        expect.stringContaining(sentence),
      ]);
      expect(result.err).not.toContain("    at ");
    }
  });

  test("[P-13.7] the flags of a queue say what they are for", async () => {
    const { out } = await runCli(["queue", "define", "--help"]);
    expect(out).toContain("--overflow reject|drop-oldest|dead-letter-oldest");
    expect(out).toMatch(/--ack-timeout-ms MS +How long one delivery may take.* \[30000\]/);
    for (const line of out.split("\n")) expect(line).not.toMatch(/^ +--[\w-]+( \S+)? +\[/);
  });
});
