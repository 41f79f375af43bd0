/** Tokens that are remembered as verified [P-14.1]: sooner let in, and never longer than a verification would. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { IssuerSettings } from "../../schemas/identity.ts";
import { createAuthenticator } from "../../src/security/authenticator.ts";
import { createIssuers, type Issuers } from "../../src/security/issuers.ts";
import { KEYS_MAX_AGE_MS } from "../../src/security/jwks.ts";
import { Revocations, revocationOf } from "../../src/security/revocations.ts";
import { ManualClock } from "../harness/manual-clock.ts";

const NOW_S = 1_800_000_000;
const TOLERANCE_S = 5;
const ISSUER = "https://issuer.example";
const SECRET = "correct horse battery staple, and then some more";
const first = generateKeyPairSync("ec", { namedCurve: "P-256" });
const second = generateKeyPairSync("ec", { namedCurve: "P-256" });
let directory = "";
let jwksFile = "";

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "warren-verified-"));
  jwksFile = join(directory, "keys.json");
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

function signed(claims: object, key: KeyObject = first.privateKey, kid = "one"): string {
  const text = `${part({ alg: "ES256", kid })}.${part({ iss: ISSUER, sub: "ada", ...claims })}`;
  const signature = sign("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" });
  return `${text}.${signature.toString("base64url")}`;
}

function shared(claims: object, secret = SECRET): string {
  const text = `${part({ alg: "HS256" })}.${part({ sub: "ada", ...claims })}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

const publish = (keys: Readonly<Record<string, KeyObject>>) =>
  writeFile(
    jwksFile,
    JSON.stringify({
      keys: Object.entries(keys).map(([kid, key]) => ({ ...key.export({ format: "jwk" }), kid })),
    }),
  );

interface House {
  readonly clock: ManualClock;
  readonly issuers: Issuers;
}

async function house(settings: Partial<IssuerSettings> = {}, verifiedTokens = 10): Promise<House> {
  await publish({ one: first.publicKey });
  const clock = new ManualClock(NOW_S * 1000);
  const issuers = createIssuers({
    clock,
    jwtSecret: SECRET,
    verifiedTokens,
    issuers: [{ issuer: ISSUER, jwksFile, ...settings }],
  })!;
  return { clock, issuers };
}

/** The code of the refusal, or whether it was remembered: then the very same object is answered again. */
async function outcome({ issuers }: House, token: string): Promise<string> {
  try {
    const before = await issuers.verify(token);
    return (await issuers.verify(token)) === before ? "remembered" : "verified";
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe("[P-14.1] a token that was verified before", () => {
  test("is remembered, whatever it is signed with", async () => {
    const one = await house();
    for (const token of [signed({}), shared({})]) {
      // The first one has the keys read, and what is verified meanwhile is not remembered.
      await one.issuers.verify(token);
      expect(await outcome(one, token)).toBe("remembered");
    }
  });

  test("by its whole text: a forged one beside it is refused", async () => {
    const one = await house();
    const token = shared({});
    expect(await outcome(one, token)).toBe("remembered");
    const [head, body, mac] = token.split(".");
    const forged = [
      `${head}.${body}.${Buffer.from(mac!, "base64url").fill(7).toString("base64url")}`,
      `${head}.${part({ sub: "root" })}.${mac}`,
      `${part({ alg: "none" })}.${body}.`,
      `${head}.${body}.`,
      `${token}=`,
      `${token} `,
    ];
    for (const text of forged) expect(await outcome(one, text)).toBe("unauthenticated");
  });

  test("does not outlive its exp, and is not remembered within the tolerance", async () => {
    const one = await house();
    const token = shared({ exp: NOW_S + 60 });
    expect(await outcome(one, token)).toBe("remembered");
    one.clock.advance(60_000);
    expect(await outcome(one, token)).toBe("verified");
    one.clock.advance(TOLERANCE_S * 1000);
    expect(await outcome(one, token)).toBe("token_expired");
  });

  test("does not outlive what its issuer's tokens may last", async () => {
    const one = await house({ maxAgeMs: 60_000 });
    const token = signed({ iat: NOW_S, exp: NOW_S + 3600 });
    await one.issuers.verify(token);
    expect(await outcome(one, token)).toBe("remembered");
    one.clock.advance(60_000 + TOLERANCE_S * 1000 + 1);
    expect(await outcome(one, token)).toBe("token_expired");
  });

  test("is not good before its nbf or iat, should the clock be set back", async () => {
    for (const claims of [{ nbf: NOW_S }, { iat: NOW_S }]) {
      const one = await house();
      expect(await outcome(one, shared(claims))).toBe("remembered");
      one.clock.advance(-60_000);
      expect(await outcome(one, shared(claims))).toBe("unauthenticated");
    }
  });
});

describe("[P-14.1] a remembered token and the keys of its issuer", () => {
  async function remembered(): Promise<{ one: House; token: string }> {
    const one = await house();
    const token = signed({});
    await one.issuers.verify(token);
    expect(await outcome(one, token)).toBe("remembered");
    return { one, token };
  }

  test("a key that is taken away takes it along, with the next reading", async () => {
    const { one, token } = await remembered();
    await publish({ two: second.publicKey });
    one.issuers.refresh();
    expect(await outcome(one, token)).toBe("unauthenticated");
    expect(await outcome(one, signed({}, second.privateKey, "two"))).toBe("remembered");
  });

  test("the same when the keys have become old, without anybody asking", async () => {
    const { one, token } = await remembered();
    await publish({ two: second.publicKey });
    one.clock.advance(KEYS_MAX_AGE_MS + 1);
    expect(await outcome(one, token)).toBe("unauthenticated");
  });

  test("the same when others' tokens, or a look at live connections, had them read", async () => {
    const { one, token } = await remembered();
    await publish({ two: second.publicKey });
    one.clock.advance(KEYS_MAX_AGE_MS + 1);
    await one.issuers.recheck();
    expect(await outcome(one, token)).toBe("unauthenticated");
  });

  test("another key under the old name is another key, and a new name is another name", async () => {
    for (const keys of [{ one: second.publicKey }, { renamed: first.publicKey }]) {
      const { one, token } = await remembered();
      await publish(keys);
      one.issuers.refresh();
      expect(await outcome(one, token)).toBe("unauthenticated");
    }
  });

  test("a rotation that keeps the old key has it verified once more, and remembered", async () => {
    const { one, token } = await remembered();
    const before = await one.issuers.verify(token);
    await publish({ one: first.publicKey, two: second.publicKey });
    one.issuers.refresh();
    expect(await one.issuers.verify(token)).not.toBe(before);
    await one.issuers.verify(token);
    expect(await outcome(one, token)).toBe("remembered");
  });

  test("keys that are lost make it no longer good than it would be", async () => {
    const { one, token } = await remembered();
    await writeFile(jwksFile, "no keys");
    one.clock.advance(KEYS_MAX_AGE_MS + 1);
    expect(await outcome(one, token)).toBe("verified");
    one.clock.advance(3_600_000);
    expect(await outcome(one, token)).toBe("busy");
  });

  test("under other settings nothing is remembered of it", async () => {
    const { token } = await remembered();
    const changed: Partial<IssuerSettings>[] = [
      { issuer: "https://other.example" },
      { audience: "warren" },
      { algorithms: ["RS256"] },
      { maxAgeMs: 1000 },
    ];
    for (const settings of changed) {
      expect(await outcome(await house(settings), token)).toBe("unauthenticated");
    }
    const clock = new ManualClock(NOW_S * 1000);
    const issuers = createIssuers({ clock, jwtSecret: `${SECRET}!`, verifiedTokens: 10 })!;
    expect(await outcome({ clock, issuers }, shared({}))).toBe("unauthenticated");
  });
});

describe("[P-14.1] what is asked each time", () => {
  test("revocations", async () => {
    const clock = new ManualClock(NOW_S * 1000);
    const revocations = new Revocations(clock);
    const authenticator = createAuthenticator({
      ...{ clock, revocations, jwtSecret: SECRET, verifiedTokens: 10 },
      ...{ roles: {}, keys: [], anonymous: undefined },
    });
    const token = shared({ jti: "t1", iat: NOW_S - 10 });
    const peer = { address: "127.0.0.1" };
    for (let i = 0; i < 3; i++) await authenticator.authenticate(token, peer);
    for (const body of [{ jti: "t1" }, { principal: "ada" }]) {
      const revocation = revocationOf(body, clock.now(), "operator");
      revocations.recordChanged(revocation.id, revocation);
      await expect(authenticator.authenticate(token, peer)).rejects.toMatchObject({
        code: "token_revoked",
      });
      revocations.recordChanged(revocation.id, undefined);
      await authenticator.authenticate(token, peer);
    }
  });

  test("rights: nothing that one connection learns is another's", async () => {
    const clock = new ManualClock(NOW_S * 1000);
    const authenticator = createAuthenticator({
      ...{ clock, jwtSecret: SECRET, verifiedTokens: 10 },
      ...{ roles: {}, keys: [], anonymous: undefined },
    });
    const token = shared({ grants: [{ allow: ["publish"], on: ["a/{principal}"] }] });
    const peer = { address: "127.0.0.1" };
    const [one, two] = [
      await authenticator.authenticate(token, peer),
      await authenticator.authenticate(token, peer),
    ];
    expect(one.rights).not.toBe(two.rights);
    for (const { rights } of [one, two]) {
      expect(rights.mayPublish("a/ada")).toBe(true);
      expect(rights.mayPublish("a/bob")).toBe(false);
    }
  });
});

describe("[P-14.1] how many are remembered", () => {
  test("as many as the bound says; the one unused longest goes first", async () => {
    const one = await house({}, 3);
    const tokens = ["a", "b", "c", "d"].map((jti) => shared({ jti }));
    const [a, b, c, d] = tokens as [string, string, string, string];
    const answers = [];
    for (const token of [a, b, c]) answers.push(await one.issuers.verify(token));
    expect(await one.issuers.verify(a)).toBe(answers[0]!);
    await one.issuers.verify(d);
    expect(await one.issuers.verify(a)).toBe(answers[0]!);
    expect(await one.issuers.verify(c)).toBe(answers[2]!);
    expect(await one.issuers.verify(b)).not.toBe(answers[1]!);
  });

  test("none, where none is to be", async () => {
    expect(await outcome(await house({}, 0), shared({}))).toBe("verified");
  });

  test("nothing that was refused", async () => {
    const one = await house({}, 1);
    const good = shared({});
    const before = await one.issuers.verify(good);
    for (let i = 0; i < 5; i++) await outcome(one, shared({ jti: `${i}` }, "x".repeat(40)));
    expect(await one.issuers.verify(good)).toBe(before);
  });
});
