/** A message dies once, whoever finds out that its time is over: the sweep, the index or a consumer. */
import { expect, test } from "bun:test";
import { Subject } from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { sqlite } from "./sqlite-kind.ts";

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** In how many turns of the event loop after the expiry a consumer comes. */
for (const turns of [0, 1, 2, 4, 8, 15, 20, 30]) {
  test(`[P-5.6] it expires while a consumer comes, ${turns} turns later`, async () => {
    await using subject = await Subject.open(sqlite);
    await subject.define("a");
    const now = subject.clock.now();
    for (let i = 0; i < 20; i++) await subject.append("a", { expiresAt: now + 10 + (i % 2) });
    subject.clock.advance(10);
    for (let i = 0; i < turns; i++) await turn();
    const peer = subject.consume("a", 100);
    subject.clock.advance(1);
    for (let i = 0; i < 3; i++) {
      await subject.quiet();
      subject.clock.advance(1000);
    }
    await subject.quiet();
    expect(peer.seen.filter(({ expiresAt }) => expiresAt === now + 10)).toEqual([]);
    expect(subject.states("a.dead")).toEqual([20 - peer.seen.length, 0, 0]);
    expect(subject.engine.counters.expired).toBe(20 - peer.seen.length);
  });
}

test("[P-5.6] messages expire at different times, and each dies once", async () => {
  await using subject = await Subject.open(sqlite);
  await subject.define("a");
  const start = subject.clock.now();
  for (let i = 0; i < 40; i++) {
    await subject.append("a", { expiresAt: start + 5 + i });
    subject.clock.advance(1);
    if (i % 3 === 0) await turn();
  }
  for (let i = 0; i < 4; i++) {
    subject.clock.advance(1000);
    await subject.quiet();
  }
  expect(subject.states("a.dead")).toEqual([40, 0, 0]);
  expect(subject.engine.counters.expired).toBe(40);
});

test("[P-5.1] a message on disk expires at its time, whatever the engine was woken for before", async () => {
  await using subject = await Subject.open(sqlite);
  await subject.define("a");
  const start = subject.clock.now();
  await subject.append("a", { expiresAt: start + 14_000 });
  // The engine wakes for work of its own every 10 s, and nothing else wakes it here.
  subject.clock.advance(10_000);
  for (let i = 0; i < 20; i++) await turn();
  subject.clock.advance(3999);
  for (let i = 0; i < 20; i++) await turn();
  expect(subject.states("a")).toEqual([1, 0, 0]);
  subject.clock.advance(1);
  await eventually(
    () => subject.states("a.dead")[0] === 1,
    () => "its death",
  );
});

test("[P-5.6] what consumers hold past its time hides nothing that waits elsewhere", async () => {
  const limits = { credit: 5000, queueWindowMessages: 64 };
  await using subject = await Subject.open(sqlite, { limits });
  for (const name of ["busy", "quiet"]) await subject.define(name);
  const now = subject.clock.now();
  const held = Array.from({ length: 1100 }, (_, n) => `held-${n}`);
  await subject.appendAll("busy", held, { expiresAt: now + 10 });
  const peer = subject.consume("busy", 2000);
  await peer.has(held.length);
  await subject.appendAll("quiet", ["1", "2"], { expiresAt: now + 20 });
  subject.clock.advance(30);
  await subject.quiet();
  // Past so many it is looked again a second later, for all.
  subject.clock.advance(1500);
  await subject.quiet();
  expect(subject.states("quiet.dead")).toEqual([2, 0, 0]);
  expect(subject.states("busy")).toEqual([0, 0, held.length]);
  await peer.ack(peer.seen.map(({ tag }) => tag));
  expect(subject.states("busy.dead")).toEqual([0, 0, 0]);
});

for (const ordering of ["none", "key"] as const) {
  test(`[P-5.6] all that has expired goes at once, however many (ordering ${ordering})`, async () => {
    await using subject = await Subject.open(sqlite, { limits: { expiryPageMessages: 5 } });
    await subject.define("a", { ttlMs: 1000, ordering });
    for (let i = 0; i < 42; i++) {
      void subject.append("a", i % 3 === 0 ? {} : { key: `k${i % 2}` });
      if (i === 31) subject.clock.advance(1);
    }
    await subject.quiet();
    subject.clock.advance(999);
    await eventually(
      () => subject.states("a.dead")[0] === 32,
      () => `${subject.states("a.dead")} of 32`,
    );
    await subject.quiet();
    expect(subject.states("a")).toEqual([10, 0, 0]);
  });
}
