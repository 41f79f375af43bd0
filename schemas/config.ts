/**
 * Every setting of the broker [P-13.6]: what it means, its default and its unit. The command line, the
 * environment and the file are all read against this; `config.schema.json` is made from it.
 */
import { type Static, type TInteger, Type } from "@sinclair/typebox";
import { DEFAULT_LIMITS, type Limits } from "../src/limits.ts";
import { type Grant, Grants, KeySettings, RoleSettings } from "./access.ts";
import { ChannelDefinition } from "./channels.ts";
import { IssuerSettings, TlsSettings } from "./identity.ts";
import { QueueDefinition, QueueName } from "./queue.ts";
import { RateSettings } from "./rates.ts";

const closed = { additionalProperties: false } as const;

/** Marks a value that is never printed, logged or taken from the command line, where `ps` shows it. */
const secret = { "x-secret": true } as const;

/** What to do about a value that does not fit. */
const makeSecret = { "x-advice": "make one with `openssl rand -base64 32`" } as const;

const JwtSettings = Type.Object(
  {
    secret: Type.Optional(
      Type.String({
        minLength: 32,
        description: "The shared secret of HS256 tokens, at least 32 characters.",
        ...secret,
        ...makeSecret,
      }),
    ),
    previousSecret: Type.Optional(
      Type.String({
        minLength: 32,
        description: "The secret before this one, still good for verifying while it is changed.",
        ...secret,
        ...makeSecret,
      }),
    ),
    issuer: Type.Optional(Type.String({ minLength: 1, description: "Required `iss` claim." })),
    audience: Type.Optional(Type.String({ minLength: 1, description: "Required `aud` claim." })),
    clockToleranceMs: Type.Integer({
      minimum: 0,
      maximum: 300_000,
      default: 5_000,
      unit: "ms",
      description: "How far the clocks of the token's maker and the broker may be apart.",
    }),
  },
  { ...closed, default: {}, description: "Tokens made by somebody else [P-13.1]." },
);

/** What each limit bounds; the unit is the end of its name or the thing it counts. */
const LIMIT_TEXT: Readonly<Record<keyof Limits, readonly [unit: string, description: string]>> = {
  frameBytes: ["bytes", "Largest WebSocket message or HTTP body."],
  batch: ["frames", "Frames in one WebSocket message, messages in one HTTP publish."],
  topicBytes: ["bytes", "Length of a topic or filter."],
  topicLevels: ["levels", "Levels of a topic or filter."],
  subscriptions: ["subscriptions", "Live subscriptions of one connection."],
  consumers: ["consumers", "Consumers of one connection."],
  credit: ["deliveries", "Unsettled deliveries of one consumer."],
  pendingPublishes: ["publishes", "Publishes of one connection that are not answered yet."],
  outboundBytes: ["bytes", "Bytes waiting for one reader before it counts as slow."],
  headers: ["headers", "Headers of one message."],
  headerBytes: ["bytes", "All headers of one message together."],
  presenceInfoBytes: ["bytes", "What one member says of itself in presence, as JSON text."],
  presenceListed: ["members", "Members of a topic that are listed at once."],
  historyMessages: ["messages", "Messages of the history that are asked for at a time."],
  payloadDepth: ["levels", "Nesting of a payload, 508 at most."],
  turnBytes: ["bytes", "What is taken from one connection until others have their turn."],
  heldInputBytes: ["bytes", "What was read of all connections and waits for its turn."],
  badFramesInARow: ["frames", "Frames that do not fit their schema before the connection closes."],
  handshakeTimeoutMs: ["ms", "Time to authenticate after connecting."],
  heartbeatMs: ["ms", "Silence after which a peer is pinged; after two of them it is closed."],
  connections: ["connections", "Open connections."],
  rateAccounts: [
    "accounts",
    "Principals and addresses without a connection whose rates are remembered.",
  ],
  automaticBans: ["bans", "Bans made by rules; the oldest goes first."],
  verifiedTokens: ["tokens", "Verified tokens that are remembered, for those who come back."],
  pendingHandshakes: ["handshakes", "Handshakes that wait while thousands connect; past it 503."],
  queues: ["queues", "Queues, without their dead-letter queues."],
  topicCache: ["topics", "Topics whose routes are remembered."],
  coalescedFrames: ["events", "Events of one route that leave as one message."],
  coalescedBytes: ["bytes", "Bytes of events of one route that leave as one message."],
  recentMessageIds: ["ids", "Message ids of unstored messages, remembered for duplicates."],
  dedupeWindowMs: ["ms", "How long a message id is remembered."],
  queueWindowMessages: ["messages", "Messages of one queue that are held in memory."],
  queueWindowBytes: ["bytes", "Bytes of messages of one queue that are held in memory."],
  delayedWindow: ["messages", "Delayed messages whose places are held in memory."],
  expiryPageMessages: ["messages", "Messages whose expiry is looked for on disk at a time."],
  commitOperations: ["operations", "Operations in one storage transaction."],
  commitBytes: ["bytes", "Bytes in one storage transaction."],
  pendingOperations: ["operations", "Operations waiting for storage before publishers get `busy`."],
  deliveryGraceMs: ["ms", "Holding time below which a lost connection burns no attempt."],
  presenceAnnounced: [
    "members",
    "Members of a topic that are told one by one as they come and go.",
  ],
  presenceGraceMs: ["ms", "Time for a lost connection to be back without anybody being told."],
  presenceAbsent: ["members", "Members whose connection was lost and that may still be back."],
  pullConsumers: ["names", "HTTP consumers with a name of one principal, while they are alive."],
  records: ["records", "Roles, keys, tasks and so on, of each kind."],
  auditEntries: ["entries", "Entries of the audit trail; the oldest go."],
  keptTopics: ["topics", "Topics that keep something, of all channels; past it no more."],
  replayBytes: ["bytes", "What one connection reads at a time of what topics keep."],
  retainedMessages: ["messages", "Retained values that one connection reads at a time."],
  pendingReads: ["reads", "Such reads of one connection before what begins another waits."],
  readsAtOnce: ["reads", "Such reads of all connections that are answered at once; others wait."],
  drainMs: ["ms", "Longest time that a planned stop takes."],
};

const LimitSettings = Type.Object(
  Object.fromEntries(
    (Object.keys(LIMIT_TEXT) as (keyof Limits)[]).map((name) => [
      name,
      Type.Integer({
        minimum: 1,
        maximum: 2_147_483_647,
        default: DEFAULT_LIMITS[name],
        unit: LIMIT_TEXT[name][0],
        description: LIMIT_TEXT[name][1],
      }),
    ]),
  ) as Record<keyof Limits, TInteger>,
  { ...closed, default: {}, description: "Every bound of the broker [P-11.1]." },
);

export const ConfigSchema = Type.Object(
  {
    host: Type.String({
      minLength: 1,
      default: "127.0.0.1",
      description: "The address to listen on; any other than loopback needs credentials.",
    }),
    port: Type.Integer({
      minimum: 0,
      maximum: 65_535,
      default: 7070,
      description: "The TCP port; 0 lets the system choose.",
    }),
    dataDir: Type.String({
      minLength: 1,
      default: "./data",
      description: "The directory of the broker's files; made if it is missing.",
    }),
    durability: Type.Union([Type.Literal("fsync"), Type.Literal("os")], {
      default: "fsync",
      description:
        "When a publish counts as stored: on disk (fsync), or handed to the system (os), which a " +
        "power loss may take back.",
    }),
    log: Type.Union([Type.Literal("pretty"), Type.Literal("json")], {
      default: "pretty",
      description: "How log lines look: for people, or one JSON object a line.",
    }),
    logLevel: Type.Union(
      [
        Type.Literal("debug"),
        Type.Literal("info"),
        Type.Literal("warn"),
        Type.Literal("error"),
        Type.Literal("silent"),
      ],
      { default: "info", description: "The least serious lines that are written." },
    ),
    insecure: Type.Boolean({
      default: false,
      description: "Listen beyond loopback without any credentials: anyone may do anything.",
    }),
    allowedOrigins: Type.Array(
      Type.String({
        pattern: "^(\\*|[a-z][a-z0-9+.-]*://[^/\\s]+)$",
        maxLength: 512,
        "x-advice": "an origin is scheme, host and port, such as https://app.example",
      }),
      {
        default: [],
        maxItems: 256,
        description: "Origins of web pages that may connect: scheme, host and port; * for any.",
      },
    ),
    trustedProxies: Type.Array(Type.String({ maxLength: 64 }), {
      default: [],
      maxItems: 256,
      description:
        "Addresses and ranges of proxies whose X-Forwarded-For says who the client is; it is ignored " +
        "from all others.",
    }),
    compression: Type.Union([Type.Literal("off"), Type.Literal("on")], {
      default: "off",
      description: "Whether WebSocket clients may compress (permessage-deflate) [P-14.13].",
    }),
    rates: RateSettings,
    tls: TlsSettings,
    jwt: JwtSettings,
    issuers: Type.Array(IssuerSettings, {
      default: [],
      maxItems: 64,
      description: "Others whose tokens are taken, with what these may claim at most [P-14.1].",
      ...secret,
    }),
    keys: Type.Array(KeySettings, {
      default: [],
      maxItems: 10_000,
      description: "API keys, by their hashes [P-13.2]; `warren token --key` makes one.",
      ...secret,
    }),
    roles: Type.Record(Type.String({ minLength: 1, maxLength: 128 }), RoleSettings, {
      default: {},
      description: "Grants by role name [P-13.1].",
    }),
    anonymous: Type.Optional(
      Type.Object(
        { grants: Grants },
        {
          ...closed,
          description:
            "What somebody without credentials may do. Absent: everything where no credentials are " +
            "configured (loopback only), nothing where some are.",
        },
      ),
    ),
    limits: LimitSettings,
    channels: Type.Record(Type.String({ minLength: 1, maxLength: 128 }), ChannelDefinition, {
      default: {},
      description: "What holds on the topics of a filter, by the channel's name [P-14.9].",
    }),
    queues: Type.Record(QueueName, QueueDefinition, {
      ...closed,
      default: {},
      description: "Queues that are defined, or brought to this definition, at every start.",
    }),
  },
  { ...closed, title: "Warren configuration" },
);

/** The settings as the broker uses them: complete, checked and frozen. */
export interface Config
  extends Omit<
    Static<typeof ConfigSchema>,
    "issuers" | "keys" | "roles" | "anonymous" | "channels" | "queues"
  > {
  readonly issuers: readonly IssuerSettings[];
  readonly keys: readonly KeySettings[];
  readonly roles: Readonly<Record<string, RoleSettings>>;
  readonly anonymous?: { readonly grants: readonly Grant[] };
  readonly channels: Readonly<Record<string, ChannelDefinition>>;
  readonly queues: Readonly<Record<string, QueueDefinition>>;
}
