/** Operations on who is connected and who is shut out [P-14.5]. */
import { Type } from "@sinclair/typebox";
import { Ban, BanBody } from "./bans.ts";
import { Count, type Operation, Page, Reason, Time } from "./http-operation.ts";

const who = { principal: Type.Optional(Type.String()), client: Type.Optional(Type.String()) };

const Connection = Type.Object({
  session: Type.String(),
  ...who,
  address: Type.String(),
  state: Type.String({ description: "waiting (for `auth`), open, draining or leaving." }),
  encoding: Type.String(),
  connectedAt: Time,
  subscriptions: Count,
  consumers: Count,
  pendingPublishes: Count,
  outboundBytes: Type.Integer({ description: "Waiting to be read by the client." }),
  reading: Type.Boolean({ description: "False while the broker does not read from it." }),
});

const OneConnection = Type.Object({
  ...Connection.properties,
  filters: Type.Array(Type.String()),
  queues: Type.Array(Type.String()),
});

const ByAddress = Type.Optional(
  Type.String({ maxLength: 64, description: "An address, or a range such as 203.0.113.0/24." }),
);

export const CONNECTION_OPERATIONS = {
  listConnections: {
    method: "GET",
    path: "/admin/v1/connections",
    summary: "The open connections, the oldest first.",
    access: "admin",
    area: "connections",
    query: Type.Object({ ...Page, ...who, address: ByAddress }, { additionalProperties: false }),
    answer: Type.Object({
      connections: Type.Array(Connection),
      next: Type.Optional(Type.String()),
    }),
  },
  getConnection: {
    method: "GET",
    path: "/admin/v1/connections/{session}",
    summary: "One connection, with its filters and queues.",
    access: "admin",
    area: "connections",
    answer: OneConnection,
  },
  kickConnection: {
    method: "DELETE",
    path: "/admin/v1/connections/{session}",
    summary: "End a connection with 4410; it may come back unless it is banned.",
    access: "admin",
    area: "connections",
    query: Type.Object({ reason: Reason }, { additionalProperties: false }),
    status: 204,
  },
  kickConnections: {
    method: "DELETE",
    path: "/admin/v1/connections",
    summary: "End all connections of a principal, a client or a range; of several all must fit.",
    access: "admin",
    area: "connections",
    query: Type.Object(
      { ...who, address: ByAddress, reason: Reason },
      { additionalProperties: false },
    ),
    answer: Type.Object({ kicked: Count }),
  },
  listBans: {
    method: "GET",
    path: "/admin/v1/bans",
    summary: "The bans in force.",
    access: "admin",
    area: "bans",
    query: Type.Object({ ...Page }, { additionalProperties: false }),
    answer: Type.Object({ bans: Type.Array(Ban), next: Type.Optional(Type.String()) }),
  },
  putBan: {
    method: "PUT",
    path: "/admin/v1/bans/{id}",
    summary: "Shut out a principal, a client, an address or a range.",
    access: "admin",
    area: "bans",
    body: BanBody,
    answer: Ban,
  },
  getBan: {
    method: "GET",
    path: "/admin/v1/bans/{id}",
    summary: "One ban.",
    access: "admin",
    area: "bans",
    answer: Ban,
  },
  deleteBan: {
    method: "DELETE",
    path: "/admin/v1/bans/{id}",
    summary: "Let them in again.",
    access: "admin",
    area: "bans",
    status: 204,
  },
} as const satisfies Record<string, Operation>;
