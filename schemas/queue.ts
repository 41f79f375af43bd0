/** A queue's settings as operators write them and as the broker keeps them [P-5.1]. */
import { type Static, type TSchema, Type } from "@sinclair/typebox";

const DAY_MS = 24 * 60 * 60 * 1000;
const closed = { additionalProperties: false } as const;

export const QueueName = Type.String({
  pattern: "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$",
  description: "Letters, digits and _ . : - (not first), at most 128.",
});

export const Backoff = Type.Object(
  {
    minMs: Type.Integer({
      minimum: 0,
      maximum: DAY_MS,
      default: 1000,
      description: "The wait before the second attempt.",
    }),
    maxMs: Type.Integer({
      minimum: 0,
      maximum: 30 * DAY_MS,
      default: 300_000,
      description: "The longest wait.",
    }),
    factor: Type.Number({
      minimum: 1,
      maximum: 100,
      default: 2,
      description: "By how much each wait is longer than the one before.",
    }),
    jitter: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 0.2,
      description: "The share of a delay that is drawn at random: 0 none, 1 all of it.",
    }),
  },
  { ...closed, default: {} },
);

/** A queue that is pushed to an HTTP endpoint [P-5.16]. */
export const WebhookSettings = Type.Object(
  {
    url: Type.String({
      pattern: "^https?://[^/?#@\\s]+([/?][^#\\s]*)?$",
      maxLength: 2048,
      description: "Where each message is posted; without credentials in it.",
    }),
    secret: Type.Optional(
      Type.String({
        minLength: 16,
        maxLength: 512,
        description: "Signs each request (Standard Webhooks); `whsec_` before base64, or any text.",
      }),
    ),
    timeoutMs: Type.Integer({ minimum: 100, maximum: 600_000, default: 10_000 }),
    maxInFlight: Type.Integer({
      minimum: 1,
      maximum: 1000,
      default: 8,
      description: "Requests that are under way at a time.",
    }),
    headers: Type.Optional(
      Type.Record(
        Type.String({ pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$" }),
        Type.String({ maxLength: 4096, pattern: "^[\\x20-\\x7e]*$" }),
        {
          ...closed,
          maxProperties: 32,
          description: "Sent with each request, such as Authorization.",
        },
      ),
    ),
  },
  closed,
);
export type WebhookSettings = Static<typeof WebhookSettings>;

export const QueueSettings = Type.Object(
  {
    ackTimeoutMs: Type.Integer({
      minimum: 10,
      maximum: 30 * DAY_MS,
      default: 30_000,
      description: "How long one delivery may take before it comes again.",
    }),
    maxDeliveries: Type.Integer({
      minimum: 1,
      maximum: 1_000_000,
      default: 5,
      description: "Attempts until a message is dead-lettered.",
    }),
    backoff: Backoff,
    ttlMs: Type.Integer({
      minimum: 1,
      maximum: 3650 * DAY_MS,
      default: 14 * DAY_MS,
      description: "How long a message waits before it is dead-lettered as expired.",
    }),
    maxMessages: Type.Optional(
      Type.Integer({
        minimum: 1,
        description: "Most messages, in flight and delayed ones included.",
      }),
    ),
    maxBytes: Type.Optional(
      Type.Integer({ minimum: 1, description: "Most bytes of them, as stored." }),
    ),
    overflow: Type.Union(
      [Type.Literal("reject"), Type.Literal("drop-oldest"), Type.Literal("dead-letter-oldest")],
      {
        default: "reject",
        description: "What becomes of a message that a full queue has no room for.",
      },
    ),
    deadLetter: Type.Object(
      {
        ttlMs: Type.Integer({
          minimum: 1,
          maximum: 3650 * DAY_MS,
          default: 30 * DAY_MS,
          description: "How long a dead letter is kept.",
        }),
      },
      { ...closed, default: {} },
    ),
    defaultPriority: Type.Integer({
      minimum: 0,
      maximum: 9,
      default: 4,
      description: "Of messages that come without one: 0 (last) to 9 (first).",
    }),
    dedupeWindowMs: Type.Integer({
      minimum: 0,
      maximum: 7 * DAY_MS,
      default: 300_000,
      description: "How long a message id that a publisher chose counts as seen.",
    }),
    ordering: Type.Union([Type.Literal("none"), Type.Literal("key")], {
      default: "none",
      description: "key: one message of a key at a time, in the order of their entering.",
    }),
    keyRetry: Type.Union([Type.Literal("block"), Type.Literal("step-aside")], {
      default: "block",
      description: "Whether a message that waits for its retry holds the others of its key.",
    }),
    priorityAgeingMs: Type.Integer({
      minimum: 0,
      maximum: 30 * DAY_MS,
      default: 60_000,
      description: "A waiting message rises by one priority for each such time; 0: never.",
    }),
    maxInFlight: Type.Optional(
      Type.Integer({
        minimum: 1,
        description: "Most unsettled deliveries of all consumers together.",
      }),
    ),
    maxInFlightPerConsumer: Type.Optional(
      Type.Integer({ minimum: 1, description: "Most unsettled deliveries of each consumer." }),
    ),
    maxRedrives: Type.Integer({
      minimum: 1,
      maximum: 16,
      default: 5,
      description: "A dead letter that died here so often is held: only by its id is it redriven.",
    }),
    retainAckedMs: Type.Integer({
      minimum: 0,
      maximum: 3650 * DAY_MS,
      default: 0,
      description: "How long acked messages are kept, to be replayed; 0: not at all.",
    }),
    retainAckedBytes: Type.Integer({
      minimum: 1,
      default: 1024 ** 3,
      description: "Bytes of acked messages that are kept; the oldest go.",
    }),
    paused: Type.Boolean({ default: false, description: "Nothing is handed out." }),
    draining: Type.Boolean({ default: false, description: "Nothing more comes in." }),
    webhook: Type.Optional(WebhookSettings),
  },
  closed,
);
export type QueueSettings = Static<typeof QueueSettings>;

/** For a setting that need not be there: null takes it away. */
const removable = <T extends TSchema>(schema: T) =>
  Type.Optional(Type.Union([schema, Type.Null({ description: "Takes the setting away." })]));

/** The body of `PUT /admin/v1/queues/<name>`: every field may be left out. */
export const QueueDefinition = Type.Object(
  {
    ...Type.Partial(QueueSettings).properties,
    maxMessages: removable(Type.Integer({ minimum: 1 })),
    maxBytes: removable(Type.Integer({ minimum: 1 })),
    maxInFlight: removable(Type.Integer({ minimum: 1 })),
    maxInFlightPerConsumer: removable(Type.Integer({ minimum: 1 })),
    webhook: removable(
      Type.Object(
        { ...Type.Partial(WebhookSettings).properties, url: WebhookSettings.properties.url },
        closed,
      ),
    ),
    backoff: Type.Optional(Type.Partial(Backoff)),
    deadLetter: Type.Optional(Type.Partial(QueueSettings.properties.deadLetter)),
    bindings: Type.Optional(Type.Array(Type.String(), { maxItems: 1024 })),
  },
  closed,
);
export type QueueDefinition = Static<typeof QueueDefinition>;

/** What is said of a queue, exact at the moment of asking. */
export interface QueueCounts {
  /** Waiting to be handed out now. */
  ready: number;
  delayed: number;
  inFlight: number;
  /** Messages in its dead-letter queue, whatever their state; 0 for a dead-letter queue. */
  dead: number;
  /** Bytes of all messages of the queue, as stored. */
  bytes: number;
  consumers: number;
  /** Acked messages that are kept; they are in none of the other counts. */
  retained: number;
}

/** What each queue counts since the broker started, or since it was defined [P-5.18]. */
export const QUEUE_COUNTERS = [
  "published",
  "delivered",
  "redelivered",
  "acked",
  "nacked",
  "rejected",
  "timedOut",
  "expired",
  "deadLettered",
  "displaced",
  "redriven",
] as const;
export type QueueCounter = (typeof QUEUE_COUNTERS)[number];
export type QueueCounters = Readonly<Record<QueueCounter, number>>;

/** Those of them whose rates are known. */
export const RATED_COUNTERS = [
  "published",
  "delivered",
  "acked",
] as const satisfies readonly QueueCounter[];
export type RatedCounter = (typeof RATED_COUNTERS)[number];

/** Per second, over the last 10 and 60 seconds. */
export interface QueueRates {
  readonly over10s: Readonly<Record<RatedCounter, number>>;
  readonly over60s: Readonly<Record<RatedCounter, number>>;
}
