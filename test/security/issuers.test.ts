/** Issuers: every algorithm, rotation, and what their tokens may claim at most [P-14.1]. */
import { describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { ALGORITHMS, type Algorithm, type IssuerSettings } from "../../schemas/identity.ts";
import { createAuthenticator } from "../../src/security/authenticator.ts";
import { issuerFaults, secretFault } from "../../src/security/issuers.ts";
import { ManualClock } from "../harness/manual-clock.ts";

const SECRET = "Wq3sK0t5mVb8xN1rYc7dLf2hJ9gPzA4uE6iToXkQnBvRjMwSyCeDlFaGhUpIzO1234";
const OLDER = "Zm9vYmFyYmF6cXV4Y29ycmdyYXVsdGdhcnBseXdhbGRvZnJlZHBsdWdoeHl6enk5";
const ISSUER = "https://id.example";
const PEER = { address: "127.0.0.1" };

function authenticatorOf(
  issuers: readonly IssuerSettings[],
  more: { clock?: ManualClock; jwtSecret?: string; jwtPreviousSecret?: string } = {},
) {
  const { clock = new ManualClock(), ...rest } = more;
  return createAuthenticator({
    roles: {
      reader: { grants: [{ allow: ["subscribe"], on: ["#"] }] },
      boss: { grants: [{ allow: ["admin"], on: ["#"] }] },
    },
    keys: [],
    anonymous: undefined,
    clock,
    issuers,
    ...rest,
  });
}

function signed(claims: Record<string, unknown>, secret = SECRET, alg = "HS256"): Promise<string> {
  return new SignJWT({ iss: ISSUER, sub: "ada", ...claims })
    .setProtectedHeader({ alg })
    .sign(new TextEncoder().encode(secret));
}

const isShared = (alg: Algorithm) => alg.startsWith("HS");

describe("[P-14.1] every algorithm verifies, and what it signed is not good under another", () => {
  test.each(ALGORITHMS.filter(isShared))("%s with a secret", async (alg) => {
    const authenticator = authenticatorOf([{ issuer: ISSUER, secret: SECRET, algorithms: [alg] }]);
    const sign = (name: string) =>
      new SignJWT({ iss: ISSUER, sub: "ada" })
        .setProtectedHeader({ alg: name })
        .sign(new TextEncoder().encode(SECRET));
    expect((await authenticator.authenticate(await sign(alg), PEER)).name).toBe("ada");
    const other = alg === "HS256" ? "HS512" : "HS256";
    await expect(authenticator.authenticate(await sign(other), PEER)).rejects.toThrow(alg);
  });

  test.each(ALGORITHMS.filter((alg) => !isShared(alg)))("%s with a key set", async (alg) => {
    const directory = await mkdtemp(join(tmpdir(), "warren-keys-"));
    try {
      const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
      const jwksFile = join(directory, "keys.json");
      const jwk = { ...(await exportJWK(publicKey)), kid: "k", alg, use: "sig" };
      await writeFile(jwksFile, JSON.stringify({ keys: [{ kty: "future" }, jwk] }));
      const authenticator = authenticatorOf([{ issuer: ISSUER, jwksFile }]);
      const token = await new SignJWT({ iss: ISSUER, sub: "ada" })
        .setProtectedHeader({ alg, kid: "k" })
        .sign(privateKey);
      expect((await authenticator.authenticate(token, PEER)).name).toBe("ada");
      const forged = `${token.slice(0, token.lastIndexOf("."))}.${"A".repeat(86)}`;
      await expect(authenticator.authenticate(forged, PEER)).rejects.toThrow();
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});

describe("[P-14.1] the previous secret verifies while the secret is changed", () => {
  test("of an issuer, and of the broker itself", async () => {
    const both = authenticatorOf([{ issuer: ISSUER, secret: SECRET, previousSecret: OLDER }], {
      jwtSecret: SECRET,
      jwtPreviousSecret: OLDER,
    });
    for (const secret of [SECRET, OLDER]) {
      for (const iss of [ISSUER, undefined]) {
        const token = await signed({ iss }, secret);
        expect((await both.authenticate(token, PEER)).name).toBe("ada");
      }
    }
    await expect(both.authenticate(await signed({}, `${SECRET}x`), PEER)).rejects.toThrow();
    const after = authenticatorOf([{ issuer: ISSUER, secret: SECRET }]);
    await expect(after.authenticate(await signed({}, OLDER), PEER)).rejects.toThrow(/signature/);
  });
});

test("[P-14.1] with the hashes that it is long enough for, be the one in use shorter or longer", async () => {
  const short = SECRET.slice(0, 40);
  for (const [now, before] of [
    [short, OLDER],
    [OLDER, short],
  ] as const) {
    const both = authenticatorOf([{ issuer: ISSUER, secret: now, previousSecret: before }], {
      jwtSecret: now,
      jwtPreviousSecret: before,
    });
    for (const iss of [ISSUER, undefined]) {
      const enter = async (secret: string, alg: string) =>
        (await both.authenticate(await signed({ iss }, secret, alg), PEER)).name;
      for (const alg of ["HS256", "HS384", "HS512"]) expect(await enter(OLDER, alg)).toBe("ada");
      expect(await enter(short, "HS256")).toBe("ada");
      await expect(enter(short, "HS512")).rejects.toThrow();
    }
  }
});

describe("[P-14.1] a token gives no more than its issuer may", () => {
  const enter = async (
    bounds: Partial<IssuerSettings>,
    claims: Record<string, unknown>,
    clock = new ManualClock(),
  ) =>
    authenticatorOf([{ issuer: ISSUER, secret: SECRET, ...bounds }], { clock }).authenticate(
      await signed(claims),
      PEER,
    );

  test("maxGrants: both must allow, and what either denies is denied", async () => {
    const { rights } = await enter(
      {
        maxGrants: [
          { allow: ["publish", "subscribe", "consume"], on: ["plant/{principal}/#", "jobs"] },
          { deny: ["publish"], on: ["plant/ada/locked"] },
        ],
      },
      { grants: [{ allow: ["publish", "subscribe", "consume", "admin"], on: ["#"] }] },
    );
    expect(rights.allowsAll).toBe(false);
    expect(rights.mayPublish("plant/ada/x")).toBe(true);
    expect(rights.mayPublish("plant/ada/locked")).toBe(false);
    expect(rights.mayPublish("plant/eve/x")).toBe(false);
    expect(rights.maySubscribe("plant/ada/#")).toBe(true);
    expect(rights.maySubscribe("#")).toBe(false);
    expect(rights.mayConsume("jobs")).toBe(true);
    expect(rights.mayConsume("other")).toBe(false);
    expect(rights.may("admin", "queues")).toBe(false);
    expect(rights.explain("publish", "plant/eve/x").reason).toMatch(/issuer's tokens may claim/);
    expect(rights.explain("publish", "plant/ada/x").allowed).toBe(true);
  });

  test("maxGrants: of conditions the stricter counts", async () => {
    const { rights } = await enter(
      { maxGrants: [{ allow: ["publish"], on: ["#"], maxPayloadBytes: 100, queues: false }] },
      {
        grants: [
          { allow: ["publish"], on: ["a"], maxPayloadBytes: 1000, maxRatePerSecond: 5 },
          { allow: ["publish"], on: ["b"] },
        ],
      },
    );
    expect(rights.publishTerms("a")?.alternatives).toMatchObject([
      { maxPayloadBytes: 100, maxRatePerSecond: 5, queues: false },
    ]);
    expect(rights.publishTerms("a")).toBe(rights.publishTerms("a")!);
    expect(rights.publishTerms("b")?.alternatives).toEqual([
      { maxPayloadBytes: 100, queues: false },
    ]);
    expect(rights.publishTerms("a")?.unconditional).toBe(false);
    expect(rights.mayReceive("a/#")).toBe(true);
  });

  test("maxGrants give nothing that the token does not", async () => {
    const maxGrants = [{ allow: ["publish", "subscribe"], on: ["#"] }] as const;
    const { rights } = await enter({ maxGrants }, { grants: [] });
    expect(rights.mayPublish("a")).toBe(false);
    expect(rights.explain("publish", "a").allowed).toBe(false);
  });

  test("allowedRoles: others give nothing", async () => {
    const claims = { roles: ["reader", "boss"] };
    expect((await enter({}, claims)).rights.may("admin", "queues")).toBe(true);
    const { rights } = await enter({ allowedRoles: ["reader"] }, claims);
    expect(rights.may("admin", "queues")).toBe(false);
    expect(rights.maySubscribe("a/#")).toBe(true);
    expect((await enter({ allowedRoles: [] }, claims)).rights.maySubscribe("a")).toBe(false);
  });

  test("principalPrefix: its principals have names of their own", async () => {
    const grants = [{ allow: ["publish"], on: ["of/{principal}"] }];
    const { name, rights } = await enter({ principalPrefix: "partner:" }, { grants });
    expect(name).toBe("partner:ada");
    expect(rights.mayPublish("of/partner:ada")).toBe(true);
    expect(rights.mayPublish("of/ada")).toBe(false);
  });

  test("maxAgeMs: no older token, and no session that lasts longer", async () => {
    const clock = new ManualClock(1_800_000_000_000);
    const iat = 1_800_000_000 - 50;
    const bounds = { maxAgeMs: 60_000 };
    const day = 1_800_000_000 + 86_400;
    const { expiresAt } = await enter(bounds, { iat, exp: day }, clock);
    expect(expiresAt).toBe(1_800_000_010_000);
    await expect(enter(bounds, { exp: day }, clock)).rejects.toThrow(/iat/);
    await expect(enter(bounds, { iat: iat - 60, exp: day }, clock)).rejects.toMatchObject({
      code: "token_expired",
    });
  });
});

describe("[P-14.1] settings that are not safe stop the start, with what to do", () => {
  const privateKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const table: [string, Partial<IssuerSettings>, RegExp][] = [
    ["no keys", {}, /must have one of secret, publicKeyFile/],
    ["two kinds of keys", { secret: SECRET, jwksFile: "x" }, /and has secret, jwksFile/],
    ["a short secret", { secret: "short" }, /at least 32 bytes; make one with/],
    ["a secret that repeats itself", { secret: "x".repeat(40) }, /repeats itself/],
    ["a secret that repeats a word", { secret: "changeme".repeat(5) }, /repeats itself/],
    ["a short previous secret", { secret: SECRET, previousSecret: "x" }, /at least 32 bytes/],
    ["HS512 with 32 bytes", { secret: SECRET.slice(0, 32), algorithms: ["HS512"] }, /HS512 cannot/],
    ["HS256 with public keys", { jwksFile: "/none", algorithms: ["HS256"] }, /HS256 cannot/],
    ["a file that is not there", { jwksFile: "/none/keys.json" }, /cannot use \/none/],
    ["plain http", { jwksUrl: "http://id.example/keys", audience: "w" }, /https:/],
    ["a password in the URL", { jwksUrl: "https://a:b@id.example/", audience: "w" }, /password/],
    ["the metadata service", { jwksUrl: "https://169.254.169.254/", audience: "w" }, /link-local/],
    ["this machine", { jwksUrl: "https://localhost/keys", audience: "w" }, /allowPrivate/],
    ["a URL without an audience", { jwksUrl: "https://id.example/keys" }, /audience: is missing/],
    ["discovery without an audience", { discovery: true }, /audience: is missing/],
    ["discovery that is no URL", { issuer: "me", discovery: true, audience: "w" }, /not a URL/],
    ["a bad grant", { secret: SECRET, maxGrants: [{ allow: ["publish"], on: ["a#"] }] }, /maxGr/],
  ];
  test.each(table)("%s", (_, settings, problem) => {
    const clock = new ManualClock();
    const faults = issuerFaults({ clock, issuers: [{ issuer: ISSUER, ...settings }] });
    expect(faults.map(({ pointer, message }) => `${pointer}: ${message}`).join("\n")).toMatch(
      problem,
    );
    expect(() => authenticatorOf([{ issuer: ISSUER, ...settings }])).toThrow(problem);
  });

  test("an issuer twice; a private key where a public one belongs; no repeating is no fault", async () => {
    const one = { issuer: ISSUER, secret: SECRET };
    expect(issuerFaults({ clock: new ManualClock(), issuers: [one, one] })[0]?.message).toMatch(
      /repeats/,
    );
    const directory = await mkdtemp(join(tmpdir(), "warren-keys-"));
    const publicKeyFile = join(directory, "key.pem");
    await writeFile(publicKeyFile, privateKey.export({ type: "pkcs8", format: "pem" }));
    const faults = issuerFaults({
      clock: new ManualClock(),
      issuers: [{ issuer: ISSUER, publicKeyFile }],
    });
    await rm(directory, { recursive: true, force: true });
    expect(faults[0]?.message).toMatch(/private key, which stays with the issuer/);
    expect(secretFault(SECRET)).toBeUndefined();
  });
});
