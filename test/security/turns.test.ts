/** Those who are refused a connection for a rate are told different times, at which there is room [P-14.11]. */
import { describe, expect, test } from "bun:test";
import { configFrom } from "../../src/config.ts";
import { WarrenError } from "../../src/errors.ts";
import { Rates } from "../../src/security/rates.ts";
import { ManualClock } from "../harness/manual-clock.ts";

const PER_MINUTE = 600;
const TURN_MS = 60_000 / PER_MINUTE;
const ADDRESS = "203.0.113.7";

function house(rates: Record<string, unknown>) {
  const clock = new ManualClock();
  const all = new Rates(configFrom({ rates }).rates, clock, 100);
  /** 0: it may connect; else what it is told to wait. */
  const connect = (address = ADDRESS): number => {
    try {
      all.connecting(address);
      return 0;
    } catch (error) {
      if (!(error instanceof WarrenError) || error.code !== "rate_limited") throw error;
      return error.detail?.retryAfterMs as number;
    }
  };
  const fill = () => {
    for (let i = 0; i < PER_MINUTE; i++) expect(connect()).toBe(0);
  };
  return { clock, connect, fill };
}

describe.each([["overall"], ["address"]])("[P-14.11] past the connections of %s", (scope) => {
  const rates = { [scope]: { connectionsPerMinute: PER_MINUTE } };

  test("each has a turn of its own, and gets in when it keeps to it", () => {
    const { clock, connect, fill } = house(rates);
    fill();
    const told = Array.from({ length: 200 }, () => connect());
    expect(told).toEqual(told.map((_, n) => (n + 1) * TURN_MS));
    for (let n = 0; n < told.length; n++) {
      clock.advance(TURN_MS);
      expect(connect()).toBe(0);
    }
  });

  test("nobody is told to wait for more than a minute, however many come", () => {
    const { connect, fill } = house(rates);
    fill();
    for (let i = 0; i < 5000; i++) {
      const wait = connect();
      expect(wait).toBeGreaterThan(0);
      expect(wait).toBeLessThanOrEqual(60_000);
    }
  });

  test("turns that nobody took are forgotten with time", () => {
    const { clock, connect, fill } = house(rates);
    fill();
    for (let i = 0; i < 300; i++) connect();
    clock.advance(120_000);
    fill();
    expect(connect()).toBe(TURN_MS);
  });

  test("a clock that is set back does not keep anyone out for longer", () => {
    const { clock, connect, fill } = house(rates);
    clock.advance(3_600_000);
    fill();
    for (let i = 0; i < 300; i++) connect();
    clock.advance(-3_000_000);
    expect(connect()).toBeLessThanOrEqual(120_000);
  });
});
