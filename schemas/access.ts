/**
 * Who may do what, as tokens, roles and keys say it [P-13.1], [P-13.2]. The shapes and their bounds; what
 * they mean is ruled in `src/broker/access.ts`.
 */
import { type Static, Type } from "@sinclair/typebox";
import { RoleRates } from "./rates.ts";

const closed = { additionalProperties: false } as const;

/** Names go into messages, logs and answers, so none of them may hold a control character. */
export const Name = (maxLength: number) =>
  Type.String({ minLength: 1, maxLength, pattern: "^[^\\u0000-\\u001f\\u007f-\\u009f]*$" });

/** What can be granted. `consume` is on queue names, `admin` on areas, the others on topic filters. */
export const ACTIONS = ["publish", "subscribe", "consume", "presence", "history", "admin"] as const;
export type Action = (typeof ACTIONS)[number];

/**
 * What can be denied: also `receive`, being shown messages of a topic in whatever way [P-14.6]. It needs
 * no grant, since nobody is shown what another right did not ask for.
 */
export const DENIABLE = [...ACTIONS, "receive"] as const;
export type Deniable = (typeof DENIABLE)[number];

const actionsOf = <const A extends readonly string[]>(actions: A) =>
  Type.Array(Type.Union(actions.map((action) => Type.Literal(action))), {
    minItems: 1,
    maxItems: actions.length,
  });

const Filters = Type.Array(Type.String({ minLength: 1, maxLength: 1024 }), {
  minItems: 1,
  maxItems: 256,
  description:
    "Topic filters, or queue names for `consume`. A whole level may be {principal}, {client} or " +
    "{claims.<name>}.",
});

/** The conditions under which a grant allows to publish [P-14.6]; without one it allows it as it is. */
const Qualifiers = {
  retain: Type.Optional(
    Type.Boolean({ description: "false: not with `retain`, so that nothing stays on the topic." }),
  ),
  queues: Type.Optional(
    Type.Boolean({ description: "false: not where queues are bound, so that nothing is stored." }),
  ),
  maxPayloadBytes: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 2_147_483_647, description: "No larger payloads." }),
  ),
  maxRatePerSecond: Type.Optional(
    Type.Number({ exclusiveMinimum: 0, maximum: 1e9, description: "No more messages a second." }),
  ),
};
export interface Qualifiers {
  readonly retain?: boolean;
  readonly queues?: boolean;
  readonly maxPayloadBytes?: number;
  readonly maxRatePerSecond?: number;
}
export const QUALIFIERS = Object.keys(Qualifiers) as readonly (keyof Qualifiers)[];

export const AllowGrant = Type.Object(
  { allow: actionsOf(ACTIONS), on: Filters, ...Qualifiers },
  closed,
);
export const DenyGrant = Type.Object({ deny: actionsOf(DENIABLE), on: Filters }, closed);

/** One rule: what it names is allowed, or denied whatever else allows it. */
export const Grant = Type.Union([AllowGrant, DenyGrant]);
export type Grant =
  | ({ readonly allow: readonly Action[]; readonly on: readonly string[] } & Qualifiers)
  | { readonly deny: readonly Deniable[]; readonly on: readonly string[] };

export const Grants = Type.Array(Grant, { maxItems: 256 });

const RoleName = Name(128);
export const RoleNames = Type.Array(RoleName, { maxItems: 64 });

/** Times in a token are seconds since 1970 UTC and may have a fraction (RFC 7519, NumericDate). */
const NumericDate = Type.Number({ minimum: 0, maximum: 8_640_000_000_000 });

/**
 * The claims of a token that the broker reads; others are kept for `{claims.<name>}`. `grants` is left
 * to `grantFaults`, which can name the fault inside a grant.
 */
export const TokenClaims = Type.Object({
  sub: Name(256),
  exp: Type.Optional(NumericDate),
  iat: Type.Optional(NumericDate),
  nbf: Type.Optional(NumericDate),
  iss: Type.Optional(Type.String()),
  aud: Type.Optional(Type.Union([Type.String(), Type.Array(Type.String())])),
  jti: Type.Optional(Name(256)),
  client: Type.Optional(Name(256)),
  roles: Type.Optional(RoleNames),
  grants: Type.Optional(Type.Unknown()),
});
type KnownClaims = Omit<Static<typeof TokenClaims>, "grants">;
export interface TokenClaims extends KnownClaims {
  grants?: readonly Grant[];
  readonly [claim: string]: unknown;
}
/** The claims of a token whose signature was verified; its `grants` may still be anything. */
export interface VerifiedClaims extends KnownClaims {
  readonly [claim: string]: unknown;
}

/** A role: a name for grants, the same for everyone who has it. */
export const RoleSettings = Type.Object(
  { grants: Grants, rates: Type.Optional(RoleRates) },
  closed,
);
export interface RoleSettings {
  readonly grants: readonly Grant[];
  readonly rates?: RoleRates;
}

/** An API key as the broker keeps it [P-13.2]: its hash, never the key. */
export const KeySettings = Type.Object(
  {
    id: Type.String({ pattern: "^[A-Za-z0-9-]{1,64}$" }),
    hash: Type.String({
      pattern: "^[0-9a-f]{64}$",
      description: "SHA-256 of the whole key, in lower-case hexadecimal.",
      "x-advice": "`warren token --key <principal>` prints a new key and its hash",
    }),
    principal: Name(256),
    client: Type.Optional(Name(256)),
    roles: Type.Optional(RoleNames),
    grants: Type.Optional(Grants),
    expiresAt: Type.Optional(
      Type.Integer({ minimum: 0, description: "Milliseconds since 1970 UTC." }),
    ),
  },
  closed,
);
export interface KeySettings {
  readonly id: string;
  readonly hash: string;
  readonly principal: string;
  readonly client?: string;
  readonly roles?: readonly string[];
  readonly grants?: readonly Grant[];
  readonly expiresAt?: number;
}
