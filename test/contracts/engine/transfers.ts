/** Dead letters and acked messages on their way back to work [P-13.9], [P-13.10]. */
import { describe, expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import type { QueueDefinition } from "../../../schemas/queue.ts";
import type { TransferPage, TransferRequest } from "../../../src/engine/transfer.ts";
import { PAYLOAD_FORMAT, Payload } from "../../../src/payload.ts";
import { type EngineKind, refusal, Subject } from "./subject.ts";

const ALL = { state: "waiting", select: {}, limit: 100 } as const;

/** A queue whose dead-letter queue holds these messages, rejected one after the other. */
async function dead(
  subject: Subject,
  ids: readonly string[],
  definition: QueueDefinition = {},
): Promise<void> {
  await subject.define("a", definition);
  const peer = subject.consume("a", 1);
  for (const id of ids) {
    await subject.append("a", { id });
    await peer.reject((await peer.next()).tag, `because of ${id}`);
  }
  peer.consumer.cancel();
}

async function idsOf(subject: Subject, queue: string): Promise<string[]> {
  const { messages } = await subject.engine.queues.peek(queue, { limit: 1000 });
  return messages.map(({ message }) => message.id);
}

/** Every page, one after the other. */
async function pages(
  subject: Subject,
  queue: string,
  request: TransferRequest,
): Promise<TransferPage[]> {
  const all: TransferPage[] = [];
  let after: string | undefined;
  do {
    const more = after === undefined ? {} : { after };
    const page = await subject.engine.queues.transfer(queue, { ...request, ...more });
    all.push(page);
    after = page.next;
  } while (after !== undefined);
  return all;
}

export function describeTransfers(kind: EngineKind): void {
  describe("transfer", () => {
    describeRedrive(kind);
    describeTurns(kind);
    describeHeld(kind);
    describeReplay(kind);
    describePayloads(kind);
    describeEdit(kind);
  });
}

function describeRedrive(kind: EngineKind): void {
  test("[P-13.10] dead letters go home in their order, with their deaths and no attempts", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["1", "2", "3"]);
    const peer = subject.consume("a", 10);
    const page = await subject.engine.queues.transfer("a.dead", ALL);
    expect(page).toEqual({ moved: 3, held: 0, failed: 0 });
    await peer.has(3);
    expect(peer.seen.map(({ message, attempt }) => [message.id, attempt])).toEqual([
      ["1", 1],
      ["2", 1],
      ["3", 1],
    ]);
    expect(peer.seen[0]!.deaths).toMatchObject([{ queue: "a", reason: "rejected" }]);
    expect(subject.states("a.dead")).toEqual([0, 0, 0]);
    expect(subject.counts("a.dead").bytes).toBe(0);
    expect(subject.states("a")).toEqual([0, 0, 3]);
    await peer.ack(peer.seen.map(({ tag }) => tag));
    expect(subject.counts("a")).toMatchObject({ ready: 0, inFlight: 0, bytes: 0 });
  });

  test("[P-13.10] the place where pages begin is had without moving, and knows what is there", async () => {
    await using subject = await Subject.open(kind);
    const begin = () =>
      subject.engine.queues.transfer("a.dead", { ...ALL, limit: 0, dryRun: true });
    await dead(subject, []);
    expect(await begin()).toEqual({ moved: 0, held: 0, failed: 0 });
    await dead(subject, ["1", "2", "3"]);
    const { next, ...counts } = await begin();
    expect(counts).toEqual({ moved: 0, held: 0, failed: 0 });
    await dead(subject, ["4"]);
    const page = await subject.engine.queues.transfer("a.dead", { ...ALL, after: next! });
    expect(page).toEqual({ moved: 3, held: 0, failed: 0 });
    expect(await idsOf(subject, "a.dead")).toEqual(["4"]);
  });

  test("[P-13.10] only what was selected, a page at a time, and nothing twice", async () => {
    await using subject = await Subject.open(kind, { limits: { queueWindowMessages: 3 } });
    const ids = Array.from({ length: 9 }, (_, n) => `m${n}`);
    await dead(subject, ids);
    await subject.define("b");
    const select = { ids: ["m1", "m2", "m4", "m8", "gone"] };
    const found = await pages(subject, "a.dead", { ...ALL, select, to: "b", limit: 2 });
    expect(found.map(({ moved }) => moved).reduce((sum, n) => sum + n)).toBe(4);
    expect(Math.max(...found.map(({ moved }) => moved))).toBe(2);
    expect(await idsOf(subject, "b")).toEqual(["m1", "m2", "m4", "m8"]);
    expect(await idsOf(subject, "a.dead")).toEqual(["m0", "m3", "m5", "m6", "m7"]);
    const search = { ...ALL, select: { search: "BECAUSE m5" } };
    expect((await pages(subject, "a.dead", search))[0]).toMatchObject({ moved: 1 });
    expect(await idsOf(subject, "a")).toEqual(["m5"]);
  });

  test("[P-13.10] a dry run counts and touches nothing", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["1", "2"]);
    const page = await subject.engine.queues.transfer("a.dead", { ...ALL, dryRun: true });
    expect(page).toEqual({ moved: 2, held: 0, failed: 0 });
    expect([await idsOf(subject, "a.dead"), await idsOf(subject, "a")]).toEqual([["1", "2"], []]);
  });

  test("[P-13.10] a dry run takes no room, not for a moment", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["1", "2", "3"]);
    await subject.define("b", { maxMessages: 1 });
    const dry = subject.engine.queues.transfer("a.dead", { ...ALL, to: "b", dryRun: true });
    const append = subject.append("b", { id: "4" });
    expect(await dry).toMatchObject({ moved: 3 });
    expect(await append).toMatchObject({ queues: 1 });
    expect(await idsOf(subject, "b")).toEqual(["4"]);
  });

  test("[P-13.10] what is in flight stays, and what waits in memory does not come twice", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["1", "2", "3", "4"]);
    const looker = subject.consume("a.dead", 2);
    await looker.has(2);
    expect(await subject.engine.queues.transfer("a.dead", ALL)).toMatchObject({ moved: 2 });
    expect(await idsOf(subject, "a")).toEqual(["3", "4"]);
    looker.consumer.credit(10);
    await subject.quiet();
    expect(looker.ids).toEqual(["1", "2"]);
    expect(await looker.ack(looker.seen.map(({ tag }) => tag))).toBeUndefined();
    expect(subject.counts("a.dead")).toMatchObject({ ready: 0, inFlight: 0, bytes: 0 });
  });

  test("[P-13.10] a full queue takes what it has room for", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["1", "2", "3"]);
    await subject.define("b", { maxMessages: 2 });
    const request = { ...ALL, to: "b" };
    expect(await subject.engine.queues.transfer("a.dead", request)).toMatchObject({ moved: 2 });
    expect(await refusal(subject.engine.queues.transfer("a.dead", request))).toBe("queue_full");
    await subject.engine.queues.purge("b");
    expect(await pages(subject, "a.dead", request)).toMatchObject([{ moved: 1 }]);
  });

  test("[P-13.10] a queue that has no bytes left for one more is full, too", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["1", "2"]);
    const { bytes } = subject.counts("a.dead");
    await subject.define("b", { maxBytes: bytes });
    await subject.append("b", { payload: Payload.fromValue("x".repeat(bytes / 2)) });
    const request = { ...ALL, to: "b" };
    expect(await refusal(subject.engine.queues.transfer("a.dead", request))).toBe("queue_full");
    expect([subject.states("a.dead"), subject.states("b")]).toEqual([
      [2, 0, 0],
      [1, 0, 0],
    ]);
    await subject.engine.queues.purge("b");
    expect((await pages(subject, "a.dead", request))[0]).toMatchObject({ moved: 2 });
  });

  test("[P-13.10, P-5.17] a queue that is being drained takes nothing this way either", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["1"]);
    await subject.define("a", { draining: true });
    expect(await refusal(subject.engine.queues.transfer("a.dead", ALL))).toBe("queue_paused");
    const dry = await subject.engine.queues.transfer("a.dead", { ...ALL, dryRun: true });
    expect(dry).toMatchObject({ moved: 1 });
    await subject.define("a", { draining: false });
    expect(await subject.engine.queues.transfer("a.dead", ALL)).toMatchObject({ moved: 1 });
  });

  test("[P-13.10] what may not be is refused", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["1"]);
    const { queues } = subject.engine;
    expect(await refusal(queues.transfer("a", ALL))).toBe("conflict");
    expect(await refusal(queues.transfer("a.dead", { ...ALL, to: "a.dead" }))).toBe("conflict");
    expect(await refusal(queues.transfer("a.dead", { ...ALL, to: "b" }))).toBe("unknown_queue");
    expect(await refusal(queues.transfer("b", ALL))).toBe("unknown_queue");
    const bad = { ...ALL, after: "x" };
    expect(await refusal(queues.transfer("a.dead", bad))).toBe("invalid_frame");
  });

  test("[P-13.9] to nowhere, messages are gone for good, of any queue", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["1", "2"]);
    await subject.appendAll("a", ["3", "4"]);
    const gone = (queue: string, id: string) =>
      pages(subject, queue, { ...ALL, select: { ids: [id] }, to: null });
    expect(await gone("a.dead", "2")).toMatchObject([{ moved: 1 }]);
    expect(await gone("a", "3")).toMatchObject([{ moved: 1 }]);
    expect(await gone("a", "3")).toMatchObject([{ moved: 0 }]);
    expect([await idsOf(subject, "a.dead"), await idsOf(subject, "a")]).toEqual([["1"], ["4"]]);
  });

  test("[P-13.10] the record is written with the page", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["1", "2"]);
    const record = { collection: "tasks", key: "t", value: { total: 2 } } as const;
    await subject.engine.queues.transfer("a.dead", { ...ALL, record });
    const expected = { total: 2, page: { moved: 2, held: 0, failed: 0 } };
    expect(subject.engine.records.all("tasks").get("t")).toEqual(expected);
    expect(subject.recordChanges).toEqual([["tasks", "t", expected]]);
    if (!kind.durable) return;
    await subject.reopen();
    expect(subject.engine.records.all("tasks").get("t")).toEqual(expected);
    expect(await idsOf(subject, "a")).toEqual(["1", "2"]);
    expect(subject.states("a")).toEqual([2, 0, 0]);
  });
}

function describePayloads(kind: EngineKind): void {
  test("[P-13.10] whatever a payload holds, it arrives as it was, and counts the same bytes", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 1_000_000 });
    const payloads = [
      Payload.fromValue({ text: "caf\u00e9 \n \u0000 \ud83d\ude00", number: 1.5 }),
      Payload.fromValue(""),
      Payload.fromBinary(Buffer.from([0, 10, 255, 128, 10, 0])),
      Payload.fromBinary(new Uint8Array(0)),
      Payload.fromStored(PAYLOAD_FORMAT.msgpack, encode({ bytes: new Uint8Array([10, 0, 200]) })),
    ];
    const peer = subject.consume("a", 1);
    const settle = async (outcome: "reject" | "ack") => {
      for (const payload of payloads) {
        const { tag, message } = await peer.next();
        expect(message.payload.format).toBe(payload.format);
        expect(Buffer.from(message.payload.storedBytes())).toEqual(
          Buffer.from(payload.storedBytes()),
        );
        await peer[outcome](tag);
      }
    };
    for (const [at, payload] of payloads.entries())
      await subject.append("a", { id: `${at}`, payload });
    await settle("reject");
    expect(await subject.engine.queues.transfer("a.dead", ALL)).toMatchObject({ moved: 5 });
    await settle("ack");
    const replay = { state: "acked", select: {}, limit: 100 } as const;
    expect(await subject.engine.queues.transfer("a", replay)).toMatchObject({ moved: 5 });
    await settle("ack");
    expect(subject.counts("a")).toMatchObject({ ready: 0, inFlight: 0, bytes: 0 });
    expect(subject.counts("a.dead")).toMatchObject({ ready: 0, bytes: 0 });
  });
}

function describeTurns(kind: EngineKind): void {
  // In memory a page is over as soon as it is asked for.
  if (!kind.durable) return;
  test("[P-13.10] definitions and purges come between the pages of a dry run or a redrive", async () => {
    await using subject = await Subject.open(kind);
    const ids = Array.from({ length: 60 }, (_, n) => `m${n}`);
    await dead(subject, ids);
    await subject.define("b");
    const { queues } = subject.engine;
    for (const dryRun of [true, false]) {
      let done = 0;
      let more = true;
      const working = (async () => {
        let after: string | undefined;
        do {
          const from = after === undefined ? {} : { after };
          const request = { ...ALL, ...from, to: "b", limit: 1, dryRun };
          after = (await queues.transfer("a.dead", request)).next;
          done++;
        } while (after !== undefined);
        more = false;
      })();
      for (const change of [() => subject.define("c"), () => queues.purge("c")]) {
        const before = done;
        await change();
        // What was under way when it was asked for, and what went beside it.
        expect([more, done - before <= 3]).toEqual([true, true]);
      }
      await working;
      expect(done).toBeGreaterThanOrEqual(60);
    }
    expect(await idsOf(subject, "b")).toEqual(ids);
  });
}

function describeHeld(kind: EngineKind): void {
  test("[P-13.10] what died there too often is held, shown so, and moved by its id alone", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["x"], { maxRedrives: 2 });
    await subject.engine.queues.transfer("a.dead", ALL);
    const peer = subject.consume("a", 1);
    await peer.reject((await peer.next()).tag);
    const found = await subject.engine.queues.find("a.dead", "x");
    expect(found).toMatchObject({ held: true });
    expect(found?.deaths).toHaveLength(2);
    expect(await subject.engine.queues.transfer("a.dead", ALL)).toEqual({
      moved: 0,
      held: 1,
      failed: 0,
    });
    await subject.define("b");
    const named = { ...ALL, select: { ids: ["x"] } };
    expect(await pages(subject, "a.dead", named)).toMatchObject([{ moved: 1, held: 0 }]);
    expect((await peer.next()).deaths).toHaveLength(2);
  });
}

function describeReplay(kind: EngineKind): void {
  test("[P-13.10, P-5.15] acked messages are copied, and stay to be replayed again", async () => {
    await using subject = await Subject.open(kind);
    await subject.define("a", { retainAckedMs: 60_000 });
    const expiresAt = subject.clock.now() + 5;
    await subject.append("a", { id: "1", expiresAt });
    await subject.append("a", { id: "2", priority: 7 });
    const peer = subject.consume("a", 10);
    await peer.has(2);
    await peer.ack(peer.seen.map(({ tag }) => tag));
    subject.clock.advance(10);
    const replay = { state: "acked", select: {}, limit: 100 } as const;
    expect(await subject.engine.queues.transfer("a", replay)).toMatchObject({ moved: 2 });
    await peer.has(4);
    expect(peer.ids.slice(2).toSorted()).toEqual(["1", "2"]);
    expect(subject.counts("a")).toMatchObject({ inFlight: 2, retained: 2 });
    const select = { from: expiresAt };
    await subject.define("b", { retainAckedMs: 60_000, maxMessages: 5 });
    const across = { ...replay, to: "b" };
    expect(await subject.engine.queues.transfer("a", across)).toMatchObject({ moved: 2 });
    expect([subject.counts("a").retained, subject.counts("b")]).toMatchObject([2, { ready: 2 }]);
    const other = subject.consume("b", 10);
    await other.has(2);
    await other.ack(other.seen.map(({ tag }) => tag));
    // Each queue keeps what was acked in it.
    expect([subject.counts("a").retained, subject.counts("b").retained]).toEqual([2, 2]);
    const back = { ...replay, to: "a", limit: 1 };
    expect(await subject.engine.queues.transfer("b", back)).toMatchObject({ moved: 1 });
    await peer.has(5);
    const none = await subject.engine.queues.transfer("a", { ...replay, select });
    expect(none).toMatchObject({ moved: 0 });
  });
}

function describeEdit(kind: EngineKind): void {
  test("[P-13.9] edited on its way: the new one is there and the dead one gone, deaths kept", async () => {
    await using subject = await Subject.open(kind);
    await dead(subject, ["x"]);
    const edit = {
      id: "y",
      topic: "other/1",
      payload: Payload.fromValue({ mended: true }),
      headers: { h: "v" },
      priority: 9,
    };
    const request = { ...ALL, select: { ids: ["x"] }, edit };
    expect(await pages(subject, "a.dead", request)).toMatchObject([{ moved: 1 }]);
    expect(await idsOf(subject, "a.dead")).toEqual([]);
    const peer = subject.consume("a", 1);
    const { message, deaths } = await peer.next();
    expect(message).toMatchObject({ id: "y", topic: "other/1", headers: { h: "v" }, priority: 9 });
    expect(message.payload.value()).toEqual({ mended: true });
    expect(deaths).toMatchObject([{ queue: "a", reason: "rejected" }]);
  });
}
