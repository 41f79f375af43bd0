/**
 * One queue in memory: its messages in the order in which they are handed out, who holds which, and
 * what becomes of them. The states of a message:
 *
 *   waiting (ready once `dueAt` has come) -> held -> waiting, or removed, or dead-lettered
 *   waiting -> dead-lettered as expired, or purged
 */
import type { QueueSettings } from "../../../schemas/queue.ts";
import type { DeathReason, DeathRecord, Message } from "../../message.ts";
import { QueueTally } from "../counters.ts";
import type { MessageState, QueueReport, StoredMessage } from "../engine.ts";
import { deadLetterExpiresAt, expiresAtOf, isExhausted, priorityOf, withDeath } from "../rules.ts";
import { deathsIn } from "../selection.ts";
import type { MemoryConsumer } from "./consumer.ts";
import { keyOf, nextInLine } from "./line.ts";
import type { Pulse } from "./pulse.ts";
import { reportOf } from "./report.ts";
import { MemoryRetained } from "./retained.ts";

export interface Lease {
  readonly consumer: MemoryConsumer;
  readonly tag: number;
  readonly since: number;
  deadline: number;
}

export interface Entry {
  message: Message;
  readonly age: number;
  readonly priority: number;
  readonly enteredAt: number;
  bytes: number;
  /** It was published for later. */
  readonly isScheduled: boolean;
  readonly deaths: readonly DeathRecord[] | undefined;
  /** Whether its publisher has been told; nobody works on it before. */
  confirmed: boolean;
  attempts: number;
  dueAt: number;
  lease: Lease | undefined;
}

export class MemoryQueue {
  readonly name: string;
  readonly createdAt: number;
  readonly deadLetterOf: string | undefined;
  settings: QueueSettings;
  bindings: readonly string[] = [];
  /** Highest priority first, then oldest, whatever their state. */
  readonly entries: Entry[] = [];
  readonly retained: MemoryRetained;
  /** The next in turn first. */
  readonly consumers: MemoryConsumer[] = [];
  bytes = 0;
  readonly tally = new QueueTally();
  readonly #pulse: Pulse;
  readonly deadLetters: MemoryQueue | undefined;
  /** When each key had its last turn, as an age; cleared when turns begin anew. */
  readonly turns = new Map<string, number>();
  /** While nobody consumes it: when they do. */
  turnsUntil = Number.POSITIVE_INFINITY;

  /** `deadLetters` takes what this queue gives up on; a dead-letter queue has none. */
  constructor(
    pulse: Pulse,
    name: string,
    settings: QueueSettings,
    place: { deadLetters: MemoryQueue } | { deadLetterOf: string },
  ) {
    this.#pulse = pulse;
    this.name = name;
    this.settings = settings;
    this.createdAt = pulse.clock.now();
    this.retained = new MemoryRetained(pulse, this);
    this.deadLetters = "deadLetters" in place ? place.deadLetters : undefined;
    this.deadLetterOf = "deadLetterOf" in place ? place.deadLetterOf : undefined;
  }

  /**
   * Who has to give way to so many new messages of so many bytes, in the order of going: of those that
   * are ready the least urgent, of these the oldest [P-5.9]. Undefined when there is no room.
   */
  toGiveWay(newMessages: number, newBytes: number): Entry[] | undefined {
    const { maxMessages, maxBytes, overflow } = this.settings;
    let messages = this.entries.length + newMessages;
    let bytes = this.bytes + newBytes;
    const isOver = () => messages > (maxMessages ?? messages) || bytes > (maxBytes ?? bytes);
    const candidates = this.entries
      .filter((entry) => this.#mayGiveWay(entry))
      .sort((a, b) => a.priority - b.priority || a.age - b.age);
    const going: Entry[] = [];
    while (isOver()) {
      const entry = overflow === "reject" ? undefined : candidates.shift();
      if (entry === undefined) return undefined;
      going.push(entry);
      messages--;
      bytes -= entry.bytes;
    }
    return going;
  }

  /** A message goes because of a new one. */
  displace(entry: Entry): void {
    this.tally.displaced++;
    if (this.settings.overflow === "dead-letter-oldest") this.#die(entry, "overflow");
    else this.remove(entry);
  }

  /** A new message from a publisher, not to be handed out before it is `confirmed`. */
  publish(message: Message, bytes: number, dueAt: number): Entry {
    this.tally.published++;
    return this.#enter(message, bytes, dueAt, message.time);
  }

  #enter(
    message: Message,
    bytes: number,
    dueAt: number,
    enteredAt: number,
    deaths?: Entry["deaths"],
  ): Entry {
    return this.#insert({
      message,
      age: this.#pulse.nextAge(),
      priority: priorityOf(message, this.settings),
      enteredAt,
      bytes,
      isScheduled: dueAt > this.#pulse.clock.now(),
      deaths,
      confirmed: false,
      attempts: 0,
      dueAt,
      lease: undefined,
    });
  }

  /** A new message whose payload does not fit: at once among the dead letters [P-14.10]. */
  enterInvalid(message: Message, bytes: number, detail: string): Entry {
    const now = this.#pulse.clock.now();
    const death = { queue: this.name, reason: "invalid", attempts: 0, detail } as const;
    this.tally.published++;
    this.tally.deadLettered++;
    const deaths = [{ ...death, firstAt: now, lastAt: now }];
    return (this.deadLetters ?? this).#enter(message, bytes, 0, now, deaths);
  }

  /** A message that comes from another queue, or comes again [P-13.10]. */
  arrive(message: Message, bytes: number, deaths: Entry["deaths"]): void {
    this.tally.redriven++;
    const entry = this.#enter(message, bytes, 0, this.#pulse.clock.now());
    this.entries[this.entries.indexOf(entry)] = { ...entry, deaths, confirmed: true };
    this.#pulse.wake();
  }

  /** A message that waits for its first due time is another from now on. */
  change(entry: Entry, message: Message, bytes: number, dueAt: number): void {
    this.bytes += bytes - entry.bytes;
    Object.assign(entry, { message, bytes, dueAt });
    this.#watch(entry);
    this.#pulse.wake();
  }

  remove(entry: Entry): void {
    this.#release(entry);
    this.entries.splice(this.entries.indexOf(entry), 1);
    this.bytes -= entry.bytes;
  }

  /** It is done; kept if the queue keeps such messages. */
  ack(entry: Entry): void {
    this.remove(entry);
    this.retained.keep(entry);
  }

  /**
   * A held message comes back, ready at `dueAt` at the earliest. If that `counts` as an attempt it
   * may have been the last one, with `detail` for the record of its death.
   */
  giveBack(entry: Entry, counts: boolean, dueAt: number, detail?: string): void {
    this.#release(entry);
    if (counts) entry.attempts++;
    if (counts && isExhausted(this.name, this.settings, entry.attempts)) {
      this.#die(entry, "max_deliveries", detail);
    } else if (this.expiresAt(entry) <= this.#pulse.clock.now()) {
      this.#expire(entry);
    } else {
      entry.dueAt = dueAt;
      this.#watch(entry);
      this.#pulse.wake();
    }
  }

  reject(entry: Entry, detail?: string): void {
    this.#release(entry);
    entry.attempts++;
    this.#die(entry, "rejected", detail);
  }

  /** The deadline of a held message moves. */
  extend(entry: Entry, byMs: number | undefined): void {
    if (entry.lease === undefined) return;
    entry.lease.deadline = this.#pulse.clock.now() + (byMs ?? this.settings.ackTimeoutMs);
    this.#watch(entry);
  }

  join(consumer: MemoryConsumer): void {
    if (this.#pulse.clock.now() >= this.turnsUntil) this.turns.clear();
    this.turnsUntil = Number.POSITIVE_INFINITY;
    this.consumers.push(consumer);
  }

  /** Gives ready messages to consumers, until there are no more of the one or the other. */
  handOut(): void {
    if (this.settings.paused) return;
    // A sink may settle from within, and what it returns is ready again: one round a turn will do.
    for (let left = this.entries.length; left > 0; left--) {
      const entry = nextInLine(this, this.#pulse.clock.now(), (candidate) =>
        this.#isReady(candidate),
      );
      if (entry === undefined) return;
      const consumer = this.#nextInTurn();
      if (consumer === undefined) return;
      this.#lend(entry, consumer);
    }
  }

  /** Acts on every time that has come, and asks to be called again for the next. */
  onTime(): void {
    const now = this.#pulse.clock.now();
    for (const entry of [...this.entries]) {
      if (entry.lease !== undefined && entry.lease.deadline <= now) {
        this.tally.timedOut++;
        this.giveBack(entry, true, now, "The ack timeout passed.");
      } else if (entry.lease === undefined && this.expiresAt(entry) <= now) {
        this.#expire(entry);
      } else {
        this.#watch(entry);
      }
    }
    this.retained.trim();
  }

  /** By the settings as they are now. */
  expiresAt({ message, enteredAt }: Entry): number {
    return this.deadLetters === undefined
      ? deadLetterExpiresAt(this.settings, enteredAt)
      : expiresAtOf(message, this.settings, enteredAt);
  }

  /** New settings may have brought times nearer: each is looked at again. */
  reconsider(): void {
    this.#pulse.at(this.#pulse.clock.now());
  }

  state(entry: Entry): MessageState {
    if (entry.lease !== undefined) return "inflight";
    return entry.dueAt > this.#pulse.clock.now() ? "delayed" : "ready";
  }

  stored(entry: Entry): StoredMessage {
    const state = this.state(entry);
    return {
      message: entry.message,
      state,
      attempts: entry.attempts,
      ...(state === "delayed" && { dueAt: entry.dueAt }),
      expiresAt: this.expiresAt(entry),
      ...(entry.deaths && { deaths: entry.deaths }),
      ...(this.#isHeld(entry) && { held: true as const }),
    };
  }

  #isHeld({ deaths }: Entry): boolean {
    const { deadLetterOf, settings } = this;
    return deadLetterOf !== undefined && deathsIn(deadLetterOf, deaths) >= settings.maxRedrives;
  }

  report(): QueueReport {
    return reportOf(this, this.#pulse);
  }

  #insert(entry: Entry): Entry {
    // It is the youngest of the queue, so it goes behind all that are not less urgent.
    const before = this.entries.findLastIndex(({ priority }) => priority >= entry.priority);
    this.entries.splice(before + 1, 0, entry);
    this.bytes += entry.bytes;
    this.#watch(entry);
    return entry;
  }

  #isReady(entry: Entry): boolean {
    return entry.confirmed && this.#mayGiveWay(entry);
  }

  /** Ready, were its publisher told already: one call after the other. */
  #mayGiveWay(entry: Entry): boolean {
    const now = this.#pulse.clock.now();
    return entry.lease === undefined && entry.dueAt <= now && this.expiresAt(entry) > now;
  }

  #nextInTurn(): MemoryConsumer | undefined {
    for (let left = this.consumers.length; left > 0; left--) {
      const consumer = this.consumers.shift()!;
      this.consumers.push(consumer);
      if (consumer.wants) return consumer;
    }
    return undefined;
  }

  #lend(entry: Entry, consumer: MemoryConsumer): void {
    const now = this.#pulse.clock.now();
    const tag = this.#pulse.nextTag();
    const key = keyOf(this, entry);
    if (key !== undefined) this.turns.set(key, this.#pulse.nextAge());
    entry.lease = { consumer, tag, since: now, deadline: now + this.settings.ackTimeoutMs };
    this.#watch(entry);
    this.tally.delivered++;
    if (entry.attempts > 0) this.tally.redelivered++;
    consumer.receive(tag, entry);
  }

  #release(entry: Entry): void {
    if (entry.lease !== undefined) entry.lease.consumer.lose(entry.lease.tag);
    entry.lease = undefined;
  }

  #expire(entry: Entry): void {
    this.tally.expired++;
    this.#die(entry, "expired");
  }

  #die(entry: Entry, reason: DeathReason, detail?: string): void {
    this.remove(entry);
    if (this.deadLetters === undefined) return;
    this.tally.deadLettered++;
    const now = this.#pulse.clock.now();
    const record = {
      queue: this.name,
      reason,
      attempts: entry.attempts,
      firstAt: entry.enteredAt,
      lastAt: now,
      ...(detail !== undefined && { detail }),
    };
    this.deadLetters.#insert({
      ...entry,
      age: this.#pulse.nextAge(),
      enteredAt: now,
      deaths: withDeath(entry.deaths, record),
      confirmed: true,
      attempts: 0,
      isScheduled: false,
      dueAt: now,
    });
    this.#pulse.wake();
  }

  /** Asks for a look at the entry when its next time comes. */
  #watch(entry: Entry): void {
    if (entry.lease !== undefined) {
      this.#pulse.at(entry.lease.deadline);
    } else {
      this.#pulse.at(this.expiresAt(entry));
      if (entry.dueAt > this.#pulse.clock.now()) this.#pulse.at(entry.dueAt);
    }
  }
}
