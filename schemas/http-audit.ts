/** Asking who changed what [P-14.8]. */
import { Type } from "@sinclair/typebox";
import { Count, closed, type Operation, Page, Time } from "./http-operation.ts";

const Outcome = Type.Union([Type.Literal("done"), Type.Literal("refused"), Type.Literal("failed")]);

const Entry = Type.Object({
  time: Time,
  action: Type.String({ description: "What was done, as `<noun>.<verb>`." }),
  outcome: Outcome,
  principal: Type.Optional(Type.String()),
  session: Type.Optional(Type.String()),
  address: Type.Optional(Type.String()),
  on: Type.Optional(Type.String({ description: "What it was done to." })),
  code: Type.Optional(Type.String({ description: "The error code, unless it was done." })),
  count: Type.Optional(Count),
  detail: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
});

const Exact = Type.Optional(Type.String({ maxLength: 512 }));

export const AUDIT_OPERATIONS = {
  listAudit: {
    method: "GET",
    path: "/admin/v1/audit",
    summary:
      "Who changed what, newest first. `format=ndjson` gives all from there on, one object a line.",
    access: "admin",
    area: "audit",
    query: Type.Object(
      {
        ...Page,
        action: Exact,
        principal: Exact,
        on: Exact,
        outcome: Type.Optional(Outcome),
        from: Type.Optional(Time),
        to: Type.Optional(Time),
        format: Type.Optional(Type.Literal("ndjson")),
      },
      closed,
    ),
    answer: Type.Object({ entries: Type.Array(Entry), next: Type.Optional(Type.String()) }),
  },
} as const satisfies Record<string, Operation>;
