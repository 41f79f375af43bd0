/** What topics keep, over HTTP: their history and their retained value [P-12.9]. */
import { Type } from "@sinclair/typebox";
import { KeptMessage, RetainedMessage } from "./frames.ts";
import { Count, closed, type Operation } from "./http-operation.ts";

const Offset = Type.Optional(Type.Integer({ minimum: 0 }));

export const TOPIC_OPERATIONS = {
  history: {
    method: "GET",
    path: "/v1/history/{topic...}",
    summary: "The kept messages of a topic, oldest first, or with `reverse` newest first.",
    access: "history",
    query: Type.Object(
      {
        after: Offset,
        before: Offset,
        limit: Type.Optional(
          Type.Integer({
            minimum: 1,
            description: "100 if absent, or `limits.historyMessages` where that is less.",
          }),
        ),
        reverse: Type.Boolean({ default: false }),
      },
      closed,
    ),
    answer: Type.Object({
      topic: Type.String(),
      epoch: Type.String(),
      offset: Count,
      messages: Type.Array(KeptMessage),
      next: Offset,
    }),
  },
  retained: {
    method: "GET",
    path: "/v1/retained/{topic...}",
    summary: "The retained value of a topic.",
    access: "subscribe",
    answer: RetainedMessage,
  },
} as const satisfies Record<string, Operation>;
