/** Where a request carries its credential, and which one counts [P-1.3]. */
import { describe, expect, test } from "bun:test";
import { findCredential, redactUrl } from "../../src/security/credentials.ts";
import { createOriginCheck } from "../../src/security/origins.ts";

const origins = createOriginCheck(["https://app.example"]);
const found = (path: string, headers: Record<string, string> = {}) =>
  findCredential(new Request(`http://broker.example${path}`, { headers }), origins);

const ALLOWED = { origin: "https://app.example" };
const HEADER = { authorization: "Bearer from-header" };
const PROTOCOL = { "sec-websocket-protocol": "warren.v1.json, warren.token.from-protocol" };
const QUERY = "/ws?access_token=from-query";
const COOKIE = { ...ALLOWED, cookie: "warren_token=from-cookie" };

describe("[P-1.3] first found wins", () => {
  const table: [string, string, Record<string, string>, string | undefined][] = [
    ["the header before all", QUERY, { ...HEADER, ...PROTOCOL, ...COOKIE }, "from-header"],
    ["the subprotocol before the query", QUERY, { ...PROTOCOL, ...COOKIE }, "from-protocol"],
    ["the query before the cookie", QUERY, COOKIE, "from-query"],
    ["the cookie last", "/ws", COOKIE, "from-cookie"],
    ["none", "/ws", { "sec-websocket-protocol": "warren.v1.json" }, undefined],
  ];
  for (const [name, path, headers, want] of table) {
    test(name, () => expect(found(path, headers)).toBe(want));
  }
});

describe("[P-1.3] each place is read exactly", () => {
  const table: [string, string, Record<string, string>, string | undefined][] = [
    ["the scheme in any case", "/ws", { authorization: "bEARER  abc " }, "abc"],
    ["another scheme is not ours", QUERY, { authorization: "Basic eDp5" }, "from-query"],
    ["a scheme that only begins so", "/ws", { authorization: "BearerX abc" }, undefined],
    ["an empty header is a wrong credential", QUERY, { authorization: "Bearer" }, ""],
    [
      "the first token item",
      "/ws",
      {
        "sec-websocket-protocol": "warren.token.a,warren.token.b, warren.v1.json",
      },
      "a",
    ],
    [
      "an empty item is a wrong credential",
      "/ws",
      { "sec-websocket-protocol": "warren.token." },
      "",
    ],
    ["an item of another name", "/ws", { "sec-websocket-protocol": "Xwarren.token.a" }, undefined],
    ["the first parameter", "/ws?x=1&access_token=a&access_token=b", {}, "a"],
    ["a parameter spelt in percents", "/ws?access%5Ftoken=a%2Eb", {}, "a.b"],
    ["an empty parameter is a wrong credential", "/ws?access_token=", {}, ""],
    ["another parameter", "/ws?xaccess_token=a", {}, undefined],
    ["a parameter in the path", "/access_token=a", {}, undefined],
    ["one cookie of several", "/ws", { ...ALLOWED, cookie: "a=b; warren_token=t=1; c=d" }, "t=1"],
    ["a quoted cookie", "/ws", { ...ALLOWED, cookie: 'warren_token="t"' }, "t"],
    [
      "a cookie of another name",
      "/ws",
      { ...ALLOWED, cookie: "xwarren_token=t; warren_token" },
      undefined,
    ],
  ];
  for (const [name, path, headers, want] of table) {
    test(name, () => expect(found(path, headers)).toBe(want));
  }
});

describe("[P-1.3] a cookie counts only with an allowed origin", () => {
  const cookie = "warren_token=t";
  const table: [string, Record<string, string>, string | undefined][] = [
    ["a listed one", { cookie, origin: "https://app.example" }, "t"],
    ["the broker's own", { cookie, origin: "http://broker.example" }, "t"],
    ["a stranger's", { cookie, origin: "https://evil.example" }, undefined],
    ["none", { cookie }, undefined],
    ["null", { cookie, origin: "null" }, undefined],
  ];
  for (const [name, headers, want] of table) {
    test(name, () => expect(found("/ws", headers)).toBe(want));
  }
});

describe("[P-1.3] a logged URL holds no token", () => {
  const table: [string, string][] = [
    ["http://h/ws", "http://h/ws"],
    ["/ws?a=1&b", "/ws?a=1&b"],
    ["/ws?access_token=secret", "/ws?access_token=redacted"],
    ["/ws?a=%31&access_token=secret&b=2#top", "/ws?a=%31&access_token=redacted&b=2#top"],
    [
      "/ws?access_token=secret&access_token=secret",
      "/ws?access_token=redacted&access_token=redacted",
    ],
    ["/ws?access%5Ftoken=secret", "/ws?access_token=redacted"],
    ["/ws?%61ccess_token=secret%zz", "/ws?access_token=redacted"],
    ["/ws?access_token=", "/ws?access_token=redacted"],
    ["/ws?x=y?access_token=z", "/ws?x=y?access_token=z"],
    ["?", "?"],
    ["", ""],
  ];
  for (const [url, want] of table) {
    test(JSON.stringify(url), () => expect(redactUrl(url)).toBe(want));
  }

  test("whatever counts as the credential is not in the logged URL", () => {
    const spellings = ["access_token", "access%5ftoken", "%61%63%63ess_token", "access_token&x"];
    for (const name of spellings) {
      for (const path of [
        `/ws?${name}=s3cret`,
        `/ws?a&&${name}=s3cret`,
        `/ws??&${name}=s3cret#f`,
      ]) {
        if (found(path) === "s3cret") expect(redactUrl(path)).not.toContain("s3cret");
      }
    }
  });
});

test("[P-1.3] with allowedOrigins * a cookie counts only from the same origin or a listed one", () => {
  const origins = createOriginCheck(["*", "https://page.example"]);
  const asked = (Origin: string) =>
    findCredential(
      new Request("http://broker.example/ws", { headers: { Origin, Cookie: "warren_token=t" } }),
      origins,
    );
  expect(asked("https://evil.example")).toBeUndefined();
  expect(asked("https://page.example")).toBe("t");
  expect(asked("http://broker.example")).toBe("t");
});
