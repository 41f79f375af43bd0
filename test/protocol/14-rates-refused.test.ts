/** Requests that come no further than their refusal count for their rates as any other does [P-14.11]. */
import { describe, expect, test } from "bun:test";
import { ManualClock } from "../harness/manual-clock.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";

const HERE = "203.0.113.1";
const ELSEWHERE = "203.0.113.2";

async function limited(rates: object) {
  const clock = new ManualClock();
  const access = { ...TOKENS_ONLY, rates, trustedProxies: ["127.0.0.1"] };
  const broker = await startBroker({ access, deps: { clock } });
  const ask = async (path: string, init: RequestInit = {}, address = HERE) => {
    const headers = { "X-Forwarded-For": address, ...(init.headers as Record<string, string>) };
    const answer = await fetch(`${broker.httpUrl}${path}`, { ...init, headers });
    const text = await answer.text();
    const { code, scope } = (text.startsWith("{") ? JSON.parse(text) : {}) as Record<
      string,
      string
    >;
    return { status: answer.status, code, scope, retryAfter: answer.headers.get("Retry-After") };
  };
  return { clock, broker, ask };
}

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });
const powerless = await tokenFor("ada", { grants: [] });
const table: [string, number, string, RequestInit][] = [
  ["without a credential", 401, "/admin/v1/info", {}],
  ["with a wrong one", 401, "/admin/v1/info", { headers: bearer("wrong") }],
  ["without the right", 403, "/admin/v1/info", { headers: bearer(powerless) }],
  ["for nothing that there is", 404, "/nowhere", {}],
  ["by a method that there is not", 405, "/v1/publish", { method: "PATCH" }],
  ["from a stranger's page", 403, "/v1/publish", { headers: { Origin: "https://evil.example" } }],
  ["that asks before it asks", 204, "/v1/publish", { method: "OPTIONS" }],
  ["that is no handshake", 426, "/ws", {}],
];

describe("[P-14.11] a request counts, whatever becomes of it", () => {
  test.each(table)("%s", async (_, status, path, init) => {
    const { broker, clock, ask } = await limited({
      burstSeconds: 1,
      address: { messagesPerSecond: 3 },
    });
    await using _broker = broker;
    for (let n = 0; n < 3; n++) expect((await ask(path, init)).status).toBe(status);
    expect(await ask(path, init)).toEqual({
      status: 429,
      code: "rate_limited",
      scope: "address",
      retryAfter: "1",
    });
    expect((await ask(path, init, ELSEWHERE)).status).toBe(status);
    clock.advance(334);
    expect((await ask(path, init)).status).toBe(status);
  });

  test.each(table)(
    "%s, and who goes on is banned before anything else is looked at",
    async (...row) => {
      const [, status, path, init] = row;
      const { broker, clock, ask } = await limited({
        burstSeconds: 1,
        address: { messagesPerSecond: 1 },
        abuse: { perMinute: 2, banMs: 60_000 },
      });
      await using _broker = broker;
      expect((await ask(path, init)).status).toBe(status);
      for (let n = 0; n < 3; n++) expect((await ask(path, init)).code).toBe("rate_limited");
      expect((await ask(path, init)).code).toBe("banned");
      // Whether it lives is everybody's to know, within the rates [P-14.5].
      expect((await ask("/healthz")).code).toBe("rate_limited");
      clock.advance(2000);
      expect((await ask("/healthz")).status).toBe(200);
      expect((await ask(path, init)).code).toBe("banned");
    },
  );
});
