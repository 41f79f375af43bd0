/**
 * What an operator changes of a message before it is sent again, held to the bounds of a publish: nobody
 * is to receive what nobody could have published [P-13.9], [P-3.2].
 */

import { arriving, type MessageEdit } from "../engine/transfer.ts";
import { WarrenError } from "../errors.ts";
import type { Message } from "../message.ts";
import type { Broker } from "./broker.ts";
import { assertHeaders, payloadOf } from "./publication.ts";

/** The fields of an edit that fit their schema; null takes a field away. */
export interface EditBody {
  readonly payload?: unknown;
  readonly payloadEncoding?: "base64";
  readonly headers?: Record<string, string> | null;
  readonly topic?: string;
  readonly key?: string | null;
  readonly priority?: number | null;
  readonly messageId?: string;
}

/**
 * The edit that a body asks for; `from` is who asks, and whose message it is then. Throws
 * `invalid_topic`, `forbidden` (the topic is the broker's own), `invalid_frame` and `too_large`, as
 * a publish with these fields is refused.
 */
export function toEdit(
  body: EditBody,
  { router, limits }: Broker,
  from: string | undefined,
): MessageEdit {
  const { payload, payloadEncoding, headers, topic, key, priority, messageId } = body;
  const edit: { -readonly [K in keyof MessageEdit]: MessageEdit[K] } = {};
  if (topic !== undefined) {
    if (router.lookup(topic).reserved) {
      const why = "Topics that begin with $ belong to the broker.";
      throw new WarrenError("forbidden", why, { action: "publish", on: topic, topic });
    }
    edit.topic = topic;
  }
  if (payload !== undefined || payloadEncoding !== undefined)
    edit.payload = payloadOf(body, limits);
  if (headers !== undefined) {
    if (headers !== null) assertHeaders(headers, limits);
    edit.headers = headers;
  }
  if (key !== undefined) edit.key = key;
  if (priority !== undefined) edit.priority = priority;
  if (messageId !== undefined) edit.id = messageId;
  // Nobody speaks in the name of somebody else.
  if (isForChannel(edit) || headers !== undefined) edit.from = from ?? null;
  return edit;
}

/** Whether the channel of its topic may have something against the message as it becomes. */
export function isForChannel({ payload, topic }: MessageEdit): boolean {
  return payload !== undefined || topic !== undefined;
}

/** Throws what that channel has against it [P-14.9], [P-14.10]. */
export function assertFits(message: Message, edit: MessageEdit, { router, clock }: Broker): void {
  const edited = arriving(message, edit, clock.now());
  const misfit = router.lookup(edited.topic).channel?.misfit(edited);
  if (misfit !== undefined) throw misfit;
}
