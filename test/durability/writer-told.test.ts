/** What clients, operators and the log are told when the thread that writes is lost. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../harness/eventually.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";
import { arm, armWorkers } from "./points.ts";

let folder: string;
let pointFile: string;
let disarm: () => void;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "warren-told-"));
  pointFile = join(folder, "point");
  disarm = armWorkers(pointFile, "thread");
});
afterEach(async () => {
  disarm();
  await rm(folder, { recursive: true, force: true });
});

const logged = (warren: TestWarren, sentence: string) =>
  eventually(
    () => warren.log.some((line) => line.includes(sentence)),
    () => `"${sentence}" in ${warren.log.join("")}`,
  );

for (const encoding of ENCODINGS) {
  test(`[P-5.2, P-3.4] ${encoding}: consumers end, consume again, and nothing that was confirmed is lost`, async () => {
    await using warren = await startTestWarren();
    await warren.json("PUT", "/admin/v1/queues/jobs", { bindings: ["jobs/#"] });
    using client = await WireClient.connect(`${warren.url.replace("http", "ws")}/ws`, { encoding });
    for (const payload of ["first", "second"]) {
      await client.ok({ type: "publish", topic: "jobs/1", payload });
    }
    await client.ok({ type: "consume", queue: "jobs", credit: 2 });
    const [{ tag }, { tag: kept }] = [
      await client.expect("delivery"),
      await client.expect("delivery"),
    ];

    arm(pointFile, "after the commit");
    const refused = await client.request({ type: "ack", tags: [tag] });
    expect(refused).toMatchObject({ code: "storage_unavailable", retry: true });
    expect(await client.expect("notice")).toEqual({
      type: "notice",
      code: "consumer_ended",
      queue: "jobs",
      reason: "storage_unavailable",
    });
    expect(await client.request({ type: "ack", tags: [kept] })).toMatchObject({
      code: "stale_delivery",
    });
    const again = { type: "consume", queue: "jobs", credit: 2 };
    expect(await client.request(again)).toMatchObject({ code: "storage_unavailable", retry: true });
    expect((await warren.request("GET", "/readyz")).status).toBe(503);
    expect((await warren.request("GET", "/healthz")).status).toBe(200);

    await logged(warren, "storage can be written again");
    const [lost] = warren.log.filter((line) => line.includes("storage cannot be written"));
    expect(lost).toContain("the writer thread was lost");
    expect(lost).toContain("It is started again.");
    expect((await warren.request("GET", "/readyz")).status).toBe(200);
    await client.ok(again);
    // The first was acked on disk, whatever its answer; the second comes again, with no attempt burnt.
    const delivery = await client.expect("delivery");
    expect(delivery).toMatchObject({ payload: "second", attempt: 1 });
    await client.ok({ type: "ack", tags: [delivery.tag] });
    const { body } = await warren.json("GET", "/admin/v1/queues/jobs");
    expect(body.counts).toMatchObject({ ready: 0, delayed: 0, inFlight: 0, bytes: 0 });
  });
}

test("[P-13.10, P-5.2] a redrive that was made although its answer was lost goes on", async () => {
  await using warren = await startTestWarren();
  await warren.json("PUT", "/admin/v1/queues/jobs", { bindings: ["jobs/#"] });
  await warren.json("POST", "/v1/publish", { topic: "jobs/1", payload: 1 });
  const { body } = await warren.json("POST", "/v1/queues/jobs/pull", { waitMs: 10_000 });
  const [{ tag }] = body.deliveries;
  await warren.json("POST", "/v1/queues/jobs/settle", { reject: [tag] });

  // The first commit is the look at where its pages begin, the second keeps the task.
  arm(pointFile, "after the commit", 1);
  const refused = await warren.json("POST", "/admin/v1/queues/jobs.dead/redrive", {});
  expect(refused).toMatchObject({ status: 503, body: { code: "storage_unavailable" } });
  await logged(warren, "storage can be written again");
  const again = await warren.json("POST", "/v1/queues/jobs/pull", { waitMs: 30_000 });
  expect(again.body.deliveries).toMatchObject([{ payload: 1, attempt: 1 }]);
  const { body: list } = await warren.json("GET", "/admin/v1/tasks");
  expect(list.tasks).toMatchObject([{ kind: "redrive", queue: "jobs.dead" }]);
});
