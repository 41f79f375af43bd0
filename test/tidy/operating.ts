/** The operator's page against the code: its tables of settings and metrics are made from them. */
import { type Leaf, settingLeaves } from "../../src/config-leaves.ts";
import { createMetrics } from "../../src/metrics.ts";
import type { Finding } from "./sources.ts";

const OPERATING = "docs/OPERATING.md";

/** Settings whose row is missing or says something else, and rows of settings that are not there. */
export function settingsTableFaults(
  page: string,
  leaves: readonly Leaf[] = settingLeaves(),
): Finding[] {
  const wanted = leaves.map((leaf) => {
    const flag = leaf.flag === undefined ? "" : `\`--${leaf.flag}\``;
    const value = leaf.default === undefined ? "" : `\`${JSON.stringify(leaf.default)}\``;
    return `| \`${leaf.path}\` | \`${leaf.variable}\` | ${flag} | ${value} | ${leaf.description} |`;
  });
  return tableFaults(page, wanted, /^\| `[\w.]+` \| `WARREN_\w+` \|.*$/gm);
}

/** The same for metrics, with their help texts. */
export async function metricsTableFaults(page: string): Promise<Finding[]> {
  const metrics = createMetrics({
    version: "",
    engine: "",
    durability: "",
    gauges: () => ({}),
    counters: () => ({}),
    queues: () => [],
  });
  const wanted = [...(await metrics.render()).matchAll(/^# HELP (warren_\w+) (.*)$/gm)].map(
    ([, name, help]) => `| \`${name}\` | ${help} |`,
  );
  const table = page.slice(page.indexOf("Every metric"));
  return tableFaults(table, wanted, /^\| `warren_\w+` \|.*$/gm);
}

function tableFaults(page: string, wanted: readonly string[], rows: RegExp): Finding[] {
  const found = new Set([...page.matchAll(rows)].map((match) => match[0]));
  const missing = wanted.filter((row) => !found.has(row));
  const surplus = [...found].filter((row) => !wanted.includes(row));
  return [
    ...missing.map((row) => `${OPERATING}: must have the row ${row}`),
    ...surplus.map((row) => `${OPERATING}: has the row ${row}, of which the code knows nothing`),
  ];
}
