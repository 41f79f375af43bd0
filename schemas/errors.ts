/**
 * The one table of errors [P-10.1]. Every failure that leaves the broker, over any transport, carries
 * one of these codes; what the code means for HTTP, for retrying and for the connection is ruled here
 * and nowhere else.
 */
export interface ErrorRule {
  /** HTTP status of a `problem+json` answer with this code. */
  readonly status: number;
  /** Whether sending the same thing again, unchanged and after a while, may succeed. */
  readonly retry: boolean;
  /** WebSocket close code when the error ends the connection; absent when the connection stays. */
  readonly close?: number;
  /** One sentence for people, the default `message`. */
  readonly meaning: string;
}

export const ERRORS = {
  malformed_frame: {
    status: 400,
    retry: false,
    close: 1007,
    meaning: "The bytes cannot be decoded in the encoding of this connection.",
  },
  invalid_frame: {
    status: 400,
    retry: false,
    meaning: "The frame or body does not fit its schema.",
  },
  unknown_type: { status: 400, retry: false, meaning: "There is no frame of this type." },
  unauthenticated: {
    status: 401,
    retry: false,
    close: 4401,
    meaning: "Credentials are missing or not valid.",
  },
  token_expired: {
    status: 401,
    retry: false,
    close: 4401,
    meaning: "The token has expired; connect again with a new one.",
  },
  token_revoked: {
    status: 401,
    retry: false,
    close: 4401,
    meaning: "The token was revoked by an operator.",
  },
  forbidden: { status: 403, retry: false, meaning: "The principal has no right to do this." },
  banned: {
    status: 403,
    retry: false,
    close: 4410,
    meaning: "An operator, or a rule against abuse, has shut this client out.",
  },
  rate_limited: {
    status: 429,
    retry: true,
    meaning: "Too much in too short a time; slow down and send it again.",
  },
  too_large: { status: 413, retry: false, meaning: "The message is over a size limit." },
  too_many_subscriptions: {
    status: 429,
    retry: false,
    meaning: "The connection holds as many subscriptions or consumers as it may.",
  },
  invalid_topic: { status: 400, retry: false, meaning: "The topic breaks the rules for topics." },
  invalid_filter: {
    status: 400,
    retry: false,
    meaning: "The filter breaks the rules for filters.",
  },
  schema_violation: {
    status: 422,
    retry: false,
    meaning: "The payload does not fit the schema of its channel.",
  },
  unknown_queue: { status: 404, retry: false, meaning: "There is no queue of this name." },
  unknown_topic: { status: 404, retry: false, meaning: "Nothing is known of this topic." },
  not_found: { status: 404, retry: false, meaning: "There is nothing at this address." },
  method_not_allowed: {
    status: 405,
    retry: false,
    meaning: "This address does not answer that method.",
  },
  queue_full: {
    status: 507,
    retry: true,
    meaning: "A queue bound to the topic is full; nothing was stored.",
  },
  too_many_topics: {
    status: 507,
    retry: true,
    meaning: "As many topics keep something as may; nothing was stored of this one.",
  },
  queue_paused: { status: 409, retry: true, meaning: "The queue is paused." },
  conflict: {
    status: 409,
    retry: false,
    meaning: "The request does not go together with the present state.",
  },
  stale_delivery: {
    status: 409,
    retry: false,
    meaning: "The delivery is not, or no longer, held by this consumer; nothing changed.",
  },
  no_responders: {
    status: 404,
    retry: true,
    meaning: "Nobody is subscribed or bound to receive this request.",
  },
  busy: { status: 503, retry: true, meaning: "The broker has too much to do; try again shortly." },
  storage_unavailable: {
    status: 503,
    retry: true,
    meaning: "The broker cannot write to its storage; nothing was stored.",
  },
  draining: {
    status: 503,
    retry: true,
    meaning: "The broker is stopping; connect again in a moment.",
  },
  not_supported: { status: 501, retry: false, meaning: "This broker does not do that." },
  internal: {
    status: 500,
    retry: true,
    close: 1011,
    meaning: "A fault in the broker; it was logged.",
  },
} as const satisfies Record<string, ErrorRule>;

export type ErrorCode = keyof typeof ERRORS;

/**
 * Close codes of the broker's own [P-10.2]. 4400–4499: do not reconnect until something changes;
 * 4500–4599: reconnect with backoff.
 */
export const CLOSE = {
  normal: 1000,
  goingAway: 1001,
  unsupportedData: 1003,
  internal: 1011,
  restart: 1012,
  tooManyBadFrames: 4400,
  unauthenticated: 4401,
  forbidden: 4403,
  authTimeout: 4408,
  replaced: 4409,
  kicked: 4410,
  abuse: 4429,
  overloaded: 4503,
  slowConsumer: 4508,
} as const;
