/** Which messages of a queue: the filters of looking, redriving and replaying, the same everywhere. */
import type { DeathReason, DeathRecord, Message } from "../message.ts";
import { filterMatches } from "../topic.ts";

/** Every field that is there must fit. */
export interface Selection {
  readonly ids?: readonly string[];
  /** A filter that the topic matches. */
  readonly topic?: string;
  /** Why it died last. */
  readonly reason?: DeathReason;
  /** Headers and their whole values; all of them must be there. */
  readonly headers?: readonly { readonly name: string; readonly value: string }[];
  /**
   * When it came to where it is, milliseconds since 1970, both included: into the queue, into the
   * dead-letter queue (its death), or to the acked ones (its ack).
   */
  readonly from?: number;
  readonly to?: number;
  /**
   * Words, each of which occurs in topic, headers, payload or the details of its deaths, in whatever
   * case and anywhere in them. Of binary payloads the bytes are read as UTF-8.
   */
  readonly search?: string;
}

/** What is looked at. The payload has to be there only where the selection reads it. */
export interface Candidate {
  readonly message: Omit<Message, "payload"> & Partial<Pick<Message, "payload">>;
  readonly deaths: readonly DeathRecord[] | undefined;
  /** When it came to where it is. */
  readonly at: number;
}

/** Whether payloads have to be looked at. */
export function readsPayload({ search }: Selection): boolean {
  return search !== undefined;
}

/** A selection made ready for many candidates. */
export function matcherOf(selection: Selection): (candidate: Candidate) => boolean {
  const { topic, reason, headers, from, to, search } = selection;
  const ids = selection.ids === undefined ? undefined : new Set(selection.ids);
  const words = search
    ?.toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  return ({ message, deaths, at }) =>
    (ids === undefined || ids.has(message.id)) &&
    (from === undefined || at >= from) &&
    (to === undefined || at <= to) &&
    (reason === undefined || deaths?.[0]?.reason === reason) &&
    (topic === undefined || filterMatches(topic, message.topic)) &&
    (headers === undefined ||
      headers.every(({ name, value }) => hasHeader(message, name, value))) &&
    (words === undefined || hasWords(words, textOf(message, deaths)));
}

/** How often the message died in this queue. */
export function deathsIn(queue: string, deaths: readonly DeathRecord[] | undefined): number {
  return deaths?.filter((death) => death.queue === queue).length ?? 0;
}

function hasHeader({ headers }: Candidate["message"], name: string, value: string): boolean {
  return headers !== undefined && Object.hasOwn(headers, name) && headers[name] === value;
}

function hasWords(words: readonly string[], text: string): boolean {
  const lower = text.toLowerCase();
  return words.every((word) => lower.includes(word));
}

function textOf(message: Candidate["message"], deaths: readonly DeathRecord[] | undefined): string {
  const texts = [message.topic, payloadText(message)];
  for (const [name, value] of Object.entries(message.headers ?? {})) texts.push(name, value);
  for (const { detail } of deaths ?? []) if (detail !== undefined) texts.push(detail);
  return texts.join("\n");
}

function payloadText({ payload }: Candidate["message"]): string {
  if (payload === undefined) return "";
  return payload.isBinary ? new TextDecoder().decode(payload.storedBytes()) : payload.json();
}
