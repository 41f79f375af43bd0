/** Starts that work say how to go on; starts that cannot work say what to do [P-13.6]. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCli, startCli } from "../harness/cli.ts";
import { serve } from "../harness/served.ts";

let dataDir: string;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-start-"));
});
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const start = (...words: string[]) =>
  runCli(["serve", "--port", "0", "--data-dir", dataDir, ...words]);

describe("[P-13.6] a start that works", () => {
  test("[P-13.6] says where it listens, who may use it and why, and what to try", async () => {
    await using broker = startCli(["serve", "--port", "0", "--data-dir", dataDir]);
    await broker.printed("warren consume jobs");
    expect(broker.out).toMatch(/Warren listens on http:\/\/127\.0\.0\.1:\d+\n/);
    expect(broker.out).toContain("confirmed means on disk");
    expect(broker.out).toContain("no credentials are configured");
    for (const command of ["warren sub", "warren pub", "warren queue define"]) {
      expect(broker.out).toContain(command);
    }
  });

  test("[P-13.6, P-5.16] a queue of the settings may be pushed to an endpoint", async () => {
    const file = join(dataDir, "settings.json");
    const webhook = { url: "http://127.0.0.1:9/hook", secret: "whsec_c2VjcmV0IG9mIGEgdGVzdA==" };
    await writeFile(file, JSON.stringify({ queues: { hooked: { webhook } } }));
    await using broker = await serve(dataDir, ["--config", file]);
    const answer = await fetch(`${broker.url}/admin/v1/queues/hooked`);
    expect(await answer.json()).toMatchObject({
      webhook: { url: webhook.url, secretSet: true, timeoutMs: 10_000 },
    });
  });

  test("[P-13.6] --json prints JSON lines only", async () => {
    await using broker = await serve(dataDir);
    expect(broker.log()[0]).toMatchObject({ level: "info", msg: "listening", durability: "fsync" });
  });

  test("[P-3.4] the weaker durability is said in the log", async () => {
    await using broker = await serve(dataDir, ["--durability", "os"]);
    await broker.logged("durability is os: a power loss may take confirmed messages");
  });
});

describe("[P-13.6] a start that cannot work: one message, exit code 1", () => {
  test("[P-13.6] the port is in use", async () => {
    await using broker = await serve(dataDir);
    const { port } = new URL(broker.url);
    const other = join(dataDir, "other");
    const { code, err } = await runCli(["serve", "--port", port, "--data-dir", other]);
    expect(code).toBe(1);
    expect(err).toBe(
      `Port ${port} of 127.0.0.1 is in use. Stop what listens there, or choose another port with ` +
        "--port or WARREN_PORT.\n",
    );
  });

  test("[P-13.6] another broker uses the data directory", async () => {
    await using broker = await serve(dataDir);
    expect(broker.url).toStartWith("http://");
    const { code, err } = await start();
    expect(code).toBe(1);
    expect(err).toContain("another broker is using");
    expect(err).toContain("--data-dir");
  });

  test("[P-13.6] the data file is no database", async () => {
    await writeFile(
      join(dataDir, "warren.db"),
      "This is not a database, but long enough to be one.",
    );
    const { code, out, err } = await start();
    expect(code).toBe(1);
    expect(err).toStartWith("Cannot start: ");
    expect(`${out}${err}`).not.toContain("    at ");
  });

  test("[P-13.6] the host is not safe without credentials", async () => {
    const { code, err } = await start("--host", "0.0.0.0");
    expect(code).toBe(1);
    expect(err).toContain("WARREN_JWT_SECRET");
    expect(err).toContain("--insecure");
  });

  test("[P-13.6] the settings are wrong", async () => {
    const { code, err } = await start("--limits-batch", "0", "--log-level", "loud");
    expect(code).toBe(1);
    expect(err).toContain("  limits.batch: ");
    expect(err).toContain("  logLevel: ");
  });

  test("[P-13.6] the address is not this machine's", async () => {
    const { code, err } = await start("--host", "192.0.2.1", "--insecure");
    expect(code).toBe(1);
    expect(err).toStartWith("Cannot listen on 192.0.2.1:0: ");
  });
});
