/** What runs here, and its figures [P-13.4], [P-12.2]. */
import { expect, test } from "bun:test";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { startTestWarren } from "../harness/warren.ts";

test("[P-13.4] info says what runs here and how durable it is", async () => {
  await using broker = await startTestWarren();
  const { body } = await broker.json("GET", "/admin/v1/info");
  expect(body).toMatchObject({
    name: "warren",
    bun: Bun.version,
    engine: { name: "sqlite", durable: true, shared: false, durability: "fsync" },
    storage: { state: "ready" },
    limits: { ...DEFAULT_LIMITS },
  });
  await using relaxed = await startTestWarren({ durability: "os" });
  const info = await relaxed.json("GET", "/admin/v1/info");
  expect(info.body.engine.durability).toBe("os");
  expect(relaxed.log.join("")).toContain("durability is os");
});

test("[P-13.4] [P-5.18] stats are the figures of /metrics", async () => {
  await using broker = await startTestWarren({ queues: { jobs: { bindings: ["jobs/#"] } } });
  await broker.json("POST", "/v1/publish", [{ topic: "jobs/a" }, { topic: "b" }, { topic: "c/#" }]);
  const { body } = await broker.json("GET", "/admin/v1/stats");
  expect(body.gauges).toMatchObject({ queues: 2, sessions: 0, storage_ready: 1, draining: 0 });
  expect(body.counters).toMatchObject({ published: 2, stored: 1, delivered: 0 });
  const metrics = await (await broker.request("GET", "/metrics")).text();
  expect(metrics).toContain("warren_published_total 2\n");
  expect(metrics).toContain("warren_stored_total 1\n");
  const label = metrics.match(/warren_queue_published_total\{queue="(\w+)"\} 1\n/)?.[1];
  expect(label).toBeDefined();
  expect(metrics).toContain(`warren_queue_dead{queue="${label}"} 0\n`);
  expect(metrics).toContain('warren_queue_ready{queue="jobs"} 1\n');
  expect(metrics).toContain('durability="fsync"');
  expect(metrics).toContain("process_resident_memory_bytes");
  expect(metrics).not.toContain("nodejs_");
});
