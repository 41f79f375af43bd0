/** What an engine must do with a message whose payload does not fit its channel [P-14.10]. */
import { describe, expect, test } from "bun:test";
import type { AppendReceipt } from "../../../src/engine/engine.ts";
import { type EngineKind, Subject } from "./subject.ts";

const DETAIL = "The payload does not fit: /payload/degrees must be number.";

export function describeInvalid(kind: EngineKind): void {
  describe("what does not fit its channel", () => {
    test("[P-14.10, P-5.6] goes to the dead letters of each queue, with the reason", async () => {
      await using subject = await Subject.open(kind);
      for (const name of ["a", "b"]) await subject.define(name);
      const now = subject.clock.now();
      const dueAt = now + 60_000;
      const sent = subject.append(["a", "b"], {
        id: "1",
        invalid: DETAIL,
        dueAt,
        headers: { h: "x" },
      });
      expect(await sent).toEqual({ queues: 2, duplicate: false });
      for (const name of ["a", "b"]) {
        expect(subject.states(name)).toEqual([0, 0, 0]);
        expect(subject.states(`${name}.dead`)).toEqual([1, 0, 0]);
        expect(await subject.engine.queues.find(`${name}.dead`, "1")).toMatchObject({
          message: { headers: { h: "x" } },
          state: "ready",
          attempts: 0,
          deaths: [
            {
              queue: name,
              reason: "invalid",
              attempts: 0,
              firstAt: now,
              lastAt: now,
              detail: DETAIL,
            },
          ],
        });
      }
      expect(subject.engine.counters).toMatchObject({ stored: 2, deadLettered: 2 });
    });

    test("[P-14.10] whatever bounds the queue has, and though it is draining", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 1, overflow: "drop-oldest", draining: false });
      await subject.append("a", { id: "1" });
      expect(await subject.append("a", { id: "2", invalid: DETAIL })).toEqual({
        queues: 1,
        duplicate: false,
      });
      await subject.define("a", { draining: true });
      await subject.append("a", { id: "3", invalid: DETAIL });
      expect(subject.states("a")).toEqual([1, 0, 0]);
      expect(subject.states("a.dead")).toEqual([2, 0, 0]);
    });

    test("[P-14.10, P-3.5] its id counts as seen", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      await subject.append("a", { id: "1", invalid: DETAIL, dedupe: true });
      for (const more of [{ invalid: DETAIL }, {}]) {
        expect(await subject.append("a", { id: "1", dedupe: true, ...more })).toEqual({
          queues: 0,
          duplicate: true,
        });
      }
      expect(subject.states("a")).toEqual([0, 0, 0]);
      expect(subject.states("a.dead")).toEqual([1, 0, 0]);
      expect(subject.engine.counters).toMatchObject({ stored: 1, deadLettered: 1 });
    });

    test("[P-14.10, P-5.14] beside others in a batch", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a", { maxMessages: 1 });
      const receipts = await new Promise<readonly AppendReceipt[]>((stored, failed) =>
        subject.engine.appendBatch({
          items: ["1", "2"].map((id) => ({
            message: subject.message({ id }),
            queues: ["a"],
            dedupe: false,
            ...(id === "2" && { invalid: DETAIL }),
          })),
          stored,
          failed,
        }),
      );
      expect(receipts).toEqual([
        { queues: 1, duplicate: false },
        { queues: 1, duplicate: false },
      ]);
      expect([subject.states("a"), subject.states("a.dead")]).toEqual([
        [1, 0, 0],
        [1, 0, 0],
      ]);
    });

    test("[P-14.10] is consumed as any dead letter", async () => {
      await using subject = await Subject.open(kind);
      await subject.define("a");
      const peer = subject.consume("a.dead", 10);
      const live = subject.consume("a", 10);
      await subject.append("a", { id: "1", invalid: DETAIL });
      await subject.quiet();
      expect(peer.seen).toMatchObject([
        { message: { id: "1" }, attempt: 1, deaths: [{ reason: "invalid" }] },
      ]);
      expect(live.seen).toEqual([]);
    });
  });
}
