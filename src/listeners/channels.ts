/** Channels as operators define them while the broker runs [P-13.8], [P-14.9]. */
import type { ChannelDefinition } from "../../schemas/channels.ts";
import { type ChannelView, channelFaults } from "../broker/channels.ts";
import { WarrenError } from "../errors.ts";
import { audited } from "./audit.ts";
import { assertChannel } from "./bounds.ts";
import { pageOf } from "./page.ts";
import { assertNoFault, assertPlainName } from "./roles.ts";
import { type Handlers, param, type Services } from "./services.ts";

type Operations = "listChannels" | "getChannel" | "putChannel" | "deleteChannel";

export const channelHandlers: Handlers<Operations> = {
  listChannels({ query }, services) {
    const { items, next } = pageOf(services.channels.list(), query);
    const channels = items.map((channel) => withKept(channel, services));
    return { channels, ...(next !== undefined && { next }) };
  },

  getChannel: (call, services) => existing(services, param(call, "name")),

  putChannel(call, services) {
    const name = param(call, "name");
    const { channels, engine } = services;
    const definition = call.body as ChannelDefinition;
    assertPlainName(name, "channel");
    assertNoFault(channelFaults(definition, "")[0]);
    const action = channels.isStored(name) ? "channel.change" : "channel.define";
    const write = async () => {
      if (channels.isOfSettings(name)) throw ofSettings(name);
      const rival = channels.rival(name, definition.filter);
      if (rival !== undefined) {
        const text = `The channel ${rival} has the same filter.`;
        throw new WarrenError("conflict", text, { channel: rival, pointer: "/filter" });
      }
      assertChannel(channels.stored(name), definition, call);
      await engine.records.write([{ collection: "channels", key: name, value: definition }]);
      return existing(services, name);
    };
    const { schema: _large, ...detail } = definition;
    const inTurn = () => services.turns.channels.take(write);
    return audited(call, services, { action, on: name }, inTurn, () => ({ detail }));
  },

  deleteChannel(call, services) {
    const name = param(call, "name");
    const { channels, engine } = services;
    const remove = async () => {
      if (!channels.isStored(name)) {
        if (channels.isOfSettings(name)) throw ofSettings(name);
        existing(services, name);
      }
      assertChannel(channels.stored(name), undefined, call);
      await engine.records.write([{ collection: "channels", key: name, value: undefined }]);
      return undefined;
    };
    const inTurn = () => services.turns.channels.take(remove);
    return audited(call, services, { action: "channel.delete", on: name }, inTurn);
  },
};

function existing(services: Services, name: string): ReturnType<typeof withKept> {
  const channel = services.channels.get(name);
  if (channel !== undefined) return withKept(channel, services);
  throw new WarrenError("not_found", `There is no channel ${name}.`, { channel: name });
}

/** With what its topics have come to keep. */
function withKept(channel: ChannelView, { engine }: Services) {
  const kept = engine.topics.channels.get(channel.name);
  const keeps = channel.history !== undefined || channel.retained === true;
  if (kept === undefined && !keeps) return channel;
  return { ...channel, kept: kept ?? { topics: 0, historyBytes: 0 } };
}

function ofSettings(name: string): WarrenError {
  const text = `The channel ${name} is one of the settings and is changed there.`;
  return new WarrenError("conflict", text, { channel: name, origin: "settings" });
}
