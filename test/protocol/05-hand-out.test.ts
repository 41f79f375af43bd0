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

    test("[P-5.10] a key has one message out at a time, and a retry holds it or steps aside", async () => {
      const backoff = { minMs: 600, maxMs: 600, jitter: 0 };
      const ordered = { ordering: "key", backoff } as const;
      await using broker = await startTestWarren({
        queues: {
          block: { ...ordered, bindings: ["work"] },
          aside: { ...ordered, keyRetry: "step-aside", bindings: ["work"] },
        },
      });
      const url = `${broker.url.replace("http", "ws")}/ws`;
      using publisher = await WireClient.connect(url, { encoding });
      for (const [key, payload] of [
        ["x", 1],
        ["x", 2],
        ["y", 3],
      ]) {
        await publisher.request({ type: "publish", topic: "work", key, payload });
      }
      for (const [queue, expected] of [
        ["block", [1, 3, 1, 2]],
        ["aside", [1, 3, 2, 1]],
      ] as const) {
        using client = await WireClient.connect(url, { encoding });
        await client.request({ type: "consume", queue, credit: 10 });
        const first = await client.expect("delivery");
        const second = await client.expect("delivery");
        await client.request({ type: "nack", tags: [first.tag] });
        const third = await client.expect("delivery");
        await client.request({ type: "ack", tags: [second.tag, third.tag] });
        const fourth = await client.expect("delivery");
        const payloads = [first, second, third, fourth].map(({ payload }) => payload);
        expect(payloads).toEqual([...expected]);
        await client.request({ type: "ack", tags: [fourth.tag] });
      }
    });

    test("[P-5.10] what a queue ordered by key cannot have is refused", async () => {
      await using broker = await startTestWarren({
        queues: { jobs: { bindings: ["jobs"], ordering: "key" } },
      });
      using client = await WireClient.connect(`${broker.url.replace("http", "ws")}/ws`, {
        encoding,
      });
      await client.request({ type: "publish", topic: "jobs", key: "x", payload: 1 });
      const put = (body: object) => broker.json("PUT", "/admin/v1/queues/jobs", body);
      const dropping = await put({ overflow: "drop-oldest" });
      expect(JSON.stringify(dropping)).toContain("invalid_frame");
      expect(JSON.stringify(dropping)).toContain("/overflow");
      expect(JSON.stringify(await put({ ordering: "none" }))).toContain("conflict");
      await broker.json("POST", "/admin/v1/queues/jobs/purge");
      expect(JSON.stringify(await put({ ordering: "none" }))).toContain('"none"');
    });
  });
}
