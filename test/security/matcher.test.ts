/** The tree of filters against trying every topic: what covers what, and what overlaps [P-13.1]. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FilterMatcher, NONE } from "../../src/broker/matcher.ts";
import { filterMatches } from "../../src/topic.ts";
import { fuzzSeeds } from "../harness/seeded-random.ts";

/** Levels of filters; topics have one more, so that `+` is more than all of them together. */
const LEVELS = ["a", "b", "", "$s"];
const DEEPEST = 5;
const TOPICS = topicsUpTo(DEEPEST);

function topicsUpTo(depth: number): string[] {
  const letters = [...LEVELS, "z"];
  let row = letters.map((level) => [level]);
  const all = [...row];
  for (let i = 1; i < depth; i++) {
    row = row.flatMap((levels) => letters.map((level) => [...levels, level]));
    all.push(...row);
  }
  return all.map((levels) => levels.join("/")).filter((topic) => topic !== "");
}

const matched = new Map<string, ReadonlySet<string>>();
function topicsOf(filter: string): ReadonlySet<string> {
  let topics = matched.get(filter);
  if (topics === undefined) {
    topics = new Set(TOPICS.filter((topic) => naiveMatch(filter, topic)));
    matched.set(filter, topics);
  }
  return topics;
}

/** The rule of [P-3.1], word by word. */
function naiveMatch(filter: string, topic: string): boolean {
  const want = filter.split("/");
  const have = topic.split("/");
  if (topic.startsWith("$") && (want[0] === "+" || want[0] === "#")) return false;
  for (let i = 0; ; i++) {
    if (want[i] === "#") return have.length >= i;
    if (i === want.length || i === have.length) return want.length === have.length;
    if (want[i] !== "+" && want[i] !== have[i]) {
      return false;
    }
    if (i === have.length - 1 && want[i + 1] === "#" && i + 2 === want.length) return true;
  }
}

const level = fc.constantFrom("a", "b", "", "$s", "+", "+");
const filter = fc
  .tuple(fc.array(level, { minLength: 0, maxLength: 3 }), fc.boolean())
  .map(([levels, open]) => (open ? [...levels, "#"] : levels).join("/"))
  .filter((text) => text !== "");
const filters = fc.array(filter, { minLength: 1, maxLength: 5 });

function matcherOf(all: readonly string[]): FilterMatcher {
  const matcher = new FilterMatcher();
  all.forEach((one, number) => {
    matcher.add(one, number);
  });
  return matcher;
}

const isSubset = (inner: ReadonlySet<string>, outer: ReadonlySet<string>) =>
  [...inner].every((topic) => outer.has(topic));
const shareOne = (one: ReadonlySet<string>, other: ReadonlySet<string>) =>
  [...one].some((topic) => other.has(topic));

const seed = fuzzSeeds(1)[0]!;

describe(`[P-13.1] the tree of filters says what trying every topic says (seed ${seed})`, () => {
  test("the naive rule and the matcher of topics agree", () => {
    fc.assert(
      fc.property(filter, fc.constantFrom(...TOPICS.slice(0, 500)), (one, topic) => {
        expect(filterMatches(one, topic)).toBe(naiveMatch(one, topic));
      }),
      { seed, numRuns: 2000 },
    );
  });

  test("covered by one filter alone, never by several together", () => {
    fc.assert(
      fc.property(filters, filter, (all, asked) => {
        const by = matcherOf(all).covering(asked, []);
        const wanted = all.map((one) => isSubset(topicsOf(asked), topicsOf(one)));
        expect({ all, asked, covered: by !== NONE }).toEqual({
          all,
          asked,
          covered: wanted.includes(true),
        });
        if (by !== NONE) expect(wanted[by]).toBe(true);
      }),
      { seed, numRuns: 1500 },
    );
  });

  test("all filters that cover it are found, each once", () => {
    fc.assert(
      fc.property(filters, filter, (all, asked) => {
        const found: number[] = [];
        matcherOf(all).allCovering(asked, [], found);
        const wanted = all.flatMap((one, number) =>
          isSubset(topicsOf(asked), topicsOf(one)) ? [number] : [],
        );
        expect(found.sort()).toEqual(wanted);
      }),
      { seed, numRuns: 1000 },
    );
  });

  test("an overlap is a topic that both match", () => {
    fc.assert(
      fc.property(filters, filter, (all, asked) => {
        const by = matcherOf(all).overlapping(asked, []);
        const wanted = all.map((one) => shareOne(topicsOf(asked), topicsOf(one)));
        expect({ all, asked, overlap: by !== NONE }).toEqual({
          all,
          asked,
          overlap: wanted.includes(true),
        });
        if (by !== NONE) expect(wanted[by]).toBe(true);
      }),
      { seed, numRuns: 1500 },
    );
  });

  test("a variable is its value, written out", () => {
    const names = ["{x}", "{y}"];
    const part = fc.constantFrom("a", "+", "$s", "{x}", "{y}");
    const template = fc
      .tuple(fc.array(part, { minLength: 1, maxLength: 3 }), fc.boolean())
      .map(([levels, open]) => (open ? [...levels, "#"] : levels).join("/"));
    const value = fc.constantFrom("a", "b", "$s");
    fc.assert(
      fc.property(template, value, value, filter, (written, x, y, asked) => {
        const matcher = new FilterMatcher((one) => names.indexOf(one));
        matcher.add(written, 0);
        const filled = written.replaceAll("{x}", () => x).replaceAll("{y}", () => y);
        const ofBroker = /^\{/.test(written) && filled.startsWith("$");
        const covered = matcher.covering(asked, [x, y]) !== NONE;
        expect(covered).toBe(!ofBroker && matcherOf([filled]).covering(asked, []) !== NONE);
        const overlap = matcher.overlapping(asked, [x, y]) !== NONE;
        expect(overlap).toBe(matcherOf([filled]).overlapping(asked, []) !== NONE);
      }),
      { seed, numRuns: 2000 },
    );
  });

  test("a variable without a value covers nothing, and denies as + does", () => {
    const matcher = new FilterMatcher((one) => (one === "{x}" ? 0 : NONE));
    matcher.add("{x}/#", 0);
    expect(matcher.covering("a", [undefined])).toBe(NONE);
    for (const asked of ["a", "#", "+", "$s/a", "+/b"]) {
      expect(matcher.overlapping(asked, [undefined])).toBe(
        matcherOf(["+/#"]).overlapping(asked, []),
      );
    }
  });
});

test("[P-13.1] levels whose hashes are equal stay apart", () => {
  // FNV-1a of 32 bits: found by trying.
  const [one, other] = collision();
  const matcher = matcherOf([`${one}/x`, `${other}/y`]);
  expect(matcher.covering(`${one}/x`, [])).toBe(0);
  expect(matcher.covering(`${other}/y`, [])).toBe(1);
  expect(matcher.covering(`${one}/y`, [])).toBe(NONE);
  expect(matcher.overlapping(`${other}/x`, [])).toBe(NONE);
});

function collision(): [string, string] {
  const seen = new Map<number, string>();
  for (let i = 0; ; i++) {
    const text = i.toString(36);
    let hash = 0x811c9dc5 | 0;
    for (const character of text) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
    const before = seen.get(hash);
    if (before !== undefined) return [before, text];
    seen.set(hash, text);
  }
}
