/** From a credential to a principal and its rights [P-1.3], [P-13.1], [P-13.2]. */
import { describe, expect, test } from "bun:test";
import { SignJWT } from "jose";
import type { TokenClaims } from "../../schemas/access.ts";
import { ALLOW_ALL, type Principal } from "../../src/broker/access.ts";
import { WarrenError } from "../../src/errors.ts";
import {
  type AuthenticatorConfig,
  createAuthenticator,
  hasCredentials,
} from "../../src/security/authenticator.ts";
import { assertSafeToListen } from "../../src/security/exposure.ts";
import { makeKey } from "../../src/security/keys.ts";
import { signToken } from "../../src/security/tokens.ts";
import { ManualClock } from "../harness/manual-clock.ts";

const SECRET = "a secret of more than thirty-two bytes";
const PEER = { address: "127.0.0.1" };
const clock = new ManualClock();
const BARE: AuthenticatorConfig = {
  jwtSecret: SECRET,
  roles: {
    device: {
      grants: [
        { allow: ["publish"], on: ["devices/{client}/#"] },
        { allow: ["subscribe"], on: ["commands/{client}/#"] },
      ],
    },
    reader: { grants: [{ allow: ["subscribe"], on: ["#"] }] },
    worker: { grants: [{ allow: ["consume"], on: ["jobs"] }] },
    quiet: { grants: [{ deny: ["subscribe"], on: ["loud/#"] }] },
  },
  keys: [],
  anonymous: undefined,
  clock,
};

async function enter(claims: TokenClaims, config: Partial<AuthenticatorConfig> = {}) {
  const authenticator = createAuthenticator({ ...BARE, ...config });
  return authenticator.authenticate(await signToken(claims, SECRET), PEER);
}

async function refusalOf(attempt: Promise<Principal>): Promise<WarrenError> {
  const error = await attempt.then(
    () => new Error("it was let in"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(WarrenError);
  return error as WarrenError;
}

describe("[P-1.3] without a credential", () => {
  test("an open broker lets everyone do everything as anonymous", async () => {
    const open = createAuthenticator({ ...BARE, jwtSecret: undefined });
    expect(open.anonymousAllowed).toBe(true);
    const principal = await open.authenticate(undefined, PEER);
    expect(principal).toEqual({ name: "anonymous", rights: ALLOW_ALL });
    expect((await open.authenticate("any token", PEER)).name).toBe("anonymous");
  });

  test("a broker with credentials lets none in", async () => {
    const strict = createAuthenticator(BARE);
    expect(strict.anonymousAllowed).toBe(false);
    const error = await refusalOf(strict.authenticate(undefined, PEER));
    expect(error.code).toBe("unauthenticated");
  });

  test("unless it has grants for anonymous, which are all that it gives", async () => {
    const grants = [{ allow: ["subscribe"], on: ["public/#", "{client}/x"] }] as const;
    const authenticator = createAuthenticator({ ...BARE, anonymous: { grants } });
    expect(authenticator.anonymousAllowed).toBe(true);
    const { name, rights } = await authenticator.authenticate(undefined, PEER);
    expect(name).toBe("anonymous");
    expect(rights.maySubscribe("public/a")).toBe(true);
    expect(rights.maySubscribe("private/a")).toBe(false);
    expect(rights.mayPublish("public/a")).toBe(false);
  });

  test("grants for anonymous alone do not open the broker", async () => {
    const config = { ...BARE, jwtSecret: undefined, anonymous: { grants: [] } };
    const { rights } = await createAuthenticator(config).authenticate(undefined, PEER);
    expect(rights.mayPublish("a")).toBe(false);
  });

  for (const wrong of ["", "nonsense", "wk_a_0123456789abcdef", "a.b.c"]) {
    test(`a wrong one, ${JSON.stringify(wrong)}, never falls back to anonymous`, async () => {
      const authenticator = createAuthenticator({ ...BARE, anonymous: { grants: [] } });
      const error = await refusalOf(authenticator.authenticate(wrong, PEER));
      expect(error.code).toBe("unauthenticated");
    });
  }
});

describe("[P-13.1] by token", () => {
  test("the principal is the subject, with its client and expiry", async () => {
    const exp = Math.floor(clock.now() / 1000) + 60;
    const principal = await enter({ sub: "ada", client: "d1", exp });
    expect(principal).toMatchObject({ name: "ada", client: "d1", expiresAt: exp * 1000 });
    expect(Object.keys(await enter({ sub: "ada" })).sort()).toEqual([
      "credential",
      "name",
      "rights",
    ]);
  });

  test("roles give their grants, with the token's variables", async () => {
    const { rights } = await enter({ sub: "ada", client: "d1", roles: ["device", "worker"] });
    expect(rights.mayPublish("devices/d1/t")).toBe(true);
    expect(rights.mayPublish("devices/d2/t")).toBe(false);
    expect(rights.maySubscribe("commands/d1/#")).toBe(true);
    expect(rights.mayConsume("jobs")).toBe(true);
  });

  test("a token without a client gets nothing from grants on {client}", async () => {
    const { rights } = await enter({ sub: "ada", roles: ["device"] });
    expect(rights.mayPublish("devices/ada/t")).toBe(false);
    expect(rights.maySubscribe("commands/+/#")).toBe(false);
  });

  test("an unknown role gives nothing, nor does a name that every object has", async () => {
    for (const roles of [["no-such"], ["constructor"], ["__proto__"], ["toString", "reader2"]]) {
      const { rights } = await enter({ sub: "ada", roles });
      expect(rights.maySubscribe("a")).toBe(false);
    }
  });

  test("grants of the token add to its roles, and a denial wins wherever it comes from", async () => {
    const { rights } = await enter({
      sub: "ada",
      roles: ["reader", "quiet"],
      grants: [
        { allow: ["publish"], on: ["{claims.team}/x"] },
        { allow: ["subscribe"], on: ["loud/a"] },
      ],
      team: "blue",
    });
    expect(rights.mayPublish("blue/x")).toBe(true);
    expect(rights.maySubscribe("still/a")).toBe(true);
    expect(rights.maySubscribe("loud/a")).toBe(false);
  });

  test("grants that do not fit refuse the token, naming the place", async () => {
    // By the library itself, since signToken would not make it.
    const token = await new SignJWT({ sub: "ada", grants: [{ allow: ["fly"], on: ["a"] }] })
      .setProtectedHeader({ alg: "HS256" })
      .sign(new TextEncoder().encode(SECRET));
    const error = await refusalOf(createAuthenticator(BARE).authenticate(token, PEER));
    expect(error.code).toBe("unauthenticated");
    expect(error.detail).toEqual({ pointer: "/grants/0/allow/0" });
  });

  test("an expired token says so", async () => {
    const token = await signToken({ sub: "ada" }, SECRET, clock.now() - 60_000);
    const error = await refusalOf(createAuthenticator(BARE).authenticate(token, PEER));
    expect(error.code).toBe("token_expired");
  });

  test("a broker with keys only takes no token", async () => {
    const key = makeKey("k");
    const keys = [{ id: "k", hash: key.hash, principal: "svc" }];
    const attempt = enter({ sub: "ada" }, { jwtSecret: undefined, keys });
    expect((await refusalOf(attempt)).code).toBe("unauthenticated");
  });
});

describe("[P-13.2] by API key", () => {
  const good = makeKey("good");
  const old = makeKey("old");
  const authenticator = createAuthenticator({
    ...BARE,
    keys: [
      {
        id: "good",
        hash: good.hash,
        principal: "svc",
        roles: ["worker"],
        grants: [{ allow: ["publish"], on: ["svc/{principal}"] }],
        expiresAt: clock.now() + 1000,
      },
      { id: "old", hash: old.hash, principal: "svc", expiresAt: clock.now() },
    ],
  });

  test("the key's principal, roles, grants and expiry", async () => {
    const { name, rights, expiresAt } = await authenticator.authenticate(good.key, PEER);
    expect(name).toBe("svc");
    expect(expiresAt).toBe(clock.now() + 1000);
    expect(rights.mayConsume("jobs")).toBe(true);
    expect(rights.mayPublish("svc/svc")).toBe(true);
    expect(rights.mayPublish("svc/other")).toBe(false);
  });

  test("an expired key says so, and only to who has it", async () => {
    expect((await refusalOf(authenticator.authenticate(old.key, PEER))).code).toBe("token_expired");
    const guess = `${old.key.slice(0, -1)}${old.key.endsWith("x") ? "y" : "x"}`;
    expect((await refusalOf(authenticator.authenticate(guess, PEER))).code).toBe("unauthenticated");
  });

  test("an unknown id and a wrong secret are refused in the same words", async () => {
    const unknown = await refusalOf(authenticator.authenticate(makeKey("none").key, PEER));
    const wrong = await refusalOf(authenticator.authenticate(makeKey("good").key, PEER));
    expect(unknown.message).toBe(wrong.message);
    expect(unknown.detail).toEqual(wrong.detail as never);
  });
});

describe("[P-13.6] faults in the configuration stop the start", () => {
  const bad = [{ allow: ["publish"], on: ["a/{nope}"] }] as const;
  test("every one of them, by its place", () => {
    const key = { id: "k", hash: "0".repeat(64), principal: "p" };
    const start = () =>
      createAuthenticator({
        ...BARE,
        roles: { "a/b": { grants: bad } },
        keys: [
          { ...key, grants: bad, roles: ["missing"] },
          { ...key, principal: "anonymous" },
        ],
        anonymous: { grants: bad },
      });
    for (const place of [
      "/roles/a~1b/grants/0/on/0",
      "/keys/0/grants/0/on/0",
      "/keys/0/roles/0",
      "/keys/1/id",
      "/keys/1/principal",
      "/anonymous/grants/0/on/0",
    ]) {
      expect(start).toThrow(place);
    }
  });

  test("a short secret", () => {
    expect(() => createAuthenticator({ ...BARE, jwtSecret: "short" })).toThrow(/at least 32/);
  });
});

describe("[P-13.6] an open broker listens on this machine only", () => {
  const loopback = ["127.0.0.1", "127.8.9.10", "localhost", "LOCALHOST", "::1", "[::1]"];
  const beyond = ["0.0.0.0", "::", "", "192.168.1.2", "127.evil.example", "127.0.0.1.nip.example"];
  const open = { hasCredentials: false, insecure: false };

  for (const host of [...loopback, "::ffff:127.0.0.1"]) {
    test(`${host} is this machine`, () => {
      expect(() => assertSafeToListen({ host, ...open })).not.toThrow();
    });
  }

  for (const host of beyond) {
    test(`${JSON.stringify(host)} is not, unless there are credentials or --insecure`, () => {
      const listen = (more: object) => () => assertSafeToListen({ host, ...open, ...more });
      expect(listen({})).toThrow(/WARREN_JWT_SECRET.*127\.0\.0\.1.*--insecure/);
      expect(listen({ hasCredentials: true })).not.toThrow();
      expect(listen({ insecure: true })).not.toThrow();
    });
  }

  test("a secret or a key is a credential", () => {
    expect(hasCredentials(BARE)).toBe(true);
    expect(hasCredentials({ jwtSecret: undefined, keys: [] })).toBe(false);
    const key = { id: "k", hash: "0".repeat(64), principal: "p" };
    expect(hasCredentials({ jwtSecret: undefined, keys: [key] })).toBe(true);
  });
});
