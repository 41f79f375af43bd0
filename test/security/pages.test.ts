/** Lists that are long: in order, complete, and nobody waits while one is gone through [P-13.5]. */
import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/clock.ts";
import { pageByName } from "../../src/collections/page.ts";
import { SortedNames } from "../../src/collections/sorted-names.ts";
import { ApiKeys } from "../../src/security/api-keys.ts";
import { Bans } from "../../src/security/bans.ts";
import { Revocations } from "../../src/security/revocations.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";

const seed = fuzzSeeds(1)[0]!;

test(`[P-13.5] names that come and go stay in order (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const names = new SortedNames();
  const model = new Set<string>();
  for (let step = 0; step < 30_000; step++) {
    const name = Math.floor(random() * 6000).toString(36);
    // Grows past several splits, then shrinks to nothing.
    if (random() < (step < 15_000 ? 0.8 : 0.1)) {
      names.add(name);
      model.add(name);
    } else {
      names.delete(name);
      model.delete(name);
    }
    if (step % 1000 !== 0) continue;
    const all = [...model].sort();
    expect(names.size).toBe(all.length);
    expect(names.after("", 10_000)).toEqual(all);
    const from = Math.floor(random() * 6000).toString(36);
    expect(names.after(from, 7)).toEqual(all.filter((one) => one > from).slice(0, 7));
  }
});

describe("[P-13.5] pages", () => {
  const names = new SortedNames();
  for (let i = 0; i < 10_000; i++) names.add(String(i).padStart(5, "0"));
  const get = (name: string) => (name.endsWith("7") ? name : undefined);

  test("hold all that fits once, in order, however much lies between", async () => {
    const all: string[] = [];
    let after: string | undefined;
    for (;;) {
      const { page, more } = await pageByName(names, { limit: 300, after }, get, systemClock);
      all.push(...page);
      after = page.at(-1);
      if (!more) break;
    }
    expect(all).toEqual(names.after("", 10_000).filter((name) => name.endsWith("7")));
  });

  test("let others have their turn while what fits is far", async () => {
    let turns = 0;
    const clock = {
      endOfTurn: (action: () => void) => {
        turns++;
        systemClock.endOfTurn(action);
      },
    };
    const { page } = await pageByName(names, { limit: 10 }, () => undefined, clock);
    expect([page, turns]).toEqual([[], 5]);
  });
});

test("[P-13.5] a page of 100,000 keys, revocations or bans looks at no more than it has to", async () => {
  const keys = new ApiKeys();
  const revocations = new Revocations(systemClock);
  const bans = new Bans(systemClock, 10);
  const made = { createdAt: 1, createdBy: "root", by: "root" };
  for (let i = 0; i < 100_000; i++) {
    const id = `k${(i * 7919) % 100_000}`;
    keys.recordChanged(id, { id, hash: "0".repeat(64), principal: `p${i % 1000}`, ...made });
    revocations.recordChanged(id, { id, principal: id, ...made });
    bans.recordChanged(id, { id, principal: id, ...made } as never);
  }
  const order = Array.from({ length: 100_000 }, (_, i) => `k${i}`).sort();
  let turns = 0;
  const clock = {
    endOfTurn: (action: () => void) => {
      turns++;
      action();
    },
  };
  const page = await keys.page({ limit: 1000, after: order[50_000] as string }, clock);
  expect(page.keys.map(({ id }) => id)).toEqual(order.slice(50_001, 51_001));
  expect([page.more, turns]).toEqual([true, 0]);
  const own = await keys.page({ limit: 1000, principal: "p7" }, clock);
  expect([own.keys.length, own.more, turns]).toEqual([100, false, 50]);
  for (const list of [revocations, bans]) {
    const one = await list.page({ limit: 1000, after: order[98_999] as string });
    expect(one.page.map(({ id }) => id)).toEqual(order.slice(99_000));
    expect(one.more).toBe(false);
  }
});
