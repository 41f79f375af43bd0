/** What is stored and cannot be used closes; it opens nothing, and the log names it [P-13.8]. */
import { describe, expect, test } from "bun:test";
import { systemClock, systemRandom } from "../../src/clock.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import type { Collection } from "../../src/engine/records.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { WireClient } from "../harness/wire-client.ts";

const GOOD = { grants: [{ allow: ["publish", "subscribe"], on: ["a/#"] }] };

/** A broker that finds these records in its store. */
async function startedWith(collection: Collection, records: Readonly<Record<string, unknown>>) {
  const engine = new MemoryEngine({
    clock: systemClock,
    random: systemRandom,
    limits: DEFAULT_LIMITS,
  });
  await engine.records.write(
    Object.entries(records).map(([key, value]) => ({ collection, key, value })),
  );
  return startBroker({ engine: () => engine, access: TOKENS_ONLY });
}

describe("[P-13.8] stored roles with faults", () => {
  const table: [string, unknown, string][] = [
    ["text", "publish everything", ""],
    ["null", null, ""],
    ["no grants", {}, "/grants"],
    ["grants that are no list", { grants: { allow: ["admin"], on: ["#"] } }, "/grants"],
    ["an unknown action", { grants: [{ allow: ["rule"], on: ["#"] }] }, "/grants/0/allow/0"],
    [
      "allow and deny at once",
      { grants: [{ allow: ["publish"], deny: [], on: ["#"] }] },
      "/grants/0",
    ],
    [
      "a filter that is none",
      { grants: [{ allow: ["publish"], on: ["a/#/b"] }] },
      "/grants/0/on/0",
    ],
    [
      "an unknown condition",
      { grants: [{ allow: ["publish"], on: ["a"], vip: true }] },
      "/grants/0",
    ],
    ["rates that are none", { ...GOOD, rates: { messagesPerSecond: -1 } }, "/rates"],
  ];
  for (const [name, value, pointer] of table) {
    test(`${name}: denies everything, and is in the log`, async () => {
      await using broker = await startedWith("roles", { bad: value, good: GOOD });
      const line = broker.log.map((one) => JSON.parse(one)).find(({ name }) => name === "bad");
      expect(line).toMatchObject({ level: "error", msg: expect.stringContaining("stored role") });
      expect(line.pointer).toStartWith(pointer);
      // With the faulty one even what another role gives: it may have held a denial.
      const roles = ["bad", "good"];
      using both = await WireClient.connect(broker.wsUrl, {
        token: await tokenFor("b", { roles }),
      });
      for (const frame of [
        { type: "publish", topic: "a/1", payload: 1 },
        { type: "subscribe", filter: "a/1" },
      ]) {
        expect(await both.request(frame)).toMatchObject({ type: "error", code: "forbidden" });
      }
      using good = await WireClient.connect(broker.wsUrl, {
        token: await tokenFor("g", { roles: ["good"] }),
      });
      await good.ok({ type: "publish", topic: "a/1", payload: 1 });
    });
  }
});

describe("[P-14.9] stored channels with faults", () => {
  const table: [string, object, string][] = [
    ["a schema that cannot be used", { schema: { type: "no such type" } }, "/schema"],
    [
      "a schema that leads back to itself",
      { schema: { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/a" } } } },
      "/",
    ],
    ["an unknown field", { open: true }, "/open"],
    ["everyone may administrate", { everyone: ["admin"] }, "/everyone"],
  ];
  for (const [name, fields, pointer] of table) {
    test(`${name}: takes nothing, gives nothing, and is in the log`, async () => {
      const bad = { everyone: ["publish", "subscribe"], ...fields, filter: "c/#" };
      await using broker = await startedWith("channels", { bad });
      const line = broker.log.map((one) => JSON.parse(one)).find(({ name }) => name === "bad");
      expect(line).toMatchObject({
        level: "error",
        msg: expect.stringContaining("stored channel"),
      });
      expect(line.pointer).toStartWith(pointer);
      using guest = await WireClient.connect(broker.wsUrl, {
        token: await tokenFor("guest", { grants: [] }),
      });
      expect(await guest.request({ type: "subscribe", filter: "c/1" })).toMatchObject({
        code: "forbidden",
      });
      using operator = await WireClient.connect(broker.wsUrl, { token: await tokenFor("op") });
      expect(await operator.request({ type: "publish", topic: "c/1", payload: 1 })).toMatchObject({
        code: "schema_violation",
        detail: { channel: "bad" },
      });
      await operator.ok({ type: "publish", topic: "d", payload: 1 });
    });
  }
});
