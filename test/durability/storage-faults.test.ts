/**
 * What publishers, consumers, subscribers and operators see while the disk is full or fails, and that
 * the broker goes on by itself when it is well again.
 */
import { describe, expect, test } from "bun:test";
import { BROKEN_DISKS, type BrokenDisk } from "../harness/broken-disk.ts";
import { runCli } from "../harness/cli.ts";
import { eventually } from "../harness/eventually.ts";
import { FailingDisk } from "../harness/failing-disk.ts";
import { type Served, serve } from "../harness/served.ts";
import { SmallDisk } from "../harness/small-disk.ts";
import { type Frame, WireClient } from "../harness/wire-client.ts";

const BOUND_MS = 120_000;
const STORED = 30;

const hasSmallDisk = await SmallDisk.available();
const hasFailingDisk = await FailingDisk.available();

const connect = ({ url }: Served) => WireClient.connect(`${url.replace("http", "ws")}/ws`);
const status = async ({ url }: Served, path: string) => (await fetch(`${url}${path}`)).status;

async function becomesReady(broker: Served): Promise<void> {
  let seen = 0;
  let asking = false;
  await eventually(
    () => {
      if (!asking) {
        asking = true;
        void status(broker, "/readyz").then((code) => {
          seen = code;
          asking = false;
        });
      }
      return seen === 200;
    },
    () => `/readyz to be 200, not ${seen}`,
  );
}

/** Publishes and returns the id under which it was confirmed, or the error. */
async function publish(client: WireClient, n: number): Promise<string | Frame> {
  const payload = { n, filler: "x".repeat(500) };
  const answer = await client.request({ type: "publish", topic: "jobs/1", payload });
  return answer.type === "ok" ? answer.messageId : answer;
}

async function confirm(client: WireClient, count: number): Promise<string[]> {
  const ids = await Promise.all(Array.from({ length: count }, (_, n) => publish(client, n)));
  return ids.filter((id) => typeof id === "string");
}

/** Consumes until so many came, and acks them all; with at most `more` behind them. */
async function drain(broker: Served, count: number, more = 0): Promise<string[]> {
  using client = await connect(broker);
  await client.ok({ type: "consume", queue: "jobs", credit: 1000 });
  const ids: string[] = [];
  while (ids.length < count) {
    const { tag, messageId } = await client.expect("delivery");
    ids.push(messageId);
    await client.ok({ type: "ack", tags: [tag] });
  }
  const behind = (await client.everythingUntilNow()).filter(({ type }) => type === "delivery");
  expect(behind.length).toBeLessThanOrEqual(more);
  return ids;
}

async function define({ url }: Served): Promise<void> {
  const body = JSON.stringify({ bindings: ["jobs/#"] });
  expect((await fetch(`${url}/admin/v1/queues/jobs`, { method: "PUT", body })).status).toBe(200);
}

/** What everybody sees while it cannot write. Returns when it has recovered, with what it confirmed. */
async function throughTheFault(disk: BrokenDisk, broker: Served): Promise<string[]> {
  using publisher = await connect(broker);
  using worker = await connect(broker);
  using watcher = await connect(broker);
  const confirmed = await confirm(publisher, STORED);
  expect(confirmed.length).toBe(STORED);
  await worker.ok({ type: "consume", queue: "jobs", credit: 1 });
  const { tag, messageId } = await worker.expect("delivery");
  await watcher.ok({ type: "subscribe", filter: "live/#" });

  await disk.breakIt(broker);
  const refused = await publish(publisher, 1000);
  expect(refused).toMatchObject({ type: "error", code: "storage_unavailable", retry: true });
  expect(await publish(publisher, 1001)).toMatchObject({ code: "storage_unavailable" });
  expect(await status(broker, "/readyz")).toBe(503);
  expect(await status(broker, "/healthz")).toBe(200);
  const live = await publisher.ok({ type: "publish", topic: "live/1", payload: 1 });
  expect(live.queues).toBe(0);
  expect(await watcher.expect("event")).toMatchObject({ topic: "live/1" });
  const ack = { type: "ack", tags: [tag] };
  expect(await worker.request(ack)).toMatchObject({ code: "storage_unavailable", retry: true });

  await disk.mendIt(broker);
  await becomesReady(broker);
  // It was refused and changed nothing, so it is still this worker's.
  expect(await worker.request(ack)).toMatchObject({ type: "ok" });
  confirmed.push(...(await confirm(publisher, 5)));
  return confirmed.filter((id) => id !== messageId);
}

for (const { title, reason: said, keepsRefused, possible, open } of BROKEN_DISKS) {
  describe.skipIf(!possible)(`[P-3.4] ${title}`, () => {
    test(
      "[P-3.6, P-10.1] writers are told to come again, live traffic goes on, and it recovers",
      async () => {
        await using disk = await open();
        await using broker = await serve(disk.dataDir, [], disk.env);
        await define(broker);
        const left = await throughTheFault(disk, broker);
        expect(await drain(broker, left.length)).toEqual(left);
        const count = (sentence: string) =>
          broker.log().filter(({ msg }) => msg === sentence).length;
        expect(count("storage cannot be written")).toBe(1);
        expect(count("storage can be written again")).toBe(1);
        const { reason, advice } = broker.log().find(({ level }) => level === "error");
        expect(reason).toContain(said);
        expect(advice).not.toBe("");
      },
      BOUND_MS,
    );

    test(
      "[P-5.8] after kill -9 in the middle of it, what was confirmed is there and nothing else",
      async () => {
        await using disk = await open();
        let left: string[];
        {
          await using broker = await serve(disk.dataDir, [], disk.env);
          await define(broker);
          left = await throughTheFault(disk, broker);
          await disk.breakIt(broker);
          using publisher = await connect(broker);
          expect(await publish(publisher, 2000)).toMatchObject({ code: "storage_unavailable" });
          broker.child.kill("SIGKILL");
          await broker.child.exited;
          // The limits of a process end with it.
          await disk.mendIt(broker).catch(() => {});
        }
        await using broker = await serve(disk.dataDir, [], disk.env);
        // What failed at its fsync had been written, and comes behind what was confirmed.
        expect(await drain(broker, left.length, keepsRefused ? 1 : 0)).toEqual(left);
      },
      BOUND_MS,
    );
  });
}

describe.skipIf(!hasFailingDisk)(
  "[P-3.4] the file system becomes read-only under the broker",
  () => {
    test(
      "[P-5.8, P-10.1] it says so, and after a repair and a start all that was confirmed is there",
      async () => {
        await using disk = await FailingDisk.mount();
        const confirmed: string[] = [];
        {
          await using broker = await serve(disk.path);
          await define(broker);
          using publisher = await connect(broker);
          using worker = await connect(broker);
          confirmed.push(...(await confirm(publisher, STORED)));
          expect(confirmed.length).toBe(STORED);
          await worker.ok({ type: "consume", queue: "jobs", credit: 1 });
          const { tag } = await worker.expect("delivery");

          await disk.fail();
          const refusal = { type: "error", code: "storage_unavailable", retry: true };
          expect(await publish(publisher, 1000)).toMatchObject(refusal);
          expect(await publish(publisher, 1001)).toMatchObject(refusal);
          expect(await worker.request({ type: "ack", tags: [tag] })).toMatchObject(refusal);
          expect(await status(broker, "/readyz")).toBe(503);
          expect(await status(broker, "/healthz")).toBe(200);
          const live = await publisher.ok({ type: "publish", topic: "live/1", payload: 1 });
          expect(live.queues).toBe(0);
          const said = broker.log().filter(({ level }) => level === "error");
          expect(said.map(({ msg }) => msg)).toEqual(["storage cannot be written"]);
          expect(said[0].reason).toContain("the disk reports an error");
          expect(said[0].advice).toContain("the disk's health");
          broker.child.kill("SIGKILL");
          await broker.child.exited;
        }
        await disk.repair();
        await using broker = await serve(disk.path);
        expect(await drain(broker, STORED)).toEqual(confirmed);
      },
      BOUND_MS,
    );
  },
);

describe.skipIf(!hasSmallDisk)("[P-13.6] a start on a disk that cannot be written", () => {
  const start = (path: string) => runCli(["serve", "--port", "0", "--data-dir", path]);

  test("[P-13.6] full: one sentence, exit code 1, and with space it starts", async () => {
    await using disk = await SmallDisk.mount(2);
    await disk.fill();
    const { code, err } = await start(disk.path);
    expect(code).toBe(1);
    expect(err).toContain("the disk is full");
    expect(err).not.toContain("    at ");
    await disk.free();
    await using broker = await serve(disk.path);
    await define(broker);
  });

  test("[P-13.6] read-only: one sentence, exit code 1, and when writable it goes on", async () => {
    await using disk = await SmallDisk.mount(16);
    let confirmed: string[];
    {
      await using broker = await serve(disk.path);
      await define(broker);
      using publisher = await connect(broker);
      confirmed = await confirm(publisher, 3);
    }
    await disk.makeReadOnly();
    const { code, err } = await start(disk.path);
    expect(code).toBe(1);
    expect(err).toContain("read-only");
    expect(err).not.toContain("    at ");
    await disk.makeWritable();
    await using broker = await serve(disk.path);
    expect(await drain(broker, 3)).toEqual(confirmed);
  });
});
