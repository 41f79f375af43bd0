/** Who is present on a topic, over HTTP [P-7.3]. */
import { Type } from "@sinclair/typebox";
import { PresenceMember } from "./frames.ts";
import { Count, closed, type Operation } from "./http-operation.ts";

export const PRESENCE_OPERATIONS = {
  presence: {
    method: "GET",
    path: "/v1/presence/{topic...}",
    summary: "Who is present on a topic, in the order in which they came, and how many they are.",
    access: "presence",
    query: Type.Object(
      {
        limit: Type.Optional(
          Type.Integer({ minimum: 0, description: "`limits.presenceListed` if absent." }),
        ),
      },
      closed,
    ),
    answer: Type.Object({
      members: Type.Array(PresenceMember),
      count: Count,
      many: Type.Optional(Type.Literal(true)),
    }),
  },
} as const satisfies Record<string, Operation>;
