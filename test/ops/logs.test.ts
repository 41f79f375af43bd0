/** Log lines: what they hold and what they never hold [P-1.3], [P-13.6]. */
import { describe, expect, test } from "bun:test";
import { createLogger, redact } from "../../src/log.ts";
import { hashKey } from "../../src/security/keys.ts";
import { signToken } from "../../src/security/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";
import { WireClient } from "../harness/wire-client.ts";

const SECRET = "a secret of more than thirty-two characters";
const KEY = "wk_ops_0123456789abcdef";

describe("[P-1.3] no log holds a credential", () => {
  test("[P-1.3] whatever way it came, on good days and bad ones", async () => {
    const token = await signToken(
      { sub: "me", grants: [{ allow: ["admin", "subscribe"], on: ["#"] }] },
      SECRET,
      Date.now() + 60_000,
    );
    await using broker = await startTestWarren({
      jwt: { secret: SECRET },
      keys: [{ id: "ops", hash: hashKey(KEY), principal: "ops" }],
    });
    const ws = `${broker.url.replace("http", "ws")}/ws`;
    // A fault of the broker's own writes the most: the URL and the error.
    broker.warren.broker.engine.queues.list = () => {
      throw new Error(`broken at ${KEY} with Bearer ${token} and ${SECRET}`);
    };
    const bearer = { Authorization: `Bearer ${token}` };
    expect((await broker.request("GET", "/admin/v1/queues", undefined, bearer)).status).toBe(500);
    const query = `/admin/v1/queues?access_token=${token}`;
    expect((await broker.request("GET", query)).status).toBe(500);
    await broker.request("GET", "/admin/v1/queues", undefined, { Authorization: `Bearer ${KEY}` });
    (await WireClient.connect(ws, { token })).socket.close();
    const protocols = ["warren.v1.json", `warren.token.${token}`];
    (await WireClient.connect(ws, { protocols })).socket.close();
    await broker.warren.stop("test");
    const text = broker.log.join("");
    expect(text).toContain("request failed");
    for (const secret of [token, SECRET, KEY, token.split(".")[2] as string]) {
      expect(text).not.toContain(secret);
    }
  });

  test("[P-1.3] a whole run, with every place that a secret can be in", async () => {
    const [secret, older, ofIssuer] = ["own", "older", "issuer"].map(
      (name) => `${name}-${crypto.randomUUID()}-${crypto.randomUUID()}`,
    ) as [string, string, string];
    const claims = { grants: [{ allow: ["admin", "publish", "subscribe"] as const, on: ["#"] }] };
    const places = ["header", "protocol", "query", "cookie", "frame", "old"];
    const tokens = await Promise.all(
      places.map((sub) => signToken({ sub, ...claims }, sub === "old" ? older : secret)),
    );
    const [header, protocol, query, cookie, frame, old] = tokens as [string, ...string[]];
    const issued = await signToken({ sub: "x", iss: "https://id.example", ...claims }, ofIssuer);
    await using broker = await startTestWarren({
      jwt: { secret, previousSecret: older },
      issuers: [{ issuer: "https://id.example", secret: ofIssuer }],
      keys: [{ id: "ops", hash: hashKey(KEY), principal: "ops" }],
      allowedOrigins: ["https://page.example"],
    });
    const ws = `${broker.url.replace("http", "ws")}/ws`;
    const opened = [
      { token: header },
      { protocols: ["warren.v1.json", `warren.token.${protocol}`] },
      { headers: { Cookie: `warren_token=${cookie}`, Origin: "https://page.example" } },
      { token: old },
      { token: issued },
      { token: KEY },
    ];
    for (const options of opened) {
      using client = await WireClient.connect(ws, options as never);
      // What is refused is told, and noted, too.
      await client.request({ type: "auth", token: `${frame}x` });
      await client.request({ type: "auth", token: `${KEY}x` });
    }
    using asked = await WireClient.connect(`${ws}?access_token=${query}`);
    using waiting = await WireClient.open(ws);
    waiting.send({ type: "auth", id: 1, token: frame });
    await waiting.expect("welcome");
    broker.warren.broker.engine.queues.list = () => {
      throw new Error([secret, older, ofIssuer, KEY, issued, ...tokens].join(" and "));
    };
    const path = `/admin/v1/queues?access_token=${query}`;
    const failed = await broker.request("GET", path);
    const wrong = await broker.request("GET", `${path}x`);
    const texts = [await failed.text(), await wrong.text(), JSON.stringify(asked.inbox)];
    Reflect.deleteProperty(broker.warren.broker.engine.queues, "list");
    expect([failed.status, wrong.status]).toEqual([500, 401]);
    await broker.warren.stop("test");
    expect(broker.log.join("")).toContain("request failed");
    texts.push(broker.log.join(""));
    for (const token of [secret, older, ofIssuer, KEY, issued, ...tokens]) {
      for (const text of texts) {
        expect(text).not.toContain(token);
        expect(text).not.toContain(token.split(".")[2] ?? token);
      }
    }
  });

  test.each(["json", "pretty"] as const)(
    "[P-1.3] a secret with quotes, backslashes and line breaks, in %s",
    (format) => {
      const secret = 'ab"cd\\ef\ngh-0123456789-0123456789';
      const lines: string[] = [];
      const write = (line: string) => void lines.push(line);
      const log = createLogger({ format, level: "info", secrets: [secret], write });
      log.error(`at ${secret}`, { error: new Error(`with ${secret}`), on: { any: [secret] } });
      expect(lines.join("")).toContain("[redacted]");
      for (const piece of ["cd", "ef", "gh-0123456789"])
        expect(lines.join("")).not.toContain(piece);
    },
  );

  test("[P-1.3] what is too short to be a secret does not break the lines", () => {
    const lines: string[] = [];
    const write = (line: string) => void lines.push(line);
    const secrets = ["1", '"', "json", "e"];
    createLogger({ format: "json", level: "info", secrets, write }).info("here", { n: 11 });
    expect(JSON.parse(lines.join(""))).toMatchObject({ msg: "here", level: "info", n: 11 });
  });

  test("[P-12.1] a fault of the broker's own shows the client nothing of itself", async () => {
    await using broker = await startTestWarren();
    broker.warren.broker.engine.queues.list = () => {
      throw new Error("the inside of the broker");
    };
    const { status, body } = await broker.json("GET", "/admin/v1/queues");
    expect([status, body.code, body.retry]).toEqual([500, "internal", true]);
    expect(JSON.stringify(body)).not.toContain("inside");
    expect(broker.log.join("")).toContain("the inside of the broker");
    Reflect.deleteProperty(broker.warren.broker.engine.queues, "list");
  });

  test.each([
    ["?a=1&access_token=abc.def&b=2", "?a=1&access_token=[redacted]&b=2"],
    ["Authorization: Bearer abc", "Authorization: Bearer [redacted]"],
    ["wk_meter7_abcDEF-123_x", "wk_meter7_[redacted]"],
    ["warren.v1.json, warren.token.abc", "warren.v1.json, warren.token.[redacted]"],
    ["warren_token=abc; other=1", "warren_token=[redacted]; other=1"],
    ["x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2ln y", "x [redacted] y"],
    ["the word token, a topic wk/a and key=1 stay", "the word token, a topic wk/a and key=1 stay"],
  ])("[P-1.3] %s", (text, clean) => {
    expect(redact(text)).toBe(clean);
  });
});

describe("log lines", () => {
  test("JSON lines have level, time and msg; the level hides what is below it", () => {
    const lines: string[] = [];
    const write = (line: string) => void lines.push(line);
    const log = createLogger({ format: "json", level: "info", secrets: [], write });
    log.debug("hidden");
    log.warn("seen", { queue: "jobs" });
    log.error("failed", { error: new Error("why") });
    expect(lines).toHaveLength(2);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ level: "warn", msg: "seen", queue: "jobs" });
    expect(JSON.parse(lines[0] ?? "").time).toMatch(/^\d{4}-\d\d-\d\dT/);
    expect(JSON.parse(lines[1] ?? "").error).toMatchObject({ type: "Error", message: "why" });
  });

  test("pretty lines are for people", () => {
    const lines: string[] = [];
    const write = (line: string) => void lines.push(line);
    const log = createLogger({ format: "pretty", level: "info", secrets: ["hidden"], write });
    log.info("listening", { url: "http://x", password: "hidden" });
    expect(lines.join("")).toMatch(/^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: listening .*http:\/\/x/);
    expect(lines.join("")).not.toContain("hidden");
  });

  test("nothing is logged per message", async () => {
    await using broker = await startTestWarren({ queues: { jobs: { bindings: ["#"] } } });
    const before = broker.log.length;
    for (let i = 0; i < 20; i++) await broker.json("POST", "/v1/topics/a", "x");
    await broker.json("POST", "/v1/queues/jobs/pull", { max: 20, waitMs: 20_000 });
    expect(broker.log.length).toBe(before);
  });
});
