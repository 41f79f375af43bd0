/** What holds for every HTTP request: addresses, methods, bodies, errors, who may [P-12.1], [P-1.4]. */
import { describe, expect, test } from "bun:test";
import { decode, encode } from "@msgpack/msgpack";
import { ERRORS } from "../../schemas/errors.ts";
import { OPERATIONS } from "../../schemas/http.ts";
import { hashKey } from "../../src/security/keys.ts";
import { signToken } from "../../src/security/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";

const SECRET = "a secret of more than thirty-two characters";

describe("[P-12.1] addresses and methods", () => {
  test("[P-1.4] every failure is problem+json with the code of the one table", async () => {
    await using broker = await startTestWarren();
    const { status, headers, body } = await broker.json("GET", "/nowhere");
    expect(status).toBe(404);
    expect(headers.get("Content-Type")).toBe("application/problem+json");
    expect(body).toEqual({
      type: "urn:warren:error:not_found",
      title: ERRORS.not_found.meaning,
      status: 404,
      code: "not_found",
      detail: ERRORS.not_found.meaning,
      retry: false,
    });
  });

  test("[P-12.1] a wrong method is 405 and says which are right", async () => {
    await using broker = await startTestWarren();
    const { status, headers, body } = await broker.json("PATCH", "/admin/v1/queues/jobs");
    expect([status, body.code]).toEqual([405, "method_not_allowed"]);
    expect(headers.get("Allow")?.split(", ").sort()).toEqual(["DELETE", "GET", "HEAD", "PUT"]);
    expect((await broker.json("GET", "/v1/publish")).headers.get("Allow")).toBe("POST");
  });

  test("[P-12.1] HEAD is GET without the body", async () => {
    await using broker = await startTestWarren();
    const answer = await broker.request("HEAD", "/version");
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe("");
    expect((await broker.request("HEAD", "/nowhere")).status).toBe(404);
  });

  test("[P-12.1] every operation is there, and in GET /openapi.json", async () => {
    await using broker = await startTestWarren();
    const { body } = await broker.json("GET", "/openapi.json");
    expect(body.openapi).toBe("3.1.0");
    for (const { method, path } of Object.values(OPERATIONS)) {
      expect(body.paths[path.replace("...}", "}")][method.toLowerCase()]).toBeDefined();
      const answer = await broker.request(method, path.replaceAll(/\{[^}]*\}/g, "x"));
      expect(answer.status, `${method} ${path}`).not.toBe(405);
      const isProblem = answer.headers.get("Content-Type") === "application/problem+json";
      const detail = isProblem ? ((await answer.json()) as { detail: string }).detail : undefined;
      // What is asked for may be missing; the address may not.
      expect(detail, `${method} ${path}`).not.toBe(ERRORS.not_found.meaning);
    }
  });
});

describe("[P-12.1] bodies", () => {
  test("[P-11.1] a body over limits.frameBytes is 413, whether its length is stated or not", async () => {
    const limits = { frameBytes: 1024, outboundBytes: 2048 };
    await using broker = await startTestWarren({ limits });
    const large = JSON.stringify({ topic: "a", payload: "x".repeat(1100) });
    const stated = await broker.json("POST", "/v1/publish", large);
    expect([stated.status, stated.body.code, stated.body.limit]).toEqual([413, "too_large", 1024]);
    const stream = new Blob([large]).stream();
    const chunked = await fetch(`${broker.url}/v1/publish`, { method: "POST", body: stream });
    expect(chunked.status).toBe(413);
    const fits = await broker.json("POST", "/v1/publish", { topic: "a", payload: "x".repeat(900) });
    expect(fits.status).toBe(200);
  });

  test("[P-2.4] bytes that are not what they are said to be are malformed", async () => {
    await using broker = await startTestWarren();
    const json = await broker.json("POST", "/v1/publish", "{");
    const msgpack = await broker.json("POST", "/v1/publish", Uint8Array.of(0xc1), {
      "Content-Type": "application/msgpack",
    });
    const extension = await broker.json("POST", "/v1/publish", Uint8Array.of(0xd4, 1, 0), {
      "Content-Type": "application/msgpack",
    });
    const utf8 = await broker.json("POST", "/v1/publish", Uint8Array.of(0x22, 0xff, 0x22));
    for (const answer of [json, msgpack, extension, utf8]) {
      expect([answer.status, answer.body.code]).toEqual([400, "malformed_frame"]);
    }
  });

  test("[P-12.1] what does not fit is named by its JSON Pointer; so is an unknown query", async () => {
    await using broker = await startTestWarren();
    const body = await broker.json("PUT", "/admin/v1/queues/jobs", { backoff: { minMs: -1 } });
    expect([body.status, body.body.pointer]).toEqual([400, "/backoff/minMs"]);
    const word = await broker.json("PUT", "/admin/v1/queues/jobs", { overflow: "drop" });
    expect(word.body).toMatchObject({ status: 400, pointer: "/overflow" });
    expect(word.body.detail).toContain("Expected reject, drop-oldest or dead-letter-oldest");
    const query = await broker.json("GET", "/admin/v1/queues?limit=many");
    expect([query.status, query.body.pointer]).toEqual([400, "/limit"]);
    const unknown = await broker.json("GET", "/admin/v1/queues?limits=3");
    expect([unknown.status, unknown.body.pointer]).toEqual([400, "/limits"]);
    const twice = await broker.json("GET", "/admin/v1/queues?limit=3&limit=4");
    expect([twice.status, twice.body.pointer]).toEqual([400, "/limit"]);
  });

  test("[P-12.1] definitions go in as MessagePack, answers come out as it", async () => {
    await using broker = await startTestWarren();
    const answer = await broker.request("PUT", "/admin/v1/queues/q", encode({ maxDeliveries: 2 }), {
      "Content-Type": "application/msgpack",
      Accept: "application/msgpack",
    });
    expect(decode(await answer.arrayBuffer())).toMatchObject({ name: "q", maxDeliveries: 2 });
  });
});

describe("[P-12.2] health", () => {
  test("[P-12.2] /healthz, /readyz, /version and /metrics", async () => {
    await using broker = await startTestWarren();
    expect((await broker.json("GET", "/healthz")).body).toEqual({ status: "ok" });
    expect((await broker.json("GET", "/readyz")).body).toEqual({ status: "ready" });
    const { version } = await import("../../package.json");
    expect((await broker.json("GET", "/version")).body).toEqual({ name: "warren", version });
    const metrics = await broker.request("GET", "/metrics");
    expect(metrics.headers.get("Content-Type")).toContain("text/plain");
    expect(await metrics.text()).toContain("warren_sessions 0");
  });

  test("[P-12.2] storage that cannot be written makes it not ready, with the reason", async () => {
    await using broker = await startTestWarren();
    const { engine } = broker.warren.broker;
    const health = { state: "unavailable", reason: "the disk is full", advice: "Free space." };
    Object.defineProperty(engine, "health", { get: () => health, configurable: true });
    const { status, headers, body } = await broker.json("GET", "/readyz");
    expect([status, body.code]).toEqual([503, "storage_unavailable"]);
    expect(body).toMatchObject({ detail: "the disk is full", advice: "Free space.", retry: true });
    expect(Number(headers.get("Retry-After"))).toBeGreaterThan(0);
    expect((await broker.request("GET", "/healthz")).status).toBe(200);
    Reflect.deleteProperty(engine, "health");
  });
});

describe("[P-1.3] [P-13.1] who may", () => {
  const key = "wk_ops_0123456789abcdef";
  const settings = {
    jwt: { secret: SECRET },
    keys: [
      {
        id: "ops",
        hash: hashKey(key),
        principal: "ops",
        grants: [
          { allow: ["admin"], on: ["queues"] },
          { allow: ["consume"], on: ["jobs"] },
        ],
      },
    ],
    queues: { jobs: { bindings: ["jobs/#"] } },
  };
  const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

  test("[P-1.4] without credentials, where some are configured: 401, and health stays open", async () => {
    await using broker = await startTestWarren(settings);
    const { status, headers, body } = await broker.json("GET", "/admin/v1/queues");
    expect([status, body.code]).toEqual([401, "unauthenticated"]);
    expect(headers.get("WWW-Authenticate")).toContain("Bearer");
    expect((await broker.request("GET", "/healthz")).status).toBe(200);
    expect((await broker.request("GET", "/metrics")).status).toBe(401);
    const wrong = await broker.json("GET", "/admin/v1/queues", undefined, bearer("wk_ops_wrong"));
    expect(wrong.status).toBe(401);
  });

  test("[P-12.10, P-13.1] the admin right is by area; publishing is by topic", async () => {
    await using broker = await startTestWarren(settings);
    const list = await broker.json("GET", "/admin/v1/queues", undefined, bearer(key));
    expect(list.status).toBe(200);
    const info = await broker.json("GET", "/admin/v1/info", undefined, bearer(key));
    expect([info.status, info.body.code, info.body.area]).toEqual([403, "forbidden", "info"]);
    const publish = await broker.json("POST", "/v1/publish", { topic: "jobs/a" }, bearer(key));
    expect([publish.status, publish.body.code]).toEqual([403, "forbidden"]);
  });

  test("[P-13.1] a token's principal is who a message is from", async () => {
    await using broker = await startTestWarren(settings);
    const grants = [{ allow: ["publish"] as const, on: ["jobs/#"] }];
    const token = await signToken({ sub: "maker", grants }, SECRET, Date.now() + 60_000);
    await broker.json("POST", "/v1/publish", { topic: "jobs/a", payload: 1 }, bearer(token));
    const path = "/admin/v1/queues/jobs/messages";
    const { body } = await broker.json("GET", path, undefined, bearer(key));
    expect(body.messages[0]).toMatchObject({ from: "maker", payload: 1 });
  });

  test("[P-1.3] ?access_token= works too", async () => {
    await using broker = await startTestWarren(settings);
    const answer = await broker.json("GET", `/admin/v1/queues?limit=1&access_token=${key}`);
    expect(answer.status).toBe(200);
  });

  test("[P-1.6] a page of another origin is refused, one that is listed may read", async () => {
    await using broker = await startTestWarren({ allowedOrigins: ["https://app.example"] });
    const from = (origin: string) =>
      broker.request("GET", "/version", undefined, { Origin: origin });
    expect((await from("https://evil.example")).status).toBe(403);
    expect((await from(broker.url)).status).toBe(200);
    const listed = await from("https://app.example");
    expect(listed.headers.get("Access-Control-Allow-Origin")).toBe("https://app.example");
    const preflight = await broker.request("OPTIONS", "/v1/publish", undefined, {
      Origin: "https://app.example",
      "Access-Control-Request-Method": "POST",
      "Access-Control-Request-Headers": "authorization",
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("Access-Control-Allow-Headers")).toBe("authorization");
  });

  test("[P-1.6] a broker that is open to this machine answers to this machine's names only", async () => {
    await using open = await startTestWarren();
    const as = (broker: typeof open, host: string) =>
      broker.json("GET", "/admin/v1/queues", undefined, { Host: host });
    const { port } = new URL(open.url);
    expect((await as(open, `evil.example:${port}`)).body.code).toBe("forbidden");
    expect((await as(open, `localhost:${port}`)).status).toBe(200);
    await using closed = await startTestWarren(settings);
    const { body } = await closed.json("GET", "/admin/v1/queues", undefined, {
      Host: "broker.example",
      ...bearer(key),
    });
    expect(body.queues).toHaveLength(2);
  });
});
