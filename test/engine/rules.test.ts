/** The rules that all engines share, where the engine contract does not reach. */
import { describe, expect, test } from "bun:test";
import type { QueueDefinition } from "../../schemas/queue.ts";
import { backoffMs, completeSettings, isExhausted, withDeath } from "../../src/engine/rules.ts";
import type { WarrenError } from "../../src/errors.ts";
import type { DeathRecord } from "../../src/message.ts";

/** The JSON Pointer of the first fault. */
function faultOf(definition: unknown, existing?: ReturnType<typeof completeSettings>): unknown {
  try {
    completeSettings(definition as QueueDefinition, existing);
    return undefined;
  } catch (thrown) {
    const { code, detail } = thrown as WarrenError;
    expect(code).toBe("invalid_frame");
    return detail?.pointer;
  }
}

describe("settings", () => {
  test("[P-5.1] what is left out has the default of the protocol", () => {
    expect(completeSettings({})).toMatchObject({
      ackTimeoutMs: 30_000,
      maxDeliveries: 5,
      backoff: { minMs: 1000, maxMs: 300_000, factor: 2 },
      ttlMs: 14 * 86_400_000,
      overflow: "reject",
      deadLetter: { ttlMs: 30 * 86_400_000 },
      defaultPriority: 4,
      dedupeWindowMs: 300_000,
      paused: false,
    });
  });

  test("[P-5.1] what is left out of a change stays as it was", () => {
    const existing = completeSettings({ maxBytes: 9, backoff: { minMs: 5, factor: 3 } });
    const changed = completeSettings({ paused: true, backoff: { factor: 4 } }, existing);
    expect(changed).toEqual({
      ...existing,
      paused: true,
      backoff: { ...existing.backoff, factor: 4 },
    });
    expect(existing.backoff.factor).toBe(3);
  });

  test("[P-5.1] a fault is named by its place", () => {
    expect(faultOf({ ttlMs: 1.5 })).toBe("/ttlMs");
    expect(faultOf({ unheard: 1 })).toBe("/unheard");
    expect(faultOf({ backoff: { minMs: -1 } })).toBe("/backoff/minMs");
    expect(faultOf({ backoff: null })).toBe("/backoff");
    expect(faultOf({ deadLetter: { queue: "x" } })).toBe("/deadLetter/queue");
    expect(faultOf({ overflow: "drop-newest" })).toBe("/overflow");
    expect(faultOf({ bindings: "x" })).toBe("/bindings");
    expect(faultOf(null)).toBe("");
    expect(faultOf([])).toBe("");
  });

  test("[P-5.1] the bounds of a backoff must not cross, also by a change", () => {
    expect(faultOf({ backoff: { minMs: 1000, maxMs: 999 } })).toBe("/backoff/maxMs");
    const existing = completeSettings({ backoff: { maxMs: 2000 } });
    expect(faultOf({ backoff: { minMs: 3000 } }, existing)).toBe("/backoff/maxMs");
  });
});

describe("ordering", () => {
  test("[P-5.10] with ordering by key nothing gives way, also by a change of either", () => {
    expect(faultOf({ ordering: "key", overflow: "drop-oldest" })).toBe("/overflow");
    expect(faultOf({ ordering: "key", overflow: "dead-letter-oldest" })).toBe("/overflow");
    expect(faultOf({ ordering: "key", overflow: "reject" })).toBeUndefined();
    expect(faultOf({ overflow: "drop-oldest" }, completeSettings({ ordering: "key" }))).toBe(
      "/overflow",
    );
    const dropping = completeSettings({ overflow: "drop-oldest" });
    expect(faultOf({ ordering: "key" }, dropping)).toBe("/overflow");
  });
});

describe("backoff", () => {
  test("[P-5.4] it stays within its bounds for any number of attempts", () => {
    const settings = completeSettings({ backoff: { minMs: 10, maxMs: 5000, jitter: 0.5 } });
    for (const attempts of [1, 2, 9, 10, 1000, 1_000_000]) {
      const top = Math.min(5000, 10 * 2 ** (attempts - 1));
      expect(backoffMs(settings, attempts, () => 0)).toBe(top / 2);
      expect(backoffMs(settings, attempts, () => 0.999_999_999)).toBe(top);
    }
    const none = completeSettings({ backoff: { minMs: 0, maxMs: 0 } });
    expect(backoffMs(none, 1_000_000, () => 0.5)).toBe(0);
  });
});

describe("deaths", () => {
  test("[P-5.6] the newest is first, and the oldest of very many are forgotten", () => {
    let deaths: readonly DeathRecord[] | undefined;
    for (let attempts = 0; attempts < 40; attempts++) {
      const record = { queue: "a", reason: "rejected", attempts, firstAt: 0, lastAt: 0 } as const;
      deaths = withDeath(deaths, record);
    }
    expect(deaths?.map(({ attempts }) => attempts)).toEqual(
      Array.from({ length: 16 }, (_, i) => 39 - i),
    );
  });

  test("[P-5.6] a dead-letter queue never gives up", () => {
    const settings = completeSettings({ maxDeliveries: 2 });
    expect([1, 2, 3].map((n) => isExhausted("a", settings, n))).toEqual([false, true, true]);
    expect(isExhausted("a.dead", settings, 9_999_999)).toBe(false);
  });
});
