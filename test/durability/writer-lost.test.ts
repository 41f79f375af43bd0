/** The thread that writes ends under the load: it is started again, and every promise holds. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Peer } from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { idsOf, OpenedEngine } from "./opened-engine.ts";

const BOUND_MS = 90_000;
const ThreadWorker = globalThis.Worker;
/** Every thread that was started. */
const threads: Worker[] = [];
/** After so many answers the thread ends, and the next answer is lost with it. */
let answersLeft = Number.POSITIVE_INFINITY;
let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-writer-"));
  globalThis.Worker = class extends ThreadWorker {
    constructor(...started: ConstructorParameters<typeof Worker>) {
      super(...started);
      threads.push(this);
      this.addEventListener("message", (event) => {
        if (answersLeft-- > 0) return;
        event.stopImmediatePropagation();
        this.terminate();
        answersLeft = Number.POSITIVE_INFINITY;
      });
    }
  };
});
afterEach(async () => {
  globalThis.Worker = ThreadWorker;
  threads.length = 0;
  await rm(dataDir, { recursive: true, force: true });
});

/** Publishes and acks until everything that was confirmed was acked, and looks at what is left. */
async function workThrough(opened: OpenedEngine, lose: () => Promise<void>): Promise<void> {
  const random = seededRandom(1);
  const confirmed = idsOf(50);
  const acked = new Set<string>();
  await opened.define("a");
  await opened.appendAll("a", confirmed);
  const unsure = new Set<string>();
  const consume = () => {
    const peer = new Peer(opened.engine, "a", 20);
    peer.onDeliver = ({ tag, message }) => {
      expect(acked).not.toContain(message.id);
      // One that fails on its way may have been written or not: then it is gone, or comes again.
      void peer.ack(tag).then((error) => (error === undefined ? acked : unsure).add(message.id));
    };
    return peer;
  };
  const peer = consume();
  const appends = idsOf(200, 1000).map((id) =>
    opened.append("a", id, { bytes: Math.floor(random() * 3000) }).then(
      () => void confirmed.push(id),
      ({ code }) => expect(code).toBe("storage_unavailable"),
    ),
  );
  await lose();
  await opened.becomes("unavailable");
  await Promise.all(appends);
  await eventually(
    () => peer.ended !== undefined,
    () => "the consumer to be told that it has ended",
  );
  expect(peer.ended?.code).toBe("storage_unavailable");
  await opened.becomes("ready");
  consume();
  await opened.append("a", "after");
  confirmed.push("after");
  await eventually(
    () => confirmed.every((id) => acked.has(id) || unsure.has(id)) && acked.has("after"),
    () => `everything to be acked; ${acked.size} of ${confirmed.length} were`,
  );
  const counts = () => opened.engine.queues.describe("a").counts;
  // Of what was refused some may have been stored: it comes too, and nothing is counted twice.
  await eventually(
    () => counts().ready + counts().inFlight === 0 && counts().bytes === 0,
    () => `an empty queue, not ${JSON.stringify(counts())}`,
  );
  await opened.engine.close();
  // The store itself thinks so too.
  await using again = await OpenedEngine.at(dataDir);
  expect(await again.waiting("a")).toEqual([]);
  expect(again.engine.queues.describe("a").counts).toMatchObject({ ready: 0, bytes: 0 });
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

for (const turns of [0, 3, 10]) {
  test(
    `[P-5.8] lost ${turns} turns after a burst: kept what was confirmed, acked once`,
    async () => {
      await using opened = await OpenedEngine.at(dataDir);
      await workThrough(opened, async () => {
        for (let i = 0; i < turns; i++) await turn();
        threads.at(-1)?.terminate();
      });
    },
    BOUND_MS,
  );
}

for (const answers of [0, 1, 2, 4, 7]) {
  test(
    `[P-5.8] lost with an answer on its way, after ${answers} others`,
    async () => {
      await using opened = await OpenedEngine.at(dataDir);
      await workThrough(opened, async () => {
        answersLeft = answers;
      });
    },
    BOUND_MS,
  );
}
