/** Bans by rules against abuse, kept in memory [P-14.5, P-14.11]. */
import { expect, test } from "bun:test";
import { Bans } from "../../src/security/bans.ts";
import { ManualClock } from "../harness/manual-clock.ts";

test("[P-14.5] a ban by a rule takes the place of no other, whatever somebody calls himself", () => {
  const bans = new Bans(new ManualClock(), 100);
  bans.banForAWhile({ principal: "bob", address: "203.0.113.7" }, "too much", 60_000);
  bans.banForAWhile({ principal: "203.0.113.7", client: "bob" }, "too much", 60_000);
  expect(bans.size).toBe(2);
  expect(bans.find({ address: "203.0.113.7", principal: { name: "bob" } })).toBeDefined();
});
