/** The operations on queues and on the messages in them [P-13.3]. */
import { Type } from "@sinclair/typebox";
import { Count, closed, Message, type Operation, Page, Time } from "./http-operation.ts";
import { Filters } from "./http-tasks.ts";
import {
  QUEUE_COUNTERS,
  type QueueCounter,
  QueueDefinition,
  QueueSettings,
  WebhookSettings,
} from "./queue.ts";

const MessageState = Type.Union([
  Type.Literal("ready"),
  Type.Literal("delayed"),
  Type.Literal("inflight"),
  Type.Literal("acked"),
]);

const PeekedMessage = Type.Object({
  ...Message,
  from: Type.Optional(Type.String()),
  state: MessageState,
  attempts: Count,
  dueAt: Type.Optional(Time),
  ackedAt: Type.Optional(Time),
  held: Type.Optional(Type.Literal(true)),
});

/** Secrets are not shown: whether there is one, and what headers are sent. */
const ShownWebhook = Type.Object({
  ...Type.Omit(WebhookSettings, ["secret", "headers"]).properties,
  secretSet: Type.Boolean(),
  headerNames: Type.Array(Type.String()),
});

const PerSecond = Type.Number({ minimum: 0, description: "Per second." });
const Rates = Type.Object({ published: PerSecond, delivered: PerSecond, acked: PerSecond });

const Queue = Type.Object({
  name: Type.String(),
  bindings: Type.Array(Type.String()),
  ...QueueSettings.properties,
  webhook: Type.Optional(ShownWebhook),
  createdAt: Time,
  deadLetterOf: Type.Optional(Type.String()),
  counts: Type.Object({
    ready: Count,
    delayed: Count,
    inFlight: Count,
    dead: Count,
    bytes: Count,
    consumers: Count,
    retained: Count,
  }),
  counters: Type.Object(
    Object.fromEntries(QUEUE_COUNTERS.map((name) => [name, Count])) as Record<
      QueueCounter,
      typeof Count
    >,
    { description: "Since the broker started, or the queue was defined." },
  ),
  rates: Type.Object({ over10s: Rates, over60s: Rates }),
  oldestTime: Type.Optional(Time),
  oldestAgeMs: Type.Optional(Count),
});

/** A connection, a consumer of pulls with a name, all other pulls of a principal, or the webhook. */
const QueueConsumer = Type.Object({
  session: Type.Optional(Type.String()),
  consumer: Type.Optional(Type.String()),
  principal: Type.Optional(Type.String()),
  credit: Count,
  inFlight: Count,
  since: Time,
  oldestDeliveryAgeMs: Type.Optional(Count),
});

const queuePath = "/admin/v1/queues/{name}";

export const QUEUE_OPERATIONS = {
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
  getWebhook: {
    method: "GET",
    path: `${queuePath}/webhook`,
    summary: "How the webhook of a queue does: what is under way, and what went wrong last.",
    access: "admin",
    area: "queues",
    answer: Type.Object({
      url: Type.String(),
      state: Type.Union([
        Type.Literal("delivering"),
        Type.Literal("failing"),
        Type.Literal("stopped"),
      ]),
      inFlight: Count,
      delivered: Count,
      failed: Count,
      failuresInARow: Count,
      retryAt: Type.Optional(Time),
      lastError: Type.Optional(Type.String()),
      lastErrorAt: Type.Optional(Time),
    }),
  },
  listConsumers: {
    method: "GET",
    path: `${queuePath}/consumers`,
    summary: "Who consumes a queue, and how much each holds.",
    access: "admin",
    area: "queues",
    query: Type.Object(Page, closed),
    answer: Type.Object({
      consumers: Type.Array(QueueConsumer),
      next: Type.Optional(Type.String()),
    }),
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
  drainQueue: {
    method: "POST",
    path: `${queuePath}/drain`,
    summary: "Lets nothing more into a queue; what is in it is handed out.",
    access: "admin",
    area: "queues",
    answer: Queue,
  },
  resumeQueue: {
    method: "POST",
    path: `${queuePath}/resume`,
    summary: "Lets messages into a queue and hands them out again.",
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
        ...Filters,
        from: Type.Optional(Time),
        to: Type.Optional(Time),
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
