/**
 * How messages come in: alone or several together, all or none. The ordinary way is short: there is room,
 * and the operations are written. What finds a queue full takes the long way, on which others may have to
 * give way to it: it waits for what has to be known first, and what shares a queue or a topic with it waits
 * behind it, so that order is kept.
 */
import { toWarrenError, WarrenError } from "../../errors.ts";
import type { AppendItem, AppendRequest, BatchRequest } from "../engine.ts";
import { assertNotDraining, isKept, isRefusedEntry, priorityOf } from "../rules.ts";
import type { Admission } from "./admission.ts";
import type { Entry } from "./entry.ts";
import {
  Doubt,
  Follower,
  Group,
  type Member,
  ofOne,
  queueKey,
  recentKey,
  topicKey,
} from "./group.ts";
import type { QueueHost } from "./host.ts";
import { PendingAppend, PendingLookup } from "./pending.ts";
import type { SqliteQueue } from "./queue.ts";
import { type EncodedRecord, encodeRecord, recordBytes } from "./record.ts";
import type { QueueRegistry } from "./registry.ts";
import { Room } from "./room.ts";

export interface IntakeHost extends QueueHost {
  readonly queues: QueueRegistry;
}

export class Intake {
  readonly #host: IntakeHost;
  /** What waits for room, or behind such, in the order of the calls. */
  #waiting: (Group | Follower | Doubt)[] = [];
  /** How many messages and followers that is. */
  #waitingItems = 0;
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
        this.#writeOne(request, queues, record);
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

  /**
   * Does something when nothing that came before it on this topic waits any more; throws `busy` when it would
   * have to wait behind too many.
   */
  behind(topic: string, action: () => void): void {
    const key = topicKey(topic);
    if (this.#taken.has(key)) {
      this.#assertOpen(1);
      this.#wait(new Follower(key, action));
    } else {
      action();
    }
  }

  /** Something has ended that those that wait may have waited for. */
  tryAgain(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingItems = 0;
    this.#taken = new Set();
    for (const one of waiting) {
      if (one instanceof Doubt) {
        if (!one.isOver) this.#wait(one);
      } else if (!this.#taken.isDisjointFrom(one.keys)) this.#wait(one);
      else if (one instanceof Follower) one.action();
      else if (!this.#attempt(one)) this.#wait(one);
    }
  }

  #wait(one: Group | Follower | Doubt): void {
    this.#waiting.push(one);
    this.#waitingItems += one.size;
    for (const key of one.keys) this.#taken.add(key);
    for (const key of one.ids) this.#taken.add(key);
  }

  #isBehind({ message, queues }: AppendRequest): boolean {
    if (this.#taken.has(topicKey(message.topic))) return true;
    return queues.some((queue) => this.#taken.has(queueKey(queue)));
  }

  #assertOpen(items: number): void {
    const refusal = this.#host.storageRefusal();
    if (refusal !== undefined) throw refusal;
    const waiting = this.#host.storage.waiting + this.#waitingItems + items;
    if (waiting > this.#host.limits.pendingOperations) throw new WarrenError("busy");
  }

  #destinations(item: AppendItem): SqliteQueue[] {
    const queues: SqliteQueue[] = [];
    for (const name of item.queues) queues.push(this.#host.queues.open(name));
    return queues;
  }

  #writeOne(request: AppendRequest, queues: readonly SqliteQueue[], record: EncodedRecord): void {
    const { storage, topics } = this.#host;
    const admission = isKept(request)
      ? topics.admissionOf([request], (item) => this.#idOf(item))
      : undefined;
    if (admission === undefined) this.#write(request, queues, record, 0, request.dedupe);
    else storage.admitting(admission, () => this.#write(request, queues, record, 0, true));
  }

  /** By what its id is remembered, and whether it will be when it is stored. */
  #idOf(item: AppendItem): readonly [id: string, isRemembered: boolean] {
    if (!item.dedupe) return ["", false];
    return [recentKey(item.message), this.#dedupeWindowMs(item, this.#destinations(item)) > 0];
  }

  #write(
    request: AppendRequest,
    queues: readonly SqliteQueue[],
    record: EncodedRecord,
    displaced: number,
    unsure: boolean,
  ): void {
    const { message, dedupe, invalid } = request;
    const { storage, clock, counters, topics } = this.#host;
    const keeps = isKept(request);
    if (dedupe) {
      const expiresAt = clock.now() + this.#dedupeWindowMs(request, queues);
      const guarded = keeps ? queues.length + 1 : queues.length;
      storage.writer.dedupe(recentKey(message), expiresAt, guarded);
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
    const receiver = keeps ? topics.enter(request, record) : request;
    storage.add(new PendingAppend(receiver, queues, entries, dueAt, displaced, unsure, counters));
  }

  #dedupeWindowMs(item: AppendItem, queues: readonly SqliteQueue[]): number {
    let longestMs = isKept(item) ? this.#host.limits.dedupeWindowMs : 0;
    for (const { settings } of queues) longestMs = Math.max(longestMs, settings.dedupeWindowMs);
    return longestMs;
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
      if (member.dedupe) {
        const key = recentKey(member.message);
        // A repetition within the batch needs no room; the commit will find it to be one, wherever it goes.
        if (seen.has(key)) continue;
        if (this.#dedupeWindowMs(member, queues) > 0) seen.add(key);
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
    const { storage } = this.#host;
    const admission = this.#admissionOf(group, fresh);
    const write = () => {
      for (const room of rooms.values()) room.clear();
      for (const member of fresh) {
        const isDoubtful = member.dedupe && (group.hasRepeats || !group.isLookedUp);
        const unsure = isDoubtful || admission !== undefined;
        this.#write(member, this.#destinations(member), member.record, member.displaced, unsure);
      }
    };
    if (admission === undefined) storage.inOneCommit(write);
    else storage.admitting(admission, write);
  }

  /** The question whether there is room for topics; what shares a queue or topic with it waits for the answer. */
  #admissionOf(group: Group, fresh: readonly Member[]): Admission | undefined {
    const doubt = new Doubt(group.keys);
    const admission = this.#host.topics.admissionOf(
      fresh,
      (member) => this.#idOf(member),
      (refused) => {
        doubt.isOver = true;
        if (refused !== undefined) group.at = fresh[refused]!.index;
      },
    );
    // The room that others gave way for is not free before it is known that they have gone.
    if (admission !== undefined && fresh.some(({ displaced }) => displaced > 0)) this.#wait(doubt);
    return admission;
  }
}

function haveRoom(queues: readonly SqliteQueue[], record: EncodedRecord): boolean {
  for (const queue of queues) if (!queue.hasRoom(record)) return false;
  return true;
}

/** Faults of our own go on upwards. */
function asRefusal(error: unknown): WarrenError {
  if (error instanceof WarrenError) return error;
  throw toWarrenError(error);
}
