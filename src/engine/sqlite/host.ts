/** What a queue needs of the engine around it; the engine implements it. */
import type { Clock, Random } from "../../clock.ts";
import type { WarrenError } from "../../errors.ts";
import type { Limits } from "../../limits.ts";
import type { EngineTally } from "../counters.ts";
import type { RateSampler } from "../rates.ts";
import type { Place } from "./delayed.ts";
import type { Entry } from "./entry.ts";
import type { SqliteQueue } from "./queue.ts";
import type { SqliteRecords } from "./records.ts";
import type { Storage } from "./storage.ts";
import type { SqliteTopics } from "./topics.ts";

export interface QueueHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Limits;
  readonly storage: Storage;
  readonly records: SqliteRecords;
  readonly topics: SqliteTopics;
  readonly counters: EngineTally;
  readonly rates: RateSampler;
  /** Why nothing can be stored now; undefined when it can. */
  storageRefusal(): WarrenError | undefined;
  nextTag(): number;
  /** The queue may have something to hand out; it is asked at the end of the turn. */
  pumpSoon(queue: SqliteQueue): void;
  /** Calls `action` at the end of the turn: answers never come from inside a call. */
  later(action: () => void): void;
  deadline(entry: Entry): void;
  deadlineMoved(entry: Entry): void;
  deadlineOver(entry: Entry): void;
  /** A message waits on disk for its time. */
  delayed(place: Place): void;
  /** A message of the queue may expire at this time, earlier than was known. */
  mayExpire(queue: SqliteQueue, at: number): void;
  /** A message was stored that expires by a time of its own, at `expiresAt`. */
  expiresEarly(expiresAt: number): void;
  /** Does something when no append that came before it on this topic waits any more; throws `busy`. */
  behindAppends(topic: string, action: () => void): void;
  /** Something has ended that an append may wait for. */
  tryAgain(): void;
  /** Whether messages are on their way from disk to their places. */
  readonly fetching: boolean;
  /** How many changes of scheduled messages have begun. */
  readonly scheduleChanges: number;
  /** Reads one message from disk and gives it to the queue's backlog. */
  fetch(lane: number, sequence: number): void;
}
