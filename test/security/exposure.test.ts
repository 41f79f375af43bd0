/** Dangerous settings: which are refused, which are said, and what is said about them [P-13.6]. */
import { describe, expect, test } from "bun:test";
import { configFrom } from "../../src/config.ts";
import { checkConfig } from "../../src/main.ts";
import { assertSafeToListen, exposures, unknownIssuerRoles } from "../../src/security/exposure.ts";
import { startTestWarren } from "../harness/warren.ts";

const SAFE = {
  host: "127.0.0.1",
  insecure: false,
  hasCredentials: true,
  hasTls: false,
  anonymous: undefined,
  allowedOrigins: [] as string[],
  trustedProxies: [] as string[],
};
const ADMIN = { grants: [{ allow: ["admin"], on: ["#"] }] } as const;
const READ = { grants: [{ allow: ["subscribe"], on: ["news"] }] } as const;

describe("[P-13.6] unsafe combinations", () => {
  const table: [string, Partial<typeof SAFE> | object, "refused" | RegExp[]][] = [
    ["this machine only, with credentials", {}, []],
    ["this machine only, without", { hasCredentials: false }, []],
    ["::1", { host: "::1", hasCredentials: false }, []],
    ["everywhere, without credentials", { host: "0.0.0.0", hasCredentials: false }, "refused"],
    ["a public name, without", { host: "broker.example", hasCredentials: false }, "refused"],
    ["127.0.0.1.example is no loopback", { host: "127.0.0.1.a", hasCredentials: false }, "refused"],
    ["everywhere as an empty host", { host: "", hasCredentials: false }, "refused"],
    [
      "everywhere, insecure",
      { host: "0.0.0.0", hasCredentials: false, insecure: true },
      [/^ANYONE WHO REACHES 0\.0\.0\.0 MAY/],
    ],
    ["insecure on loopback", { hasCredentials: false, insecure: true }, []],
    ["insecure with credentials", { insecure: true }, [/does nothing/]],
    ["everywhere, tokens in the clear", { host: "0.0.0.0" }, [/in the clear/]],
    ["everywhere, TLS", { host: "0.0.0.0", hasTls: true }, []],
    ["everywhere, behind a proxy", { host: "0.0.0.0", trustedProxies: ["10.0.0.1"] }, []],
    ["both at once", { host: "::", insecure: true }, [/does nothing/, /in the clear/]],
    ["anonymous operators", { anonymous: ADMIN }, [/operator's plane is open/]],
    ["anonymous operators, everywhere", { host: "0.0.0.0", anonymous: ADMIN }, "refused"],
    [
      "anonymous operators, everywhere, meant",
      { host: "0.0.0.0", hasTls: true, insecure: true, anonymous: ADMIN },
      [/operator's plane is open/],
    ],
    [
      "anonymous readers, everywhere, and nobody else",
      { host: "0.0.0.0", hasCredentials: false, insecure: true, anonymous: READ },
      [/^ANYONE WHO REACHES 0\.0\.0\.0 HAS THE RIGHTS OF anonymous/],
    ],
    ["anonymous readers", { anonymous: READ }, []],
    ["any page and no credentials", { hasCredentials: false, allowedOrigins: ["*"] }, [/web page/]],
    ["any page with credentials", { allowedOrigins: ["*"] }, []],
  ];
  for (const [name, settings, wanted] of table) {
    test(name, () => {
      const plan = { ...SAFE, ...settings };
      if (wanted === "refused") {
        expect(() => assertSafeToListen(plan)).toThrow("Refusing to listen");
        return;
      }
      expect(() => assertSafeToListen(plan)).not.toThrow();
      const found = exposures(plan);
      expect(found.map(({ message }) => message)).toEqual(
        wanted.map((pattern) => expect.stringMatching(pattern)) as unknown as string[],
      );
      for (const { advice } of found) expect(advice).toMatch(/\.$/);
    });
  }
});

test("[P-13.6] roles that the settings give away and do not have stop the start", () => {
  const tls = { clientPrincipal: { from: "cn", roles: ["device", "ghost"] } };
  const roles = { device: { grants: [] } };
  const keys = [{ id: "a", hash: "0".repeat(64), principal: "p", roles: ["phantom"] }];
  expect(() => checkConfig(configFrom({ tls, roles }))).toThrow('names the role "ghost"');
  expect(() => checkConfig(configFrom({ keys, roles }))).toThrow('names the role "phantom"');
});

test("[P-13.6] a role that an issuer's tokens may have and that is nowhere is said at the start", async () => {
  const said = unknownIssuerRoles(
    [{ issuer: "https://a", allowedRoles: ["here", "gone"] }, { issuer: "https://b" }],
    (name) => name === "here",
  );
  expect(said.map(({ message }) => message)).toEqual([
    "allowedRoles of https://a names roles that there are not: gone",
  ]);
  await using broker = await startTestWarren({
    issuers: [
      { issuer: "them", secret: "b8a1c0d9e7f24356a1b2c3d4e5f60718", allowedRoles: ["typo"] },
    ],
    anonymous: ADMIN,
  });
  const warnings = broker.log
    .map((line) => JSON.parse(line))
    .filter(({ level }) => level === "warn");
  expect(warnings.map(({ msg }) => msg)).toEqual([
    expect.stringContaining("operator's plane is open"),
    expect.stringContaining("names roles that there are not: typo"),
  ]);
  expect(warnings.every(({ advice }) => typeof advice === "string")).toBe(true);
});
