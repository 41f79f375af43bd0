/** Key sets: how long they are kept, when they are asked for, and what is no key set [P-14.1]. */
import { describe, expect, test } from "bun:test";
import { exportJWK, generateKeyPair, type JWK } from "jose";
import {
  KEYS_ATTEMPT_MS,
  KEYS_MAX_AGE_MS,
  KEYS_STALE_MS,
  KeySet,
  usableKeys,
} from "../../src/security/jwks.ts";
import { ManualClock } from "../harness/manual-clock.ts";

const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
const jwk: JWK = await exportJWK(publicKey);

function keySet(first: unknown) {
  const clock = new ManualClock();
  const state = { answer: first, loads: 0, failures: [] as string[] };
  const set = new KeySet({
    clock,
    failed: (reason) => state.failures.push(reason),
    load: async () => {
      state.loads++;
      if (state.answer instanceof Error) throw state.answer;
      return state.answer;
    },
  });
  const kids = async (kid?: string, issuedAt?: number) =>
    (await set.candidates({ alg: "ES256", kid, issuedAt })).map((key) => key.kid);
  return { clock, state, set, kids };
}
const holding = (...kids: string[]) => ({ keys: kids.map((kid) => ({ ...jwk, kid })) });

describe("[P-14.1] fetched keys", () => {
  test("are asked for once, however many tokens come at once, and kept", async () => {
    const { state, kids, clock } = keySet(holding("a", "b"));
    expect(await Promise.all([kids("a"), kids("b"), kids("a")])).toEqual([["a"], ["b"], ["a"]]);
    clock.advance(KEYS_MAX_AGE_MS);
    await kids("a");
    expect(state.loads).toBe(1);
    clock.advance(1);
    await kids("a");
    expect(state.loads).toBe(2);
  });

  test("are asked for again when a token names an unknown one, but seldom", async () => {
    const { state, kids, clock } = keySet(holding("a"));
    await kids("a");
    state.answer = holding("a", "new");
    for (let i = 0; i < 100; i++) expect(await kids("new")).toEqual([]);
    expect(state.loads).toBe(1);
    clock.advance(KEYS_ATTEMPT_MS);
    expect(await kids("new")).toEqual(["new"]);
    for (let i = 0; i < 100; i++) expect(await kids(`made up ${i}`)).toEqual([]);
    expect(state.loads).toBe(2);
  });

  test("that a token may be newer than are `busy`, until they may be asked for again", async () => {
    const { state, kids, clock } = keySet(holding("a"));
    await kids("a");
    clock.advance(1000);
    const made = clock.now();
    state.answer = holding("a", "new");
    await expect(kids("new", made)).rejects.toMatchObject({
      code: "busy",
      detail: { retryAfterMs: KEYS_ATTEMPT_MS - 1000 },
    });
    // It is older than the keys, so that its own would be among them.
    expect(await kids("withdrawn", made - 3_600_000)).toEqual([]);
    clock.advance(KEYS_ATTEMPT_MS - 1000);
    expect(await kids("new", made)).toEqual(["new"]);
    expect(await kids("a", made)).toEqual(["a"]);
    expect(state.loads).toBe(2);
  });

  test("that were just read decide, and those of an issuer that is down do not", async () => {
    const { state, kids, clock } = keySet(holding("a"));
    await kids("a");
    clock.advance(KEYS_ATTEMPT_MS);
    expect(await kids("made up", clock.now())).toEqual([]);
    state.answer = new Error("down");
    clock.advance(KEYS_ATTEMPT_MS);
    await expect(kids("new", clock.now())).rejects.toMatchObject({ code: "busy" });
    state.answer = holding("a", "new");
    clock.advance(KEYS_ATTEMPT_MS);
    expect(await kids("new", clock.now())).toEqual(["new"]);
    expect(state.loads).toBe(4);
  });

  test("are asked for as ever once a clock was set back", async () => {
    const { state, kids, clock } = keySet(holding("a", "leaked"));
    await kids("a");
    clock.advance(-24 * 3_600_000);
    state.answer = holding("a", "new");
    expect(await kids("a")).toEqual(["a"]);
    clock.advance(KEYS_ATTEMPT_MS);
    expect(await kids("new")).toEqual(["new"]);
    clock.advance(-24 * 3_600_000);
    state.answer = holding("new");
    expect(await kids("a")).toEqual(["a"]);
    clock.advance(KEYS_MAX_AGE_MS + 1);
    expect(await kids("a")).toEqual([]);
    expect(state.loads).toBe(3);
  });

  test("that were being read when they were said to be others are read again", async () => {
    const { promise, resolve } = Promise.withResolvers<object>();
    const { state, kids, set } = keySet(promise);
    const early = kids("leaked");
    set.expire();
    state.answer = holding("a");
    const late = kids("leaked");
    resolve(holding("a", "leaked"));
    expect(await early).toEqual([]);
    expect(await late).toEqual([]);
    expect(await kids("a")).toEqual(["a"]);
    expect(state.loads).toBe(2);
  });

  test("are gone when the issuer has taken them back", async () => {
    const { state, kids, clock } = keySet(holding("a", "leaked"));
    expect(await kids("leaked")).toEqual(["leaked"]);
    state.answer = holding("a");
    clock.advance(KEYS_MAX_AGE_MS + 1);
    expect(await kids("leaked")).toEqual([]);
  });

  test("that cannot be renewed are used on, but not for ever; then `busy`", async () => {
    const { state, kids, clock } = keySet(holding("a"));
    await kids("a");
    state.answer = new Error("the issuer is down");
    clock.advance(KEYS_STALE_MS);
    expect(await kids("a")).toEqual(["a"]);
    expect(await kids("a")).toEqual(["a"]);
    expect(state.failures).toEqual(["the issuer is down"]);
    clock.advance(1);
    await expect(kids("a")).rejects.toMatchObject({ code: "busy" });
    expect(state.loads).toBe(2);
    state.answer = holding("a");
    clock.advance(KEYS_ATTEMPT_MS);
    expect(await kids("a")).toEqual(["a"]);
  });

  test("that were never had are `busy`, and asking goes on seldom", async () => {
    const { state, kids, clock } = keySet(new Error("down"));
    for (let i = 0; i < 50; i++) await expect(kids("a")).rejects.toMatchObject({ code: "busy" });
    expect(state.loads).toBe(1);
    clock.advance(KEYS_ATTEMPT_MS);
    state.answer = holding("a");
    expect(await kids("a")).toEqual(["a"]);
  });

  test("an answer that is no key set leaves the keys as they were", async () => {
    const { state, set, kids } = keySet(holding("a"));
    await kids("a");
    state.answer = {
      keys: [
        { ...jwk, kid: "a" },
        { kty: "oct", k: "c2VjcmV0" },
      ],
    };
    set.expire();
    expect(await kids("a")).toEqual(["a"]);
    expect(state.failures[0]).toMatch(/secret or private key/);
  });

  test("expire() has them asked for with the next token", async () => {
    const { state, set, kids } = keySet(holding("a"));
    await kids("a");
    state.answer = holding("b");
    set.expire();
    expect(await kids("b")).toEqual(["b"]);
    expect(state.loads).toBe(2);
  });
});

describe("[P-14.1] what is no key set, or has no key of use, is refused", () => {
  test.each<[string, unknown]>([
    ["nothing", null],
    ["text", "keys"],
    ["no keys", { keys: [] }],
    ["too many", { keys: Array(101).fill(jwk) }],
    ["only keys for encrypting", { keys: [{ ...jwk, use: "enc" }] }],
    ["only keys for signing", { keys: [{ ...jwk, key_ops: ["sign"] }] }],
    ["RSA with 1024 bits", { keys: [{ kty: "RSA", e: "AQAB", n: "x".repeat(171) }] }],
    ["a key id too long", { keys: [{ ...jwk, kid: "k".repeat(300) }] }],
  ])("%s", (_, value) => {
    expect(() => usableKeys(value)).toThrow();
  });

  test("a private key among the public ones", async () => {
    const leaked = await exportJWK(privateKey);
    expect(() => usableKeys({ keys: [jwk, leaked] })).toThrow(/can make tokens/);
  });
});
