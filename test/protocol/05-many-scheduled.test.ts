/**
 * A hundred thousand scheduled messages by way of a real broker: published and consumed over WebSockets, on
 * disk meanwhile. What becomes of changes and restarts is looked at in test/engine/many-scheduled.test.ts.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../harness/eventually.ts";
import { serve } from "../harness/served.ts";
import { type Frame, WireClient } from "../harness/wire-client.ts";

const MESSAGES = 100_000;
const BATCH = 250;
/** Batches on their way that are not answered yet; the broker reads no more of a connection than that. */
const AHEAD = 4;
const DUE_IN_MS = 4000;
const CREDIT = 1000;
const BOUND_MS = 240_000;

let dataDir: string;
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-scheduled-"));
});
afterAll(() => rm(dataDir, { recursive: true, force: true }));

const dueAtOf = (n: number, from: number) => from + DUE_IN_MS + (n % 20) * 50;

/** Publishes all; resolves when all are answered. */
async function publishAll(publisher: WireClient, from: number): Promise<void> {
  let answered = 0;
  const refused: Frame[] = [];
  for (let first = 0; first < MESSAGES; first += BATCH) {
    publisher.send(
      Array.from({ length: BATCH }, (_, i) => {
        const n = first + i;
        return {
          type: "publish",
          id: n,
          topic: "later/a",
          payload: n,
          deliverAt: dueAtOf(n, from),
        };
      }),
    );
    await eventually(
      () => {
        for (const frame of publisher.inbox.splice(0)) {
          if (frame.type === "ok") answered++;
          else refused.push(frame);
        }
        return refused.length > 0 || first + BATCH - answered < AHEAD * BATCH;
      },
      () => `answers to ${first + BATCH}, ${answered} came`,
    );
  }
  await eventually(
    () => {
      answered += publisher.inbox.splice(0).filter(({ type }) => type === "ok").length;
      return answered === MESSAGES || refused.length > 0;
    },
    () => `all answers, ${answered} came`,
  );
  expect(refused).toEqual([]);
}

test(
  `[P-5.13] ${MESSAGES} scheduled messages over the socket: each comes once, none early, and nothing is left`,
  async () => {
    await using broker = await serve(dataDir);
    const queue = `${broker.url}/admin/v1/queues/later`;
    const body = JSON.stringify({ bindings: ["later/#"], ackTimeoutMs: 600_000 });
    const headers = { "content-type": "application/json" };
    expect((await fetch(queue, { method: "PUT", body, headers })).status).toBeLessThan(300);
    const ws = `${broker.url.replace("http", "ws")}/ws`;
    using publisher = await WireClient.connect(ws);
    using consumer = await WireClient.connect(ws);
    await consumer.ok({ type: "consume", queue: "later", credit: CREDIT });

    const came = new Uint8Array(MESSAGES);
    const faults: string[] = [];
    let all = 0;
    const from = Date.now();
    const take = () => {
      const tags: number[] = [];
      for (const { type, payload, tag } of consumer.inbox.splice(0)) {
        if (type !== "delivery") continue;
        const early = dueAtOf(payload, from) - Date.now();
        if (early > 0) faults.push(`${payload} came ${early} ms early`);
        if (came[payload] !== 0) faults.push(`${payload} came twice`);
        came[payload] = 1;
        tags.push(tag);
        all++;
      }
      if (tags.length > 0) consumer.send({ type: "ack", tags });
    };
    consumer.socket.addEventListener("message", take);
    await publishAll(publisher, from);
    for (let before = -1; all < MESSAGES && all > before && faults.length === 0; ) {
      before = all;
      // As long as they keep coming, however slowly.
      await eventually(
        () => all > before,
        () => `${MESSAGES} messages, ${all} came`,
      );
    }
    expect(faults.slice(0, 5)).toEqual([]);
    expect(all).toBe(MESSAGES);
    await consumer.ok({ type: "ping" });
    const counts = async () => ((await (await fetch(queue)).json()) as Frame).counts;
    let left = await counts();
    for (let looks = 0; left.inFlight > 0 && looks < 1000; looks++) left = await counts();
    expect(left).toMatchObject({ ready: 0, delayed: 0, inFlight: 0 });
  },
  BOUND_MS,
);
