/**
 * The event loop's side of changes of scheduled messages [P-5.13]. The writer finds the copies and changes
 * them in the order of all operations, which decides between a change and a release. Where a change may
 * make them longer, it says first by how much, and room is held for that; so there is one at a time of
 * each message. What was published before and still waits for room is meant too: it is waited for.
 */
import { toWarrenError, WarrenError } from "../../errors.ts";
import {
  changesContent,
  notScheduled,
  type ScheduleChange,
  type ScheduleRequest,
  tooEarly,
} from "../schedule.ts";
import type { ControlAnswer, PackedScheduleChange, Reschedule, Rescheduled } from "./exchange.ts";
import type { QueueHost } from "./host.ts";
import { queueNumberOf } from "./lanes.ts";
import type { QueuesByNumber } from "./lookups.ts";
import type { SqliteQueue } from "./queue.ts";
import { messageKey } from "./record.ts";

type Copies = Rescheduled["copies"];

export class Schedule {
  readonly #host: QueueHost;
  readonly #queues: QueuesByNumber;
  /** By the key of the message that is being changed, those that wait for that. */
  readonly #lines = new Map<string, ScheduleRequest[]>();
  #waiting = 0;
  /** Counts changes: what was read of scheduled rows before one may not hold any more. */
  changes = 0;

  constructor(host: QueueHost, queues: QueuesByNumber) {
    this.#host = host;
    this.#queues = queues;
  }

  change(request: ScheduleRequest): void {
    try {
      this.#host.behindAppends(request.topic, () => this.#take(request));
    } catch (error) {
      const refusal = toWarrenError(error);
      this.#host.later(() => request.failed(refusal));
    }
  }

  #take(request: ScheduleRequest): void {
    const refusal = this.#host.storageRefusal() ?? this.#tooMany();
    if (refusal !== undefined) {
      this.#host.later(() => request.failed(refusal));
      return;
    }
    const key = messageKey(request.topic, request.messageId);
    const line = this.#lines.get(key);
    if (line !== undefined) {
      line.push(request);
      this.#waiting++;
    } else {
      this.#lines.set(key, []);
      this.#begin(key, request);
    }
  }

  #tooMany(): WarrenError | undefined {
    const { storage, limits } = this.#host;
    const isBusy = storage.waiting + this.#waiting >= limits.pendingOperations;
    return isBusy ? new WarrenError("busy") : undefined;
  }

  #begin(key: string, request: ScheduleRequest): void {
    const { change } = request;
    if (change === null || !changesContent(change)) {
      this.#write(key, request, null, () => {});
      return;
    }
    this.#ask(this.#control(key, change, null, true), (answer) => {
      const refusal = refusalOf(answer) ?? this.#host.storageRefusal();
      if (refusal !== undefined) return this.#end(key, () => request.failed(refusal));
      const { copies } = answer as Rescheduled;
      const growth = this.#growth(copies);
      for (const [queue, more] of growth) {
        if (more <= 0 || more <= queue.room().bytes) continue;
        const full = new WarrenError("queue_full", undefined, { queue: queue.name });
        return this.#end(key, () => request.failed(full));
      }
      for (const [queue, more] of growth) queue.totals.pendingBytes += Math.max(more, 0);
      const places = copies.map(({ lane, sequence }) => `${lane}.${sequence}`);
      this.#write(key, request, places, () => {
        for (const [queue, more] of growth) queue.totals.pendingBytes -= Math.max(more, 0);
      });
    });
  }

  #write(
    key: string,
    request: ScheduleRequest,
    only: readonly string[] | null,
    giveBack: () => void,
  ): void {
    const { change } = request;
    this.changes++;
    this.#ask(this.#control(key, change, only, false), (answer) => {
      giveBack();
      const refusal = refusalOf(answer);
      if (refusal !== undefined) return this.#end(key, () => request.failed(refusal));
      const { copies, ownExpiry } = answer as Rescheduled;
      if (change === null) this.#gone(copies);
      else this.#changed(copies, ownExpiry);
      this.#end(key, () => request.done(copies.length));
    });
  }

  /** The next of this message begins. */
  #end(key: string, tell: () => void): void {
    tell();
    const next = this.#lines.get(key)?.shift();
    if (next === undefined) {
      this.#lines.delete(key);
      return;
    }
    this.#waiting--;
    // Not from within the answer of a batch: what an error ends must end in its own turn.
    this.#host.later(() => {
      const refusal = this.#host.storageRefusal();
      if (refusal === undefined) this.#begin(key, next);
      else this.#end(key, () => next.failed(refusal));
    });
  }

  #changed(copies: Copies, ownExpiry: number | null): void {
    for (const { lane, sequence, dueAt, growth } of copies) {
      const queue = this.#queues.byNumber(queueNumberOf(lane));
      if (queue === undefined) continue;
      queue.totals.bytes += growth;
      this.#host.delayed({ dueAt, lane, sequence });
    }
    if (ownExpiry !== null) this.#host.expiresEarly(ownExpiry);
    this.#host.tryAgain();
  }

  #gone(copies: Copies): void {
    for (const { lane, growth } of copies) {
      this.#queues
        .byNumber(queueNumberOf(lane))
        ?.purged({ kind: "purged", messages: 1, delayed: 1, bytes: -growth });
    }
    this.#host.tryAgain();
  }

  #growth(copies: Copies): Map<SqliteQueue, number> {
    const growth = new Map<SqliteQueue, number>();
    for (const copy of copies) {
      const queue = this.#queues.byNumber(queueNumberOf(copy.lane));
      if (queue !== undefined) growth.set(queue, (growth.get(queue) ?? 0) + copy.growth);
    }
    return growth;
  }

  #control(
    reschedule: string,
    change: ScheduleChange | null,
    only: readonly string[] | null,
    dryRun: boolean,
  ): Reschedule {
    const limit = this.#host.limits.queues;
    return { reschedule, change: change && packedChange(change), only, limit, dryRun };
  }

  #ask(control: Reschedule, ended: (answer: Rescheduled | WarrenError) => void): void {
    const { storage } = this.#host;
    storage.writer.control(control);
    let answer: ControlAnswer | undefined;
    storage.add({
      answered: (given) => {
        answer = given;
      },
      committed: () => {
        if (answer?.kind !== "rescheduled") throw new Error("a change without an answer");
        ended(answer);
      },
      aborted: ended,
    });
  }
}

function refusalOf(answer: Rescheduled | WarrenError): WarrenError | undefined {
  if (answer instanceof WarrenError) return answer;
  if (answer.refused === "too early") return tooEarly();
  if (answer.refused === "too many") {
    return new WarrenError("conflict", "Too many messages have this id.");
  }
  return answer.copies.length === 0 ? notScheduled() : undefined;
}

function packedChange({ payload, ...rest }: ScheduleChange): PackedScheduleChange {
  if (payload === undefined) return rest;
  const base64 = Buffer.from(payload.storedBytes()).toString("base64");
  return { ...rest, payload: { format: payload.format, base64 } };
}
