/** What an engine must do with several messages that are stored together or not at all [P-5.14]. */
import { describe, expect, test } from "bun:test";
import type { AppendReceipt } from "../../../src/engine/engine.ts";
import { type AppendOptions, type EngineKind, Subject } from "./subject.ts";

type Item = AppendOptions & { readonly to: string | readonly string[] };

/** What became of a batch: its receipts, or the code and the index of its failure. */
function appendBatch(
  subject: Subject,
  items: readonly Item[],
): Promise<readonly AppendReceipt[] | [code: string, index: number | undefined]> {
  return new Promise((resolve) =>
    subject.engine.appendBatch({
      items: items.map(({ to, dueAt, dedupe = false, ...fields }) => ({
        message: subject.message(fields),
        queues: typeof to === "string" ? [to] : to,
        dedupe,
        ...(dueAt !== undefined && { dueAt }),
      })),
      stored: resolve,
      failed: ({ code }, index) => resolve([code, index]),
    }),
  );
}

export function describeBatch(kind: EngineKind): void {
  const idsOf = async (subject: Subject, name: string) => {
    const { messages } = await subject.engine.queues.peek(name, { limit: 1000 });
    return messages.map(({ message }) => message.id);
  };

  describe("batches", () => {
    test("[P-5.14] all are stored, in their order, each with its receipt", async () => {
      await using subject = await Subject.open(kind);
      for (const name of ["a", "b"]) await subject.define(name);
      const batch = appendBatch(subject, [
        { to: "a", id: "1" },
        { to: ["a", "b"], id: "2" },
        { to: "a", id: "3", dueAt: subject.clock.now() + 1000 },
      ]);
      expect(await batch).toEqual([
        { queues: 1, duplicate: false },
        { queues: 2, duplicate: false },
        { queues: 1, duplicate: false },
      ]);
      expect(await idsOf(subject, "a")).toEqual(["1", "2", "3"]);
      expect(subject.states("a")).toEqual([2, 1, 0]);
      expect(subject.engine.counters.stored).toBe(4);
    });

    test("[P-5.14] one that cannot be stored: none is, and its index is told", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.define("b", { maxMessages: 2 });
      const full: Item[] = ["1", "2", "3"].map((id) => ({ to: ["a", "b"], id }));
      expect(await appendBatch(subject, full)).toEqual(["queue_full", 2]);
      const gone: Item[] = [
        { to: "a", id: "4", dedupe: true },
        { to: "gone", id: "5" },
      ];
      expect(await appendBatch(subject, gone)).toEqual(["unknown_queue", 1]);
      await subject.quiet();
      expect([subject.states("a"), subject.states("b")]).toEqual([
        [0, 0, 0],
        [0, 0, 0],
      ]);
      expect(await subject.append("a", { id: "4", dedupe: true })).toMatchObject({
        duplicate: false,
      });
    });

    test("[P-3.5] duplicates, of before and within the batch, are told and not stored", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 3 });
      await subject.append("a", { id: "1", dedupe: true });
      const ids = ["1", "2", "2", "3", "1"];
      expect(
        await appendBatch(
          subject,
          ids.map((id) => ({ to: "a", id, dedupe: true })),
        ),
      ).toEqual(
        [true, false, true, false, true].map((duplicate) => ({
          queues: duplicate ? 0 : 1,
          duplicate,
        })),
      );
      // Full by now, but duplicates need no room.
      expect(
        await appendBatch(
          subject,
          ids.map((id) => ({ to: "a", id, dedupe: true })),
        ),
      ).toEqual(ids.map(() => ({ queues: 0, duplicate: true })));
      expect(await idsOf(subject, "a")).toEqual(["1", "2", "3"]);
      expect(subject.engine.counters).toMatchObject({ stored: 3, duplicates: 8 });
    });

    test("[P-3.5] a repetition within the batch is no more than that, wherever it would go", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.define("b", { draining: true, dedupeWindowMs: 0 });
      const batch = ["a", "b"].map((to) => ({ to, id: "1", dedupe: true }));
      expect(await appendBatch(subject, batch)).toEqual([
        { queues: 1, duplicate: false },
        { queues: 0, duplicate: true },
      ]);
    });

    test("[P-5.9] others give way to a batch, but none of its own", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { overflow: "drop-oldest", maxMessages: 3 });
      await subject.appendAll("a", ["1", "2"]);
      const items: Item[] = ["3", "4"].map((id) => ({ to: "a", id }));
      expect(await appendBatch(subject, items)).toEqual([
        { queues: 1, duplicate: false },
        { queues: 1, duplicate: false, displaced: 1 },
      ]);
      expect(await idsOf(subject, "a")).toEqual(["2", "3", "4"]);
      const many: Item[] = ["5", "6", "7", "8"].map((id) => ({ to: "a", id }));
      expect(await appendBatch(subject, many)).toEqual(["queue_full", 3]);
      expect(await idsOf(subject, "a")).toEqual(["2", "3", "4"]);
    });

    test("[P-3.7] batches and single messages keep their order", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { overflow: "drop-oldest", maxMessages: 7 });
      const answers: Promise<unknown>[] = [];
      for (let n = 0; n < 30; n += 3) {
        answers.push(subject.append("a", { id: `${n}` }));
        answers.push(
          appendBatch(
            subject,
            [n + 1, n + 2].map((m) => ({ to: "a", id: `${m}` })),
          ),
        );
      }
      await Promise.all(answers);
      expect(await idsOf(subject, "a")).toEqual(["23", "24", "25", "26", "27", "28", "29"]);
    });

    test("a batch after the end is refused as a whole", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.engine.close();
      const [code] = await appendBatch(subject, [{ to: "a" }, { to: "a" }]);
      expect(code as string).toBe("draining");
    });

    if (kind.durable) {
      test("[P-5.14] a batch that was answered is there after a restart", async () => {
        await using subject = await Subject.open(kind);
        await subject.define("a");
        await appendBatch(subject, [
          { to: "a", id: "1" },
          { to: "a", id: "2" },
        ]);
        await subject.reopen();
        expect(await idsOf(subject, "a")).toEqual(["1", "2"]);
      });
    }
  });
}
