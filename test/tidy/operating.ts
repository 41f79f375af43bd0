/** The operator's page against the code: its tables of settings and metrics are made from them. */
import type { TSchema } from "@sinclair/typebox";
import { QueueSettings } from "../../schemas/queue.ts";
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

interface QueueSetting {
  readonly path: string;
  readonly default: unknown;
}

/** Every setting of a queue, those within others by their path. */
export function queueSettings(schema: TSchema = QueueSettings, parent = ""): QueueSetting[] {
  return Object.entries((schema.properties ?? {}) as Record<string, TSchema>).flatMap(
    ([name, inner]) => {
      const path = `${parent}${name}`;
      if (inner.properties !== undefined) return queueSettings(inner, `${path}.`);
      return [{ path, default: inner.default }];
    },
  );
}

/** Queue settings without a row, or with another default in it, and rows of settings that are not there. */
export function queueTableFaults(
  page: string,
  settings: readonly QueueSetting[] = queueSettings(),
): Finding[] {
  const start = page.indexOf("| queue setting |");
  const table = start < 0 ? "" : page.slice(start).split("\n\n", 1)[0]!;
  const rows = new Map(
    [...table.matchAll(/^\| `([\w.]+)` \| ([^|]*) \| [^|]+\|$/gm)].map((row) => [row[1]!, row[2]!]),
  );
  const known = new Set(settings.map(({ path }) => path));
  return [
    ...settings.flatMap(({ path, default: value }) => {
      const found = rows.get(path);
      if (found === undefined) return [`${OPERATING}: the queue setting ${path} has no row`];
      // One without a default is described in words.
      if (value === undefined || found === shown(value)) return [];
      return [`${OPERATING}: the default of the queue setting ${path} is ${shown(value)}`];
    }),
    ...[...rows.keys()]
      .filter((path) => !known.has(path))
      .map((path) => `${OPERATING}: there is no queue setting ${path}`),
  ];
}

/** Thousands apart, words as code. */
function shown(value: unknown): string {
  if (typeof value === "number") return `${value}`.replace(/\B(?=(\d{3})+$)(?<!\..*)/g, " ");
  return typeof value === "string" ? `\`${value}\`` : `${value}`;
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
    channels: () => [],
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
