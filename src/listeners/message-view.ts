/** Messages as HTTP shows them: to consumers that pulled them and to operators that look at them. */
import type { StoredMessage } from "../engine/engine.ts";
import type { Delivery, Message } from "../message.ts";
import { PAYLOAD_FORMAT } from "../payload.ts";

/** A delivery with the fields of P-5.3. `packed` is for MessagePack, which carries binary as it is. */
export function deliveryView(delivery: Delivery, packed: boolean): Record<string, unknown> {
  const { queue, tag, attempt, message, expiresAt, deaths } = delivery;
  return defined({ queue, tag, attempt, ...messageFields(message, packed), expiresAt, deaths });
}

/** A message of a queue as an operator sees it [P-13.3]. */
export function storedView(stored: StoredMessage, packed: boolean): Record<string, unknown> {
  const { message, state, attempts, dueAt, ackedAt, expiresAt, deaths, held } = stored;
  const { from } = message;
  return defined({
    ...messageFields(message, packed),
    from,
    state,
    attempts,
    dueAt,
    ackedAt,
    held,
    expiresAt,
    deaths,
  });
}

function messageFields(message: Message, packed: boolean): Record<string, unknown> {
  const { payload } = message;
  const asValue = packed || payload.format === PAYLOAD_FORMAT.json;
  return {
    topic: message.topic,
    messageId: message.id,
    payload: asValue ? payload.value() : JSON.parse(payload.json()),
    payloadEncoding: payload.isBinary && !packed ? "base64" : undefined,
    time: message.time,
    headers: message.headers,
    key: message.key,
    priority: message.priority,
    replyTo: message.replyTo,
    correlationId: message.correlationId,
    contentType: message.contentType,
  };
}

/** MessagePack would write an absent field as nil, which is not absent. */
function defined(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
