/**
 * A commit fails and the next one would not: what was written behind the first counted on it, whether it
 * had been sent or not, and fails with it.
 */
import { expect, test } from "bun:test";
import { completeSettings } from "../../src/engine/rules.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { Payload } from "../../src/payload.ts";
import { Peer } from "../contracts/engine/subject.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { SimDisk } from "../sim/disk.ts";
import { LifeClock, SimTime } from "../sim/time.ts";

const ROOM = 2;

/** A queue that is full, with one message at a consumer, on a disk and a clock in the hands of the test. */
class FullQueue implements Disposable {
  readonly time = new SimTime(seededRandom(1));
  readonly disk = new SimDisk(this.time, seededRandom(2));
  readonly engine = new SqliteEngine({
    clock: new LifeClock(this.time),
    random: seededRandom(3),
    limits: DEFAULT_LIMITS,
    dataDir: "sim",
    durability: "fsync",
    startWriter: this.disk.start,
  });
  /** What became of each publish. */
  readonly answers = new Map<string, string>();

  async fill(): Promise<Peer> {
    void this.engine
      .open({ queueChanged: () => {}, healthChanged: () => {} })
      .then(() => this.engine.queues.define("q", completeSettings({ maxMessages: ROOM }), []))
      .then(() => {
        this.append("m1");
        this.append("m2");
      });
    await this.until(() => this.answers.size === ROOM);
    const peer = new Peer(this.engine, "q", 1);
    await this.until(() => peer.seen.length === 1);
    return peer;
  }

  append(id: string): void {
    const payload = Payload.fromValue(id);
    this.engine.append({
      message: { id, topic: "t", time: this.time.now(), payload },
      queues: ["q"],
      dedupe: false,
      stored: () => this.answers.set(id, "stored"),
      failed: ({ code }) => this.answers.set(id, code),
    });
  }

  async until(holds: () => boolean): Promise<void> {
    expect(await this.time.run(Number.POSITIVE_INFINITY, holds)).toBe(true);
  }

  get inQueue(): number {
    const { ready, delayed, inFlight } = this.engine.queues.describe("q").counts;
    return ready + delayed + inFlight;
  }

  [Symbol.dispose](): void {
    this.disk[Symbol.dispose]();
  }
}

const READS = {
  "had not been sent": () => {},
  "had been sent": (queue: FullQueue) => {
    // Before a read everything is sent.
    queue.engine.queues.peek("q", { limit: 1 }).catch(() => {});
  },
};

for (const [state, read] of Object.entries(READS)) {
  test(`[P-5.9, P-3.4] an ack that fails gives no room to a publish that ${state}`, async () => {
    using queue = new FullQueue();
    const peer = await queue.fill();
    queue.disk.mood.failing = true;
    let acked: string | undefined;
    void peer.ack(peer.take().tag).then((error) => {
      acked = error?.code ?? "acked";
      queue.disk.wellAgain();
    });
    // The commit of the ack is on its way, and not written yet.
    await queue.time.run(queue.time.elapsed, () => false);
    queue.append("m3");
    read(queue);
    await queue.until(() => acked !== undefined && queue.answers.has("m3"));
    expect([acked, queue.answers.get("m3")]).toEqual([
      "storage_unavailable",
      "storage_unavailable",
    ]);
    await queue.until(() => queue.engine.health.state === "ready");
    expect(queue.inQueue).toBe(ROOM);
    queue.append("m4");
    await queue.until(() => queue.answers.has("m4"));
    expect(queue.answers.get("m4")).toBe("queue_full");
  });
}
