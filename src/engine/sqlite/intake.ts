/**
 * How messages come in: alone or several together, all or none. The ordinary way is short: there is room,
 * and the operations are written. What finds a queue full takes the long way, on which others may have to
 * give way to it: it waits for what has to be known first, and what shares a queue or a topic with it waits
 * behind it, so that order is kept.
 */
import { toWarrenError, WarrenError } from "../../errors.ts";
import type { Message } from "../../message.ts";
import type { AppendItem, AppendReceipt, AppendRequest, BatchRequest } from "../engine.ts";
import { assertNotDraining, isRefusedEntry, priorityOf } from "../rules.ts";
import type { Entry } from "./entry.ts";
import type { QueueHost } from "./host.ts";
import { PendingAppend, PendingLookup } from "./pending.ts";
import type { SqliteQueue } from "./queue.ts";
import { type EncodedRecord, encodeRecord, messageKey, recordBytes } from "./record.ts";
import type { QueueRegistry } from "./registry.ts";
import { Room } from "./room.ts";

export interface IntakeHost extends QueueHost {
  readonly queues: QueueRegistry;
}

export class Intake {
  readonly #host: IntakeHost;
  /** What waits for room, or behind such, in the order of the calls. */
  #waiting: Group[] = [];
  /** The keys of those that wait. */
  #taken = new Set<string>();

  constructor(host: IntakeHost) {
    this.#host = host;
  }

  append(request: AppendRequest): void {
    try {
      this.#assertOpen(1);
      const queues = this.#destinations(request);
      const record = encodeRecord(request.message, request.message.time, undefined);
      const fits = request.invalid !== undefined || haveRoom(queues, record);
      if (fits && (this.#waiting.length === 0 || !this.#isBehind(request))) {
        this.#write(request, queues, record, 0, request.dedupe);
      } else {
        this.#take(new Group(ofOne(request)));
      }
    } catch (error) {
      const refusal = asRefusal(error);
      this.#host.later(() => request.failed(refusal));
    }
  }

  appendBatch(request: BatchRequest): void {
    try {
      this.#assertOpen(request.items.length);
      this.#take(new Group(request));
    } catch (error) {
      const refusal = asRefusal(error);
      this.#host.later(() => request.failed(refusal));
    }
  }

  /** Something has ended that those that wait may have waited for. */
  tryAgain(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#taken = new Set();
    for (const group of waiting) {
      if (!this.#taken.isDisjointFrom(group.keys) || !this.#attempt(group)) this.#wait(group);
    }
  }

  #wait(group: Group): void {
    this.#waiting.push(group);
    for (const key of group.keys) this.#taken.add(key);
    for (const key of group.ids) this.#taken.add(key);
  }

  #isBehind({ message, queues }: AppendRequest): boolean {
    if (this.#taken.has(topicKey(message.topic))) return true;
    return queues.some((queue) => this.#taken.has(queueKey(queue)));
  }

  #assertOpen(items: number): void {
    const refusal = this.#host.storageRefusal();
    if (refusal !== undefined) throw refusal;
    const waiting = this.#host.storage.waiting + this.#waiting.length + items;
    if (waiting > this.#host.limits.pendingOperations) throw new WarrenError("busy");
  }

  #destinations(item: AppendItem): SqliteQueue[] {
    const queues: SqliteQueue[] = [];
    for (const name of item.queues) queues.push(this.#host.queues.open(name));
    return queues;
  }

  #write(
    request: AppendRequest,
    queues: readonly SqliteQueue[],
    record: EncodedRecord,
    displaced: number,
    unsure: boolean,
  ): void {
    const { message, dedupe, invalid } = request;
    const { storage, clock, counters } = this.#host;
    if (dedupe) {
      const expiresAt = clock.now() + dedupeWindowMs(queues);
      storage.writer.dedupe(recentKey(message), expiresAt, queues.length);
    }
    // A time that has come already is none: the message need not wait for its release.
    const hasTime = request.dueAt !== undefined && invalid === undefined;
    const isLater = hasTime && request.dueAt > clock.now();
    const dueAt = isLater ? request.dueAt : undefined;
    const entries: Entry[] = [];
    for (const queue of queues) {
      const priority = priorityOf(message, queue.settings);
      entries.push(
        invalid === undefined
          ? queue.write(message, priority, message.time, undefined, dueAt, record)
          : queue.writeInvalid(message, invalid),
      );
    }
    storage.add(new PendingAppend(request, queues, entries, dueAt, displaced, unsure, counters));
  }

  #take(group: Group): void {
    if (this.#taken.isDisjointFrom(group.keys)) {
      if (this.#attempt(group)) return;
    } else if (this.#taken.isDisjointFrom(group.ids)) {
      // It will have to know, and by its turn it does; unless one before it decides that.
      this.#lookUp(group);
    }
    this.#wait(group);
  }

  /** Stores the group or refuses it; false when it has to wait. */
  #attempt(group: Group): boolean {
    const rooms = new Map<SqliteQueue, Room>();
    let isRoom = false;
    try {
      const refusal = this.#host.storageRefusal();
      if (refusal !== undefined) throw refusal;
      isRoom = group.lookups === 0 && this.#findRooms(group, rooms);
    } catch (error) {
      for (const room of rooms.values()) room.giveBack();
      return this.#refuse(group, asRefusal(error));
    }
    if (isRoom) this.#store(group, rooms);
    else for (const room of rooms.values()) room.giveBack();
    return isRoom;
  }

  /** A duplicate needs no room: nobody is refused for want of it before that is known. */
  #refuse(group: Group, refusal: WarrenError): boolean {
    const [first, second] = group.members;
    if (group.isAsked || !isRefusedEntry(refusal) || first === undefined) {
      group.fail(refusal, this.#host);
    } else if (second !== undefined) {
      // Without its duplicates there may be room for the others.
      this.#lookUp(group);
      return false;
    } else {
      const { storage, counters } = this.#host;
      storage.writer.dedupe(recentKey(first.message), undefined, 0);
      const answered = (isDuplicate: boolean) => {
        if (isDuplicate) {
          counters.duplicates++;
          group.finish();
        } else {
          group.fail(this.#host.storageRefusal() ?? refusal, this.#host);
        }
      };
      storage.add(new PendingLookup(answered));
    }
    return true;
  }

  /** False when the group has to wait; throws `queue_full` and `unknown_queue`. */
  #findRooms(group: Group, rooms: Map<SqliteQueue, Room>): boolean {
    const seen = new Set<string>();
    for (const member of group.members) {
      if (member.isDuplicate) continue;
      group.at = member.index;
      member.displaced = 0;
      const queues = this.#destinations(member);
      if (member.dedupe && dedupeWindowMs(queues) > 0) {
        const key = recentKey(member.message);
        // A repetition within the batch needs no room; the commit will find it to be one.
        if (seen.has(key)) continue;
        seen.add(key);
      }
      for (const queue of member.invalid === undefined ? queues : []) {
        if (!this.#findRoom(group, member, queue, rooms)) return false;
      }
    }
    return true;
  }

  #findRoom(
    group: Group,
    member: Member,
    queue: SqliteQueue,
    rooms: Map<SqliteQueue, Room>,
  ): boolean {
    assertNotDraining(queue);
    let room = rooms.get(queue);
    if (room === undefined) {
      room = new Room(queue, this.#host);
      rooms.set(queue, room);
    }
    const before = room.victims.length;
    const found = room.find(recordBytes(member.record));
    const displaced = room.victims.length - before;
    if (found === "never") throw new WarrenError("queue_full", undefined, { queue: queue.name });
    // A duplicate needs no room: nobody gives way before that is known.
    if ((found === "later" || displaced > 0) && !group.isAsked) {
      this.#lookUp(group);
      return false;
    }
    member.displaced += displaced;
    return found === "now";
  }

  #lookUp(group: Group): void {
    const { storage } = this.#host;
    if (group.isAsked) return;
    group.isAsked = true;
    for (const member of group.members) {
      if (!member.dedupe) continue;
      group.lookups++;
      storage.writer.dedupe(recentKey(member.message), undefined, 0);
      const answered = (isDuplicate: boolean) => {
        member.isDuplicate = isDuplicate;
        group.lookups--;
      };
      storage.add(new PendingLookup(answered));
    }
  }

  #store(group: Group, rooms: ReadonlyMap<SqliteQueue, Room>): void {
    const fresh = group.members.filter((member) => !member.isDuplicate);
    this.#host.counters.duplicates += group.members.length - fresh.length;
    if (fresh.length === 0) {
      this.#host.later(() => group.finish());
      return;
    }
    this.#host.storage.inOneCommit(() => {
      for (const room of rooms.values()) room.clear();
      for (const member of fresh) {
        const unsure = member.dedupe && (group.hasRepeats || !group.isLookedUp);
        this.#write(member, this.#destinations(member), member.record, member.displaced, unsure);
      }
    });
  }
}

/** One message of a group, on its way. */
class Member implements AppendRequest {
  readonly message: Message;
  readonly queues: readonly string[];
  readonly dedupe: boolean;
  declare readonly dueAt?: number;
  declare readonly invalid?: string;
  readonly index: number;
  readonly record: EncodedRecord;
  isDuplicate = false;
  displaced = 0;
  receipt: AppendReceipt = { queues: 0, duplicate: true };
  readonly #group: Group;

  constructor(group: Group, item: AppendItem, index: number) {
    this.message = item.message;
    this.queues = item.queues;
    this.dedupe = item.dedupe;
    if (item.dueAt !== undefined) this.dueAt = item.dueAt;
    if (item.invalid !== undefined) this.invalid = item.invalid;
    this.index = index;
    this.record = encodeRecord(item.message, item.message.time, undefined);
    this.#group = group;
  }

  stored(receipt: AppendReceipt): void {
    this.receipt = receipt;
    this.#group.settled(undefined);
  }

  failed(error: WarrenError): void {
    this.#group.settled(error);
  }
}

/** Messages that are stored together or not at all. */
class Group {
  readonly members: readonly Member[];
  /** The topics and queues that keep their order. */
  readonly keys = new Set<string>();
  /** Its ids that will count as seen. */
  readonly ids = new Set<string>();
  /** Whether it was asked which of its ids were seen, and how many answers are still to come. */
  isAsked: boolean;
  lookups = 0;
  /** An id in it occurs twice. */
  readonly hasRepeats: boolean;
  /** The message that is being looked at. */
  at = 0;
  readonly #request: BatchRequest;
  #open = 0;

  constructor(request: BatchRequest) {
    this.#request = request;
    this.members = request.items.map((item, index) => new Member(this, item, index));
    this.isAsked = !this.members.some(({ dedupe }) => dedupe);
    for (const { message, queues, dedupe } of this.members) {
      this.keys.add(topicKey(message.topic));
      for (const queue of queues) this.keys.add(queueKey(queue));
      if (dedupe) this.ids.add(recentKey(message));
    }
    this.hasRepeats = this.ids.size < this.members.filter(({ dedupe }) => dedupe).length;
  }

  get isLookedUp(): boolean {
    return this.isAsked && this.lookups === 0;
  }

  fail(error: WarrenError, host: QueueHost): void {
    const isOfOne = isRefusedEntry(error) || error.code === "unknown_queue";
    const index = isOfOne ? this.at : undefined;
    host.later(() => this.#request.failed(error, index));
  }

  /** One of the messages that were written is stored, or all fail. */
  settled(error: WarrenError | undefined): void {
    this.#open++;
    const written = this.members.filter(({ isDuplicate }) => !isDuplicate).length;
    if (this.#open < written) return;
    if (error === undefined) this.finish();
    else this.#request.failed(error);
  }

  finish(): void {
    this.#request.stored(this.members.map(({ receipt }) => receipt));
  }
}

function ofOne(request: AppendRequest): BatchRequest {
  return {
    items: [request],
    stored: ([receipt]) => request.stored(receipt as AppendReceipt),
    failed: (error) => request.failed(error),
  };
}

function haveRoom(queues: readonly SqliteQueue[], record: EncodedRecord): boolean {
  for (const queue of queues) if (!queue.hasRoom(record)) return false;
  return true;
}

function dedupeWindowMs(queues: readonly SqliteQueue[]): number {
  return Math.max(...queues.map((queue) => queue.settings.dedupeWindowMs));
}

// Neither begins like the other, nor like a message's: those begin with a topic, and no topic with a
// control character.

function topicKey(topic: string): string {
  return `\x01${topic}`;
}

function queueKey(queue: string): string {
  return `\x02${queue}`;
}

/** Faults of our own go on upwards. */
function asRefusal(error: unknown): WarrenError {
  if (error instanceof WarrenError) return error;
  throw toWarrenError(error);
}

function recentKey({ topic, id }: Message): string {
  return messageKey(topic, id);
}
