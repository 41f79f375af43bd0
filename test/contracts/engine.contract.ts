/**
 * The contract of `src/engine/engine.ts` as a suite that every engine passes. Engines answer in their
 * own time, from other threads and from the disk: the suite waits for what it means, and where nothing
 * is to happen it lets other operations go all the way first. Only the clock is in its hand.
 */
import { describe } from "bun:test";
import { describeAppend } from "./engine/append.ts";
import { describeBatch } from "./engine/batch.ts";
import { describeConsume } from "./engine/consume.ts";
import { describeCounters } from "./engine/counters.ts";
import { describeDeadLetters } from "./engine/dead-letters.ts";
import { describeHandOut } from "./engine/hand-out.ts";
import { describeHistory } from "./engine/history.ts";
import { describeInvalid } from "./engine/invalid.ts";
import { describeKept } from "./engine/kept.ts";
import { describeKeptBounds } from "./engine/kept-bounds.ts";
import { describeLife } from "./engine/life.ts";
import { describeOrderedRetries } from "./engine/ordered-retries.ts";
import { describeOrdering } from "./engine/ordering.ts";
import { describeOverflow } from "./engine/overflow.ts";
import { describeQueues } from "./engine/queues.ts";
import { describeRecords } from "./engine/records.ts";
import { describeRetention } from "./engine/retention.ts";
import { describeSchedule } from "./engine/schedule.ts";
import { describeSettle } from "./engine/settle.ts";
import type { EngineKind } from "./engine/subject.ts";
import { describeTransfers } from "./engine/transfers.ts";

export type { EngineKind, EngineParts, EngineStore } from "./engine/subject.ts";

/** To be called at the top of a test file of the engine. */
export function describeEngine(kind: EngineKind): void {
  describe(`${kind.name} engine`, () => {
    describeAppend(kind);
    describeOverflow(kind);
    describeBatch(kind);
    describeInvalid(kind);
    describeSchedule(kind);
    describeConsume(kind);
    describeHandOut(kind);
    describeOrdering(kind);
    describeOrderedRetries(kind);
    describeSettle(kind);
    describeDeadLetters(kind);
    describeQueues(kind);
    describeRetention(kind);
    describeTransfers(kind);
    describeRecords(kind);
    describeHistory(kind);
    describeKept(kind);
    describeKeptBounds(kind);
    describeCounters(kind);
    describeLife(kind);
  });
}
