/** The system's clock is set under a running engine: nothing is lost, early or stuck. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Peer } from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { JumpingClock } from "../harness/jumping-clock.ts";
import { OpenedEngine } from "./opened-engine.ts";

const HOUR_MS = 3_600_000;
/** What a jump may cost: the clock is looked at again by then, whatever it said before. */
const NOTICED_MS = 10_000;
let dataDir: string;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-clock-"));
});
afterEach(() => rm(dataDir, { recursive: true, force: true }));

/** Lets the time pass in small steps until this holds; it must before `ms` have passed. */
async function within(clock: JumpingClock, ms: number, holds: () => boolean): Promise<void> {
  for (let passed = 0; passed < ms && !holds(); passed += 500) {
    clock.advance(500);
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  }
  await eventually(holds, () => "what should have come by then");
}

async function start() {
  const clock = new JumpingClock();
  const opened = await OpenedEngine.at(dataDir, { clock });
  await opened.define("a", { ackTimeoutMs: 5000 });
  return { clock, opened };
}

describe("[P-5.8] set back by an hour", () => {
  test("[P-5.5] ack timeouts of what is handed out afterwards come in their time", async () => {
    const { clock, opened } = await start();
    await using _ = opened;
    const peer = new Peer(opened.engine, "a", 10);
    await opened.append("a", "before");
    await peer.has(1);
    clock.jump(-HOUR_MS);
    await opened.append("a", "after");
    await peer.has(2);
    await within(
      clock,
      5000 + NOTICED_MS,
      () => peer.ids.filter((id) => id === "after").length > 1,
    );
    expect(peer.seen.find(({ attempt }) => attempt === 2)?.message.id).toBe("after");
  });

  test("[P-3.2] a delayed message is not early by the clock, and not lost", async () => {
    const { clock, opened } = await start();
    await using _ = opened;
    const peer = new Peer(opened.engine, "a", 10);
    const dueAt = clock.now() + 20_000;
    await opened.append("a", "delayed", { dueAt });
    clock.jump(-HOUR_MS);
    peer.onDeliver = ({ message }) => {
      if (message.id === "delayed") expect(clock.now()).toBeGreaterThanOrEqual(dueAt);
    };
    clock.advance(60_000);
    await opened.append("a", "other");
    await peer.has(1);
    expect(peer.ids).toEqual(["other"]);
    clock.jump(HOUR_MS);
    await within(clock, NOTICED_MS, () => peer.ids.includes("delayed"));
  });

  test("[P-5.5] and put right again, everything goes on within seconds", async () => {
    const { clock, opened } = await start();
    await using _ = opened;
    clock.advance(100_000);
    clock.jump(-HOUR_MS);
    // Whatever timers are set now are set by the wrong time.
    clock.advance(60_000);
    clock.jump(HOUR_MS);
    const peer = new Peer(opened.engine, "a", 10);
    await opened.append("a", "m");
    await opened.append("a", "delayed", { dueAt: clock.now() + 1000 });
    await peer.has(1);
    const timedOut = () => peer.seen.some(({ attempt }) => attempt === 2);
    const wasDue = () => peer.ids.includes("delayed");
    await within(clock, 5000 + NOTICED_MS, () => timedOut() && wasDue());
  });

  test("[P-5.8] messages keep their order and are all there after a restart", async () => {
    const { clock, opened } = await start();
    await opened.appendAll("a", ["1", "2"]);
    clock.jump(-HOUR_MS);
    await opened.appendAll("a", ["3", "4"]);
    await opened.engine.close();
    clock.jump(-HOUR_MS);
    await using again = await OpenedEngine.at(dataDir, { clock });
    await again.appendAll("a", ["5"]);
    const peer = new Peer(again.engine, "a", 10);
    await peer.has(5);
    expect(peer.ids).toEqual(["1", "2", "3", "4", "5"]);
    await peer.ack(peer.seen.map(({ tag }) => tag));
    expect(again.engine.queues.describe("a").counts).toMatchObject({ ready: 0, inFlight: 0 });
  });
});

describe("[P-5.8] set forward by an hour", () => {
  test("[P-3.2] what is due by the clock comes within seconds", async () => {
    const { clock, opened } = await start();
    await using _ = opened;
    const peer = new Peer(opened.engine, "a", 10);
    await opened.append("a", "delayed", { dueAt: clock.now() + HOUR_MS });
    clock.advance(30_000);
    clock.jump(HOUR_MS);
    await within(clock, NOTICED_MS, () => peer.ids.includes("delayed"));
  });

  test("[P-5.6] what has expired by it is a dead letter, not lost", async () => {
    const { clock, opened } = await start();
    await using _ = opened;
    await opened.define("b", { ttlMs: HOUR_MS });
    await opened.appendAll("b", ["1", "2"]);
    clock.jump(HOUR_MS);
    await within(clock, NOTICED_MS, () => {
      return opened.engine.queues.describe("b.dead").counts.ready === 2;
    });
    expect(await opened.waiting("b.dead")).toEqual(["1", "2"]);
  });

  test("[P-5.5] what is in flight comes again once, and its late ack is refused", async () => {
    const { clock, opened } = await start();
    await using _ = opened;
    const peer = new Peer(opened.engine, "a", 10);
    await opened.append("a", "m");
    const { tag } = await peer.next();
    clock.jump(HOUR_MS);
    await within(clock, NOTICED_MS, () => peer.seen.length > 1);
    expect((await peer.ack(tag))?.code).toBe("stale_delivery");
    expect(await peer.ack(peer.take().tag)).toBeUndefined();
    expect(opened.engine.queues.describe("a").counts).toMatchObject({ ready: 0, inFlight: 0 });
  });
});
