/** History and retained values of the broker as it runs: on disk, and after a restart [P-4.3], [P-4.4]. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestWarren } from "../harness/warren.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

const CHANNELS = {
  kept: { filter: "h/#", history: { maxMessages: 100_000 } },
  values: { filter: "v/#", retained: true },
};
const QUEUES = { jobs: { bindings: ["h/queued"] } };
/** Publishes under way while subscribers come and go. */
const AHEAD = 100;
const ROUNDS = 30;

async function onDisk(): Promise<AsyncDisposable & { readonly dataDir: string }> {
  const dataDir = await mkdtemp(join(tmpdir(), "warren-kept-"));
  return {
    dataDir,
    [Symbol.asyncDispose]: () => rm(dataDir, { recursive: true, force: true }),
  };
}

const start = (dataDir: string) => startTestWarren({ dataDir, channels: CHANNELS, queues: QUEUES });
const socketOf = (url: string) => `${url.replace("http", "ws")}/ws`;
const upTo = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Publishes numbers until it is told to stop; resolves to how many. */
function publishOn(client: WireClient, topics: readonly string[]): () => Promise<number> {
  let going = true;
  const run = async () => {
    let sent = 0;
    const open: Promise<Frame>[] = [];
    while (going) {
      const payload = ++sent;
      for (const topic of topics) open.push(client.ok({ type: "publish", topic, payload }));
      if (open.length >= AHEAD) await Promise.all(open.splice(0, AHEAD / 2));
    }
    await Promise.all(open);
    return sent;
  };
  const done = run();
  return () => {
    going = false;
    return done;
  };
}

async function events(client: WireClient, count: number): Promise<number[]> {
  const offsets: number[] = [];
  while (offsets.length < count) {
    const { offset, payload } = await client.expect("event");
    expect(payload).toBe(offset);
    offsets.push(offset);
  }
  return offsets;
}

for (const encoding of ENCODINGS) {
  describe(`over ${encoding}`, () => {
    test("[P-4.3] recovers while others publish, without gap or duplicate", async () => {
      await using disk = await onDisk();
      await using warren = await start(disk.dataDir);
      const url = socketOf(warren.url);
      using publisher = await WireClient.connect(url, { encoding });
      const topics = ["h/a", "h/queued"];
      const stop = publishOn(publisher, topics);
      const totals = topics.map(async (filter) => {
        const seen: number[] = [];
        let client = await WireClient.connect(url, { encoding });
        const { epoch } = await client.ok({ type: "subscribe", filter, last: 1 });
        const [first = 0] = await events(client, 1);
        let place = first;
        seen.push(...upTo(1, first));
        for (let round = 0; round < ROUNDS; round++) {
          // Some are lost with their connection, some go on with the one they have.
          if (round % 3 === 0) {
            await client.close();
            client = await WireClient.connect(url, { encoding });
          } else {
            client.send({ type: "unsubscribe", filter });
            await client.everythingUntilNow();
          }
          const recover = { epoch, offset: place };
          const ok = await client.ok({ type: "subscribe", filter, recover });
          expect(ok).toMatchObject({ recovered: true, epoch });
          seen.push(...(await events(client, 1 + ((round * 7) % 40))));
          place = seen.at(-1) ?? place;
        }
        return { seen, client };
      });
      const ended = await Promise.all(totals);
      const total = await stop();
      for (const { seen, client } of ended) {
        seen.push(...(await events(client, total - seen.length)));
        expect(seen).toEqual(upTo(1, total));
        client[Symbol.dispose]();
      }
    }, 60_000);

    test("[P-4.3, P-4.4, P-5.8] after a restart everything is there, under the same epoch", async () => {
      await using disk = await onDisk();
      let epoch = "";
      {
        await using warren = await start(disk.dataDir);
        using client = await WireClient.connect(socketOf(warren.url), { encoding });
        for (let payload = 1; payload <= 20; payload++) {
          epoch = (await client.ok({ type: "publish", topic: "h/a", payload })).epoch;
        }
        const value = { type: "publish", topic: "v/a", retain: true };
        await client.ok({ ...value, payload: "old" });
        await client.ok({ ...value, payload: { kept: [1, 2] } });
        await client.ok({ ...value, topic: "v/b", payload: 1 });
        await client.ok({ ...value, topic: "v/b", payload: null });
        await warren.warren.stop("restart");
        await using again = await start(disk.dataDir);
        using after = await WireClient.connect(socketOf(again.url), { encoding });
        const recover = { epoch, offset: 5 };
        const ok = await after.ok({ type: "subscribe", filter: "h/a", recover });
        expect(ok).toMatchObject({ recovered: true, epoch, offset: 20 });
        await after.ok({ type: "publish", topic: "h/a", payload: 21 });
        expect(await events(after, 16)).toEqual(upTo(6, 21));
        const values = await after.ok({ type: "subscribe", filter: "#" });
        expect(values.retained).toBe(1);
        expect(await after.expect("event")).toMatchObject({
          topic: "v/a",
          payload: { kept: [1, 2] },
          retained: true,
        });
        const page = await after.ok({ type: "history", topic: "h/a", reverse: true, limit: 2 });
        expect(page.messages.map(({ payload }: Frame) => payload)).toEqual([21, 20]);
      }
    });

    test("[P-4.4, P-3.6] many values, and a queue that refuses keeps nothing", async () => {
      await using disk = await onDisk();
      await using warren = await start(disk.dataDir);
      using client = await WireClient.connect(socketOf(warren.url), { encoding });
      const many = 3000;
      for (let from = 0; from < many; from += 250) {
        const publish = upTo(from, from + 249).map((n) => ({
          topic: `v/${n}`,
          payload: n,
          retain: true,
        }));
        await client.ok({ type: "batch", publish });
      }
      await client.ok({ type: "subscribe", filter: "v/+" });
      await client.expect(({ code }) => code === "retained_sent");
      const seen = client.inbox.splice(0);
      expect(new Set(seen.map(({ topic }) => topic)).size).toBe(many);
      for (const { topic, payload } of seen) expect(topic).toBe(`v/${payload}`);
      await warren.json("PUT", "/admin/v1/queues/jobs", { bindings: ["h/queued"], maxMessages: 1 });
      const publish = { type: "publish", topic: "h/queued" };
      expect(await client.ok(publish)).toMatchObject({ queues: 1, offset: 1 });
      expect((await client.request(publish)).code).toBe("queue_full");
      expect((await client.ok({ type: "history", topic: "h/queued" })).offset).toBe(1);
    });
  });
}
