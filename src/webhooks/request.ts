/** What a delivery looks like as an HTTP request, and what the answer to it means [P-5.16]. */
import type { WebhookSettings } from "../../schemas/queue.ts";
import type { Delivery, Message } from "../message.ts";
import { webhookSignature } from "./signature.ts";

/** What became of one request. */
export type Verdict =
  | { readonly kind: "done" }
  /** The endpoint refuses this message; others may go through. */
  | { readonly kind: "refused"; readonly reason: string }
  /** The endpoint takes nothing at present. */
  | { readonly kind: "failing"; readonly reason: string; readonly retryAfterMs?: number };

/**
 * Answers that say something of the endpoint and not of the message: who we are, whether it is there,
 * whether it has too much to do.
 */
const ENDPOINT_STATUSES = new Set([401, 403, 404, 405, 407, 408, 410, 421, 425, 429]);

/** The request for one delivery; `now` is when it is sent. */
export function webhookRequest(
  settings: WebhookSettings,
  delivery: Delivery,
  now: number,
): { readonly headers: Record<string, string>; readonly body: Uint8Array | string } {
  const { message, queue, attempt } = delivery;
  const { payload } = message;
  const body = payload.isBinary ? payload.storedBytes() : payload.json();
  const seconds = Math.floor(now / 1000);
  const headers: Record<string, string> = {
    ...settings.headers,
    "content-type": contentTypeOf(message),
    "user-agent": "warren",
    "webhook-id": headerValue(message.id),
    "webhook-timestamp": String(seconds),
    "warren-queue": queue,
    "warren-topic": headerValue(message.topic),
    "warren-message-id": headerValue(message.id),
    "warren-attempt": String(attempt),
    "warren-time": String(message.time),
  };
  if (settings.secret !== undefined) {
    headers["webhook-signature"] = webhookSignature(settings.secret, message.id, seconds, body);
  }
  if (message.key !== undefined) headers["warren-key"] = headerValue(message.key);
  if (message.correlationId !== undefined) {
    headers["warren-correlation-id"] = headerValue(message.correlationId);
  }
  for (const [name, value] of Object.entries(message.headers ?? {})) {
    // What is no name of a header stays out: the payload is what counts, and a queue must go on.
    if (/^[\w!#$%&'*+.^`|~-]+$/.test(name)) {
      headers[`warren-header-${name.toLowerCase()}`] = headerValue(value);
    }
  }
  return { headers, body };
}

function contentTypeOf({ payload, contentType }: Message): string {
  if (!payload.isBinary) return "application/json";
  return contentType === undefined ? "application/octet-stream" : headerValue(contentType);
}

/** As it is where a header can carry it, else with its bytes percent-encoded (RFC 3986). */
function headerValue(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : encodeURIComponent(text);
}

/** What an answer means. Redirects are not followed: the endpoint is the one that was configured. */
export function verdictOf(status: number, retryAfter: string | null, now: number): Verdict {
  if (status >= 200 && status < 300) return { kind: "done" };
  const reason = `The endpoint answered ${status}.`;
  if (status < 500 && !ENDPOINT_STATUSES.has(status)) return { kind: "refused", reason };
  const retryAfterMs = retryAfter === null ? undefined : retryAfterOf(retryAfter, now);
  return { kind: "failing", reason, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
}

/** Seconds or a date (RFC 9110, 10.2.3), as milliseconds from now; undefined when it is neither. */
function retryAfterOf(text: string, now: number): number | undefined {
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}
