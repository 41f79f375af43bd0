/** API keys [P-13.2]. */
import { describe, expect, test } from "bun:test";
import { ApiKeys } from "../../src/security/api-keys.ts";
import { hashKey, keyId, looksLikeKey, makeKey } from "../../src/security/keys.ts";

describe("[P-13.2] making a key", () => {
  test("gives wk_<id>_<secret> and the hash that is kept", () => {
    const { key, id, hash } = makeKey();
    expect(key).toMatch(/^wk_[A-Za-z0-9-]{1,64}_[A-Za-z0-9_-]{43}$/);
    expect(keyId(key)).toBe(id);
    expect(hash).toBe(hashKey(key));
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(hash).not.toContain(key.slice(-43));
  });

  test("takes an id, and never makes the same key twice", () => {
    const keys = new Set(Array.from({ length: 200 }, () => makeKey("sensor-7").key));
    expect(keys.size).toBe(200);
    for (const key of keys) expect(keyId(key)).toBe("sensor-7");
  });

  for (const id of ["", "a_b", "a b", "x".repeat(65), "é"]) {
    test(`refuses the id ${JSON.stringify(id)}`, () => {
      expect(() => makeKey(id)).toThrow(/letters, digits and hyphens/);
    });
  }
});

describe("[P-13.2] reading a key", () => {
  const secret = "0123456789abcdef";
  const table: [string, string | undefined][] = [
    [`wk_a_${secret}`, "a"],
    [`wk_a_b_${secret}`, "a"],
    [`wk_a__${secret}`, "a"],
    [`wk__${secret}`, undefined],
    ["wk_a_short", undefined],
    [`wk_a_${"x".repeat(257)}`, undefined],
    [`WK_a_${secret}`, undefined],
    [` wk_a_${secret}`, undefined],
    [`wk_a_${secret}\n`, undefined],
    [`wk_a_${secret}=`, undefined],
    ["", undefined],
  ];
  for (const [key, id] of table) {
    test(`${JSON.stringify(key.slice(0, 30))}: ${id ?? "no key"}`, () =>
      expect(keyId(key)).toBe(id));
  }

  test("a token is not taken for a key", () => {
    expect(looksLikeKey("eyJhbGciOiJIUzI1NiJ9.e30.x")).toBe(false);
    expect(looksLikeKey("wk_")).toBe(true);
  });
});

describe("[P-13.2] finding a key", () => {
  const one = makeKey("one");
  const two = makeKey("two");
  const ring = new ApiKeys([
    { id: one.id, hash: one.hash, principal: "first" },
    { id: two.id, hash: two.hash, principal: "second" },
  ]);

  test("by its id and its secret together", () => {
    expect(ring.find(one.key)?.key.principal).toBe("first");
    expect(ring.find(two.key)?.key.principal).toBe("second");
    expect(ring.find(one.key.replace("wk_one_", "wk_two_"))).toBeUndefined();
    expect(ring.find(one.key.replace("wk_one_", "wk_three_"))).toBeUndefined();
    expect(ring.find(`${one.key}x`)).toBeUndefined();
    expect(ring.find(one.key.slice(0, -1))).toBeUndefined();
    expect(ring.find("wk_")).toBeUndefined();
  });

  test("the hash itself opens nothing", () => {
    expect(ring.find(one.hash)).toBeUndefined();
    expect(ring.find(`wk_one_${one.hash}`)).toBeUndefined();
  });

  test("one whose stored hash is none opens nothing, and breaks nothing", () => {
    const keys = new ApiKeys();
    const stored = { id: "ci", principal: "ci", createdAt: 0, createdBy: "op" };
    for (const hash of ["", "00", "no hash", "ab".repeat(33)]) {
      keys.recordChanged("ci", { ...stored, hash });
      expect(keys.find(makeKey("ci").key)).toBeUndefined();
    }
  });

  test("an empty ring knows no key", () => {
    expect(new ApiKeys([]).find(one.key)).toBeUndefined();
  });
});
