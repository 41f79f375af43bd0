/** Ids that publishers chose are remembered as long as their messages, whatever ends the broker. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve } from "../harness/served.ts";
import { WireClient } from "../harness/wire-client.ts";

const DEFINITION = JSON.stringify({ bindings: ["t"] });

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  test(`[P-3.5] a repetition is a duplicate after ${signal}, single and in a batch`, async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "warren-dedupe-"));
    const publish = [1, 2].map((n) => ({ topic: "t", messageId: `m${n}`, payload: n }));
    const connect = (url: string) => WireClient.connect(`${url.replace("http", "ws")}/ws`);
    try {
      {
        await using broker = await serve(dataDir);
        const path = `${broker.url}/admin/v1/queues/q`;
        const headers = { "Content-Type": "application/json" };
        await fetch(path, { method: "PUT", body: DEFINITION, headers });
        using client = await connect(broker.url);
        await client.ok({ type: "publish", ...publish[0] });
        await client.ok({ type: "batch", publish: publish.slice(1) });
        broker.child.kill(signal);
        await broker.child.exited;
      }
      await using broker = await serve(dataDir);
      using client = await connect(broker.url);
      for (const one of publish) {
        const answer = await client.ok({ type: "publish", ...one });
        expect(answer).toMatchObject({ queues: 0, duplicate: true });
      }
      const { results } = await client.ok({ type: "batch", publish });
      expect(results).toMatchObject([{ duplicate: true }, { duplicate: true }]);
      await client.ok({ type: "consume", queue: "q", credit: 10 });
      for (const payload of [1, 2]) expect((await client.expect("delivery")).payload).toBe(payload);
      expect(await client.everythingUntilNow()).toEqual([]);
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  });
}
