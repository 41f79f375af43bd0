/** Credentials that operators take back before their time [P-14.4]. */
import { type Static, Type } from "@sinclair/typebox";
import { Name } from "./access.ts";

const closed = { additionalProperties: false } as const;
const Time = (description: string) => Type.Optional(Type.Integer({ minimum: 0, description }));

/** At least one of the first three; of several, all must fit. */
export const RevocationBody = Type.Object(
  {
    jti: Type.Optional(Name(256)),
    principal: Type.Optional(Name(256)),
    client: Type.Optional(Name(256)),
    issuedBefore: Time(
      "Only credentials issued before this, milliseconds since 1970 UTC, or that do not say when. " +
        "Now, if it is absent and there is no `jti`.",
    ),
    expiresAt: Time(
      "When the revocation may be forgotten, milliseconds since 1970 UTC; never if absent.",
    ),
    reason: Type.Optional(Name(256)),
    reauthMs: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 86_400_000,
        description: "How long live connections have to send `auth` with other credentials.",
      }),
    ),
  },
  closed,
);
export type RevocationBody = Readonly<Static<typeof RevocationBody>>;

/** A revocation as it is kept and shown. */
export const Revocation = Type.Object({
  id: Type.String({ description: "Made of what is revoked: the same again replaces it." }),
  ...RevocationBody.properties,
  createdAt: Type.Integer({ description: "Milliseconds since 1970 UTC." }),
  by: Type.String({ description: "The principal that made it." }),
});
export type Revocation = Readonly<Static<typeof Revocation>>;
