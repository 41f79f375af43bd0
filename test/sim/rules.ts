/** Roles and channels of a simulation, as the broker has them, and how they change while it is used. */
import { rulesOf } from "../../src/assembly.ts";
import type { Broker } from "../../src/broker/broker.ts";
import type { RoleBook } from "../../src/broker/roles.ts";
import type { RecordChange } from "../../src/engine/records.ts";
import type { Logger } from "../../src/log.ts";
import type { Sessions } from "../../src/session/sessions.ts";

export const ROLE = "guest";
/** The one that keeps history makes a subscribe wait for the disk. */
export const TOPICS = ["room/1", "room/2", "room/open/1", "room/log/1", "room/log/2"];

const whole = { subscribe: "room/#", presence: "room/#" };
/** What guests may do, by the names of these variants: one is in force at a time. */
export const RIGHTS = {
  whole,
  blind: { subscribe: "room/#", presence: "hall/#" },
  narrow: { subscribe: "room/open/#", presence: "room/open/#" },
} as const;
export type RightsName = keyof typeof RIGHTS;

function roleChange(name: RightsName): RecordChange {
  const { subscribe, presence } = RIGHTS[name];
  const grants = [
    { allow: ["subscribe"], on: [subscribe] },
    { allow: ["presence"], on: [presence] },
  ];
  return { collection: "roles", key: ROLE, value: { grants } };
}

function channelChange(key: "rooms" | "logs", presence: boolean): RecordChange {
  const value = {
    rooms: { filter: "room/#", presence },
    logs: { filter: "room/log/+", presence, history: { maxMessages: 10 } },
  }[key];
  return { collection: "channels", key, value };
}

/** The rules of a broker that nobody has troubled. */
export const FIRST_RULES: readonly RecordChange[] = [
  roleChange("whole"),
  channelChange("rooms", true),
  channelChange("logs", true),
];

/** What an operator may come to; `chance` is from 0 to 1. */
export function otherRules(chance: number): readonly RecordChange[] {
  const all = [
    [roleChange("blind")],
    [roleChange("narrow")],
    [roleChange("whole")],
    [channelChange("rooms", false)],
    [channelChange("logs", false)],
    [channelChange("rooms", true)],
    [channelChange("logs", true)],
    FIRST_RULES,
  ];
  return all[Math.floor(chance * all.length)] ?? FIRST_RULES;
}

export class SimRules {
  readonly roles: RoleBook;
  readonly #broker: Broker;

  /** `changed` is called after what changes them, before anybody has been looked at. */
  constructor(broker: Broker, log: Logger, changed: () => void) {
    this.#broker = broker;
    this.roles = rulesOf({ roles: {}, channels: {} }, broker, log).roles;
    this.roles.onChange(changed);
  }

  /** Sessions are looked at again after each change. */
  reviewedBy(sessions: Sessions): void {
    this.roles.onChange(() => sessions.review.start());
  }

  /** Where there are none yet. */
  async begin(): Promise<void> {
    const { records } = this.#broker.engine;
    if (records.all("roles").size === 0) await records.write(FIRST_RULES);
  }

  /** Under which of the names guests have their rights now. */
  get rights(): RightsName {
    const { grants } = this.roles.get(ROLE) ?? { grants: [] };
    const names = Object.keys(RIGHTS) as RightsName[];
    const isIt = (name: RightsName) =>
      Bun.deepEquals(grants, (roleChange(name).value as { grants: unknown }).grants);
    const found = names.find(isIt);
    if (found === undefined) throw new Error(`Nobody wrote this role: ${JSON.stringify(grants)}`);
    return found;
  }
}
