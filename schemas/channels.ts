/** What holds on the topics of a channel, as operators write it [P-13.8], [P-14.9], [P-14.10]. */
import { Type } from "@sinclair/typebox";
import type { Action } from "./access.ts";

const closed = { additionalProperties: false } as const;

/** What everyone may do on a channel's topics, whatever their own grants say. */
const EVERYONE = ["publish", "subscribe", "presence", "history"] as const satisfies Action[];

/** How much of the history of each topic is kept: whatever is reached first [P-4.3]. */
export const HistorySettings = Type.Object(
  {
    maxMessages: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000_000, description: "1 000 if absent." }),
    ),
    maxAgeMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 315_360_000_000 })),
    maxBytes: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
  },
  closed,
);
export interface HistorySettings {
  readonly maxMessages?: number;
  readonly maxAgeMs?: number;
  readonly maxBytes?: number;
}

export const ChannelDefinition = Type.Object(
  {
    filter: Type.String({
      minLength: 1,
      maxLength: 4095,
      description: "The topics of the channel; of several that match, the most specific rules.",
    }),
    everyone: Type.Optional(
      Type.Array(Type.Union(EVERYONE.map((action) => Type.Literal(action))), {
        maxItems: EVERYONE.length,
        description: "What everyone who is let in may do there; a denial still wins.",
      }),
    ),
    maxPayloadBytes: Type.Optional(Type.Integer({ minimum: 0, maximum: 2_147_483_647 })),
    maxRatePerSecond: Type.Optional(
      Type.Number({ minimum: 0.001, maximum: 1e9, description: "Messages of all publishers." }),
    ),
    schema: Type.Optional(
      Type.Unknown({ description: "JSON Schema (2020-12) that payloads must fit." }),
    ),
    onInvalid: Type.Optional(
      Type.Union([Type.Literal("reject"), Type.Literal("dead-letter"), Type.Literal("count")]),
    ),
    presence: Type.Optional(
      Type.Boolean({ description: "Whether it is known who is subscribed to a topic." }),
    ),
    history: Type.Optional(HistorySettings),
    retained: Type.Optional(
      Type.Boolean({ description: "Each topic keeps the last message published with `retain`." }),
    ),
    maxTopics: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 134_217_727,
        description: "How many of its topics may keep something; 100 000 if absent.",
      }),
    ),
  },
  closed,
);
export interface ChannelDefinition {
  readonly filter: string;
  readonly everyone?: readonly (typeof EVERYONE)[number][];
  readonly maxPayloadBytes?: number;
  readonly maxRatePerSecond?: number;
  readonly schema?: unknown;
  readonly onInvalid?: "reject" | "dead-letter" | "count";
  readonly history?: HistorySettings;
  readonly retained?: boolean;
  readonly maxTopics?: number;
  readonly presence?: boolean;
}
