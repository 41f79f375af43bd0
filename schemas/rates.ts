/** How much in how long [P-14.11]: everything is off (0) until an operator knows what is too much. */
import { type Static, Type } from "@sinclair/typebox";

const closed = { additionalProperties: false } as const;
const MAX = 2_147_483_647;
const DAY_MS = 86_400_000;

const rate = (unit: string, description: string) =>
  Type.Integer({ minimum: 0, maximum: MAX, default: 0, unit, description });

const traffic = (whose: string) => ({
  messagesPerSecond: rate("messages/s", `Frames and HTTP requests of ${whose}; 0 is no limit.`),
  bytesPerSecond: rate("bytes/s", `Bytes that are read from ${whose}; 0 is no limit.`),
});

const connecting = (whose: string) => ({
  connectionsPerMinute: rate("1/min", `New connections of ${whose}; 0 is no limit.`),
});

const held = (whose: string) => ({
  connections: rate("connections", `Open connections of ${whose}; 0 is no limit.`),
});

const failing = (whose: string) => ({
  failedLoginsPerMinute: rate("1/min", `Refused credentials of ${whose}; 0 is no limit.`),
});

/** So many of something in a minute, and whoever did it is banned for a while. */
const strikes = (perMinute: string) =>
  Type.Object(
    {
      perMinute: rate("1/min", `${perMinute}; 0 bans nobody.`),
      banMs: Type.Integer({
        minimum: 1000,
        maximum: 30 * DAY_MS,
        default: 300_000,
        unit: "ms",
        description: "How long such a ban lasts.",
      }),
    },
    { ...closed, default: {} },
  );

const scope = { ...closed, default: {} };

export const RateSettings = Type.Object(
  {
    connection: Type.Object({ ...traffic("one connection") }, scope),
    principal: Type.Object(
      {
        ...traffic("one principal"),
        ...connecting("one principal"),
        ...held("one principal"),
      },
      scope,
    ),
    address: Type.Object(
      {
        ...traffic("one address"),
        ...connecting("one address"),
        ...held("one address"),
        ...failing("one address"),
      },
      scope,
    ),
    overall: Type.Object(
      { ...traffic("all together"), ...connecting("all"), ...failing("all together") },
      scope,
    ),
    burstSeconds: Type.Integer({
      minimum: 1,
      maximum: 3600,
      default: 5,
      unit: "s",
      description: "How many seconds' worth of a rate may come at once, after a pause.",
    }),
    flapping: strikes("Connections of one client that end in a minute before it is banned"),
    abuse: strikes("Times a minute that one goes on past its rates before it is banned"),
  },
  { ...closed, default: {}, description: "Rates and caps [P-14.11]." },
);
export type RateSettings = Static<typeof RateSettings>;

const own = (description: string) =>
  Type.Optional(Type.Integer({ minimum: 0, maximum: MAX, description }));

/** What a role says of its principals' rates, in the place of `rates.principal`. */
export const RoleRates = Type.Object(
  {
    messagesPerSecond: own("Frames and HTTP requests of one principal; 0 is no limit."),
    bytesPerSecond: own("Bytes that are read from one principal; 0 is no limit."),
    connectionsPerMinute: own("New connections of one principal; 0 is no limit."),
    connections: own("Open connections of one principal; 0 is no limit."),
  },
  closed,
);
export interface RoleRates {
  readonly messagesPerSecond?: number;
  readonly bytesPerSecond?: number;
  readonly connectionsPerMinute?: number;
  readonly connections?: number;
}
