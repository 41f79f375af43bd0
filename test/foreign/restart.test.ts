/** A stranger's clients and the broker as it is run: its own process, its own disk, kill -9. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve } from "../harness/served.ts";
import { ENCODINGS } from "../harness/wire-client.ts";
import { NODE, NodePeers } from "./node-peers.ts";

let dataDir: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-foreign-"));
});

afterAll(() => rm(dataDir, { recursive: true, force: true }));

test.skipIf(NODE === null)(
  "[P-5.8, P-3.4] ws on Node: what was confirmed is there after kill -9, what was acked is not",
  async () => {
    await using node = new NodePeers();
    {
      await using broker = await serve(dataDir);
      const wsUrl = `${broker.url.replace("http", "ws")}/ws`;
      await node.fetch(`${broker.url}/admin/v1/queues/jobs`, {
        method: "PUT",
        headers: { "Content-Type": "application/json" },
        json: { bindings: ["jobs/#"] },
      });
      for (const encoding of ENCODINGS) {
        const peer = await node.welcome(wsUrl, encoding);
        for (const state of ["acked", "kept"]) {
          const topic = `jobs/${encoding}`;
          const receipt = await peer.ok({ type: "publish", topic, payload: state });
          expect(receipt).toMatchObject({ queues: 1 });
        }
      }
      const peer = await node.welcome(wsUrl, "msgpack");
      await peer.ok({ type: "consume", queue: "jobs", credit: 10 });
      const deliveries = [];
      for (let n = 0; n < 4; n++) deliveries.push(await peer.expect("delivery"));
      const acked = deliveries.filter(({ payload }) => payload === "acked");
      await peer.ok({ type: "ack", tags: acked.map(({ tag }) => tag) });
      broker.child.kill("SIGKILL");
      await peer.happened("close");
    }
    await using broker = await serve(dataDir);
    const peer = await node.welcome(`${broker.url.replace("http", "ws")}/ws`, "json");
    await peer.ok({ type: "consume", queue: "jobs", credit: 10 });
    const left = [await peer.expect("delivery"), await peer.expect("delivery")];
    expect(left.map(({ topic, payload }) => [topic, payload])).toEqual([
      ["jobs/json", "kept"],
      ["jobs/msgpack", "kept"],
    ]);
    expect(await peer.everythingUntilNow()).toEqual([]);
  },
);
