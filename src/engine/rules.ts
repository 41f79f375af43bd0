/**
 * The rules that every engine shares: names of queues, settings and their defaults, backoff, deaths,
 * expiry, what a topic keeps. Pure functions; scheduling is each engine's own, so that engines check one
 * another.
 */
import { Value } from "@sinclair/typebox/value";
import {
  QueueDefinition,
  QueueName,
  QueueSettings,
  type WebhookSettings,
} from "../../schemas/queue.ts";
import type { Random } from "../clock.ts";
import { WarrenError } from "../errors.ts";
import { firstFault } from "../faults.ts";
import type { DeathRecord, Message } from "../message.ts";
import type { AppendItem } from "./engine.ts";
import type { TransferRequest } from "./transfer.ts";

const DEAD_LETTER_SUFFIX = ".dead";
/** Deaths kept with a message; a message redriven more often forgets its oldest ones. */
const DEATHS_KEPT = 16;
const HIGHEST_PRIORITY = 9;
/** What a dead-letter queue states as `maxDeliveries`: the most the schema has. */
const UNLIMITED_DELIVERIES = 1_000_000;

/** The queue that keeps what `name` gave up on [P-5.6]. */
export function deadLetterName(name: string): string {
  return name + DEAD_LETTER_SUFFIX;
}

/** Ordinary queues never have such a name: `assertQueueName` refuses it. */
export function isDeadLetterName(name: string): boolean {
  return name.endsWith(DEAD_LETTER_SUFFIX);
}

/** The queue whose dead letters are kept under this name. */
export function ownerOfDeadLetters(name: string): string {
  return name.slice(0, -DEAD_LETTER_SUFFIX.length);
}

/** Throws `invalid_frame` when an operator may not define a queue of this name. */
export function assertQueueName(name: string): void {
  if (!Value.Check(QueueName, name)) {
    throw fault("/name", `The queue name is not valid. ${QueueName.description}`);
  }
  if (isDeadLetterName(name)) {
    throw fault("/name", "Names ending in .dead belong to dead-letter queues; define their queue.");
  }
}

/**
 * The whole settings of a queue from what an operator wrote [P-5.1]. What is left out keeps its
 * value in `existing`, or takes its default. `invalid_frame`, with the JSON Pointer of the first
 * fault, when the definition does not fit. Bindings are checked for their shape only and are not
 * part of the result.
 */
export function completeSettings(
  definition: QueueDefinition,
  existing?: QueueSettings,
): QueueSettings {
  const first = firstFault(QueueDefinition, definition);
  if (first !== undefined) {
    const place = first.path === "" ? "the top" : first.path;
    throw fault(first.path, `${first.message} at ${place}.`);
  }
  const { bindings: _, webhook, ...fields } = definition;
  const given = { ...existing, ...fields, ...webhookOf(webhook, existing?.webhook) };
  const settings = Value.Default(QueueSettings, {
    // What is null has been taken away.
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null)),
    backoff: { ...existing?.backoff, ...fields.backoff },
    deadLetter: { ...existing?.deadLetter, ...fields.deadLetter },
  }) as QueueSettings;
  if (settings.backoff.maxMs < settings.backoff.minMs) {
    throw fault("/backoff/maxMs", "backoff.maxMs must not be below backoff.minMs.");
  }
  if (settings.webhook !== undefined && settings.webhook.timeoutMs >= settings.ackTimeoutMs) {
    throw fault(
      "/webhook/timeoutMs",
      "webhook.timeoutMs must be below ackTimeoutMs, or a message would be sent again meanwhile.",
    );
  }
  if (settings.ordering === "key" && settings.overflow !== "reject") {
    throw fault("/overflow", 'A queue with ordering "key" must have overflow "reject".');
  }
  return settings;
}

/**
 * How long a queue stays as it is when its last consumer has left: turns between its keys go on for the next
 * one [P-5.10], and so does what was read for them.
 */
export const LINGER_MS = 1000;

/** Throws `conflict` when `ordering` would change under messages that the queue holds [P-5.10]. */
export function assertOrderingStays(
  name: string,
  { ordering }: QueueSettings,
  wanted: QueueSettings,
  held: number,
): void {
  if (held === 0 || wanted.ordering === ordering) return;
  throw new WarrenError(
    "conflict",
    "ordering changes only while the queue holds no messages; purge or drain it first.",
    { queue: name },
  );
}

/**
 * A webhook is given as a whole; only its secret, which nobody can read back, stays when it is left
 * out for the same address.
 */
function webhookOf(
  given: QueueDefinition["webhook"],
  existing: WebhookSettings | undefined,
): { webhook?: object | null } {
  if (given === undefined) return {};
  if (given === null || existing?.secret === undefined || given.url !== existing.url) {
    // Its own, for defaults are written into it, and settings are frozen.
    return { webhook: given === null ? null : { ...given } };
  }
  return { webhook: { secret: existing.secret, ...given } };
}

/** Settings as an earlier version may have stored them: what is missing has its default. */
export function storedSettings(text: string): QueueSettings {
  return Value.Default(QueueSettings, JSON.parse(text)) as QueueSettings;
}

/**
 * The settings of a queue's dead-letter queue, which follow its owner's. It has no bound and no end
 * of attempts: what is in it leaves by ack, reject, purge or its own TTL, the owner's
 * `deadLetter.ttlMs`.
 */
export function deadLetterSettings(owner: QueueSettings): QueueSettings {
  return {
    ackTimeoutMs: owner.ackTimeoutMs,
    maxDeliveries: UNLIMITED_DELIVERIES,
    backoff: owner.backoff,
    ttlMs: owner.deadLetter.ttlMs,
    overflow: "reject",
    deadLetter: owner.deadLetter,
    defaultPriority: owner.defaultPriority,
    dedupeWindowMs: 0,
    ordering: "none",
    keyRetry: owner.keyRetry,
    priorityAgeingMs: owner.priorityAgeingMs,
    maxRedrives: owner.maxRedrives,
    retainAckedMs: 0,
    retainAckedBytes: owner.retainAckedBytes,
    paused: false,
    draining: false,
  };
}

/**
 * Whether `queue` gives up on a message after so many counted attempts; a dead-letter queue never.
 */
export function isExhausted(queue: string, settings: QueueSettings, attempts: number): boolean {
  return attempts >= settings.maxDeliveries && !isDeadLetterName(queue);
}

/**
 * How long a message waits after a nack without a delay of its own. `attempts` are those counted so
 * far, this one included (1 or more). The share `jitter` of the delay is drawn at random [P-5.1].
 */
export function backoffMs(settings: QueueSettings, attempts: number, random: Random): number {
  const { minMs, maxMs, factor, jitter } = settings.backoff;
  // Finite, since nothing times infinity is no number.
  const growth = Math.min(factor ** (attempts - 1), Number.MAX_SAFE_INTEGER);
  const delayMs = Math.min(maxMs, minMs * growth);
  return Math.round(delayMs * (1 - jitter) + delayMs * jitter * random());
}

/**
 * When a message that enters an ordinary queue at `enteredAt` expires there: by its own time to
 * live or by the queue's as it is now, whichever ends first.
 */
export function expiresAtOf(message: Message, settings: QueueSettings, enteredAt: number): number {
  const byQueue = enteredAt + settings.ttlMs;
  return message.expiresAt === undefined ? byQueue : Math.min(message.expiresAt, byQueue);
}

/**
 * When a dead letter is removed for good. Only the queue's time counts: the message's own has done
 * its work, and an expired message must be there to be looked at.
 */
export function deadLetterExpiresAt(settings: QueueSettings, diedAt: number): number {
  return diedAt + settings.ttlMs;
}

/** 0 (last) to 9 (first). Fixed when a message enters: it is its place in the line. */
export function priorityOf(message: Message, settings: QueueSettings): number {
  return message.priority ?? settings.defaultPriority;
}

/**
 * The priority that counts now [P-5.11]: one more for every `priorityAgeingMs` of waiting, at most
 * the highest. Between lines of different priority that of each line's first decides.
 */
export function effectivePriority(
  priority: number,
  enteredAt: number,
  now: number,
  ageingMs: number,
): number {
  if (ageingMs === 0 || now <= enteredAt) return priority;
  return Math.min(HIGHEST_PRIORITY, priority + Math.floor((now - enteredAt) / ageingMs));
}

/** Throws `queue_paused` for a queue that takes nothing more [P-5.17]. */
export function assertNotDraining(queue: {
  readonly name: string;
  readonly settings: QueueSettings;
}): void {
  if (!queue.settings.draining) return;
  throw new WarrenError("queue_paused", "The queue is draining.", { queue: queue.name });
}

/** A queue would not take a message that it has not got yet: a duplicate is answered before this. */
export function isRefusedEntry(error: WarrenError): boolean {
  return error.code === "queue_full" || error.code === "queue_paused";
}

/** The deaths of a message with one more, newest first and bounded [P-5.6]. */
export function withDeath(
  deaths: readonly DeathRecord[] | undefined,
  record: DeathRecord,
): readonly DeathRecord[] {
  return [record, ...(deaths ?? []).slice(0, DEATHS_KEPT - 1)];
}

/**
 * The name of the queue that a transfer brings messages to, null for nowhere. Throws `conflict` for one
 * that may not be.
 */
export function transferTarget(
  source: { readonly name: string; readonly deadLetterOf: string | undefined },
  { state, to }: Pick<TransferRequest, "state" | "to">,
): string | null {
  if (to === null) return null;
  const { name: queue, deadLetterOf } = source;
  if (state === "waiting" && deadLetterOf === undefined) {
    throw new WarrenError("conflict", "Only dead letters can be moved.", { queue });
  }
  const target = to ?? deadLetterOf ?? queue;
  if (isDeadLetterName(target)) {
    throw new WarrenError("conflict", "Nothing is moved into a dead-letter queue.", {
      queue: target,
    });
  }
  return target;
}

/** A queue that was to go only if nothing is in it holds something. */
export function notEmpty(queue: string): WarrenError {
  return new WarrenError("conflict", "The queue holds messages, or one is on its way into it.", {
    queue,
  });
}

function fault(pointer: string, sentence: string): WarrenError {
  return new WarrenError("invalid_frame", sentence, { pointer });
}

/** Whether the topic keeps anything of the message, if it is no duplicate. */
export function isKept({ history, retain, invalid }: AppendItem): boolean {
  return invalid === undefined && (history !== undefined || retain !== undefined);
}

/** Whether a topic of which nothing is known is known afterwards. */
export function makesKnown({ history, retain, invalid }: AppendItem): boolean {
  return invalid === undefined && (history !== undefined || retain === "set");
}

/** The refusal of a topic more [P-14.9]: by its channel, or, where none is named, by all of them together. */
export function tooManyTopics(topic: string, limit: number, channel?: string): WarrenError {
  const where = channel === undefined ? "" : ` of the channel ${channel}`;
  const text = `Not more than ${limit} topics${where} keep something, and this would be one more.`;
  const scope = channel === undefined ? "overall" : "channel";
  return new WarrenError("too_many_topics", text, {
    topic,
    scope,
    ...(channel !== undefined && { channel }),
    limit,
  });
}
