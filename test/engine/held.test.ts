/** What a consumer holds, beside a Map that is told the same. */
import { expect, test } from "bun:test";
import type { Entry } from "../../src/engine/sqlite/entry.ts";
import { Held } from "../../src/engine/sqlite/held.ts";
import { seededRandom } from "../harness/seeded-random.ts";

const FIRST_TAG = 3 * 2 ** 33;

test("[P-5.4] a consumer holds what it was handed and has not settled, the oldest first", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = seededRandom(seed);
    const held = new Held();
    const expected = new Map<number, Entry>();
    const most = 1 + Math.floor(random() * 120);
    const distance = 1 + Math.floor(random() * 40);
    let tag = FIRST_TAG;
    for (let step = 0; step < 2000; step++) {
      if (expected.size < most && random() < 0.55) {
        tag += distance;
        const entry = { tag } as Entry;
        held.add(entry);
        expected.set(tag, entry);
      } else {
        const all = [...expected.keys()];
        const gone = all[Math.floor(random() * all.length)] ?? tag + 1;
        held.delete(gone);
        expected.delete(gone);
        expect(held.has(gone)).toBe(false);
      }
      expect(held.size).toBe(expected.size);
    }
    expect(held.values()).toEqual([...expected.values()]);
    for (const [known, entry] of expected) expect(held.get(known)).toBe(entry);
    for (let other = FIRST_TAG; other < FIRST_TAG + 200; other++) {
      expect(held.has(other)).toBe(expected.has(other));
    }
  }
});
