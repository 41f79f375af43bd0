/**
 * The frames of the native protocol [P-2], the same objects in both encodings. Unknown fields are
 * ignored [P-2.5]; what is named here is checked. Bounds that operators may change (topic bytes, credit,
 * headers) are checked where the limits are known, not here.
 */
import { type Static, Type } from "@sinclair/typebox";

export const FrameId = Type.Union([Type.Integer(), Type.String({ maxLength: 64 })]);
export type FrameId = Static<typeof FrameId>;

const MessageId = Type.String({ minLength: 1, maxLength: 128 });
const Text = (maxLength: number) => Type.String({ maxLength });
const DurationMs = Type.Integer({ minimum: 0, maximum: 315_360_000_000 });
/** Milliseconds since 1970. */
const Time = Type.Integer({ minimum: 0, maximum: 8_640_000_000_000_000 });
/** Where a message stands in the history of its topic [P-4.3]. */
const Position = {
  epoch: Type.String({ minLength: 1, maxLength: 128 }),
  offset: Type.Integer({ minimum: 0 }),
};
const Tags = Type.Array(Type.Integer({ minimum: 0 }), { minItems: 1, maxItems: 1000 });
const QueueRef = Type.String({ minLength: 1, maxLength: 133 });

/** What one publish says, over any transport [P-3.2]. */
export const PublishFields = {
  topic: Type.String(),
  payload: Type.Optional(Type.Unknown()),
  messageId: Type.Optional(MessageId),
  headers: Type.Optional(Type.Record(Type.String(), Type.String())),
  key: Type.Optional(Text(256)),
  ttlMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 315_360_000_000 })),
  delayMs: Type.Optional(DurationMs),
  deliverAt: Type.Optional(Time),
  priority: Type.Optional(Type.Integer({ minimum: 0, maximum: 9 })),
  retain: Type.Optional(Type.Boolean()),
  replyTo: Type.Optional(Type.String()),
  correlationId: Type.Optional(Text(256)),
  contentType: Type.Optional(Text(256)),
  payloadEncoding: Type.Optional(Type.Literal("base64")),
  echo: Type.Optional(Type.Boolean()),
};

export const PublishBody = Type.Object(PublishFields);
export type PublishBody = Static<typeof PublishBody>;

/** What of a scheduled message may be changed [P-5.13]. */
const { deliverAt, delayMs, payload, payloadEncoding, headers, contentType, ttlMs } = PublishFields;
const RescheduleFields = {
  deliverAt,
  delayMs,
  payload,
  payloadEncoding,
  headers,
  contentType,
  ttlMs,
};
export const RescheduleBody = Type.Object(RescheduleFields, { additionalProperties: false });
export type RescheduleBody = Static<typeof RescheduleBody>;

const frame = <Name extends string, Fields extends Parameters<typeof Type.Object>[0]>(
  name: Name,
  fields: Fields,
) => Type.Object({ type: Type.Literal(name), id: Type.Optional(FrameId), ...fields });

/** What a client may send, by `type`. */
export const CLIENT_FRAMES = {
  publish: frame("publish", PublishFields),
  batch: frame("batch", { publish: Type.Array(PublishBody, { minItems: 1 }) }),
  reschedule: frame("reschedule", {
    topic: Type.String(),
    messageId: MessageId,
    ...RescheduleFields,
  }),
  unschedule: frame("unschedule", { topic: Type.String(), messageId: MessageId }),
  subscribe: frame("subscribe", {
    filter: Type.String(),
    recover: Type.Optional(Type.Object(Position)),
    last: Type.Optional(Type.Integer({ minimum: 0 })),
    where: Type.Optional(Type.Unknown()),
    presence: Type.Optional(Type.Boolean()),
    info: Type.Optional(Type.Unknown()),
  }),
  history: frame("history", {
    topic: Type.String(),
    after: Type.Optional(Position.offset),
    before: Type.Optional(Position.offset),
    limit: Type.Optional(Type.Integer({ minimum: 1 })),
    reverse: Type.Optional(Type.Boolean()),
  }),
  unsubscribe: frame("unsubscribe", { filter: Type.String() }),
  presence: frame("presence", {
    topic: Type.String(),
    limit: Type.Optional(Type.Integer({ minimum: 0 })),
  }),
  consume: frame("consume", { queue: QueueRef, credit: Type.Integer({ minimum: 0 }) }),
  credit: frame("credit", { queue: QueueRef, credit: Type.Integer({ minimum: 0 }) }),
  cancel: frame("cancel", { queue: QueueRef }),
  ack: frame("ack", { tags: Tags }),
  nack: frame("nack", {
    tags: Tags,
    delayMs: Type.Optional(DurationMs),
    reason: Type.Optional(Text(1024)),
  }),
  reject: frame("reject", { tags: Tags, reason: Type.Optional(Text(1024)) }),
  extend: frame("extend", {
    tags: Tags,
    byMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_592_000_000 })),
  }),
  auth: frame("auth", { token: Type.String({ minLength: 1, maxLength: 16_384 }) }),
  ping: frame("ping", {}),
} as const;

export type ClientFrameType = keyof typeof CLIENT_FRAMES;
export type ClientFrameOf<T extends ClientFrameType> = Static<(typeof CLIENT_FRAMES)[T]>;
export type ClientFrame = { [T in ClientFrameType]: ClientFrameOf<T> }[ClientFrameType];

/**
 * What the broker sends, by `type`. These describe; the hot ones are written by hand and a test holds
 * what is on the wire against them.
 */
const MessageFields = {
  topic: Type.String(),
  messageId: MessageId,
  payload: Type.Unknown(),
  time: Type.Integer(),
  headers: Type.Optional(Type.Record(Type.String(), Type.String())),
  replyTo: Type.Optional(Type.String()),
  correlationId: Type.Optional(Type.String()),
  contentType: Type.Optional(Type.String()),
  payloadEncoding: Type.Optional(Type.Literal("base64")),
};

export const DeathRecordSchema = Type.Object({
  queue: Type.String(),
  reason: Type.Union([
    Type.Literal("rejected"),
    Type.Literal("max_deliveries"),
    Type.Literal("expired"),
    Type.Literal("overflow"),
    Type.Literal("invalid"),
  ]),
  attempts: Type.Integer(),
  firstAt: Type.Integer(),
  lastAt: Type.Integer(),
  detail: Type.Optional(Type.String()),
});

/** Who is present on a topic [P-7.1]. */
export const PresenceMember = Type.Object({
  principal: Type.String(),
  session: Type.String(),
  since: Type.Integer(),
  firstSession: Type.Optional(Type.String()),
  info: Type.Optional(Type.Unknown()),
});
export type PresenceMember = Static<typeof PresenceMember>;

/** What became of one message of a batch [P-5.14]. */
const BatchResult = Type.Object({
  messageId: MessageId,
  queues: Type.Integer(),
  duplicate: Type.Optional(Type.Literal(true)),
  displaced: Type.Optional(Type.Integer({ minimum: 1 })),
  invalid: Type.Optional(Type.Literal(true)),
  epoch: Type.Optional(Position.epoch),
  offset: Type.Optional(Position.offset),
});

/** A message that its topic keeps, as a value [P-4.4] and in its history [P-8.1]. */
const KeptFields = { from: Type.Optional(Type.String()), ...MessageFields };
export const RetainedMessage = Type.Object(KeptFields);
export const KeptMessage = Type.Object({ offset: Position.offset, ...KeptFields });

export const SERVER_FRAMES = {
  welcome: Type.Object({
    type: Type.Literal("welcome"),
    session: Type.String(),
    principal: Type.String(),
    expiresAt: Type.Optional(Type.Integer()),
    heartbeatMs: Type.Integer(),
    limits: Type.Record(Type.String(), Type.Integer()),
    server: Type.Object({ name: Type.String(), version: Type.String(), node: Type.String() }),
    time: Type.Integer(),
  }),
  ok: Type.Object({
    type: Type.Literal("ok"),
    id: FrameId,
    filter: Type.Optional(Type.String()),
    messageId: Type.Optional(MessageId),
    queues: Type.Optional(Type.Integer()),
    duplicate: Type.Optional(Type.Literal(true)),
    displaced: Type.Optional(Type.Integer({ minimum: 1 })),
    invalid: Type.Optional(Type.Literal(true)),
    results: Type.Optional(Type.Array(BatchResult)),
    members: Type.Optional(Type.Array(PresenceMember)),
    count: Type.Optional(Type.Integer({ minimum: 0 })),
    many: Type.Optional(Type.Literal(true)),
    epoch: Type.Optional(Position.epoch),
    offset: Type.Optional(Position.offset),
    recovered: Type.Optional(Type.Boolean()),
    retained: Type.Optional(Type.Integer({ minimum: 0 })),
    messages: Type.Optional(Type.Array(KeptMessage)),
    next: Type.Optional(Position.offset),
    expiresAt: Type.Optional(Type.Integer()),
    time: Type.Optional(Type.Integer()),
  }),
  error: Type.Object({
    type: Type.Literal("error"),
    id: Type.Optional(FrameId),
    ref: Type.Optional(Type.String()),
    code: Type.String(),
    message: Type.String(),
    retry: Type.Boolean(),
    detail: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  }),
  event: Type.Object({
    type: Type.Literal("event"),
    filter: Type.Optional(Type.String()),
    from: Type.Optional(Type.String()),
    offset: Type.Optional(Type.Integer()),
    epoch: Type.Optional(Type.String()),
    retained: Type.Optional(Type.Literal(true)),
    ...MessageFields,
  }),
  presence: Type.Object({
    type: Type.Literal("presence"),
    topic: Type.String(),
    filter: Type.Optional(Type.String()),
    action: Type.Union([
      Type.Literal("join"),
      Type.Literal("leave"),
      Type.Literal("update"),
      Type.Literal("many"),
      Type.Literal("few"),
    ]),
    member: Type.Optional(PresenceMember),
    count: Type.Optional(Type.Integer({ minimum: 0 })),
  }),
  delivery: Type.Object({
    type: Type.Literal("delivery"),
    queue: Type.String(),
    tag: Type.Integer(),
    attempt: Type.Integer({ minimum: 1 }),
    key: Type.Optional(Type.String()),
    priority: Type.Optional(Type.Integer()),
    expiresAt: Type.Optional(Type.Integer()),
    deaths: Type.Optional(Type.Array(DeathRecordSchema)),
    ...MessageFields,
  }),
  notice: Type.Object({
    type: Type.Literal("notice"),
    code: Type.Union([
      Type.Literal("unsubscribed"),
      Type.Literal("lagged"),
      Type.Literal("retained_sent"),
      Type.Literal("token_expiring"),
      Type.Literal("draining"),
      Type.Literal("consumer_ended"),
      Type.Literal("presence_ended"),
    ]),
    filter: Type.Optional(Type.String()),
    queue: Type.Optional(Type.String()),
    reason: Type.Optional(Type.String()),
    missed: Type.Optional(Type.Integer()),
    presence: Type.Optional(Type.Literal(true)),
    expiresAt: Type.Optional(Type.Integer()),
    reconnectAfterMs: Type.Optional(Type.Integer()),
  }),
} as const;

export type ServerFrameType = keyof typeof SERVER_FRAMES;
export type ServerFrameOf<T extends ServerFrameType> = Static<(typeof SERVER_FRAMES)[T]>;
export type ServerFrame = { [T in ServerFrameType]: ServerFrameOf<T> }[ServerFrameType];
