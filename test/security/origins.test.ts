/** Which pages may connect [P-1.6]. */
import { describe, expect, test } from "bun:test";
import { createOriginCheck } from "../../src/security/origins.ts";

const URL_OF_BROKER = "http://broker.example:7070/ws?x=1";

describe("[P-1.6] an origin must be listed exactly", () => {
  const check = createOriginCheck([
    "https://app.example",
    "http://dev.example:3000",
    "HTTPS://Shop.Example:443",
    "http://[::1]:8080",
    "capacitor://localhost",
  ]);
  const table: [string | null, boolean][] = [
    [null, true],
    ["https://app.example", true],
    ["https://shop.example", true],
    ["http://dev.example:3000", true],
    ["http://[::1]:8080", true],
    ["capacitor://localhost", true],
    ["http://broker.example:7070", true],
    ["http://app.example", false],
    ["https://app.example:8443", false],
    ["https://app.example.evil.example", false],
    ["https://evil.example/https://app.example", false],
    ["https://app.example@evil.example", false],
    ["https://app.example/", false],
    ["https://sub.app.example", false],
    ["https://app.example, https://evil.example", false],
    ["http://dev.example", false],
    ["https://broker.example:7070", false],
    ["http://broker.example", false],
    ["null", false],
    ["", false],
    ["*", false],
  ];
  for (const [origin, allowed] of table) {
    test(`${JSON.stringify(origin)} ${allowed ? "may" : "may not"} connect`, () => {
      expect(check.allows(origin, URL_OF_BROKER)).toBe(allowed);
    });
  }

  test("an empty list lets in the broker's own pages and what is no browser", () => {
    const own = createOriginCheck([]);
    expect(own.allows("http://broker.example:7070", URL_OF_BROKER)).toBe(true);
    expect(own.allows(null, URL_OF_BROKER)).toBe(true);
    expect(own.allows("https://app.example", URL_OF_BROKER)).toBe(false);
  });

  test("* lets in every page, only because the operator lists it", () => {
    const any = createOriginCheck(["*"]);
    expect(any.allows("https://anyone.example", URL_OF_BROKER)).toBe(true);
    expect(any.allows("null", URL_OF_BROKER)).toBe(true);
  });

  test("a URL that cannot be read has no pages of its own", () => {
    expect(createOriginCheck([]).allows("http://x", "::")).toBe(false);
  });
});

describe("[P-1.6] an entry that is no origin stops the start", () => {
  for (const entry of [
    "",
    "app.example",
    "https://",
    "https://*.example",
    "https://a.example/",
    "https://a.example/path",
    "https://u:p@a.example",
    "https://a.example:99999",
    "null",
  ]) {
    test(JSON.stringify(entry), () => {
      expect(() => createOriginCheck([entry])).toThrow(/must be scheme:\/\/host/);
    });
  }
});
