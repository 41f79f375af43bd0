/**
 * Everything the broker answers over HTTP [P-12.1]: one table of operations with what each takes and
 * gives. The router checks bodies and queries against it, and `openapi.json` is made from it.
 */
import { type Static, type TObject, type TSchema, Type } from "@sinclair/typebox";
import { DeathRecordSchema, PublishBody } from "./frames.ts";
import { QueueDefinition, QueueSettings } from "./queue.ts";

const closed = { additionalProperties: false } as const;
const Count = Type.Integer({ minimum: 0 });
const Time = Type.Integer({ description: "Milliseconds since 1970 UTC." });
const DurationMs = Type.Integer({ minimum: 0, maximum: 315_360_000_000 });
const Tag = Type.Integer({ minimum: 0 });
const Reason = Type.Optional(Type.String({ maxLength: 1024 }));

/** Longest wait of a long poll; clients poll again. */
const PULL_WAIT_MS = 60_000;
/** Most items on one page of a list. */
const PAGE_LIMIT = 1000;

const Page = {
  limit: Type.Integer({ minimum: 1, maximum: PAGE_LIMIT, default: 100 }),
  after: Type.Optional(Type.String({ maxLength: 1024, description: "`next` of the page before." })),
};

const ErrorResult = Type.Object({
  type: Type.Literal("error"),
  code: Type.String(),
  message: Type.String(),
  retry: Type.Boolean(),
  detail: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
});

const Published = Type.Object({
  type: Type.Literal("ok"),
  messageId: Type.String(),
  queues: Count,
  duplicate: Type.Optional(Type.Literal(true)),
});

const Message = {
  topic: Type.String(),
  messageId: Type.String(),
  payload: Type.Unknown(),
  payloadEncoding: Type.Optional(Type.Literal("base64")),
  time: Time,
  headers: Type.Optional(Type.Record(Type.String(), Type.String())),
  key: Type.Optional(Type.String()),
  priority: Type.Optional(Type.Integer()),
  replyTo: Type.Optional(Type.String()),
  correlationId: Type.Optional(Type.String()),
  contentType: Type.Optional(Type.String()),
  expiresAt: Type.Optional(Time),
  deaths: Type.Optional(Type.Array(DeathRecordSchema)),
};

const PulledDelivery = Type.Object({
  queue: Type.String(),
  tag: Tag,
  attempt: Type.Integer({ minimum: 1 }),
  ...Message,
});

const MessageState = Type.Union([
  Type.Literal("ready"),
  Type.Literal("delayed"),
  Type.Literal("inflight"),
]);

const PeekedMessage = Type.Object({
  ...Message,
  from: Type.Optional(Type.String()),
  state: MessageState,
  attempts: Count,
  dueAt: Type.Optional(Time),
});

const Queue = Type.Object({
  name: Type.String(),
  bindings: Type.Array(Type.String()),
  ...QueueSettings.properties,
  createdAt: Time,
  deadLetterOf: Type.Optional(Type.String()),
  counts: Type.Object({
    ready: Count,
    delayed: Count,
    inFlight: Count,
    bytes: Count,
    consumers: Count,
  }),
  oldestTime: Type.Optional(Time),
});

const Health = Type.Object({
  state: Type.Union([Type.Literal("ready"), Type.Literal("unavailable")]),
  reason: Type.Optional(Type.String()),
  advice: Type.Optional(Type.String()),
});

const Info = Type.Object({
  name: Type.Literal("warren"),
  version: Type.String(),
  bun: Type.String(),
  node: Type.String(),
  startedAt: Time,
  engine: Type.Object({
    name: Type.String(),
    durable: Type.Boolean(),
    shared: Type.Boolean(),
    durability: Type.Union([Type.Literal("fsync"), Type.Literal("os"), Type.Literal("none")]),
  }),
  storage: Health,
  limits: Type.Record(Type.String(), Type.Integer()),
});

const Stats = Type.Object({
  time: Time,
  gauges: Type.Record(Type.String(), Type.Number()),
  counters: Type.Record(Type.String(), Type.Number()),
});

export const SettleBody = Type.Object(
  {
    ack: Type.Optional(Type.Array(Tag)),
    nack: Type.Optional(
      Type.Array(
        Type.Union([
          Tag,
          Type.Object(
            { tags: Type.Array(Tag), delayMs: Type.Optional(DurationMs), reason: Reason },
            closed,
          ),
        ]),
      ),
    ),
    reject: Type.Optional(
      Type.Array(Type.Union([Tag, Type.Object({ tags: Type.Array(Tag), reason: Reason }, closed)])),
    ),
    extend: Type.Optional(
      Type.Array(
        Type.Union([
          Tag,
          Type.Object(
            {
              tags: Type.Array(Tag),
              byMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_592_000_000 })),
            },
            closed,
          ),
        ]),
      ),
    ),
  },
  closed,
);
export type SettleBody = Static<typeof SettleBody>;

/** One operation; `{name}` in a path is one level of it, `{name...}` all that is left. */
export interface Operation {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly path: string;
  readonly summary: string;
  /** `nobody`: no credentials are asked for. */
  readonly access: "nobody" | "publish" | "consume" | "admin";
  /** For `admin`: the area that the right must cover [P-13.1]. */
  readonly area?: string;
  readonly query?: TObject;
  /** Checked before the handler runs. */
  readonly body?: TSchema;
  /** Checked by the handler, which answers the items of an array one by one. */
  readonly items?: TSchema;
  /** Anything may be sent, and means itself. */
  readonly rawBody?: true;
  /** Absent where the answer is no object of the two encodings. */
  readonly answer?: TSchema;
  readonly status?: 204;
}

const queuePath = "/admin/v1/queues/{name}";

export const OPERATIONS = {
  healthz: {
    method: "GET",
    path: "/healthz",
    summary: "Whether the process is alive.",
    access: "nobody",
    answer: Type.Object({ status: Type.Literal("ok") }),
  },
  readyz: {
    method: "GET",
    path: "/readyz",
    summary: "Whether the broker takes work: 503 while starting, draining or unable to write.",
    access: "nobody",
    answer: Type.Object({ status: Type.Literal("ready") }),
  },
  version: {
    method: "GET",
    path: "/version",
    summary: "What runs here.",
    access: "nobody",
    answer: Type.Object({ name: Type.Literal("warren"), version: Type.String() }),
  },
  metrics: {
    method: "GET",
    path: "/metrics",
    summary: "Figures for Prometheus; queue names are among them.",
    access: "admin",
    area: "metrics",
  },
  openapi: {
    method: "GET",
    path: "/openapi.json",
    summary: "This document.",
    access: "nobody",
    answer: Type.Object({}),
  },
  publish: {
    method: "POST",
    path: "/v1/publish",
    summary:
      "Publishes one message or an array of them. An array answers each by itself; one message that " +
      "fails is a problem.",
    access: "publish",
    items: PublishBody,
    answer: Type.Object({ results: Type.Array(Type.Union([Published, ErrorResult])) }),
  },
  publishTopic: {
    method: "POST",
    path: "/v1/topics/{topic...}",
    summary:
      "Publishes the body as the payload, read by its Content-Type; options are Warren-Message-Id, " +
      "-Key, -Ttl-Ms, -Delay-Ms, -Priority, -Reply-To, -Correlation-Id and Warren-Header-<name>.",
    access: "publish",
    rawBody: true,
    answer: Published,
  },
  pull: {
    method: "POST",
    path: "/v1/queues/{queue}/pull",
    summary:
      "Takes up to `max` deliveries, waiting up to `waitMs` for the first. They are held for the " +
      "queue's `ackTimeoutMs`.",
    access: "consume",
    body: Type.Object(
      {
        max: Type.Optional(Type.Integer({ minimum: 1, description: "1 if absent." })),
        waitMs: Type.Optional(
          Type.Integer({ minimum: 0, maximum: PULL_WAIT_MS, description: "0 if absent." }),
        ),
      },
      closed,
    ),
    answer: Type.Object({ deliveries: Type.Array(PulledDelivery) }),
  },
  settle: {
    method: "POST",
    path: "/v1/queues/{queue}/settle",
    summary: "Settles deliveries that were pulled; answers each tag when it is on disk.",
    access: "consume",
    body: SettleBody,
    answer: Type.Object({
      results: Type.Array(
        Type.Union([
          Type.Object({ type: Type.Literal("ok"), tag: Tag }),
          Type.Object({ tag: Tag, ...ErrorResult.properties }),
        ]),
      ),
    }),
  },
  info: {
    method: "GET",
    path: "/admin/v1/info",
    summary: "What runs here, with which engine, durability and limits.",
    access: "admin",
    area: "info",
    answer: Info,
  },
  stats: {
    method: "GET",
    path: "/admin/v1/stats",
    summary: "Counters since the start and present figures.",
    access: "admin",
    area: "stats",
    answer: Stats,
  },
  listQueues: {
    method: "GET",
    path: "/admin/v1/queues",
    summary: "Every queue, by name, dead-letter queues included.",
    access: "admin",
    area: "queues",
    query: Type.Object(Page, closed),
    answer: Type.Object({ queues: Type.Array(Queue), next: Type.Optional(Type.String()) }),
  },
  putQueue: {
    method: "PUT",
    path: queuePath,
    summary: "Defines a queue or changes it; what is left out keeps its value.",
    access: "admin",
    area: "queues",
    body: QueueDefinition,
    answer: Queue,
  },
  getQueue: {
    method: "GET",
    path: queuePath,
    summary: "One queue, with its settings and counts.",
    access: "admin",
    area: "queues",
    answer: Queue,
  },
  deleteQueue: {
    method: "DELETE",
    path: queuePath,
    summary: "Removes a queue and its dead-letter queue; `force=true` if they hold messages.",
    access: "admin",
    area: "queues",
    query: Type.Object({ force: Type.Boolean({ default: false }) }, closed),
    status: 204,
  },
  pauseQueue: {
    method: "POST",
    path: `${queuePath}/pause`,
    summary: "Stops handing out messages of a queue; it goes on storing them.",
    access: "admin",
    area: "queues",
    answer: Queue,
  },
  resumeQueue: {
    method: "POST",
    path: `${queuePath}/resume`,
    summary: "Hands out messages of a queue again.",
    access: "admin",
    area: "queues",
    answer: Queue,
  },
  purgeQueue: {
    method: "POST",
    path: `${queuePath}/purge`,
    summary: "Removes all messages of a queue that are not in flight.",
    access: "admin",
    area: "queues",
    answer: Type.Object({ purged: Count }),
  },
  peekQueue: {
    method: "GET",
    path: `${queuePath}/messages`,
    summary: "Messages of a queue, in the order they would be handed out; changes nothing.",
    access: "admin",
    area: "queues",
    query: Type.Object(
      {
        ...Page,
        state: Type.Optional(MessageState),
        topic: Type.Optional(Type.String({ description: "A filter." })),
        search: Type.Optional(
          Type.String({
            minLength: 1,
            maxLength: 256,
            description: "Text in topic, headers or payload.",
          }),
        ),
      },
      closed,
    ),
    answer: Type.Object({
      messages: Type.Array(PeekedMessage),
      next: Type.Optional(Type.String()),
    }),
  },
  findMessage: {
    method: "GET",
    path: `${queuePath}/messages/{messageId}`,
    summary: "One message of a queue, whatever its state.",
    access: "admin",
    area: "queues",
    answer: PeekedMessage,
  },
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof OPERATIONS;

type BodyOf<O> = O extends { body: infer B extends TSchema } ? Static<B> : undefined;
type QueryOf<O> = O extends { query: infer Q extends TObject } ? Static<Q> : undefined;

/** What the handler of an operation gets, already checked and with defaults filled in. */
export type OperationBody<N extends OperationName> = BodyOf<(typeof OPERATIONS)[N]>;
export type OperationQuery<N extends OperationName> = QueryOf<(typeof OPERATIONS)[N]>;
