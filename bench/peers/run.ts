/**
 * Warren beside other brokers as a durable work queue, in one run, in turn:
 * `bun bench/peers/run.ts [--rounds N] [--quick] [--workload NAME]… [name…]`. Same payload, same
 * window, same credit; what a confirm means is said beside each.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runJob } from "../generator.ts";
import type { JobResult, Load, QueueJob } from "../load/jobs.ts";
import { describeMachine, machineSlug } from "../machine.ts";
import { median } from "../measure.ts";
import { type Figures, figures } from "../scenario.ts";
import { ServerProcess, withDataDir } from "../servers.ts";
import { PEERS, type PeerName } from "./names.ts";
import { missingProgram, startPeer } from "./servers.ts";

const SIDES = {
  warren: "Warren: fsync before the confirm (group commit)",
  bare: "bare bun:sqlite over Bun.serve, one transaction a turn: fsync before the confirm",
  ...PEERS,
} as const;
type SideName = keyof typeof SIDES;
const NAMES = Object.keys(SIDES) as SideName[];

interface Workload {
  readonly name: string;
  readonly title: string;
  readonly publishers: number;
  readonly consumers: number;
  readonly load: Load;
}

const HALF_RATE = 10_000;
const WORKLOADS: readonly Workload[] = [
  {
    name: "load-4",
    title: "4 publishers with 256 unconfirmed each, 4 consumers with credit 100, acked",
    publishers: 4,
    consumers: 4,
    load: { window: 256 },
  },
  {
    name: "load-1",
    title: "1 publisher with 256 unconfirmed, 4 consumers with credit 100, acked",
    publishers: 1,
    consumers: 4,
    load: { window: 256 },
  },
  {
    name: "serial",
    title: "1 publisher, one message at a time, nobody consumes",
    publishers: 1,
    consumers: 0,
    load: { window: 1 },
  },
  {
    name: "rate",
    title: `4 publishers at ${HALF_RATE}/s in all, 4 consumers, acked`,
    publishers: 4,
    consumers: 4,
    load: { perSecond: HALF_RATE },
  },
];

const isPeer = (name: SideName): name is PeerName => name in PEERS;

function jobFor(work: Workload, quick: boolean): Omit<QueueJob, "kind" | "port" | "serverPid"> {
  const { publishers, consumers, load } = work;
  const timing = quick ? { warmMs: 300, measureMs: 700 } : { warmMs: 1500, measureMs: 2500 };
  return {
    ...{ publishers, consumers, load, verify: false, credit: 100, payloadBytes: 256 },
    ...timing,
    ...(consumers > 0 ? { backlog: 20_000 } : {}),
  };
}

function measureSide(name: SideName, work: Workload, quick: boolean): Promise<JobResult> {
  const job = jobFor(work, quick);
  return withDataDir(async (dir) => {
    if (isPeer(name)) {
      const server = await startPeer(name, join(dir, "peer"));
      try {
        const { port, pid } = server;
        return await runJob({ kind: "peer-queue", peer: name, port, serverPid: pid, ...job });
      } finally {
        await server.stop();
      }
    }
    const server = await ServerProcess.start(name, dir);
    try {
      await server.defineQueue();
      return await runJob({ kind: "queue", port: server.port, serverPid: server.pid, ...job });
    } finally {
      await server.stop();
    }
  });
}

interface Row {
  readonly workload: string;
  readonly side: SideName;
  readonly rounds: Figures[];
  readonly faults: string[];
}

const METRICS = ["rate", "cpuUs", "p50Us", "p99Us", "deliveryP50Us", "deliveryP99Us"] as const;

/** The median over the rounds; undefined when it was not measured. */
function medianOf(row: Row, metric: string): number | undefined {
  const values = row.rounds.flatMap((round) => round[metric] ?? []);
  return values.length === 0 ? undefined : median(values);
}

/** Warren's rate divided by this side's, round by round: the median. */
function lead(row: Row, warren: Row | undefined): string {
  const pairs = row.rounds.flatMap((round, index) => {
    const own = warren?.rounds[index]?.rate;
    return own === undefined || round.rate === undefined ? [] : [own / round.rate];
  });
  return pairs.length === 0 ? "–" : median(pairs).toFixed(2);
}

function table(work: Workload, rows: readonly Row[]): string[] {
  const warren = rows.find((row) => row.workload === work.name && row.side === "warren");
  const lines = [
    ...["", `## ${work.title}`, ""],
    "| broker | messages/s | warren is × as fast | server CPU µs | confirm p50, p99 µs | delivery p50, p99 µs |",
    "|---|---|---|---|---|---|",
  ];
  for (const row of rows.filter(({ workload }) => workload === work.name)) {
    const values = METRICS.map((metric) => medianOf(row, metric));
    const text = (value: number | undefined, digits = 0) => value?.toFixed(digits) ?? "–";
    const [rate, cpu, p50, p99, d50, d99] = values;
    const late = row.rounds.some((round) => round.late === 1) ? " (late)" : "";
    const times = `${text(p50)}, ${text(p99)} | ${text(d50)}, ${text(d99)}`;
    const faults = row.faults.length === 0 ? "" : ` ${row.faults[0]}`;
    lines.push(
      `| ${row.side} | ${text(rate)}${late}${faults} | ${lead(row, warren)} | ${text(cpu, 1)} | ${times} |`,
    );
  }
  return lines;
}

function versions(): string[] {
  const first = (command: readonly string[]) => {
    if (Bun.which(command[0]!) === null) return [];
    return [
      Bun.spawnSync([...command])
        .stdout.toString()
        .split("\n")[0]!
        .slice(0, 60),
    ];
  };
  return [
    ...first(["redis-server", "--version"]),
    ...first(["nats-server", "--version"]),
    ...first(["rabbitmqctl", "version"]).map((version) => `RabbitMQ ${version}`),
  ];
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "3" },
    quick: { type: "boolean", default: false },
    workload: { type: "string", multiple: true, default: WORKLOADS.map(({ name }) => name) },
  },
});
const quick = values.quick;
const rounds = quick ? 1 : Number(values.rounds);
const wanted =
  positionals.length === 0 ? NAMES : NAMES.filter((name) => positionals.includes(name));
const missing = wanted.filter((name) => isPeer(name) && missingProgram(name) !== undefined);
for (const name of missing)
  console.log(`SKIPPED-MISSING-PROGRAM: ${missingProgram(name as PeerName)}`);
const sides = wanted.filter((name) => !missing.includes(name));
const workloads = WORKLOADS.filter(({ name }) => values.workload.includes(name));
const rows: Row[] = workloads.flatMap((work) =>
  sides.map((side) => ({ workload: work.name, side, rounds: [], faults: [] })),
);
for (const work of workloads) {
  for (let round = 1; round <= rounds; round++) {
    for (const row of rows.filter(({ workload }) => workload === work.name)) {
      try {
        const result = figures(await measureSide(row.side, work, quick));
        row.rounds.push(result);
        const rate = result.rate!.toFixed(0);
        console.log(`${work.name} ${round} ${row.side}: ${rate}/s, ${result.cpuUs!.toFixed(1)} µs`);
      } catch (error) {
        row.faults.push((error as Error).message.split("\n")[0]!);
        console.log(`${work.name} ${round} ${row.side}: ${(error as Error).message}`);
      }
    }
  }
}
const machine = describeMachine();
const date = new Date().toISOString().slice(0, 10);
const text = [
  `# Beside other brokers, ${date}`,
  "",
  `${machine.cores} cores, ${machine.cpu}, Linux ${machine.kernel}, Bun ${machine.bun}, ${machine.fileSystem}, ` +
    `4 KiB append + fdatasync p50 ${machine.fdatasyncP50Us} µs. ${rounds} round(s), in turn; medians. ` +
    `256 B payloads, loopback TCP. ${versions().join("; ")}.`,
  "",
  ...sides.map((side) => `- **${side}**: ${SIDES[side]}`),
  ...workloads.flatMap((work) => table(work, rows)),
  "",
].join("\n");
const part = workloads.length === WORKLOADS.length ? [] : workloads.map(({ name }) => name);
const name = [date, machineSlug(machine), "peers", ...part, ...(quick ? ["quick"] : [])].join("-");
const results = join(import.meta.dir, "../results");
mkdirSync(results, { recursive: true });
await Bun.write(join(results, `${name}.md`), text);
await Bun.write(
  join(results, `${name}.json`),
  `${JSON.stringify({ machine, rounds, rows }, null, 1)}\n`,
);
console.log(text);
process.exit(rows.some(({ faults }) => faults.length > 0) ? 1 : 0);
