/** The rules for topics and filters [P-3.1], and the two relations between filters that access rests on. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { WarrenError } from "../src/errors.ts";
import {
  assertFilter,
  assertTopic,
  filterContains,
  filterMatches,
  filterOverlaps,
} from "../src/topic.ts";
import { fuzzSeeds } from "./harness/seeded-random.ts";

const BOUNDS = { topicBytes: 256, topicLevels: 16 };
const ASTRAL = "\u{1f407}";

describe("[P-3.1] what may be a topic or a filter", () => {
  const both: [string, string | undefined][] = [
    ["", "is empty"],
    ["a", undefined],
    ["/", undefined],
    ["a//b", undefined],
    ["Ünïcode/\u{1f407}", undefined],
    ["x".repeat(256), undefined],
    ["x".repeat(257), "longer than 256 bytes"],
    ["é".repeat(128), undefined],
    ["é".repeat(129), "longer than 256 bytes"],
    ["x".repeat(100_000), "longer than 256 bytes"],
    [Array(16).fill("a").join("/"), undefined],
    [Array(17).fill("a").join("/"), "more than 16 levels"],
    ["a\u0000b", "control character"],
    ["a\nb", "control character"],
    ["a\u001fb", "control character"],
    [" ~", undefined],
    ["a\u007fb", "control character"],
    ["a\u0085b", "control character"],
    [ASTRAL.slice(0, 1), "not well-formed"],
    ["$inbox/s/1", undefined],
    [" /~", undefined],
    ["a\u001f", "control character"],
    [`${"x/".repeat(16)}\u0000`, "control character"],
    [`${"x".repeat(256)}\u0000`, "longer than 256 bytes"],
  ];
  const topics: typeof both = [
    ["a/+", "holds + or #"],
    ["a#", "holds + or #"],
    ["Ünïcode/+", "holds + or #"],
  ];
  const filters: typeof both = [
    ["+", undefined],
    ["#", undefined],
    ["+/a/+/#", undefined],
    ["a/#/b", "# before its last level"],
    ["a/b#", "inside a level"],
    ["a+/b", "inside a level"],
    ["++", "inside a level"],
    ["##", "inside a level"],
    ["#a", "inside a level"],
    ["a/#b", "inside a level"],
    ["+/b+c/#", "inside a level"],
    ["#/a+", "# before its last level"],
    ["a/#/", "# before its last level"],
    ["+/+/", undefined],
    ["/#", undefined],
  ];
  const ruleOf = (check: () => void): string | undefined => {
    try {
      check();
      return undefined;
    } catch (error) {
      expect(error).toBeInstanceOf(WarrenError);
      return (error as WarrenError).message;
    }
  };
  const expectRule = (got: string | undefined, want: string | undefined) => {
    if (want === undefined) expect(got).toBeUndefined();
    else expect(got).toContain(want);
  };
  const shown = (text: string) => JSON.stringify(text.slice(0, 30));
  for (const [text, want] of [...both, ...topics]) {
    test(`topic ${shown(text)} (${text.length}): ${want ?? "fits"}`, () =>
      expectRule(
        ruleOf(() => assertTopic(text, BOUNDS)),
        want,
      ));
  }
  for (const [text, want] of [...both, ...filters]) {
    test(`filter ${shown(text)} (${text.length}): ${want ?? "fits"}`, () =>
      expectRule(
        ruleOf(() => assertFilter(text, BOUNDS)),
        want,
      ));
  }
  test("what is wrong with any filter is what its levels say", () => {
    const [seed = 1] = fuzzSeeds(1);
    const text = fc.string({ unit: fc.constantFrom("a", "é", "+", "#", "/"), maxLength: 8 });
    fc.assert(
      fc.property(text.filter(Boolean), (some) => {
        const levels = some.split("/");
        const faulty = levels.findIndex((level, at) =>
          level === "#" ? at < levels.length - 1 : level.length > 1 && /[+#]/.test(level),
        );
        const early = levels[faulty] === "#" ? "# before its last level" : "inside a level";
        const got = ruleOf(() => assertFilter(some, BOUNDS));
        expectRule(got, faulty < 0 ? undefined : early);
      }),
      { seed, numRuns: 3000 },
    );
  });
  test("the error carries the text, cut short", () => {
    try {
      assertTopic("y".repeat(5000), BOUNDS);
      expect.unreachable();
    } catch (error) {
      expect(JSON.stringify((error as WarrenError).detail).length).toBeLessThan(400);
    }
  });
});

/** MQTT's rules as a recursion over levels: slow, and plainly right. */
function matches(filter: readonly string[], topic: readonly string[], first = true): boolean {
  const [want, ...wants] = filter;
  const [have, ...haves] = topic;
  if (first && have?.startsWith("$") && (want === "+" || want === "#")) return false;
  if (want === undefined) return have === undefined;
  if (want === "#") return true;
  if (have === undefined) return false;
  return (want === "+" || want === have) && matches(wants, haves, false);
}

/** Every sequence of 1 to `depth` levels, as text. */
function paths(levels: readonly string[], depth: number): string[] {
  let longest: string[][] = [[]];
  const all: string[][] = [];
  for (let i = 0; i < depth; i++) {
    longest = longest.flatMap((path) => levels.map((level) => [...path, level]));
    all.push(...longest);
  }
  return all.map((path) => path.join("/"));
}

// Topics hold levels that no filter names (`z`, `$z`) and one more level than any filter, so that what is
// true of these topics is true of all.
const FILTER_PATHS = paths(["a", "b", "+", "$s", ""], 3);
const FILTERS = ["#", ...FILTER_PATHS, ...FILTER_PATHS.map((path) => `${path}/#`)].filter(
  (filter) => filter !== "" && filter.split("/").length <= 3,
);
const TOPICS = paths(["a", "b", "z", "$s", "$z", ""], 4).filter(Boolean);
const MATCHED = new Map(
  FILTERS.map((filter) => {
    const levels = filter.split("/");
    return [filter, TOPICS.map((topic) => matches(levels, topic.split("/")))] as const;
  }),
);

describe("[P-3.1] filters against every topic of a small world", () => {
  test("filterMatches says what the rules say", () => {
    for (const [filter, matched] of MATCHED) {
      TOPICS.forEach((topic, index) => {
        if (filterMatches(filter, topic) !== matched[index]) {
          expect.unreachable(`${filter} and ${topic}: the rules say ${matched[index]}`);
        }
      });
    }
  });

  test("[P-13.1] filterContains and filterOverlaps are exact for every pair", () => {
    let contained = 0;
    let overlapping = 0;
    for (const [outer, outerMatched] of MATCHED) {
      for (const [inner, innerMatched] of MATCHED) {
        let contains = true;
        let overlaps = false;
        for (let i = 0; i < TOPICS.length; i++) {
          if (!innerMatched[i]) continue;
          if (outerMatched[i]) overlaps = true;
          else contains = false;
        }
        if (filterContains(outer, inner) !== contains) {
          expect.unreachable(`${outer} contains ${inner}: the topics say ${contains}`);
        }
        if (filterOverlaps(outer, inner) !== overlaps) {
          expect.unreachable(`${outer} overlaps ${inner}: the topics say ${overlaps}`);
        }
        if (contains) contained++;
        if (overlaps) overlapping++;
      }
    }
    // The world is not so small that nothing happens in it.
    expect(contained).toBeGreaterThan(FILTERS.length);
    expect(overlapping).toBeGreaterThan(contained);
  });
});

const level = fc.oneof(
  fc.constantFrom("a", "b", "", "$s", "ab", "é", ASTRAL),
  fc.string({ maxLength: 4 }).map((text) => text.replace(/[+#/]/g, "x")),
);
const topicOf = (parts: string[]) => parts.join("/");
const topic = fc.array(level, { minLength: 1, maxLength: 10 }).map(topicOf).filter(Boolean);
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant("+")), { minLength: 1, maxLength: 9 }), fc.boolean())
  .map(([parts, hash]) => topicOf(hash ? [...parts, "#"] : parts))
  .filter(Boolean);
/** A filter made from another by a small change, so that the interesting relations come up. */
const related = fc
  .tuple(filter, fc.nat(9), fc.constantFrom("widen", "cut", "extend", "fill"))
  .map(([outer, at, how]) => {
    const parts = outer.split("/");
    const index = at % parts.length;
    if (how === "widen" && parts[index] !== "#") parts[index] = "+";
    if (how === "cut") parts.splice(index, parts.length, "#");
    if (how === "extend" && parts.at(-1) === "#") parts.splice(-1, 1, "+", "#");
    if (how === "fill" && parts[index] === "+") parts[index] = "a";
    return [outer, parts.join("/")] as const;
  })
  .filter(([, changed]) => changed !== "");
const pair = fc.oneof(fc.tuple(filter, filter), related);

/** A level that no filter above can hold. */
const FRESH = "fresh-level";

/** Topics such that `outer` contains `inner` if it matches them all: fresh levels in every free place. */
function witnesses(inner: string): string[] {
  const parts = inner.split("/");
  const fixed = parts.filter((part) => part !== "#").map((part) => (part === "+" ? FRESH : part));
  if (parts.at(-1) !== "#") return [topicOf(fixed)];
  const tails = Array.from({ length: 12 }, (_, depth) => Array<string>(depth).fill(FRESH));
  return tails.map((tail) => topicOf([...fixed, ...tail])).filter(Boolean);
}

describe("[P-13.1] relations between deep filters", () => {
  const [seed = 1] = fuzzSeeds(1);
  const check = (property: fc.IRawProperty<unknown>) =>
    fc.assert(property, { seed, numRuns: 3000 });

  test("filterMatches agrees with the rules", () => {
    check(
      fc.property(filter, topic, (some, text) => {
        expect(filterMatches(some, text)).toBe(matches(some.split("/"), text.split("/")));
      }),
    );
  });

  test("a filter contains another exactly when it matches all its witnesses", () => {
    check(
      fc.property(pair, ([outer, inner]) => {
        const all = witnesses(inner).every((text) => filterMatches(outer, text));
        expect(filterContains(outer, inner)).toBe(all);
      }),
    );
  });

  test("a topic that two filters match makes them overlap, either way round", () => {
    check(
      fc.property(pair, topic, ([one, other], text) => {
        expect(filterOverlaps(one, other)).toBe(filterOverlaps(other, one));
        expect(filterOverlaps(one, one)).toBe(true);
        if (filterContains(one, other)) expect(filterOverlaps(one, other)).toBe(true);
        if (filterMatches(one, text) && filterMatches(other, text)) {
          expect(filterOverlaps(one, other)).toBe(true);
        }
      }),
    );
  });

  test("filters overlap only if a topic made from both is matched by both", () => {
    check(
      fc.property(pair, ([one, other]) => {
        expect(filterOverlaps(one, other)).toBe(commonTopic(one, other) !== undefined);
      }),
    );
  });
});

/** A topic in both filters, found by laying one over the other; undefined when there is none. */
function commonTopic(one: string, other: string): string | undefined {
  const a = one.split("/");
  const b = other.split("/");
  for (let depth = 1; depth <= Math.max(a.length, b.length); depth++) {
    const levels = Array.from({ length: depth }, (_, i) => {
      const literal = [at(a, i), at(b, i)].find((part) => part !== "+" && part !== "#");
      return literal ?? FRESH;
    });
    const text = topicOf(levels);
    if (text !== "" && matches(a, levels) && matches(b, levels)) return text;
  }
  return undefined;
}

/** The level of a filter at a depth: its `#` stands for all that follow. */
function at(parts: readonly string[], depth: number): string {
  return parts[depth] ?? "#";
}
