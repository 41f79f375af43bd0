/** The data plane over HTTP: publishing, and taking and settling deliveries [P-12]. */
import { type Static, Type } from "@sinclair/typebox";
import { PublishBody, RescheduleBody } from "./frames.ts";
import {
  Count,
  closed,
  DurationMs,
  ErrorResult,
  Message,
  type Operation,
  Reason,
  Tag,
} from "./http-operation.ts";

/** Longest wait of a long poll; clients poll again. */
const PULL_WAIT_MS = 60_000;

const ConsumerName = Type.String({
  minLength: 1,
  maxLength: 128,
  description: "A name of the client's choice; it counts within its principal and the queue.",
});

const Published = Type.Object({
  type: Type.Literal("ok"),
  messageId: Type.String(),
  queues: Count,
  duplicate: Type.Optional(Type.Literal(true)),
  displaced: Type.Optional(Type.Integer({ minimum: 1 })),
  invalid: Type.Optional(Type.Literal(true)),
  epoch: Type.Optional(Type.String()),
  offset: Type.Optional(Count),
});

/** Copies that were changed or taken back. */
const Rescheduled = Type.Object({ messageId: Type.String(), queues: Count });

const PulledDelivery = Type.Object({
  queue: Type.String(),
  tag: Tag,
  attempt: Type.Integer({ minimum: 1 }),
  ...Message,
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

export const DATA_OPERATIONS = {
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
  publishBatch: {
    method: "POST",
    path: "/v1/batch",
    summary: "Publishes an array of messages, all or none, in one commit.",
    access: "publish",
    items: PublishBody,
    answer: Type.Object({ results: Type.Array(Type.Omit(Published, ["type"])) }),
  },
  publishTopic: {
    method: "POST",
    path: "/v1/topics/{topic...}",
    summary:
      "Publishes the body as the payload, read by its Content-Type; options are Warren-Message-Id, " +
      "-Key, -Ttl-Ms, -Delay-Ms, -Deliver-At, -Priority, -Reply-To, -Correlation-Id, -Retain and Warren-Header-<name>.",
    access: "publish",
    rawBody: true,
    answer: Published,
  },
  reschedule: {
    method: "PATCH",
    path: "/v1/scheduled/{messageId...}",
    summary: "Changes a message that waits for its first due time, in all its queues.",
    access: "publish",
    query: Type.Object({ topic: Type.String() }, closed),
    body: RescheduleBody,
    packedPayload: true,
    answer: Rescheduled,
  },
  unschedule: {
    method: "DELETE",
    path: "/v1/scheduled/{messageId...}",
    summary: "Takes back a message that waits for its first due time.",
    access: "publish",
    query: Type.Object({ topic: Type.String() }, closed),
    answer: Rescheduled,
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
        consumer: Type.Optional(ConsumerName),
        livenessMs: Type.Optional(
          Type.Integer({
            minimum: 100,
            maximum: 86_400_000,
            description: "How long the consumer may be silent; 30 000 if absent.",
          }),
        ),
      },
      closed,
    ),
    answer: Type.Object({ deliveries: Type.Array(PulledDelivery) }),
  },
  alive: {
    method: "POST",
    path: "/v1/queues/{queue}/alive",
    summary: "Renews the time that a consumer of pulls may be silent.",
    access: "consume",
    body: Type.Object({ consumer: ConsumerName }, closed),
    answer: Type.Object({ consumer: Type.String() }),
  },
  release: {
    method: "POST",
    path: "/v1/queues/{queue}/release",
    summary: "Gives back all that a consumer of pulls holds, without burning an attempt.",
    access: "consume",
    body: Type.Object({ consumer: ConsumerName }, closed),
    answer: Type.Object({ released: Count }),
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
} as const satisfies Record<string, Operation>;
