/** `warren token` with every kind of key, and `warren token check` [P-13.7], [P-14.1]. */
import { describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCli } from "../harness/cli.ts";

const SECRET = "Wq3sK0t5mVb8xN1rYc7dLf2hJ9gPzA4uE6iToXkQnBvRjMwSyCeDlFaGhUpIzO1234";

describe("[P-13.7] warren token", () => {
  test("signs with the key of an issuer, and `check` says what a broker would", async () => {
    const directory = await mkdtemp(join(tmpdir(), "warren-cli-"));
    try {
      const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const [config, publicKeyFile, keyFile] = ["warren.json", "public.pem", "private.pem"].map(
        (name) => join(directory, name),
      ) as [string, string, string];
      await writeFile(publicKeyFile, publicKey.export({ type: "spki", format: "pem" }));
      await writeFile(keyFile, privateKey.export({ type: "pkcs8", format: "pem" }));
      const issuer = "https://id.example";
      const issuers = [{ issuer, publicKeyFile, principalPrefix: "id:" }];
      await writeFile(config, JSON.stringify({ issuers }));
      const words = ["--config", config, "--issuer", issuer, "--alg", "ES256"];
      const made = await runCli(["token", "ada", ...words, "--key-file", keyFile]);
      expect([made.code, made.err]).toEqual([0, ""]);
      const token = made.out.trim();
      const good = await runCli(["token", "check", "--config", config], { stdin: token });
      expect(good.code).toBe(0);
      expect(JSON.parse(good.out)).toMatchObject({ ok: true, principal: "id:ada" });
      const bad = await runCli(["token", "check", "--config", config], { stdin: `${token}AA` });
      expect([bad.code, bad.err]).toEqual([1, expect.stringContaining("unauthenticated")]);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  test("[P-1.3] no token and no key is made in the name of those who show none", async () => {
    const env = { WARREN_JWT_SECRET: SECRET };
    for (const words of [
      ["token", "anonymous"],
      ["token", "anonymous", "--key"],
    ]) {
      const { code, out, err } = await runCli(words, { env });
      expect([code, out, err]).toEqual([2, "", expect.stringContaining("anonymous")]);
    }
  });

  test("signs with HS512 where the secret is long enough", async () => {
    const env = { WARREN_JWT_SECRET: SECRET };
    const made = await runCli(["token", "ada", "--alg", "HS512"], { env });
    const WARREN_TOKEN = made.out.trim();
    expect(JSON.parse(Buffer.from(WARREN_TOKEN.split(".")[0]!, "base64url").toString()).alg).toBe(
      "HS512",
    );
    expect((await runCli(["token", "check"], { env: { ...env, WARREN_TOKEN } })).code).toBe(0);
    const short = { WARREN_JWT_SECRET: SECRET.slice(0, 40) };
    const refused = await runCli(["token", "ada", "--alg", "HS512"], { env: short });
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining("cannot sign")]);
  });
});
