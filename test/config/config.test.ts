/** Where settings come from, which wins, and how faults are told [P-13.6]. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError, configFrom, loadConfig, publicConfig } from "../../src/config.ts";
import { settingLeaves } from "../../src/config-leaves.ts";
import { QUEUE_NUMBERS } from "../../src/engine/sqlite/lanes.ts";
import { DEFAULT_LIMITS, QUEUES_MAX } from "../../src/limits.ts";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "warren-config-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function file(name: string, text: string): Promise<string> {
  const path = join(dir, name);
  await writeFile(path, text);
  return path;
}

async function faultsOf(sources: Partial<Parameters<typeof loadConfig>[0]>) {
  try {
    await loadConfig({ flags: {}, env: {}, ...sources });
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error("the settings were accepted");
}

describe("[P-13.6] where settings come from", () => {
  test("[P-13.6] defaults: loopback, 7070, ./data, fsync, pretty", async () => {
    const config = await loadConfig({ flags: {}, env: {} });
    expect(config).toMatchObject({
      host: "127.0.0.1",
      port: 7070,
      dataDir: "./data",
      durability: "fsync",
      log: "pretty",
      insecure: false,
      limits: { ...DEFAULT_LIMITS },
    });
    expect(config.anonymous).toBeUndefined();
  });

  test("[P-13.6] flags win over variables, variables over the file, the file over defaults", async () => {
    const path = await file("all.toml", 'host = "10.0.0.1"\nport = 1\ndataDir = "/file"\n');
    const env = { WARREN_PORT: "2", WARREN_DATA_DIR: "/env", WARREN_CONFIG: path };
    const config = await loadConfig({ flags: { dataDir: "/flag" }, env });
    expect(config).toMatchObject({ host: "10.0.0.1", port: 2, dataDir: "/flag", log: "pretty" });
  });

  test("[P-13.6] --config wins over WARREN_CONFIG", async () => {
    const one = await file("one.json", '{"port": 1}');
    const two = await file("two.json", '{"port": 2}');
    const config = await loadConfig({ flags: {}, env: { WARREN_CONFIG: one }, file: two });
    expect(config.port).toBe(2);
  });

  test("[P-13.6] TOML and JSON say the same", async () => {
    const toml = await file(
      "same.toml",
      '[limits]\nframeBytes = 65536\n[roles.reader]\ngrants = [{ allow = ["subscribe"], on = ["a/#"] }]\n' +
        '[queues.jobs]\nbindings = ["jobs/#"]\nmaxDeliveries = 7\n',
    );
    const json = await file(
      "same.json",
      JSON.stringify({
        limits: { frameBytes: 65536 },
        roles: { reader: { grants: [{ allow: ["subscribe"], on: ["a/#"] }] } },
        queues: { jobs: { bindings: ["jobs/#"], maxDeliveries: 7 } },
      }),
    );
    const a = await loadConfig({ flags: {}, env: {}, file: toml });
    const b = await loadConfig({ flags: {}, env: {}, file: json });
    expect(a).toEqual(b);
    expect(a.queues.jobs).toEqual({ bindings: ["jobs/#"], maxDeliveries: 7 });
  });

  test("[P-13.6] variables reach nested keys, lists, switches and whole tables", async () => {
    const config = await loadConfig({
      flags: {},
      env: {
        WARREN_LIMITS_BATCH: "300",
        WARREN_ALLOWED_ORIGINS: "https://a.example, https://b.example:8443",
        WARREN_INSECURE: "true",
        WARREN_ANONYMOUS: '{"grants":[{"allow":["subscribe"],"on":["public/#"]}]}',
        WARREN_URL: "ws://somewhere",
        WARREN_TOKEN: "for the clients only",
        PATH: "/bin",
      },
    });
    expect(config.limits.batch).toBe(300);
    expect(config.allowedOrigins).toEqual(["https://a.example", "https://b.example:8443"]);
    expect(config.insecure).toBe(true);
    expect(config.anonymous?.grants).toHaveLength(1);
  });

  test("[P-13.6] the result is frozen, all the way down", async () => {
    const config = configFrom({ queues: { jobs: { bindings: ["a"] } } });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.limits)).toBe(true);
    expect(Object.isFrozen(config.queues.jobs?.bindings)).toBe(true);
  });

  test("[P-13.6] every setting has a description, and every limit is one", () => {
    for (const leaf of settingLeaves()) expect(leaf.description, leaf.path).not.toBe("");
    const limits = settingLeaves().filter((leaf) => leaf.path.startsWith("limits."));
    expect(limits.map((leaf) => leaf.path.slice(7)).sort()).toEqual(
      Object.keys(DEFAULT_LIMITS).sort(),
    );
    for (const leaf of limits) expect(leaf.unit, leaf.path).toBeDefined();
  });
});

describe("[P-13.6] faults", () => {
  test("[P-13.6] all at once, each by its path and where it came from", async () => {
    const path = await file("bad.toml", 'log = "xml"\ncolour = "red"\n[limits]\nbatch = 0\n');
    const error = await faultsOf({
      file: path,
      env: { WARREN_PORT: "99999", WARREN_HOTS: "x", WARREN_LIMITS_CREDIT: "many" },
      flags: { durability: "hope" },
    });
    const found = Object.fromEntries(error.faults.map((fault) => [fault.path, fault]));
    expect(Object.keys(found).sort()).toEqual([
      "WARREN_HOTS",
      "colour",
      "durability",
      "limits.batch",
      "limits.credit",
      "log",
      "port",
    ]);
    expect(found.log).toMatchObject({
      source: path,
      problem: expect.stringContaining("pretty, json"),
    });
    expect(found.port?.source).toBe("WARREN_PORT");
    expect(found.durability?.source).toBe("--durability");
    expect(found["limits.batch"]?.source).toBe(path);
    for (const fault of error.faults) expect(error.message).toContain(fault.path);
  });

  test("[P-13.6] an unknown key names the one that was probably meant", async () => {
    const path = await file("slip.toml", '[limits]\nframeByte = 1\n[jwt]\nisuer = "x"\n');
    const error = await faultsOf({ file: path, env: { WARREN_DATADIR: "x" } });
    expect(error.message).toContain("did you mean limits.frameBytes?");
    expect(error.message).toContain("did you mean jwt.issuer?");
    expect(error.message).toContain("did you mean WARREN_DATA_DIR?");
  });

  test("[P-13.6] limits that contradict each other are faults", async () => {
    const error = await faultsOf({ env: { WARREN_LIMITS_OUTBOUND_BYTES: "1000" } });
    expect(error.faults[0]).toMatchObject({ path: "limits.outboundBytes" });
  });

  test("[P-13.6] there are no more queues than storage has numbers for", async () => {
    expect(QUEUES_MAX).toBe(Math.floor(QUEUE_NUMBERS / 2));
    const error = await faultsOf({ env: { WARREN_LIMITS_QUEUES: `${QUEUES_MAX + 1}` } });
    expect(error.faults[0]).toMatchObject({ path: "limits.queues" });
  });

  test("[P-13.6] a file that is missing or cannot be read as TOML or JSON is a fault", async () => {
    const missing = await faultsOf({ file: join(dir, "nowhere.toml") });
    expect(missing.message).toContain("nowhere.toml");
    const broken = await faultsOf({ file: await file("broken.toml", "port = = 3") });
    expect(broken.message).toContain("broken.toml");
    const list = await faultsOf({ file: await file("list.json", "[1]") });
    expect(list.message).toContain("list.json");
  });

  test("[P-13.6] a port that Kubernetes injected is explained", async () => {
    const error = await faultsOf({ env: { WARREN_PORT: "tcp://10.0.0.1:7070" } });
    expect(error.message).toContain("enableServiceLinks");
  });

  test("[P-13.6] no fault repeats a secret", async () => {
    const json = await file("secret.json", '{"keys": [{"key": wk_abc_verysecretverysecret}]}');
    for (const error of [
      await faultsOf({ env: { WARREN_JWT_SECRET: "tooshortsecret" } }),
      await faultsOf({ env: { WARREN_KEYS: '[{"key": "verysecret' } }),
      await faultsOf({
        env: { WARREN_KEYS: '[{"id": "a", "hash": "verysecret!", "principal": "a"}]' },
      }),
      await faultsOf({ file: json }),
    ]) {
      expect(error.message).not.toContain("verysecret");
      expect(error.message).not.toContain("tooshortsecret");
    }
  });

  test("[P-13.6] settings that are shown hide every secret", () => {
    const shown = JSON.stringify(
      publicConfig(
        configFrom({
          jwt: { secret: "s".repeat(40), issuer: "me" },
          keys: [{ id: "b", hash: "0".repeat(64), principal: "b" }],
        }),
      ),
    );
    expect(shown).not.toContain("s".repeat(40));
    expect(shown).not.toContain("0".repeat(64));
    expect(shown).toContain("[redacted]");
  });
});
