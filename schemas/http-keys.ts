/** The operations on API keys [P-13.2], [P-14.2]. */
import { type Static, Type } from "@sinclair/typebox";
import { type Grant, Grants, Name, RoleNames } from "./access.ts";
import { closed, type Operation, Page, Time } from "./http-operation.ts";

/** Longest overlap of a key's old and new secret. */
const GRACE_MS_MAX = 90 * 86_400_000;

const KeyBody = Type.Object(
  {
    principal: Name(256),
    client: Type.Optional(Name(256)),
    roles: Type.Optional(RoleNames),
    grants: Type.Optional(Grants),
    expiresAt: Type.Optional(
      Type.Integer({ minimum: 0, description: "Milliseconds since 1970 UTC; never if absent." }),
    ),
  },
  closed,
);
export type KeyBody = Omit<Static<typeof KeyBody>, "grants"> & {
  readonly grants?: readonly Grant[];
};

const RotateBody = Type.Object(
  {
    graceMs: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: GRACE_MS_MAX,
        description: "How long the secret until now stays good; with 0 all older ones end at once.",
      }),
    ),
  },
  closed,
);

const Key = Type.Object({
  id: Type.String(),
  origin: Type.Union([Type.Literal("settings"), Type.Literal("stored")]),
  ...KeyBody.properties,
  createdAt: Type.Optional(Time),
  createdBy: Type.Optional(Type.String({ description: "The principal that made it." })),
  rotatedAt: Type.Optional(Time),
  lastUsedAt: Type.Optional(Time),
  olderSecretsUntil: Type.Optional(
    Type.Array(Time, { description: "When secrets from before a rotation end." }),
  ),
});
export type KeyView = Omit<Static<typeof Key>, "grants"> & { readonly grants?: readonly Grant[] };

const NewKey = Type.Object({
  ...Key.properties,
  key: Type.String({ description: "The key itself. It is not shown again." }),
});

const keyPath = "/admin/v1/keys/{id}";
const keys = { access: "admin", area: "keys" } as const;

export const KEY_OPERATIONS = {
  listKeys: {
    method: "GET",
    path: "/admin/v1/keys",
    summary: "API keys by id, without their secrets.",
    ...keys,
    query: Type.Object({ ...Page, principal: Type.Optional(Type.String()) }, closed),
    answer: Type.Object({ keys: Type.Array(Key), next: Type.Optional(Type.String()) }),
  },
  createKey: {
    method: "POST",
    path: "/admin/v1/keys",
    summary: "Makes an API key, with no more rights than those of whoever asks.",
    ...keys,
    body: KeyBody,
    answer: NewKey,
  },
  getKey: { method: "GET", path: keyPath, summary: "One API key.", ...keys, answer: Key },
  rotateKey: {
    method: "POST",
    path: "/admin/v1/keys/{id}/rotate",
    summary: "Gives a key a new secret; the old one stays good for a while.",
    ...keys,
    body: RotateBody,
    answer: NewKey,
  },
  deleteKey: {
    method: "DELETE",
    path: keyPath,
    summary: "Revokes a key at once, for live connections too.",
    ...keys,
    status: 204,
  },
} as const satisfies Record<string, Operation>;
