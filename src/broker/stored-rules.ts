/**
 * Roles and channels as they come from the store. They were checked when they were written, by the version
 * that wrote them; this one may see faults in them. What is faulty is not compiled, and closes rather than
 * opens: nobody can say what it was meant to keep out.
 */
import { DENIABLE, RoleSettings } from "../../schemas/access.ts";
import { ChannelDefinition } from "../../schemas/channels.ts";
import { firstFault } from "../faults.ts";
import { type Fault, grantFaults } from "./access.ts";
import { type ChannelBook, channelFaults } from "./channels.ts";
import type { RoleBook } from "./roles.ts";

/** Whoever has it may do nothing, whatever else it has. */
const NOTHING: RoleSettings = { grants: [{ deny: DENIABLE, on: ["#"] }] };

/** Takes a stored role, or its end; returns what is wrong with it. One that is faulty denies everything. */
export function learnRole(book: RoleBook, name: string, value: unknown): Fault | undefined {
  const fault = value === undefined ? undefined : roleFault(value);
  book.learn(name, fault === undefined ? (value as RoleSettings | undefined) : NOTHING);
  return fault;
}

/**
 * Takes a stored channel, or its end; returns what is wrong with it. One that is faulty gives nobody anything
 * and takes no message on its topics, as far as its filter can be made out.
 */
export function learnChannel(book: ChannelBook, name: string, value: unknown): Fault | undefined {
  const fault = value === undefined ? undefined : channelFault(value);
  if (fault === undefined) book.learn(name, value as ChannelDefinition | undefined);
  else book.learn(name, shutDown(value), fault);
  return fault;
}

function roleFault(value: unknown): Fault | undefined {
  return (
    shapeFault(RoleSettings, value) ?? grantFaults((value as RoleSettings).grants, "/grants")[0]
  );
}

function channelFault(value: unknown): Fault | undefined {
  const shape = shapeFault(ChannelDefinition, value);
  if (shape !== undefined) return shape;
  const definition = value as ChannelDefinition;
  return channelFaults(definition, "")[0];
}

function shapeFault(schema: Parameters<typeof firstFault>[0], value: unknown): Fault | undefined {
  const fault = firstFault(schema, value);
  return fault && { pointer: fault.path, message: fault.message };
}

function shutDown(value: unknown): ChannelDefinition | undefined {
  const { filter } = (typeof value === "object" && value !== null ? value : {}) as {
    filter?: unknown;
  };
  if (typeof filter !== "string") return undefined;
  return channelFaults({ filter }, "").length === 0 ? { filter } : undefined;
}
