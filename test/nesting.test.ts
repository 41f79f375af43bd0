/** What of a JSON text is not parsed: only what lies too deep, and nothing of any other text. */
import { describe, expect, test } from "bun:test";
import type { Random } from "../src/clock.ts";
import { NESTING_MAX, parseJson, withoutDepths } from "../src/nesting.ts";
import { fuzzSeeds, seededRandom } from "./harness/seeded-random.ts";

const arrays = (levels: number, inner = "") => "[".repeat(levels) + inner + "]".repeat(levels);
const objects = (levels: number) => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;
/** Of arrays and objects, down to the limit; what is deeper is 0. */
function shallow(value: unknown, left = NESTING_MAX): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (left === 0) return 0;
  if (Array.isArray(value)) return value.map((item) => shallow(item, left - 1));
  const entries = Object.entries(value).map(([key, item]) => [key, shallow(item, left - 1)]);
  return Object.fromEntries(entries);
}

const STRINGS = ['"', "\\", '\\"', "[", "{[[{", "]]}", "", "é😀", "x\\\\"];

function randomText(random: Random, levels: number): string {
  let inner = "[]";
  for (let i = 0; i < levels; i++) {
    const text = JSON.stringify(STRINGS[Math.floor(random() * STRINGS.length)]);
    const kind = Math.floor(random() * 8);
    if (kind === 0) inner = `{${text}:${inner}}`;
    else if (kind === 1) inner = `[${text},${inner}]`;
    else if (kind === 2) inner = `[${inner},[],${text}]`;
    else inner = `[${inner}]`;
  }
  return inner;
}

describe("JSON from strangers", () => {
  test("[P-2.6] nothing that lies deeper than 512 levels is parsed", () => {
    for (const text of [arrays(10_000), objects(10_000), `[${arrays(5000)},1,${arrays(5000)}]`]) {
      const value = shallow(JSON.parse(text));
      expect(JSON.stringify(parseJson(text)) === JSON.stringify(value)).toBe(true);
    }
  });

  test("[P-2.6] a text that is not too deep, is short, or holds much else is left as it is", () => {
    const flat = JSON.stringify(Array.from({ length: 20_000 }, () => [[1, 2], { a: "[[[" }]));
    const texts = [
      arrays(NESTING_MAX, `"${"x".repeat(5000)}"`),
      `[${Array.from({ length: 1000 }, () => arrays(64)).join()}]`,
      flat,
      JSON.stringify("[".repeat(100_000)),
      JSON.stringify('\\"['.repeat(50_000)),
      arrays(2000),
    ];
    for (const text of texts) expect(withoutDepths(text) === text).toBe(true);
  });

  test("[P-2.4] what is no JSON stays none", () => {
    for (const text of ["[".repeat(100_000), `${arrays(5000)}]`, `${"[".repeat(9000)}"`]) {
      expect(() => parseJson(text)).toThrow(SyntaxError);
    }
  });

  for (const seed of fuzzSeeds(3)) {
    test(`[P-2.6] the same as cutting the parsed value (FUZZ_SEED=${seed})`, () => {
      const random = seededRandom(seed);
      for (let round = 0; round < 20; round++) {
        const text = randomText(random, 400 + Math.floor(random() * 2000));
        const found = JSON.stringify(parseJson(text));
        const wanted = [JSON.parse(text), shallow(JSON.parse(text))].map((v) => JSON.stringify(v));
        expect(wanted.includes(found)).toBe(true);
      }
    });
  }
});
