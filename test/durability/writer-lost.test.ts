/** The thread that writes ends under the load: it is started again, and every promise holds. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Peer } from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { idsOf, OpenedEngine } from "./opened-engine.ts";

const ThreadWorker = globalThis.Worker;
/** Every thread that was started. */
const threads: Worker[] = [];
let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-writer-"));
  globalThis.Worker = class extends ThreadWorker {
    constructor(...started: ConstructorParameters<typeof Worker>) {
      super(...started);
      threads.push(this);
    }
  };
});
afterEach(async () => {
  globalThis.Worker = ThreadWorker;
  threads.length = 0;
  await rm(dataDir, { recursive: true, force: true });
});

const turn = () => new Promise((resolve) => setImmediate(resolve));

for (const turns of [0, 1, 3, 10]) {
  test(`[P-5.8] lost ${turns} turns after a burst: kept what was confirmed, acked once`, async () => {
    const random = seededRandom(turns);
    const confirmed: string[] = [];
    const acked = new Set<string>();
    await using opened = await OpenedEngine.at(dataDir);
    await opened.define("a");
    await opened.appendAll("a", idsOf(50));
    confirmed.push(...idsOf(50));
    const peer = new Peer(opened.engine, "a", 20);
    peer.onDeliver = ({ tag, message }) => {
      expect(acked).not.toContain(message.id);
      void peer.ack(tag).then((error) => error === undefined && acked.add(message.id));
    };
    const refused = idsOf(200, 1000).map((id) =>
      opened.append("a", id, Math.floor(random() * 3000)).then(
        () => void confirmed.push(id),
        ({ code }) => expect(code).toBe("storage_unavailable"),
      ),
    );
    for (let i = 0; i < turns; i++) await turn();
    threads.at(-1)?.terminate();
    await opened.becomes("unavailable");
    await Promise.all(refused);
    await opened.becomes("ready");
    await opened.append("a", "after");
    confirmed.push("after");
    await eventually(
      () => confirmed.every((id) => acked.has(id)),
      () => `everything to be acked; ${acked.size} of ${confirmed.length} were`,
    );
    expect(opened.engine.queues.describe("a").counts).toMatchObject({ delayed: 0, inFlight: 0 });
    await opened.engine.close();
    // What the store itself thinks is left is what is left.
    await using again = await OpenedEngine.at(dataDir);
    const left = await again.waiting("a");
    expect(left.filter((id) => acked.has(id))).toEqual([]);
    expect(again.engine.queues.describe("a").counts.ready).toBe(left.length);
  });
}
