/** Who changed what over the operator's plane, asked for again [P-14.8]. */
import { expect, test } from "bun:test";
import { startTestWarren } from "../harness/warren.ts";

const QUEUE = "/admin/v1/queues/jobs";

test("[P-14.8, P-13.5] every change is told, with who made it and what became of it", async () => {
  await using broker = await startTestWarren();
  await broker.json("PUT", QUEUE, { bindings: ["a"], maxDeliveries: 2 });
  await broker.json("PUT", QUEUE, { maxDeliveries: 0 });
  await broker.json("PUT", QUEUE, { bindings: ["a/#/b"] });
  await broker.json("POST", "/v1/publish", { topic: "a", payload: 1 });
  await broker.json("POST", `${QUEUE}/pause`);
  await broker.json("POST", `${QUEUE}/resume`);
  await broker.json("DELETE", QUEUE);
  await broker.json("POST", `${QUEUE}/purge`);
  await broker.json("DELETE", QUEUE);
  await broker.json("POST", `${QUEUE}/purge`);
  const { status, body } = await broker.json("GET", "/admin/v1/audit");
  expect(status).toBe(200);
  const told = body.entries.toReversed();
  for (const entry of told) {
    const { time } = entry;
    expect(entry).toMatchObject({ principal: "anonymous", on: "jobs", address: "127.0.0.1" });
    expect(Number.isInteger(time)).toBe(true);
  }
  expect(
    told.map((entry: Record<string, unknown>) => [
      entry.action,
      entry.outcome,
      entry.code ?? entry.count ?? entry.detail,
    ]),
  ).toEqual([
    ["queue.define", "done", { fields: ["bindings", "maxDeliveries"] }],
    ["queue.put", "refused", "invalid_frame"],
    ["queue.change", "refused", "invalid_filter"],
    ["queue.pause", "done", undefined],
    ["queue.resume", "done", undefined],
    ["queue.delete", "refused", "conflict"],
    ["queue.purge", "done", 1],
    ["queue.delete", "done", 0],
    ["queue.purge", "refused", "unknown_queue"],
  ]);
});

test("[P-14.8] filters and pages; a question that does not fit is refused", async () => {
  await using broker = await startTestWarren();
  for (const name of ["a", "b", "c"]) await broker.json("PUT", `/admin/v1/queues/${name}`, {});
  const ask = async (query: string) => {
    const { body } = await broker.json("GET", `/admin/v1/audit?${query}`);
    return [body.entries.map(({ on }: { on: string }) => on), body.next];
  };
  const [first, next] = await ask("limit=2");
  expect(first).toEqual(["c", "b"]);
  expect(await ask(`limit=2&after=${next}`)).toEqual([["a"], undefined]);
  expect(await ask("on=b")).toEqual([["b"], undefined]);
  expect(await ask("outcome=refused")).toEqual([[], undefined]);
  expect(await ask("from=1&to=2")).toEqual([[], undefined]);
  for (const bad of ["after=x", "outcome=maybe", "limit=0", "format=csv"]) {
    expect((await broker.json("GET", `/admin/v1/audit?${bad}`)).status).toBe(400);
  }
});

test("[P-14.8] the export has every entry, one a line, and keeps to the filters", async () => {
  await using broker = await startTestWarren();
  const { audit } = broker.warren.broker.engine;
  for (let n = 0; n < 2500; n++) {
    audit.write({ time: n, action: n % 5 === 0 ? "a.b" : "a.c", outcome: "done", count: n });
  }
  const answer = await broker.request("GET", "/admin/v1/audit?format=ndjson");
  expect(answer.headers.get("Content-Type")).toBe("application/x-ndjson");
  const counts = (await answer.text()).trimEnd().split("\n");
  expect(counts.map((line) => JSON.parse(line).count)).toEqual(
    Array.from({ length: 2500 }, (_, at) => 2499 - at),
  );
  const some = await broker.request("GET", "/admin/v1/audit?format=ndjson&action=a.b&to=10");
  expect(await some.text()).toBe(
    [10, 5, 0]
      .map((n) => `${JSON.stringify({ time: n, action: "a.b", outcome: "done", count: n })}\n`)
      .join(""),
  );
});

const operator = { grants: [{ allow: ["admin"], on: ["queues"] }] };

test("[P-14.8] what is refused before it is known what it would do is told too, whatever it is", async () => {
  await using broker = await startTestWarren({ anonymous: operator, queues: { jobs: {} } });
  const { engine } = broker.warren.broker;
  const statuses = [];
  for (const [method, path, body] of [
    ["PUT", QUEUE, { maxDeliveries: "many" }],
    ["PUT", QUEUE, "{"],
    ["DELETE", `${QUEUE}?force=perhaps`, undefined],
    ["POST", `${QUEUE}.dead/redrive`, { ratePerSecond: 0 }],
    ["POST", `${QUEUE}.dead/redrive`, { topic: "a/#/b" }],
    ["POST", `${QUEUE}.dead/messages/m/resend`, { priority: 11 }],
    ["GET", `${QUEUE}?x=1`, undefined],
    ["GET", `${QUEUE}/messages?limit=0`, undefined],
    ["PUT", "/admin/v1/roles/boss", { grants: [] }],
    ["PUT", "/admin/v1/roles/boss", "{"],
  ] as const) {
    statuses.push((await broker.json(method, path, body)).status);
  }
  expect(statuses).toEqual([400, 400, 400, 400, 400, 400, 200, 400, 403, 403]);
  const { entries } = await engine.audit.query({ limit: 100 });
  expect(
    entries.toReversed().map(({ action, on, outcome, code }) => [action, on, outcome, code]),
  ).toEqual([
    ["queue.put", "jobs", "refused", "invalid_frame"],
    ["queue.put", "jobs", "refused", "malformed_frame"],
    ["queue.delete", "jobs", "refused", "invalid_frame"],
    ["queue.redrive", "jobs.dead", "refused", "invalid_frame"],
    ["queue.redrive", "jobs.dead", "refused", "invalid_filter"],
    ["message.resend", "jobs.dead", "refused", "invalid_frame"],
    ["access.admin", "roles", "refused", "forbidden"],
  ]);
  for (const { principal, address } of entries) {
    expect([principal, address]).toEqual(["anonymous", "127.0.0.1"]);
  }
  // Told together while they are the same: the second is counted.
  broker.warren.broker.refusals.flush();
  const later = await engine.audit.query({ limit: 1 });
  expect(later.entries).toMatchObject([{ action: "access.admin", on: "roles", count: 1 }]);
});
