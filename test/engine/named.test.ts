/** Messages are found by their id however far they lie, and taken out from there [P-13.3], [P-13.9]. */
import { expect, test } from "bun:test";
import { refusal, Subject } from "../contracts/engine/subject.ts";
import { sqlite } from "./sqlite-kind.ts";

const STRANGE = ['a "quoted" id', "b\\backslash", "ü-umlaut-✓", "c\u0001control", "x".repeat(128)];
const ids = Array.from({ length: 4200 }, (_, n) => `m${n}`);
const one = (id: string) => ({ state: "waiting", select: { ids: [id] }, limit: 1 }) as const;

test("[P-13.3, P-13.9] the first, the last, one of each priority, a strange one, one that is out, none", async () => {
  await using subject = await Subject.open(sqlite, { limits: { queueWindowMessages: 64 } });
  const { queues } = subject.engine;
  await subject.define("q", { retainAckedMs: 60_000 });
  await subject.appendAll("q", ids, { priority: 3 });
  await subject.appendAll("q", STRANGE, { priority: 2 });
  for (const priority of [0, 9]) await subject.append("q", { id: `p${priority}`, priority });
  for (const id of ["m0", "m4095", "m4096", "m4199", ...STRANGE, "p0", "p9"]) {
    expect(await queues.find("q", id)).toMatchObject({ message: { id }, state: "ready" });
  }
  for (const none of ["m", "m42000", "M0", "", 'm0","topic":"sensors/1']) {
    expect([none, await queues.find("q", none)]).toEqual([none, undefined]);
    expect(await queues.transfer("q", { ...one(none), to: null })).toMatchObject({ moved: 0 });
  }
  const peer = subject.consume("q", 2);
  await peer.has(2);
  expect(peer.ids).toEqual(["p9", "m0"]);
  expect(await queues.find("q", "m0")).toMatchObject({ state: "inflight" });
  const held = await queues.transfer("q", { ...one("m0"), to: null });
  expect(held.moved).toBe(0);
  expect(await queues.find("q", "m0")).toMatchObject({ state: "inflight" });
  await peer.ack(peer.seen.map(({ tag }) => tag));
  expect(await queues.find("q", "m0")).toMatchObject({ state: "acked" });
  peer.consumer.cancel();
  for (const id of ["m4100", STRANGE[0]!]) {
    expect(await queues.transfer("q", { ...one(id), to: null })).toMatchObject({ moved: 1 });
    expect(await queues.find("q", id)).toBeUndefined();
  }
  expect(subject.counts("q").ready).toBe(ids.length + STRANGE.length + 2 - 2 - 2);
  expect(await refusal(queues.find("gone", "m0"))).toBe("unknown_queue");
});

test("[P-13.9] a dead letter that came by its header is found by its new place", async () => {
  await using subject = await Subject.open(sqlite);
  await subject.define("q");
  const peer = subject.consume("q", 5);
  await subject.appendAll("q", STRANGE);
  await peer.has(STRANGE.length);
  await peer.reject(peer.seen.map(({ tag }) => tag));
  const { queues } = subject.engine;
  for (const id of STRANGE)
    expect(await queues.find("q.dead", id)).toMatchObject({ state: "ready" });
  peer.consumer.cancel();
  expect(await queues.transfer("q.dead", one(STRANGE[2]!))).toMatchObject({ moved: 1 });
  const all = { state: "waiting", select: {}, limit: 10 } as const;
  expect(await queues.transfer("q.dead", all)).toMatchObject({ moved: STRANGE.length - 1 });
  for (const id of STRANGE) expect(await queues.find("q", id)).toMatchObject({ message: { id } });
});
