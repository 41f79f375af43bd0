/** What the router remembers of topics, when there are very many. */
import { expect, test } from "bun:test";
import { Router } from "../../src/broker/router.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { JsonEncoder } from "../../src/protocols/native/json.ts";

test("[P-3.7] topics whose publishes are under way are remembered, and each costs as much as the first", () => {
  const router = new Router({ ...DEFAULT_LIMITS, topicCache: 4 });
  const topics = Array.from({ length: 40_000 }, (_, n) => `devices/${n}`);
  const entries = topics.map((topic) => {
    const entry = router.lookup(topic);
    entry.pendingStores++;
    return entry;
  });
  for (const [at, topic] of topics.entries()) expect(router.lookup(topic)).toBe(entries[at]!);
  for (const entry of entries) entry.pendingStores--;
  // As new topics come they are forgotten, down to the bound.
  for (let n = 0; n < 200_000; n++) router.lookup(`others/${n}`);
  expect(router.cachedTopics).toBeLessThan(10);
}, 20_000);

test("[P-3.3, P-11.1] topics that come but once leave nothing; others are remembered", () => {
  const router = new Router(DEFAULT_LIMITS);
  router.openRoute("seen/#", new JsonEncoder());
  router.bind("q", ["stored/#"]);
  for (const of of ["idle", "seen"]) {
    for (let n = 0; n < 100_000; n++) router.glance(`${of}/${n}`);
    expect(router.cachedTopics).toBeLessThan(100);
    for (let n = 0; n < 50; n++) router.glance(`${of}/again`);
    expect(router.glance(`${of}/again`)).toBe(router.glance(`${of}/again`));
    // Who has to keep an order has it remembered at once.
    expect(router.lookup(`${of}/new`)).toBe(router.glance(`${of}/new`));
  }
  expect(router.glance("stored/new")).toBe(router.glance("stored/new"));
});

test("[P-3.3] of many topics in turn each is remembered in the end, also where they share a hash's place", () => {
  const router = new Router(DEFAULT_LIMITS);
  router.openRoute("seen/#", new JsonEncoder());
  const topics = Array.from({ length: 20_000 }, (_, n) => `seen/${n}`);
  for (let round = 0; round < 30; round++) for (const topic of topics) router.glance(topic);
  expect(router.cachedTopics).toBe(topics.length);
});
