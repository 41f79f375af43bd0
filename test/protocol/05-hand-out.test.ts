/** How a queue hands out, as clients see it [P-5]. */
import { describe, expect, test } from "bun:test";
import { startTestWarren } from "../harness/warren.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test("[P-5.17] a draining queue refuses publishes with queue_paused, and hands out what it has", async () => {
      await using broker = await startTestWarren({ queues: { jobs: { bindings: ["jobs"] } } });
      using client = await WireClient.connect(`${broker.url.replace("http", "ws")}/ws`, {
        encoding,
      });
      await client.request({ type: "publish", topic: "jobs", payload: 1 });
      await broker.json("POST", "/admin/v1/queues/jobs/drain");
      const refused = await client.request({ type: "publish", topic: "jobs", payload: 2 });
      expect(refused).toMatchObject({
        type: "error",
        code: "queue_paused",
        retry: true,
        detail: { queue: "jobs" },
      });
      await client.request({ type: "consume", queue: "jobs", credit: 10 });
      expect((await client.expect("delivery")).payload).toBe(1);
      await broker.json("POST", "/admin/v1/queues/jobs/resume");
      const taken = await client.request({ type: "publish", topic: "jobs", payload: 2 });
      expect(taken).toMatchObject({ type: "ok", queues: 1 });
      expect((await client.expect("delivery")).payload).toBe(2);
    });
  });
}
