/** What web pages may do, and what answers say to browsers [P-14.12]. */
import { describe, expect, test } from "bun:test";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";

const PAGE = "https://app.example";
const STRANGER = "https://evil.example";
const LISTED = { ...TOKENS_ONLY, allowedOrigins: [PAGE] };
const ANY = { ...TOKENS_ONLY, allowedOrigins: ["*"] };

async function publishWithCookie(broker: TestWarren, origin?: string) {
  const Cookie = `a=b; warren_token=${await tokenFor("ada")}`;
  const headers = { Cookie, ...(origin !== undefined && { Origin: origin }) };
  const { status, body } = await broker.json("POST", "/v1/topics/t", "x", headers);
  return [status, body.code ?? "ok"];
}

describe("the cookie", () => {
  test("[P-14.12, P-1.3] changes something only from the broker's own origin or a listed one", async () => {
    await using broker = await startTestWarren(LISTED);
    expect(await publishWithCookie(broker, PAGE)).toEqual([200, "ok"]);
    expect(await publishWithCookie(broker, broker.url)).toEqual([200, "ok"]);
    expect(await publishWithCookie(broker, STRANGER)).toEqual([403, "forbidden"]);
    expect(await publishWithCookie(broker, "null")).toEqual([403, "forbidden"]);
    expect(await publishWithCookie(broker)).toEqual([403, "forbidden"]);
  });

  test("[P-14.12] * lets pages in and vouches for none of them, over HTTP and WebSocket", async () => {
    await using broker = await startTestWarren(ANY);
    expect(await publishWithCookie(broker, STRANGER)).toEqual([403, "forbidden"]);
    const Cookie = `warren_token=${await tokenFor("ada")}`;
    const headers = { Cookie, Origin: STRANGER };
    expect((await broker.json("GET", "/admin/v1/info", undefined, headers)).status).toBe(401);
    const opened = new WebSocket(`${broker.url.replace("http", "ws")}/ws`, { headers } as never);
    const first = await new Promise<string>((resolve) => {
      opened.onopen = () => resolve("waits for auth");
      opened.onmessage = ({ data }) => resolve(data);
      opened.onclose = ({ code }) => resolve(String(code));
    });
    opened.close();
    expect(first).toBe("waits for auth");
  });

  test("[P-14.12] beside a token of its own a request's cookie says nothing", async () => {
    await using broker = await startTestWarren(LISTED);
    const headers = { Cookie: "warren_token=x", Authorization: `Bearer ${await tokenFor("ada")}` };
    expect((await broker.json("POST", "/v1/topics/t", "x", headers)).status).toBe(200);
  });
});

describe("CORS", () => {
  const preflight = (broker: TestWarren, origin: string) =>
    broker.request("OPTIONS", "/admin/v1/queues/q", undefined, {
      Origin: origin,
      "Access-Control-Request-Method": "PUT",
      "Access-Control-Request-Headers": "authorization, content-type",
    });

  test("[P-14.12] a listed origin: named, with credentials; the preflight says what it may send", async () => {
    await using broker = await startTestWarren(LISTED);
    const { status, headers } = await preflight(broker, PAGE);
    expect(status).toBe(204);
    expect(headers.get("Access-Control-Allow-Origin")).toBe(PAGE);
    expect(headers.get("Access-Control-Allow-Credentials")).toBe("true");
    expect(headers.get("Access-Control-Allow-Methods")).toContain("PUT");
    expect(headers.get("Access-Control-Allow-Headers")).toBe("authorization, content-type");
    expect(headers.get("Vary")).toBe("Origin");
  });

  test("[P-14.12] `*`: each origin by its name, never with credentials; a stranger gets nothing", async () => {
    await using any = await startTestWarren(ANY);
    const { headers } = await preflight(any, STRANGER);
    expect(headers.get("Access-Control-Allow-Origin")).toBe(STRANGER);
    expect(headers.has("Access-Control-Allow-Credentials")).toBe(false);
    await using listed = await startTestWarren(LISTED);
    const refused = await preflight(listed, STRANGER);
    expect(refused.status).toBe(403);
    expect(refused.headers.has("Access-Control-Allow-Origin")).toBe(false);
  });
});

test("[P-14.12] every answer says that it is no page, that it is what it says, and whom not to tell", async () => {
  await using broker = await startTestWarren(TOKENS_ONLY);
  const answers = [
    ["GET", "/healthz", 200],
    ["GET", "/openapi.json", 200],
    ["GET", "/nowhere", 404],
    ["POST", "/v1/publish", 401],
    ["GET", "/ws", 426],
  ] as const;
  for (const [method, path, wanted] of answers) {
    const { status, headers } = await broker.request(method, path);
    expect([path, status]).toEqual([path, wanted]);
    expect(headers.get("X-Content-Type-Options")).toBe("nosniff");
    expect(headers.get("Referrer-Policy")).toBe("no-referrer");
    expect(headers.get("Content-Security-Policy")).toContain("frame-ancestors 'none'");
  }
});
