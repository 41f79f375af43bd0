/** Who consumes a queue [P-13.3]. */
import { expect, test } from "bun:test";
import { startTestWarren } from "../harness/warren.ts";
import { WireClient } from "../harness/wire-client.ts";

const CONSUMERS = "/admin/v1/queues/jobs/consumers";

test("[P-13.3] consumers of a queue: connections, and pulls by their name", async () => {
  await using broker = await startTestWarren({ queues: { jobs: { bindings: ["jobs"] } } });
  expect((await broker.json("GET", CONSUMERS)).body).toEqual({ consumers: [] });
  await broker.json(
    "POST",
    "/v1/publish",
    [1, 2, 3, 4].map((payload) => ({ topic: "jobs", payload })),
  );
  const pull = (body: object) =>
    broker.json("POST", "/v1/queues/jobs/pull", { waitMs: 20_000, ...body });
  await pull({ max: 1, consumer: "w1" });
  await pull({ max: 1, consumer: "w1" });
  await pull({ max: 1 });
  using client = await WireClient.connect(`${broker.url.replace("http", "ws")}/ws`);
  await client.ok({ type: "consume", queue: "jobs", credit: 7 });
  await client.expect("delivery");
  const { consumers } = (await broker.json("GET", CONSUMERS)).body;
  const common = { principal: "anonymous", since: expect.any(Number) };
  const age = { oldestDeliveryAgeMs: expect.any(Number) };
  expect(consumers).toEqual([
    { ...common, ...age, credit: 0, inFlight: 1 },
    { ...common, ...age, consumer: "w1", credit: 0, inFlight: 2 },
    { ...common, ...age, session: client.welcome.session, credit: 7, inFlight: 1 },
  ]);
  const page = (await broker.json("GET", `${CONSUMERS}?limit=2`)).body;
  expect(page.consumers).toHaveLength(2);
  const rest = await broker.json("GET", `${CONSUMERS}?after=${encodeURIComponent(page.next)}`);
  expect(rest.body.consumers).toEqual([expect.objectContaining({ credit: 7 })]);
  const unknown = await broker.json("GET", "/admin/v1/queues/nope/consumers");
  expect([unknown.status, unknown.body.code]).toEqual([404, "unknown_queue"]);
});
