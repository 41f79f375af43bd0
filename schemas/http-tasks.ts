/** Working on dead letters and acked messages: delete, edit, redrive, replay, tasks [P-13.9], [P-13.10]. */
import { Type } from "@sinclair/typebox";
import { DeathRecordSchema } from "./frames.ts";
import { Count, closed, type Operation, Page, Time } from "./http-operation.ts";
import { QueueName } from "./queue.ts";

/** The filters of a selection that need no time. */
export const Filters = {
  topic: Type.Optional(Type.String({ description: "A filter." })),
  reason: Type.Optional(DeathRecordSchema.properties.reason),
  search: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 256,
      description: "Words in topic, headers, payload or details of deaths, whatever the case.",
    }),
  ),
  header: Type.Optional(
    Type.Array(Type.String({ pattern: "^[^=]+=", maxLength: 4096 }), {
      minItems: 1,
      maxItems: 16,
      description: "`name=value`; all of them must be there.",
    }),
  ),
};

const Order = {
  ids: Type.Optional(Type.Array(Type.String({ maxLength: 512 }), { minItems: 1, maxItems: 1000 })),
  ...Filters,
  limit: Type.Optional(Type.Integer({ minimum: 1 })),
  ratePerSecond: Type.Optional(Type.Number({ minimum: 0.001, maximum: 1_000_000 })),
  to: Type.Optional(QueueName),
  dryRun: Type.Optional(Type.Boolean()),
};

export const RedriveBody = Type.Object(
  { ...Order, diedAfter: Type.Optional(Time), diedBefore: Type.Optional(Time) },
  closed,
);

export const ReplayBody = Type.Object(
  { ...Order, ackedAfter: Type.Optional(Time), ackedBefore: Type.Optional(Time) },
  closed,
);

const nullable = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) =>
  Type.Optional(Type.Union([schema, Type.Null()]));

const ResendBody = Type.Object(
  {
    payload: Type.Optional(Type.Unknown()),
    payloadEncoding: Type.Optional(Type.Literal("base64")),
    headers: nullable(Type.Record(Type.String(), Type.String())),
    topic: Type.Optional(Type.String()),
    key: nullable(Type.String({ maxLength: 256 })),
    priority: nullable(Type.Integer({ minimum: 0, maximum: 9 })),
    messageId: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    to: Type.Optional(QueueName),
  },
  closed,
);

const Task = Type.Object({
  id: Type.String(),
  kind: Type.Union([Type.Literal("redrive"), Type.Literal("replay")]),
  queue: Type.String(),
  to: Type.Optional(Type.String()),
  state: Type.Union([
    Type.Literal("running"),
    Type.Literal("done"),
    Type.Literal("cancelled"),
    Type.Literal("failed"),
  ]),
  select: Type.Record(Type.String(), Type.Unknown()),
  limit: Type.Optional(Count),
  ratePerSecond: Type.Optional(Type.Number()),
  dryRun: Type.Boolean(),
  principal: Type.String(),
  createdAt: Time,
  endedAt: Type.Optional(Time),
  moved: Count,
  held: Count,
  failed: Count,
  total: Type.Optional(Count),
  reason: Type.Optional(Type.String()),
});

const queuePath = "/admin/v1/queues/{name}";
const messagePath = `${queuePath}/messages/{messageId}`;
const taskPath = "/admin/v1/tasks/{id}";

export const TASK_OPERATIONS = {
  deleteMessage: {
    method: "DELETE",
    path: messagePath,
    summary: "Removes one message for good, unless it is in flight.",
    access: "admin",
    area: "queues",
    status: 204,
  },
  resendMessage: {
    method: "POST",
    path: `${messagePath}/resend`,
    summary: "Changes a dead letter and sends it again; null takes a field away.",
    access: "admin",
    area: "queues",
    body: ResendBody,
    packedPayload: true,
    answer: Type.Object({ messageId: Type.String(), queue: Type.String() }),
  },
  redriveQueue: {
    method: "POST",
    path: `${queuePath}/redrive`,
    summary: "Moves dead letters back to work; answers a task.",
    access: "admin",
    area: "queues",
    body: RedriveBody,
    answer: Task,
  },
  replayQueue: {
    method: "POST",
    path: `${queuePath}/replay`,
    summary: "Copies acked messages that were kept back to work; answers a task.",
    access: "admin",
    area: "queues",
    body: ReplayBody,
    answer: Task,
  },
  listTasks: {
    method: "GET",
    path: "/admin/v1/tasks",
    summary: "Tasks, the newest first.",
    access: "admin",
    area: "queues",
    query: Type.Object(Page, closed),
    answer: Type.Object({ tasks: Type.Array(Task), next: Type.Optional(Type.String()) }),
  },
  getTask: {
    method: "GET",
    path: taskPath,
    summary: "One task and how far it is.",
    access: "admin",
    area: "queues",
    answer: Task,
  },
  cancelTask: {
    method: "DELETE",
    path: taskPath,
    summary: "Ends a task where it is.",
    access: "admin",
    area: "queues",
    answer: Task,
  },
} as const satisfies Record<string, Operation>;
