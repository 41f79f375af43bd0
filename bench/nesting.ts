/**
 * What looking for depth costs beside parsing: ordinary payloads of several sizes, and some that are mostly brackets.
 *
 *     bun bench/nesting.ts
 */
import { withoutDepths } from "../src/nesting.ts";

const ROUNDS = 9;
const ROUND_MS = 60;

const arrays = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
const row = (id: number) => ({
  id,
  name: `sensor-${id}`,
  value: 20.5 + id / 7,
  tags: ["a", "b"],
  ok: true,
  note: "some words about it, as people write them",
});
const publish = (payload: unknown) => JSON.stringify({ type: "publish", topic: "t", payload });
const rows = (count: number) => publish(Array.from({ length: count }, (_, id) => row(id)));
const numbers = (count: number) => publish(Array.from({ length: count }, (_, i) => i * 1.37));
const deep = (levels: number) => `{"type":"publish","topic":"t","payload":${arrays(levels)}}`;

const TEXTS: Readonly<Record<string, string>> = {
  "one row": rows(1),
  "rows, 1 KiB": rows(8),
  "rows, 16 KiB": rows(125),
  "rows, 256 KiB": rows(1950),
  "numbers, 16 KiB": numbers(850),
  "numbers, 256 KiB": numbers(13_500),
  "text, 16 KiB": publish("x".repeat(16_000)),
  "text, 256 KiB": publish("x".repeat(256_000)),
  "pairs of numbers, 256 KiB": publish(Array.from({ length: 17_000 }, (_, i) => [i, i / 3])),
  "1,000 levels, 2 KiB": deep(1000),
  "10,000 levels, 20 KiB": deep(10_000),
  "130,000 levels, 256 KiB": deep(130_000),
  "64 levels, again and again, 256 KiB": publish(
    Array.from({ length: 1980 }, () => JSON.parse(arrays(64))),
  ),
};

/** Texts as they come: flat, each another one. */
const copiesOf = (text: string) => Array.from({ length: 8 }, () => Buffer.from(text).toString());

/** Microseconds each. */
function timed(action: (text: string) => unknown, copies: readonly string[]): number {
  const end = performance.now() + ROUND_MS;
  const start = performance.now();
  let times = 0;
  while (performance.now() < end) {
    for (const copy of copies) action(copy);
    times += copies.length;
  }
  return ((performance.now() - start) * 1000) / times;
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;

console.log("| text | bytes | `JSON.parse` | looking first | and parsing what is left |");
console.log("|---|---|---|---|---|");
for (const [name, text] of Object.entries(TEXTS)) {
  const copies = copiesOf(text);
  const took: number[][] = [[], [], []];
  for (let round = 0; round < ROUNDS; round++) {
    took[0]!.push(timed((copy) => JSON.parse(copy), copies));
    took[1]!.push(timed(withoutDepths, copies));
    took[2]!.push(timed((copy) => JSON.parse(withoutDepths(copy)), copies));
  }
  const cells = took.map((values) => `${median(values).toFixed(2)} µs`);
  console.log(`| ${[name, text.length, ...cells].join(" | ")} |`);
}
