/** Refusals on their way to the audit trail [P-14.8]: counted together, within bounds. */
import { expect, test } from "bun:test";
import { REFUSALS_TOGETHER_MS, RefusalTrail } from "../../src/broker/refusal-trail.ts";
import type { AuditEntry } from "../../src/engine/audit.ts";
import { WarrenError } from "../../src/errors.ts";
import { ManualClock } from "../harness/manual-clock.ts";

function trail() {
  const entries: AuditEntry[] = [];
  const clock = new ManualClock();
  const audit = {
    write: (entry: AuditEntry) => void entries.push(entry),
    query: () => Promise.resolve({ entries: [] }),
  };
  return { entries, clock, refusals: new RefusalTrail(audit, clock) };
}

const refusal = (on: string) => new WarrenError("forbidden", "", { action: "publish", on });
const ADA = { principal: { name: "ada" }, address: "10.0.0.1" };

test("[P-14.8] the first is told at once, the rest with its count when ten seconds are over", () => {
  const { entries, clock, refusals } = trail();
  for (let i = 0; i < 7; i++) refusals.note(refusal("t"), ADA);
  refusals.note(refusal("u"), ADA);
  expect(entries.map(({ on, count }) => [on, count])).toEqual([
    ["t", 1],
    ["u", 1],
  ]);
  clock.advance(REFUSALS_TOGETHER_MS);
  expect(entries.slice(2).map(({ on, count }) => [on, count])).toEqual([["t", 6]]);
  refusals.note(refusal("t"), ADA);
  expect(entries.at(-1)).toMatchObject({
    on: "t",
    count: 1,
    principal: "ada",
    address: "10.0.0.1",
  });
});

test("[P-14.8] a flood of different ones is counted by its code", () => {
  const { entries, clock, refusals } = trail();
  for (let i = 0; i < 5000; i++) {
    refusals.note(refusal(`t/${i}`), { principal: { name: `one of ${i % 1000}` } });
  }
  expect(entries.length).toBeLessThan(1010);
  expect(entries.length).toBeGreaterThan(990);
  clock.advance(REFUSALS_TOGETHER_MS);
  expect(entries.reduce((sum, { count = 0 }) => sum + count, 0)).toBe(5000);
});

test("[P-14.8] one who is refused ever new things has few entries, whoever else is told of", () => {
  const { entries, clock, refusals } = trail();
  const bob = { principal: { name: "bob" }, address: "10.0.0.2" };
  for (let i = 0; i < 5000; i++) {
    refusals.note(refusal(`t/${i}`), ADA);
    refusals.note(refusal(`nobody/${i}`), { address: "10.0.0.3" });
  }
  refusals.note(refusal("his"), bob);
  const of = (address: string) => entries.filter((entry) => entry.address === address);
  for (const address of ["10.0.0.1", "10.0.0.3"]) expect(of(address).length).toBeLessThan(25);
  expect(of("10.0.0.2")).toMatchObject([{ principal: "bob", on: "his" }]);
  clock.advance(REFUSALS_TOGETHER_MS);
  for (const address of ["10.0.0.1", "10.0.0.3"]) {
    expect(of(address).reduce((sum, { count = 0 }) => sum + count, 0)).toBe(5000);
  }
  refusals.note(refusal("t/1"), ADA);
  expect(entries.at(-1)).toMatchObject({ principal: "ada", on: "t/1", count: 1 });
});

test("[P-14.8] other errors are none", () => {
  const { entries, refusals } = trail();
  refusals.note(new WarrenError("too_large"), ADA);
  refusals.note(new WarrenError("token_expired"), {});
  refusals.note(new WarrenError("rate_limited", undefined, { scope: "grant" }), ADA);
  expect(entries.map(({ code, action, on }) => [code, action, on])).toEqual([
    ["token_expired", "access.authenticate", undefined],
    ["rate_limited", "access.rate", "grant"],
  ]);
});
