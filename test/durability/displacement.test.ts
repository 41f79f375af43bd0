/** kill -9 amid displacement: a bound is never exceeded, and nothing that was confirmed is lost [P-5.9]. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve } from "../harness/served.ts";
import { WireClient } from "../harness/wire-client.ts";

const BOUND = 20;
const SENT = 800;
const ROUNDS = 3;

async function idsIn(url: string, queue: string): Promise<string[]> {
  const ids: string[] = [];
  let after = "";
  do {
    const answer = await fetch(`${url}/admin/v1/queues/${queue}/messages?limit=1000${after}`);
    const { messages, next } = (await answer.json()) as {
      messages: { messageId: string }[];
      next?: string;
    };
    ids.push(...messages.map(({ messageId }) => messageId));
    after = next === undefined ? "" : `&after=${encodeURIComponent(next)}`;
  } while (after !== "");
  return ids;
}

for (const overflow of ["dead-letter-oldest", "drop-oldest"]) {
  test(`[P-5.9, P-5.8] killed amid ${overflow}: neither too many nor a loss`, () =>
    killed(overflow));
}

async function killed(overflow: string): Promise<void> {
  const definition = { bindings: ["t"], maxMessages: BOUND, overflow };
  const dataDir = await mkdtemp(join(tmpdir(), "warren-displacement-"));
  const confirmed: string[] = [];
  try {
    for (let round = 0; round < ROUNDS; round++) {
      await using broker = await serve(dataDir);
      const path = `${broker.url}/admin/v1/queues/q`;
      const headers = { "Content-Type": "application/json" };
      await fetch(path, { method: "PUT", body: JSON.stringify(definition), headers });
      using client = await WireClient.connect(`${broker.url.replace("http", "ws")}/ws`);
      const answers = Array.from({ length: SENT }, (_, i) =>
        client.ok({ type: "publish", topic: "t", messageId: `${round}-${i}` }).then(
          ({ messageId }) => confirmed.push(messageId),
          () => undefined,
        ),
      );
      await answers[50 + 100 * round];
      broker.child.kill("SIGKILL");
      await broker.child.exited;
      await Promise.all(answers);
    }
    await using broker = await serve(dataDir);
    const [kept, dead] = [await idsIn(broker.url, "q"), await idsIn(broker.url, "q.dead")];
    expect(kept).toHaveLength(BOUND);
    const all = [...kept, ...dead];
    expect(new Set(all).size).toBe(all.length);
    expect(confirmed.length).toBeGreaterThan(50 * ROUNDS);
    if (overflow === "drop-oldest") {
      // The newest are left, in their order: nobody went for one that was not stored.
      const left = kept.filter((id) => confirmed.includes(id));
      expect(dead).toEqual([]);
      expect(left).toEqual(confirmed.slice(confirmed.length - left.length));
    } else {
      expect(confirmed.filter((id) => !all.includes(id))).toEqual([]);
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}
