/** What every description of an HTTP operation is made of: its shape, and the fields that many share. */
import { type TObject, type TSchema, Type } from "@sinclair/typebox";
import type { Action } from "./access.ts";
import { DeathRecordSchema } from "./frames.ts";

export const closed = { additionalProperties: false } as const;
export const Count = Type.Integer({ minimum: 0 });
export const Time = Type.Integer({ description: "Milliseconds since 1970 UTC." });
export const DurationMs = Type.Integer({ minimum: 0, maximum: 315_360_000_000 });
export const Tag = Type.Integer({ minimum: 0 });
export const Reason = Type.Optional(Type.String({ maxLength: 1024 }));

/** Most items on one page of a list. */
const PAGE_LIMIT = 1000;

/** How a list is paged [P-13.5]. */
export const Page = {
  limit: Type.Integer({ minimum: 1, maximum: PAGE_LIMIT, default: 100 }),
  after: Type.Optional(Type.String({ maxLength: 1024, description: "`next` of the page before." })),
};

export const ErrorResult = Type.Object({
  type: Type.Literal("error"),
  code: Type.String(),
  message: Type.String(),
  retry: Type.Boolean(),
  detail: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
});

/** A message as HTTP shows it. */
export const Message = {
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

/** One operation; `{name}` in a path is one level of it, `{name...}` all that is left. */
export interface Operation {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly summary: string;
  /** `nobody`: no credentials are asked for. */
  readonly access: "nobody" | Action;
  /** For `admin`: the area that the right must cover [P-13.1]. */
  readonly area?: string;
  readonly query?: TObject;
  /** Checked before the handler runs. */
  readonly body?: TSchema;
  /** Checked by the handler, which answers the items of an array one by one. */
  readonly items?: TSchema;
  /** Anything may be sent, and means itself. */
  readonly rawBody?: true;
  /** The body has a field `payload`, which is left as it lies in MessagePack [P-2.6]. */
  readonly packedPayload?: true;
  /** Absent where the answer is no object of the two encodings. */
  readonly answer?: TSchema;
  readonly status?: 204;
}
