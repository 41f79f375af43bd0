/** Messages as HTTP shows them: to consumers that pulled them and to operators that look at them. */
import type { StoredMessage } from "../engine/engine.ts";
import type { Delivery, Message } from "../message.ts";
import { PAYLOAD_FORMAT } from "../payload.ts";

/** A delivery with the fields of P-5.3, for MessagePack, which carries binary as it is. */
export function packedDelivery(delivery: Delivery): Record<string, unknown> {
  return defined({ ...head(delivery), ...messageFields(delivery.message, true) });
}

/** The same as JSON text, with the payload's own text in it. */
export function deliveryText(delivery: Delivery): string {
  const { message } = delivery;
  const { payload } = message;
  const payloadEncoding = payload.isBinary ? "base64" : undefined;
  const text = JSON.stringify({ ...head(delivery), ...ownFields(message), payloadEncoding });
  return `${text.slice(0, -1)},"payload":${payload.json()}}`;
}

function head({ queue, tag, attempt, expiresAt, deaths }: Delivery): Record<string, unknown> {
  return { queue, tag, attempt, expiresAt, deaths };
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

/** A message that its topic keeps [P-12.9]. */
export function keptView(message: Message, packed: boolean): Record<string, unknown> {
  const { key: _, priority: __, ...fields } = messageFields(message, packed);
  return defined({ ...fields, from: message.from });
}

function messageFields(message: Message, packed: boolean): Record<string, unknown> {
  const { payload } = message;
  const asValue = packed || payload.format === PAYLOAD_FORMAT.json;
  return {
    ...ownFields(message),
    payload: asValue ? payload.value() : JSON.parse(payload.json()),
    payloadEncoding: payload.isBinary && !packed ? "base64" : undefined,
  };
}

/** All but the payload. */
function ownFields(message: Message): Record<string, unknown> {
  return {
    topic: message.topic,
    messageId: message.id,
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
  for (const name in fields) if (fields[name] === undefined) delete fields[name];
  return fields;
}
