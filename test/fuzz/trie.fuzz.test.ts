/** The filter trie and the router's cache against the plain rule, `filterMatches`. */
import { expect, test } from "bun:test";
import { Router } from "../../src/broker/router.ts";
import { FilterTrie } from "../../src/broker/trie.ts";
import type { Random } from "../../src/clock.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { JsonEncoder } from "../../src/protocols/native/json.ts";
import { filterMatches } from "../../src/topic.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";

const WORDS = ["a", "b", "c", "", "$sys", "long-level", "ü"];

function level(random: Random): string {
  return WORDS[Math.floor(random() * WORDS.length)]!;
}

function topic(random: Random): string {
  const levels = Array.from({ length: 1 + Math.floor(random() * 5) }, () => level(random));
  return levels.join("/") || "a";
}

function filter(random: Random): string {
  const levels = topic(random)
    .split("/")
    .map((one) => (random() < 0.3 ? "+" : one));
  if (random() < 0.3) levels[levels.length - 1] = "#";
  return levels.join("/") || "+";
}

function matching(filters: Iterable<string>, name: string): string[] {
  return [...filters].filter((one) => filterMatches(one, name)).sort();
}

for (const seed of fuzzSeeds(3)) {
  test(`[P-3.1] the trie matches what the rule matches, while filters come and go (FUZZ_SEED=${seed})`, () => {
    const random = seededRandom(seed);
    const trie = new FilterTrie<string>();
    const present = new Set<string>();
    for (let step = 0; step < 4000; step++) {
      const one = filter(random);
      if (random() < 0.6) {
        trie.set(one, one);
        present.add(one);
      } else {
        trie.delete(one);
        present.delete(one);
      }
      expect(trie.get(one)).toBe(present.has(one) ? one : undefined);
      expect(trie.size).toBe(present.size);
      if (step % 4 !== 0) continue;
      const name = topic(random);
      const found: string[] = [];
      trie.match(name, found);
      expect([name, found.sort()]).toEqual([name, matching(present, name)]);
    }
    for (const one of present) trie.delete(one);
    expect(trie.size).toBe(0);
  });

  test(`[P-3.3] the router's cache is never behind the filters (FUZZ_SEED=${seed})`, () => {
    const random = seededRandom(seed);
    // A cache far too small, so that answers are dropped all the time.
    const router = new Router({ ...DEFAULT_LIMITS, topicCache: 16 });
    const encoder = new JsonEncoder();
    const routes = new Set<string>();
    const queues = new Map<string, string[]>();
    for (let step = 0; step < 4000; step++) {
      const one = filter(random);
      const kind = random();
      if (kind < 0.3) {
        router.openRoute(one, encoder);
        routes.add(one);
      } else if (kind < 0.5) {
        if (routes.delete(one)) router.closeRoute(router.openRoute(one, encoder));
      } else if (kind < 0.6) {
        const name = `q${Math.floor(random() * 8)}`;
        const bindings = Array.from({ length: Math.floor(random() * 4) }, () => filter(random));
        router.bind(name, bindings);
        queues.set(name, bindings);
      }
      const name = topic(random);
      if (name.startsWith("$") && random() < 0.5) continue;
      const entry = router.lookup(name);
      expect(entry.routes.map((route) => route.filter).sort()).toEqual(matching(routes, name));
      const bound = [...queues].filter(([, bindings]) => matching(bindings, name).length > 0);
      expect([...entry.queues].sort()).toEqual(bound.map(([queue]) => queue).sort());
      expect(router.cachedTopics).toBeLessThanOrEqual(16);
    }
    expect(router.routes).toBe(routes.size);
  });
}

test("[P-3.1] filters that are not valid are kept apart, match nothing and leave nothing behind", () => {
  const trie = new FilterTrie<string>();
  const invalid = ["a#", "a/b#", "a/#/b", "#/", "a+", "+a/#", "##"];
  const valid = ["a/#", "#", "a/+", "a"];
  const everything = [...invalid, ...valid];
  for (const one of everything) trie.set(one, one);
  for (const one of everything) expect(trie.get(one)).toBe(one);
  const found: string[] = [];
  trie.match("a/b", found);
  expect(found.sort()).toEqual(["#", "a/#", "a/+"]);
  for (const one of everything) {
    trie.delete(one);
    expect(trie.get(one)).toBeUndefined();
  }
  expect(trie.size).toBe(0);
});

test("[P-3.1] 100,000 filters, a thousand of them overlapping", () => {
  const trie = new FilterTrie<string>();
  const overlapping: string[] = [];
  // Every way to put + for some of ten levels, short of one.
  for (let mask = 0; mask < 1000; mask++) {
    const levels = Array.from({ length: 10 }, (_, i) => (mask & (1 << i) ? "+" : `l${i}`));
    overlapping.push(levels.join("/"));
  }
  for (const one of overlapping) trie.set(one, one);
  for (let i = 0; i < 99_000; i++) {
    const one = i % 3 === 0 ? `devices/${i}/state` : i % 3 === 1 ? `devices/${i}/#` : `+/${i}/x`;
    trie.set(one, one);
  }
  expect(trie.size).toBe(100_000);
  const found = (name: string) => {
    const values: string[] = [];
    trie.match(name, values);
    return values.sort();
  };
  expect(found("l0/l1/l2/l3/l4/l5/l6/l7/l8/l9")).toEqual(overlapping.sort());
  expect(found("devices/6/state")).toEqual(["devices/6/state"]);
  expect(found("devices/7/state")).toEqual(["devices/7/#"]);
  expect(found("any/8/x")).toEqual(["+/8/x"]);
  expect(found("devices/8/nothing")).toEqual([]);
});
