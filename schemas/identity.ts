/**
 * Who vouches for a principal [P-14.1]: the issuers of tokens with what their tokens may claim
 * at most, and the certificates of the broker and of its clients [P-14.3].
 */
import { type Static, Type } from "@sinclair/typebox";
import { type Grant, Grants } from "./access.ts";

const closed = { additionalProperties: false } as const;

/** Marks a value that is never printed, logged or taken from the command line, where `ps` shows it. */
const secret = { "x-secret": true } as const;

/** What can sign a token. `none` is not among them, and no setting brings it in. */
export const ALGORITHMS = [
  "HS256",
  "HS384",
  "HS512",
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

const Path = Type.String({ minLength: 1, maxLength: 4096 });
const Prefix = Type.String({ pattern: "^[^\\u0000-\\u001f\\u007f-\\u009f/+#$]{1,64}$" });
const SharedSecret = Type.String({
  minLength: 32,
  maxLength: 4096,
  "x-advice": "make one with `openssl rand -base64 32`",
  ...secret,
});
const Audience = Type.String({ minLength: 1, maxLength: 512 });

/**
 * Somebody who makes tokens. Exactly one of `secret`, `publicKeyFile`, `jwksFile`, `jwksUrl` and
 * `discovery` says where its keys are.
 */
export const IssuerSettings = Type.Object(
  {
    issuer: Type.String({ minLength: 1, maxLength: 512 }),
    audience: Type.Optional(Audience),
    algorithms: Type.Optional(
      Type.Array(Type.Union(ALGORITHMS.map((name) => Type.Literal(name))), { minItems: 1 }),
    ),
    secret: Type.Optional(SharedSecret),
    previousSecret: Type.Optional(SharedSecret),
    publicKeyFile: Type.Optional(Path),
    jwksFile: Type.Optional(Path),
    jwksUrl: Type.Optional(Type.String({ minLength: 1, maxLength: 2048 })),
    discovery: Type.Optional(Type.Literal(true)),
    allowPrivate: Type.Optional(Type.Boolean()),
    maxAgeMs: Type.Optional(Type.Integer({ minimum: 1000 })),
    maxGrants: Type.Optional(Grants),
    allowedRoles: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { maxItems: 256 })),
    principalPrefix: Type.Optional(Prefix),
  },
  closed,
);
export interface IssuerSettings {
  /** The `iss` of its tokens, letter by letter. */
  readonly issuer: string;
  /** `aud` must be or hold this. */
  readonly audience?: string;
  /** Fewer than its keys could verify. */
  readonly algorithms?: readonly Algorithm[];
  readonly secret?: string;
  /** Still good for verifying while the secret is being changed. */
  readonly previousSecret?: string;
  /** PEM: a public key, or a certificate with one. */
  readonly publicKeyFile?: string;
  readonly jwksFile?: string;
  readonly jwksUrl?: string;
  /** The keys are where `<issuer>/.well-known/openid-configuration` says. */
  readonly discovery?: true;
  /** The URL may lead to private addresses, and there to plain http. */
  readonly allowPrivate?: boolean;
  /** Oldest token, by its `iat`, which it must then have. */
  readonly maxAgeMs?: number;
  /** Its tokens give no right that these do not give as well. */
  readonly maxGrants?: readonly Grant[];
  /** Roles that its tokens may name; others give nothing. */
  readonly allowedRoles?: readonly string[];
  /** Put before `sub`, so that it cannot name principals of others. */
  readonly principalPrefix?: string;
}

export const CLIENT_CERTIFICATE = ["none", "request", "require"] as const;
export const PRINCIPAL_FIELDS = ["cn", "subject", "san:dns", "san:uri", "san:email"] as const;
export type PrincipalField = (typeof PRINCIPAL_FIELDS)[number];

const literals = <const Names extends readonly string[]>(names: Names) =>
  Type.Union(names.map((name) => Type.Literal(name as Names[number])));

/** The principal of a client certificate, and what it may do. */
export const ClientPrincipal = Type.Object(
  {
    from: literals(PRINCIPAL_FIELDS),
    prefix: Type.Optional(Prefix),
    roles: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { maxItems: 64 })),
    grants: Type.Optional(Grants),
  },
  {
    ...closed,
    description:
      "The principal of a client certificate: `from` cn, subject, san:dns, san:uri or san:email; `prefix`; and its " +
      "rights, `roles` and `grants`.",
  },
);
export interface ClientPrincipal {
  readonly from: PrincipalField;
  readonly prefix?: string;
  readonly roles?: readonly string[];
  readonly grants?: readonly Grant[];
}

export const TlsSettings = Type.Object(
  {
    certFile: Type.Optional(
      Type.String({ ...Path, description: "PEM: the broker's certificate, then its chain." }),
    ),
    keyFile: Type.Optional(
      Type.String({ ...Path, description: "PEM: the certificate's private key." }),
    ),
    caFile: Type.Optional(
      Type.String({ ...Path, description: "PEM: who signs the certificates of clients." }),
    ),
    clientCertificate: Type.Union(
      CLIENT_CERTIFICATE.map((name) => Type.Literal(name)),
      {
        default: "none",
        description: "Whether clients are asked for a certificate (request), or must have one.",
      },
    ),
    clientPrincipal: Type.Optional(Type.Unsafe<ClientPrincipal>(ClientPrincipal)),
    minVersion: Type.Union([Type.Literal("TLSv1.2"), Type.Literal("TLSv1.3")], {
      default: "TLSv1.2",
      description: "The oldest TLS that is spoken.",
    }),
  },
  { ...closed, default: {}, description: "TLS at the broker itself." },
);
export type TlsSettings = Static<typeof TlsSettings>;
