/** The operations on channels [P-13.8], [P-14.9]. */
import { Type } from "@sinclair/typebox";
import { ChannelDefinition } from "./channels.ts";
import { closed, type Operation, Page } from "./http-operation.ts";

const Channel = Type.Object({
  name: Type.String(),
  origin: Type.Union([Type.Literal("settings"), Type.Literal("stored")]),
  ...ChannelDefinition.properties,
  kept: Type.Optional(
    Type.Object(
      { topics: Type.Integer(), historyBytes: Type.Integer() },
      { description: "How many of its topics keep something, and their histories' bytes." },
    ),
  ),
});

const path = "/admin/v1/channels/{name}";
const channel = { access: "admin", area: "channels" } as const;

export const CHANNEL_OPERATIONS = {
  listChannels: {
    method: "GET",
    path: "/admin/v1/channels",
    summary: "Every channel, by name.",
    ...channel,
    query: Type.Object(Page, closed),
    answer: Type.Object({ channels: Type.Array(Channel), next: Type.Optional(Type.String()) }),
  },
  getChannel: { method: "GET", path, summary: "One channel.", ...channel, answer: Channel },
  putChannel: {
    method: "PUT",
    path,
    summary: "Defines a channel or replaces it, from the next message on.",
    ...channel,
    body: ChannelDefinition,
    answer: Channel,
  },
  deleteChannel: {
    method: "DELETE",
    path,
    summary: "Removes a stored channel.",
    ...channel,
    status: 204,
  },
} as const satisfies Record<string, Operation>;
