/** Whom operators, or rules against abuse, shut out [P-14.5]. */
import { type Static, Type } from "@sinclair/typebox";

const closed = { additionalProperties: false } as const;
/** Names go into messages, logs and answers, so none of them may hold a control character. */
const text = (maxLength: number, description: string) =>
  Type.Optional(
    Type.String({
      minLength: 1,
      maxLength,
      pattern: "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
      description,
    }),
  );

export const BanId = Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$" });

/** At least one of the first three; of several, all must fit. */
export const BanBody = Type.Object(
  {
    principal: text(256, "Whom: the principal."),
    client: text(256, "Whom: the client, as its token names it."),
    address: text(64, "Whom: an address, or a range such as 203.0.113.0/24 or 2001:db8::/32."),
    expiresAt: Type.Optional(
      Type.Integer({ minimum: 0, description: "Milliseconds since 1970 UTC; for ever if absent." }),
    ),
    reason: text(256, "Why; whoever is banned is told."),
  },
  closed,
);
export type BanBody = Static<typeof BanBody>;

/** A ban as it is kept and shown. */
export const Ban = Type.Object({
  id: BanId,
  ...BanBody.properties,
  createdAt: Type.Integer({ description: "Milliseconds since 1970 UTC." }),
  by: Type.Optional(Type.String({ description: "The principal that made it." })),
  automatic: Type.Optional(
    Type.Literal(true, { description: "Made by a rule; it is forgotten at the next start." }),
  ),
});
export type Ban = Readonly<Static<typeof Ban>>;
