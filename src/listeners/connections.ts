/** The operator's plane for who is connected and who is shut out [P-14.5]. */
import { Value } from "@sinclair/typebox/value";
import { type Ban, BanId } from "../../schemas/bans.ts";
import { CLOSE } from "../../schemas/errors.ts";
import { WarrenError } from "../errors.ts";
import { AddressRanges, parseAddress, parseRange } from "../security/addresses.ts";
import { checkedBan, shutsOut } from "../security/bans.ts";
import type { Session } from "../session/session.ts";
import { audited } from "./audit.ts";
import { type Call, type Handlers, param, type Services } from "./services.ts";

type Operations =
  | "listConnections"
  | "getConnection"
  | "kickConnection"
  | "kickConnections"
  | "listBans"
  | "putBan"
  | "getBan"
  | "deleteBan";

/** Connections that are ended in one turn of the event loop, at 60 to 70 µs each. */
const ENDED_AT_ONCE = 32;

export const connectionHandlers: Handlers<Operations> = {
  listConnections({ query }, { sessions }) {
    const { limit, after = "" } = query;
    const isMeant = choice(query);
    const found: Session[] = [];
    let more = false;
    for (const session of sessions) {
      if (session.id <= after || !isMeant(session)) continue;
      found.push(session);
      // Only the first page is sorted, however many connections there are.
      if (found.length >= 4 * limit) more = firstOf(found, limit) || more;
    }
    more = firstOf(found, limit) || more;
    const next = more ? found.at(-1)?.id : undefined;
    return { connections: found.map(summary), ...(next !== undefined && { next }) };
  },

  getConnection(call, services) {
    const session = sessionOf(call, services);
    const { live, work } = session.holdings;
    return { ...summary(session), filters: live?.filters ?? [], queues: work?.queues ?? [] };
  },

  async kickConnection(call, services) {
    const on = param(call, "session");
    await audited(call, services, { action: "connection.kick", on }, async () => {
      sessionOf(call, services).close(CLOSE.kicked, call.query.reason ?? "ended by an operator");
    });
    return undefined;
  },

  kickConnections(call, services) {
    const { principal, client, address, reason = "ended by an operator" } = call.query;
    const on = principal ?? client ?? address;
    const change = { action: "connections.kick", ...(on !== undefined && { on }) };
    const kick = async () => {
      if (on === undefined) {
        const why = "Say whose: principal, client or address.";
        throw new WarrenError("invalid_frame", why, { pointer: "" });
      }
      const isMeant = choice(call.query);
      const meant = [...services.sessions].filter((one) => !one.over && isMeant(one));
      for (const [at, session] of meant.entries()) {
        if (!session.over) session.close(CLOSE.kicked, reason);
        if (at % ENDED_AT_ONCE === ENDED_AT_ONCE - 1) await endOfTurn(services);
      }
      return { kicked: meant.length };
    };
    return audited(call, services, change, kick, ({ kicked }) => ({ count: kicked }));
  },

  async listBans({ query }, { admission }) {
    const { page, more } = await admission.bans.page(query);
    const next = more ? page.at(-1)?.id : undefined;
    return { bans: page, ...(next !== undefined && { next }) };
  },

  async putBan(call, services) {
    const id = param(call, "id");
    const { clock, expiring } = services;
    return audited(call, services, { action: "ban.put", on: id }, async () => {
      if (!Value.Check(BanId, id)) throw badId(id);
      const by = call.principal.name;
      const now = clock.now();
      const ban: Ban = { id, ...checkedBan(call.body, now), createdAt: now, by };
      assertNotOneself(ban, call);
      await expiring.bans.put(id, ban);
      return ban;
    });
  },

  getBan(call, { admission }) {
    const id = param(call, "id");
    const ban = admission.bans.get(id);
    if (ban === undefined) throw new WarrenError("not_found", `There is no ban ${id}.`, { id });
    return ban;
  },

  async deleteBan(call, services) {
    const id = param(call, "id");
    const { expiring, admission } = services;
    await audited(call, services, { action: "ban.delete", on: id }, async () => {
      if (admission.bans.forgive(id)) return;
      if (!expiring.bans.has(id)) {
        throw new WarrenError("not_found", `There is no ban ${id}.`, { id });
      }
      await expiring.bans.remove(id);
    });
    return undefined;
  },
};

function endOfTurn({ clock }: Pick<Services, "clock">): Promise<void> {
  return new Promise((resolve) => clock.endOfTurn(resolve));
}

interface Choice {
  readonly principal?: string | undefined;
  readonly client?: string | undefined;
  readonly address?: string | undefined;
}

type Chosen = (session: Session) => boolean;

/** Whether a session is one of those: all that is given must fit. Throws `invalid_frame`. */
function choice({ principal, client, address }: Choice): Chosen {
  const inRange = address === undefined ? undefined : rangeTest(address);
  return ({ principal: who, address: from }) => {
    if (principal !== undefined && who?.name !== principal) return false;
    if (client !== undefined && who?.client !== client) return false;
    return inRange?.(from) !== false;
  };
}

/** Whoever shuts himself out could not undo it. */
function assertNotOneself(ban: Ban, call: Pick<Call, "principal" | "address">): void {
  const { principal, address } = call;
  if (!shutsOut(ban, { address, principal })) return;
  throw new WarrenError("conflict", "This ban would shut out whoever makes it: you.", {
    principal: principal.name,
    address,
  });
}

function badId(id: string): WarrenError {
  return new WarrenError("invalid_frame", `"${id}" is no id: letters, digits and _ . : - are.`, {
    pointer: "/id",
  });
}

/** The connection of the address; one that is on its way out is none. */
function sessionOf(call: Pick<Call, "params">, { sessions }: Services): Session {
  const id = param(call, "session");
  for (const session of sessions) if (session.id === id && !session.over) return session;
  throw new WarrenError("not_found", `There is no connection ${id}.`, { session: id });
}

function summary(session: Session): object {
  const { id, principal, address, state, protocol, connectedAt, holdings, socket } = session;
  const { live, work, intake } = holdings;
  return {
    session: id,
    ...(principal !== undefined && { principal: principal.name }),
    ...(principal?.client !== undefined && { client: principal.client }),
    address,
    state,
    encoding: protocol.encoder.name,
    connectedAt,
    subscriptions: live?.filters.length ?? 0,
    consumers: work?.queues.length ?? 0,
    pendingPublishes: intake?.pending ?? 0,
    outboundBytes: socket.getBufferedAmount(),
    reading: intake?.paused !== true,
  };
}

/** Throws `invalid_frame`. */
function rangeTest(text: string): (address: string) => boolean {
  const range = parseRange(text);
  if (range === undefined) {
    const why = `"${text}" is neither an address nor a range.`;
    throw new WarrenError("invalid_frame", why, { pointer: "/address" });
  }
  const ranges = new AddressRanges<true>();
  ranges.add(range, true);
  return (address) => {
    const parsed = parseAddress(address);
    return parsed !== undefined && ranges.find(parsed, () => true) === true;
  };
}

/** Leaves the first so many by id in their order; true when there were more. */
function firstOf(sessions: Session[], limit: number): boolean {
  sessions.sort((a, b) => (a.id < b.id ? -1 : 1));
  if (sessions.length <= limit) return false;
  sessions.length = limit;
  return true;
}
