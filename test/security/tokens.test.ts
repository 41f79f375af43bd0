/** Tokens that must be accepted and, above all, tokens that must not [P-13.1]. */
import { describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { WarrenError } from "../../src/errors.ts";
import { secretKeys } from "../../src/security/key-sources.ts";
import {
  createTokenVerifier,
  readToken,
  signToken,
  type TokenRules,
} from "../../src/security/tokens.ts";
import { ManualClock } from "../harness/manual-clock.ts";

const SECRET = "correct horse battery staple, and then some";
const NOW_S = 1_800_000_000;
const clock = new ManualClock(NOW_S * 1000);

const verifierOf = (rules: Partial<TokenRules> = {}) => {
  const verifier = createTokenVerifier({ keys: secretKeys([SECRET]), clock, ...rules });
  return { verify: async (token: string) => (await verifier.verify(readToken(token))).claims };
};

// Tokens are made by hand, so that what the library would refuse to make can be tried.
const base64url = (value: string) => Buffer.from(value).toString("base64url");
function forge(
  payload: unknown,
  { header = { alg: "HS256" } as object, secret = SECRET, hash = "sha256" } = {},
): string {
  const text = typeof payload === "string" ? payload : JSON.stringify(payload);
  const signed = `${base64url(JSON.stringify(header))}.${base64url(text)}`;
  return `${signed}.${createHmac(hash, secret).update(signed).digest("base64url")}`;
}

async function refusalOf(token: string, rules: Partial<TokenRules> = {}): Promise<WarrenError> {
  const error = await verifierOf(rules)
    .verify(token)
    .then(
      () => new Error("the token was accepted"),
      (thrown: unknown) => thrown,
    );
  expect(error).toBeInstanceOf(WarrenError);
  return error as WarrenError;
}

const GOOD = { sub: "ada" };

describe("[P-13.1] a genuine token in force is accepted", () => {
  const table: [string, object, Partial<TokenRules>][] = [
    ["only a subject", GOOD, {}],
    ["not expired", { ...GOOD, exp: NOW_S + 1, nbf: NOW_S - 1, iat: NOW_S }, {}],
    ["expired within the tolerance", { ...GOOD, exp: NOW_S - 4 }, {}],
    ["not valid yet, within the tolerance", { ...GOOD, nbf: NOW_S + 4 }, {}],
    ["a wider tolerance", { ...GOOD, exp: NOW_S - 50 }, { clockToleranceMs: 60_000 }],
    ["the issuer asked for", { ...GOOD, iss: "me" }, { issuer: "me" }],
    ["the audience asked for", { ...GOOD, aud: "warren" }, { audience: "warren" }],
    ["one of its audiences", { ...GOOD, aud: ["x", "warren"] }, { audience: "warren" }],
    ["an audience nobody asked for", { ...GOOD, aud: "x", iss: "y" }, {}],
    ["claims of its own", { ...GOOD, tenant: "acme", client: "d1", roles: ["device"] }, {}],
  ];
  for (const [name, claims, rules] of table) {
    test(name, async () => {
      const verified = await verifierOf(rules).verify(forge(claims));
      expect(verified).toEqual(claims as never);
    });
  }

  test("a key id in the header does not matter", async () => {
    const token = forge(GOOD, { header: { alg: "HS256", kid: "../../etc/passwd", typ: "at+jwt" } });
    expect((await verifierOf().verify(token)).sub).toBe("ada");
  });
});

describe("[P-13.1] expiry has a code of its own", () => {
  test("past the tolerance", async () => {
    const error = await refusalOf(forge({ ...GOOD, exp: NOW_S - 6 }));
    expect(error.code).toBe("token_expired");
  });

  test("but not for a forged token, whose claims mean nothing", async () => {
    const token = forge({ ...GOOD, exp: NOW_S - 60 }, { secret: "x".repeat(40) });
    expect((await refusalOf(token)).code).toBe("unauthenticated");
  });
});

const [, GOOD_BODY, GOOD_MAC] = forge(GOOD).split(".");
const header = (value: object) => base64url(JSON.stringify(value));

describe("[P-13.1] attacks are refused", () => {
  const table: [string, string, RegExp][] = [
    ["empty", "", /not a signed JWT/],
    ["no dots", "abc", /not a signed JWT/],
    ["only dots", "..", /not a signed JWT/],
    ["two parts", `${header({ alg: "HS256" })}.${GOOD_BODY}`, /not a signed JWT/],
    ["four parts", `${forge(GOOD)}.x`, /not a signed JWT/],
    ["encrypted (five parts)", `${header({ alg: "dir", enc: "A256GCM" })}..a.b.c`, /not a signed/],
    ["not base64", "§.§.§", /not a signed JWT/],
    ["alg none", `${header({ alg: "none" })}.${GOOD_BODY}.`, /signed with HS256/],
    ["alg None", `${header({ alg: "None" })}.${GOOD_BODY}.`, /signed with HS256/],
    ["alg none with a mac", `${header({ alg: "none" })}.${GOOD_BODY}.${GOOD_MAC}`, /HS256/],
    ["no alg", `${header({})}.${GOOD_BODY}.${GOOD_MAC}`, /not a signed JWT/],
    ["alg in lower case", forge(GOOD, { header: { alg: "hs256" } }), /signed with HS256/],
    ["alg as a list", forge(GOOD, { header: { alg: ["HS256"] } }), /not a signed JWT|HS256/],
    [
      "HS512 with the right secret",
      forge(GOOD, { header: { alg: "HS512" }, hash: "sha512" }),
      /HS256/,
    ],
    ["RS256, the secret as its key", forge(GOOD, { header: { alg: "RS256" } }), /HS256/],
    ["another secret", forge(GOOD, { secret: "y".repeat(40) }), /signature/],
    ["no signature", `${header({ alg: "HS256" })}.${GOOD_BODY}.`, /signature/],
    ["a cut signature", forge(GOOD).slice(0, -4), /signature|not a signed/],
    [
      "another's payload",
      forge(GOOD).replace(`${GOOD_BODY}`, base64url('{"sub":"root"}')),
      /signature/,
    ],
    [
      "a key of its own",
      forge(GOOD, {
        header: {
          alg: "HS256",
          jwk: { kty: "oct", k: base64url("z".repeat(40)) },
          jku: "http://x",
        },
        secret: "z".repeat(40),
      }),
      /signature/,
    ],
    [
      "an unknown critical header",
      forge(GOOD, { header: { alg: "HS256", crit: ["x"], x: 1 } }),
      /not a/,
    ],
    [
      "an unencoded payload",
      forge(GOOD, { header: { alg: "HS256", crit: ["b64"], b64: false } }),
      /not a/,
    ],
    ["a payload that is no JSON", forge("sub=ada"), /not a signed JWT/],
    ["a payload that is a list", forge("[]"), /not a signed JWT/],
    ["a payload that is null", forge("null"), /not a signed JWT/],
    ["too long", forge({ ...GOOD, pad: "x".repeat(9000) }), /over 8192 bytes/],
    ["no subject", forge({}), /\/sub/],
    ["a subject from the prototype", forge('{"__proto__":{"sub":"root"}}'), /\/sub/],
    ["an empty subject", forge({ sub: "" }), /\/sub/],
    ["a subject that is a number", forge({ sub: 1 }), /\/sub/],
    ["a subject with a line break", forge({ sub: "a\nb" }), /\/sub/],
    ["a long subject", forge({ sub: "x".repeat(257) }), /\/sub/],
    ["an expiry that is text", forge({ ...GOOD, exp: `${NOW_S + 60}` }), /\/exp/],
    ["an expiry before 1970", forge({ ...GOOD, exp: -1 }), /expired/],
    ["an expiry past all calendars", forge({ ...GOOD, exp: 1e300 }), /\/exp/],
    ["not valid yet", forge({ ...GOOD, nbf: NOW_S + 6 }), /not valid yet/],
    ["a start that is text", forge({ ...GOOD, nbf: "0" }), /\/nbf/],
    ["a client with a control character", forge({ ...GOOD, client: "a\u0000" }), /\/client/],
    ["roles that are text", forge({ ...GOOD, roles: "admin" }), /\/roles/],
    ["too many roles", forge({ ...GOOD, roles: Array(65).fill("r") }), /\/roles/],
  ];
  for (const [name, token, message] of table) {
    test(name, async () => {
      const error = await refusalOf(token);
      expect(error.code).toBe(
        name === "an expiry before 1970" ? "token_expired" : "unauthenticated",
      );
      expect(error.message).toMatch(message);
      expect(error.message).not.toContain(SECRET);
    });
  }

  const binding: [string, object, Partial<TokenRules>, RegExp][] = [
    ["another issuer", { ...GOOD, iss: "you" }, { issuer: "me" }, /\/iss/],
    ["no issuer", GOOD, { issuer: "me" }, /\/iss/],
    ["another audience", { ...GOOD, aud: "you" }, { audience: "me" }, /\/aud/],
    ["no audience", GOOD, { audience: "me" }, /\/aud/],
  ];
  for (const [name, claims, rules, message] of binding) {
    test(name, async () => {
      const error = await refusalOf(forge(claims), rules);
      expect(error.code).toBe("unauthenticated");
      expect(error.message).toMatch(message);
    });
  }
});

describe("[P-13.1] the secret", () => {
  test("must have 32 bytes, to verify and to sign", async () => {
    expect(() => secretKeys(["short"])).toThrow(/at least 32/);
    await expect(signToken(GOOD, "short")).rejects.toThrow(/at least 32/);
  });

  test("counts bytes, not characters", () => {
    expect(() => secretKeys(["é".repeat(16)])).not.toThrow();
  });
});

describe("[P-13.7] signed tokens", () => {
  test("are accepted and carry their claims", async () => {
    const claims = {
      ...GOOD,
      client: "d1",
      grants: [{ allow: ["publish"], on: ["devices/{client}/#"] }] as const,
    };
    const token = await signToken(claims, SECRET, clock.now() + 60_500);
    expect(await verifierOf().verify(token)).toEqual({ ...claims, exp: NOW_S + 60 } as never);
  });

  test("never expire unless told to", async () => {
    expect((await verifierOf().verify(await signToken(GOOD, SECRET))).exp).toBeUndefined();
  });

  test("are not made from claims that the broker would refuse", async () => {
    await expect(signToken({ sub: "" }, SECRET)).rejects.toThrow(/\/sub/);
    await expect(
      signToken({ ...GOOD, grants: [{ allow: ["publish"], on: ["a#"] }] }, SECRET),
    ).rejects.toThrow(/\/grants\/0\/on\/0/);
  });
});
