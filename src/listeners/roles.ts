/** Roles as operators edit them while the broker runs [P-13.1], [P-13.8]. */
import type { RoleSettings } from "../../schemas/access.ts";
import { type Fault, grantFaults } from "../broker/access.ts";
import type { RoleView } from "../broker/roles.ts";
import { WarrenError } from "../errors.ts";
import { audited } from "./audit.ts";
import { assertRates, assertRules } from "./bounds.ts";
import { pageOf } from "./page.ts";
import { type Handlers, param } from "./services.ts";

export const roleHandlers: Handlers<"listRoles" | "getRole" | "putRole" | "deleteRole"> = {
  listRoles({ query }, { roles }) {
    const { items, next } = pageOf(roles.list(), query);
    return { roles: items, ...(next !== undefined && { next }) };
  },

  getRole: (call, { roles }) => existing(roles.get(param(call, "name")), param(call, "name")),

  putRole(call, services) {
    const name = param(call, "name");
    assertPlainName(name, "role");
    const { roles, engine, config, turns } = services;
    const role = call.body as RoleSettings;
    assertNoFault(grantFaults(role.grants, "/grants")[0]);
    const action = roles.isStored(name) ? "role.change" : "role.define";
    const write = async () => {
      if (roles.isOfSettings(name)) throw ofSettings(name);
      const before = roles.stored(name);
      assertRules(before?.grants ?? [], role.grants, call);
      assertRates(before?.rates, role.rates, call, config.rates.principal);
      await engine.records.write([{ collection: "roles", key: name, value: role }]);
      return existing(roles.get(name), name);
    };
    const inTurn = () => turns.roles.take(write);
    // Rules are no secrets, and what they were is what an auditor asks first.
    const detail = () => ({ detail: { ...role } });
    return audited(call, services, { action, on: name }, inTurn, detail);
  },

  deleteRole(call, services) {
    const name = param(call, "name");
    const { roles, engine, config, turns } = services;
    const remove = async () => {
      // A stored one that the settings overrule may go; that of the settings may not.
      if (!roles.isStored(name)) {
        if (roles.isOfSettings(name)) throw ofSettings(name);
        existing(undefined, name);
      }
      const before = roles.stored(name);
      assertRules(before?.grants ?? [], [], call);
      assertRates(before?.rates, undefined, call, config.rates.principal);
      await engine.records.write([{ collection: "roles", key: name, value: undefined }]);
      return undefined;
    };
    const inTurn = () => turns.roles.take(remove);
    return audited(call, services, { action: "role.delete", on: name }, inTurn);
  },
};

/** Throws `invalid_frame` at the place of the fault. */
export function assertNoFault(fault: Fault | undefined): void {
  if (fault === undefined) return;
  const { pointer, message } = fault;
  throw new WarrenError("invalid_frame", `The body does not fit: ${message} at ${pointer}.`, {
    pointer,
  });
}

function existing(role: RoleView | undefined, name: string): RoleView {
  if (role !== undefined) return role;
  throw new WarrenError("not_found", `There is no role ${name}.`, { role: name });
}

/** Throws `invalid_frame` for a name that could not be told apart in lists and logs. */
export function assertPlainName(name: string, what: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (name !== "" && name.length <= 128 && !/[\u0000-\u001f\u007f-\u009f,]/.test(name)) return;
  throw new WarrenError(
    "invalid_frame",
    `The name of a ${what} is 1 to 128 characters, without control characters and commas.`,
    { pointer: "/name" },
  );
}

function ofSettings(name: string): WarrenError {
  return new WarrenError(
    "conflict",
    `The role ${name} is one of the settings and is changed there.`,
    { role: name, origin: "settings" },
  );
}
