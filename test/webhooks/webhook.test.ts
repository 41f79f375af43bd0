/** A queue that is pushed to an HTTP endpoint: a real broker, a real endpoint. */
import { expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import type { QueueDefinition } from "../../schemas/queue.ts";
import { namesLinkLocal } from "../../src/link-local.ts";
import { systemResolve } from "../../src/pinned-fetch.ts";
import { destinationOf } from "../../src/webhooks/destination.ts";
import { eventually } from "../harness/eventually.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { type Endpoint, startEndpoint } from "./endpoint.ts";

const SECRET = "whsec_dGhlIHNlY3JldCBvZiBhIHRlc3QsIG5vdCBvdXJz";

async function pushed(
  endpoint: Endpoint,
  settings: QueueDefinition = {},
  webhook: Partial<NonNullable<QueueDefinition["webhook"]>> = {},
): Promise<TestBroker> {
  const broker = await startBroker();
  await broker.queue("jobs", ["jobs/#"], {
    ...settings,
    webhook: { url: endpoint.url, ...webhook },
  });
  return broker;
}

async function publish(broker: TestBroker, ...messages: object[]): Promise<void> {
  const body = messages.map((message) => ({ topic: "jobs/a", payload: 1, ...message }));
  const answer = await fetch(`${broker.httpUrl}/v1/publish`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  expect(answer.status).toBe(200);
}

async function ask(broker: TestBroker, path: string, method = "GET", body?: object) {
  const answer = await fetch(`${broker.httpUrl}${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    headers: { "content-type": "application/json" },
  });
  // biome-ignore lint/suspicious/noExplicitAny: what is in it is what the test is about.
  return { status: answer.status, body: (await answer.json()) as any };
}

const counts = (broker: TestBroker, queue = "jobs") =>
  broker.warren.broker.engine.queues.describe(queue).counts;

const addressesAt = (url: string) =>
  destinationOf(new URL(url), AbortSignal.timeout(10_000), systemResolve);

const isEmpty = (broker: TestBroker) => () => {
  const { ready, delayed, inFlight } = counts(broker);
  return ready + delayed + inFlight === 0;
};

test("[P-5.16] each message is posted with all that is known of it, and a 2xx acks it", async () => {
  await using endpoint = startEndpoint();
  await using broker = await pushed(endpoint);
  await publish(broker, {
    topic: "jobs/a",
    payload: { answer: 42 },
    messageId: "m-1",
    key: "käse",
    headers: { "Trace-Id": "abc", "not a header": "x" },
    correlationId: "c-1",
  });
  await endpoint.came(1);
  const { headers, body } = endpoint.received[0]!;
  expect(JSON.parse(body.toString())).toEqual({ answer: 42 });
  const said = Object.fromEntries(headers);
  expect(said).toMatchObject({
    "content-type": "application/json",
    "warren-queue": "jobs",
    "warren-topic": "jobs/a",
    "warren-message-id": "m-1",
    "warren-attempt": "1",
    "warren-key": "k%C3%A4se",
    "warren-correlation-id": "c-1",
    "warren-header-trace-id": "abc",
    "webhook-id": "m-1",
  });
  expect(said["webhook-signature"]).toBeUndefined();
  await eventually(isEmpty(broker), () => "the ack");
});

test("[P-5.16] bytes are posted as they are, with their content type", async () => {
  await using endpoint = startEndpoint();
  await using broker = await pushed(endpoint);
  const sent = Buffer.from([0, 255, 10, 13]);
  await fetch(`${broker.httpUrl}/v1/topics/jobs/raw`, {
    method: "POST",
    headers: { "content-type": "image/png" },
    body: sent,
  });
  await endpoint.came(1);
  const { headers, body } = endpoint.received[0]!;
  expect(headers.get("content-type")).toBe("image/png");
  expect(body.equals(sent)).toBe(true);
});

test("[P-5.16] with a secret the request is signed as Standard Webhooks has it", async () => {
  await using endpoint = startEndpoint();
  await using broker = await pushed(endpoint, {}, { secret: SECRET });
  await publish(broker, { messageId: "signed", payload: { text: "grüße" } });
  await endpoint.came(1);
  const { headers, body } = endpoint.received[0]!;
  const timestamp = headers.get("webhook-timestamp")!;
  expect(Math.abs(Number(timestamp) * 1000 - Date.now())).toBeLessThan(60_000);
  const key = Buffer.from(SECRET.slice("whsec_".length), "base64");
  const mac = createHmac("sha256", key).update(`signed.${timestamp}.${body.toString()}`);
  expect(headers.get("webhook-signature")).toBe(`v1,${mac.digest("base64")}`);
});

test("[P-5.16] another answer is a nack: tried again, and dead at the end with the reason", async () => {
  await using endpoint = startEndpoint();
  endpoint.answer = () => new Response("no", { status: 422 });
  const settings = { maxDeliveries: 2, backoff: { minMs: 1, maxMs: 1, jitter: 0 } };
  await using broker = await pushed(endpoint, settings);
  await publish(broker, {});
  await endpoint.came(2);
  expect(endpoint.received.map(({ headers }) => headers.get("warren-attempt"))).toEqual(["1", "2"]);
  await eventually(
    () => counts(broker, "jobs.dead").ready === 1,
    () => "the dead letter",
  );
  const { body } = await ask(broker, "/admin/v1/queues/jobs.dead/messages");
  expect(body.messages[0].deaths[0]).toMatchObject({
    reason: "max_deliveries",
    detail: "The endpoint answered 422.",
  });
});

test("[P-5.16] a redirect is not followed", async () => {
  await using endpoint = startEndpoint();
  await using elsewhere = startEndpoint();
  endpoint.answer = () => Response.redirect(elsewhere.url, 302);
  await using broker = await pushed(endpoint, { maxDeliveries: 1 });
  await publish(broker, {});
  await eventually(
    () => counts(broker, "jobs.dead").ready === 1,
    () => "the dead letter",
  );
  expect(elsewhere.received).toHaveLength(0);
});

test("[P-5.16] Retry-After says when a message is tried again, up to the queue's longest backoff", async () => {
  await using endpoint = startEndpoint();
  endpoint.answer = () => new Response("", { status: 429, headers: { "retry-after": "3600" } });
  await using broker = await pushed(endpoint, { backoff: { minMs: 1, maxMs: 7_200_000 } });
  const before = Date.now();
  await publish(broker, {});
  await eventually(
    () => counts(broker).delayed === 1,
    () => "the delay",
  );
  const { body } = await ask(broker, "/admin/v1/queues/jobs/messages?state=delayed");
  expect(body.messages[0].dueAt).toBeGreaterThanOrEqual(before + 3_600_000);
  await using impatient = await pushed(endpoint, { backoff: { minMs: 1, maxMs: 60_000 } });
  await publish(impatient, {});
  await eventually(
    () => counts(impatient).delayed === 1,
    () => "the delay",
  );
  const bounded = await ask(impatient, "/admin/v1/queues/jobs/messages?state=delayed");
  expect(bounded.body.messages[0].dueAt).toBeLessThanOrEqual(Date.now() + 60_000);
});

test("[P-5.16] no more than maxInFlight requests are under way", async () => {
  await using endpoint = startEndpoint();
  const gate = Promise.withResolvers<void>();
  endpoint.answer = async () => {
    await gate.promise;
    return new Response();
  };
  await using broker = await pushed(endpoint, {}, { maxInFlight: 3 });
  await publish(broker, ...Array.from({ length: 20 }, () => ({})));
  await endpoint.came(3);
  expect(counts(broker)).toMatchObject({ inFlight: 3, ready: 17 });
  gate.resolve();
  await eventually(isEmpty(broker), () => "all acks");
  expect(endpoint.open.most).toBe(3);
  expect(endpoint.received).toHaveLength(20);
});

test("[P-5.16] an endpoint that does not answer in time is as good as none", async () => {
  await using endpoint = startEndpoint();
  endpoint.answer = () => new Promise(() => {});
  await using broker = await pushed(endpoint, { maxDeliveries: 1 }, { timeoutMs: 100 });
  await publish(broker, {});
  await eventually(
    () => counts(broker, "jobs.dead").ready === 1,
    () => "the dead letter",
  );
  const { body } = await ask(broker, "/admin/v1/queues/jobs/webhook");
  expect(body).toMatchObject({
    failed: 1,
    lastError: "The endpoint did not answer within 100 ms.",
  });
});

test("[P-5.16] an endpoint that is down burns few attempts, and gets everything when it is back", async () => {
  await using endpoint = startEndpoint();
  endpoint.answer = () => new Response("", { status: 503 });
  const backoff = { minMs: 20, maxMs: 40, jitter: 0 };
  await using broker = await pushed(endpoint, { maxDeliveries: 1000, backoff }, { maxInFlight: 4 });
  await publish(broker, ...Array.from({ length: 50 }, () => ({})));
  await eventually(
    () => broker.log.some((line) => line.includes("takes nothing")),
    () => "the warning",
  );
  const failing = await ask(broker, "/admin/v1/queues/jobs/webhook");
  expect(failing.body).toMatchObject({ state: "failing", lastError: "The endpoint answered 503." });
  // Those that were under way when it began, and from then on one at a time.
  const begun = endpoint.received.length;
  endpoint.open.most = 0;
  await endpoint.came(begun + 3);
  expect(endpoint.open.most).toBe(1);
  const sent = endpoint.received.length;
  expect(sent).toBeLessThan(30);
  endpoint.answer = () => new Response();
  await eventually(isEmpty(broker), () => "all acks");
  const working = await ask(broker, "/admin/v1/queues/jobs/webhook");
  expect(working.body).toMatchObject({ state: "delivering", delivered: 50, failuresInARow: 0 });
  expect(broker.log.some((line) => line.includes("takes messages again"))).toBe(true);
});

test("[P-5.16] a stop waits for what was sent, which is acked and not sent again", async () => {
  await using endpoint = startEndpoint();
  const gate = Promise.withResolvers<void>();
  endpoint.answer = async () => {
    await gate.promise;
    return new Response();
  };
  await using broker = await pushed(endpoint, {}, { maxInFlight: 1 });
  await publish(broker, {}, {});
  await endpoint.came(1);
  const stopped = broker.stop();
  await eventually(
    () => broker.log.some((line) => line.includes("draining")),
    () => "the stop",
  );
  gate.resolve();
  await stopped;
  expect(endpoint.received).toHaveLength(1);
  expect(broker.warren.broker.engine.counters.acked).toBe(1);
});

test("[P-5.16] settings act at once: a new address, and an end", async () => {
  await using endpoint = startEndpoint();
  await using second = startEndpoint();
  await using broker = await pushed(endpoint);
  await publish(broker, {});
  await endpoint.came(1);
  await ask(broker, "/admin/v1/queues/jobs", "PUT", { webhook: { url: second.url } });
  await publish(broker, {});
  await second.came(1);
  const { body } = await ask(broker, "/admin/v1/queues/jobs", "PUT", { webhook: null });
  expect(body.webhook).toBeUndefined();
  await publish(broker, {});
  await eventually(
    () => counts(broker).ready === 1,
    () => "the message that waits",
  );
  expect([endpoint.received.length, second.received.length]).toEqual([1, 1]);
  expect((await ask(broker, "/admin/v1/queues/jobs/webhook")).status).toBe(404);
});

test("[P-5.16] secrets are written, not read; left out they stay for the same address only", async () => {
  await using endpoint = startEndpoint();
  await using other = startEndpoint();
  await using broker = await pushed(
    endpoint,
    {},
    { secret: SECRET, headers: { authorization: "Bearer not-for-your-eyes" } },
  );
  const put = (webhook: object) => ask(broker, "/admin/v1/queues/jobs", "PUT", { webhook });
  const kept = await put({ url: endpoint.url, timeoutMs: 5000 });
  expect(kept.body.webhook).toEqual({
    ...{ url: endpoint.url, timeoutMs: 5000, maxInFlight: 8 },
    ...{ secretSet: true, headerNames: [] },
  });
  const moved = await put({
    url: other.url,
    headers: { authorization: "Bearer not-for-your-eyes" },
  });
  expect(moved.body.webhook).toMatchObject({ secretSet: false, headerNames: ["authorization"] });
  await publish(broker, {});
  await other.came(1);
  expect(other.received[0]!.headers.get("authorization")).toBe("Bearer not-for-your-eyes");
  const shown = [
    await ask(broker, "/admin/v1/queues"),
    await ask(broker, "/admin/v1/queues/jobs"),
    await ask(broker, "/admin/v1/queues/jobs/webhook"),
    await ask(broker, "/admin/v1/audit?limit=100"),
  ];
  const text = JSON.stringify(shown) + broker.log.join("\n");
  expect(text).not.toContain("not-for-your-eyes");
  expect(text).not.toContain(SECRET);
});

test("[P-5.16] a webhook that cannot work is refused with the field that is wrong", async () => {
  await using broker = await startBroker();
  const pointers = async (webhook: object, more: object = {}) => {
    const { status, body } = await ask(broker, "/admin/v1/queues/jobs", "PUT", {
      webhook,
      ...more,
    });
    return [status, body.pointer];
  };
  expect(await pointers({ url: "ftp://example.com" })).toEqual([400, "/webhook/url"]);
  expect(await pointers({ url: "http://user:pass@example.com/" })).toEqual([400, "/webhook/url"]);
  expect(await pointers({ url: "http://h/", timeoutMs: 5000 }, { ackTimeoutMs: 5000 })).toEqual([
    400,
    "/webhook/timeoutMs",
  ]);
  expect(await pointers({ url: "http://h/", headers: { "a b": "c" } })).toEqual([
    400,
    "/webhook/headers/a b",
  ]);
});

test("[P-5.16] a webhook never leads to a link-local address, however it is spelt", async () => {
  await using broker = await startBroker();
  const urls = [
    "http://169.254.169.254/latest/meta-data",
    "http://2852039166/",
    "http://0xA9.0xFE.0xA9.0xFE/",
    "http://0251.0376.0251.0376/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]:80/",
    "http://[fe80::1]/",
    "http://[FEBF::1]/",
    "http://[fd00:ec2::254]/latest",
    "http://１６９.254.169.254/",
  ];
  for (const url of urls) {
    const { status, body } = await ask(broker, "/admin/v1/queues/jobs", "PUT", {
      webhook: { url },
    });
    expect([url, status, body.pointer]).toEqual([url, 400, "/webhook/url"]);
    await expect(addressesAt(url)).rejects.toThrow("link-local");
  }
  for (const url of [
    "http://127.0.0.1/",
    "http://10.0.0.1/",
    "https://[fc00::1]/",
    "http://localhost/",
  ]) {
    expect([url, namesLinkLocal(url)]).toEqual([url, false]);
    expect(await addressesAt(url)).not.toBeEmpty();
  }
});
