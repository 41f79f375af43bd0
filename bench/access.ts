/**
 * What a check of rights costs: `bun bench/access.ts`. No server and no bare side; it measures the
 * function that runs for a publish to another topic than the last, and for each subscribe. Prints a table
 * in Markdown, of the best and the median of some rounds, and bytes allocated per check.
 */
import { compileRights, type Grant } from "../src/broker/access.ts";
import { filterContains } from "../src/topic.ts";
import { describeMachine } from "./machine.ts";

const ROUNDS = 15;
const CHECKS = 100_000;
/** A grant holds at most so many filters. */
const FILTERS_A_GRANT = 250;

function rules(count: number): string[] {
  return Array.from({ length: count }, (_, at) =>
    at % 4 === 0 ? `site/+/line/${at}/#` : `site/${at}/line/+/sensor/{client}`,
  );
}

function grantsOf(filters: readonly string[]): Grant[] {
  const parts = Math.ceil(filters.length / FILTERS_A_GRANT);
  return Array.from({ length: parts }, (_, at) => ({
    allow: ["publish", "subscribe"],
    on: filters.slice(at * FILTERS_A_GRANT, (at + 1) * FILTERS_A_GRANT),
  }));
}

interface Figure {
  readonly median: number;
  readonly best: number;
  readonly bytes: number;
}

function measure(asked: readonly string[], check: (text: string) => boolean): Figure {
  const nanoseconds: number[] = [];
  let hits = 0;
  const round = () => {
    for (let i = 0; i < CHECKS; i++) if (check(asked[i % asked.length]!)) hits++;
  };
  round();
  Bun.gc(true);
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < ROUNDS; i++) {
    const start = Bun.nanoseconds();
    round();
    nanoseconds.push((Bun.nanoseconds() - start) / CHECKS);
  }
  const bytes = Math.max(0, process.memoryUsage().heapUsed - before) / (ROUNDS * CHECKS);
  if (hits === 0) throw new Error("Nothing was allowed: this measures nothing.");
  nanoseconds.sort((a, b) => a - b);
  return { median: nanoseconds[ROUNDS >> 1]!, best: nanoseconds[0]!, bytes };
}

const row = (name: string, { median, best, bytes }: Figure) =>
  `| ${name} | ${median.toFixed(0)} | ${best.toFixed(0)} | ${bytes.toFixed(2)} |`;

const lines = [
  `Machine: ${JSON.stringify(describeMachine())}`,
  "",
  "| check | median ns | best ns | bytes |",
  "|---|---|---|---|",
];
for (const count of [10, 1000, 10_000]) {
  const filters = rules(count);
  const denials: Grant = { deny: ["publish", "receive"], on: ["+/secret/#", "site/+/locked"] };
  const rights = compileRights([...grantsOf(filters), denials], { principal: "p", client: "c7" });
  // Half of it is allowed, and nothing twice in a row.
  const topics = Array.from({ length: 512 }, (_, at) => {
    const of = (at * 7) % count;
    return at % 2 === 0 ? `site/${of}/line/3/sensor/c7` : `site/${of}/line/3/sensor/other`;
  });
  const asked = topics.map((topic) => topic.replace("/3/", "/+/"));
  lines.push(
    row(
      `publish, ${count} rules`,
      measure(topics, (topic) => rights.mayPublish(topic)),
    ),
  );
  const subscribe = measure(asked, (filter) => rights.maySubscribe(filter));
  lines.push(row(`subscribe, ${count} rules`, subscribe));
  if (count === 1000) {
    const filled = filters.map((filter) => filter.replace("{client}", "c7"));
    const each = measure(topics.slice(0, 64), (topic) =>
      filled.some((filter) => filterContains(filter, topic)),
    );
    lines.push(row("for comparison: each of 1000 rules in turn", each));
  }
}
console.log(lines.join("\n"));
