/**
 * How long a confirmed publish waits for an operator: one is published after the other, to a queue
 * of its own, while a million dead letters are searched, counted, redriven and purged, and the audit
 * trail is read whole.
 *
 *     bun bench/stalls.ts [messages]
 */
import { Database } from "bun:sqlite";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, systemRandom } from "../src/clock.ts";
import { completeSettings } from "../src/engine/rules.ts";
import { SqliteEngine } from "../src/engine/sqlite/engine.ts";
import { ID, laneOf } from "../src/engine/sqlite/lanes.ts";
import { encodeRecord } from "../src/engine/sqlite/record.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import { Payload } from "../src/payload.ts";

const MESSAGES = Number(process.argv[2] ?? 1_000_000);
const PHASE_MS = 8000;
const AUDIT_ENTRIES = 100_000;

const dataDir = await mkdtemp(join(tmpdir(), "warren-stalls-"));

async function opened(): Promise<SqliteEngine> {
  const parts = { clock: systemClock, random: systemRandom, limits: DEFAULT_LIMITS };
  const engine = new SqliteEngine({ ...parts, dataDir, durability: "fsync" });
  await engine.open({ queueChanged: () => {}, healthChanged: () => {} });
  return engine;
}

function seed(): void {
  const database = new Database(join(dataDir, "warren.db"));
  const find = database.prepare<{ number: number }, []>(
    "SELECT number FROM queues WHERE name = 'jobs.dead'",
  );
  const { number } = find.get()!;
  const insert = database.prepare(
    `INSERT INTO messages (id, record) VALUES (${ID("?1", "?2")}, ?3)`,
  );
  let bytes = 0;
  database.transaction(() => {
    for (let n = 1; n <= MESSAGES; n++) {
      const at = Date.now();
      const value = {
        order: n,
        text: `The order ${n} could not be booked.`,
        filler: "x".repeat(120),
      };
      const payload = Payload.fromValue(value);
      const message = { id: `m${n}`, topic: `jobs/${n % 100}`, time: at, payload };
      const death = {
        queue: "jobs",
        reason: "rejected",
        attempts: 1,
        firstAt: at,
        lastAt: at,
      } as const;
      const headers = { kind: n % 2 === 0 ? "a" : "b" };
      const { header, payload: stored } = encodeRecord({ ...message, headers }, at, [
        { ...death, detail: "connection refused" },
      ]);
      const record = Buffer.concat([Buffer.from(header), Buffer.from(stored as Uint8Array)]);
      bytes += record.length;
      insert.run(laneOf(number, 4), n, record);
    }
    database.run("UPDATE queues SET messages = ?1, bytes = ?2 WHERE number = ?3", [
      MESSAGES,
      bytes,
      number,
    ]);
  })();
  // One that is left open keeps its lock.
  for (const statement of [find, insert]) statement.finalize();
  database.close(true);
}

/** Publishes one after the other until `until` says so; milliseconds each took. */
async function publishing(engine: SqliteEngine, isOver: () => boolean): Promise<number[]> {
  const took: number[] = [];
  while (!isOver()) {
    const from = performance.now();
    const payload = Payload.fromValue({ n: took.length });
    const message = { id: `p${from}`, topic: "live/a", time: Date.now(), payload };
    await new Promise<void>((stored, failed) => {
      engine.append({ message, queues: ["live"], dedupe: false, stored: () => stored(), failed });
    });
    took.push(performance.now() - from);
  }
  return took;
}

interface Work {
  readonly what: string;
  /** One step; false when there is no more of it. */
  step(): Promise<boolean>;
}

async function measure(engine: SqliteEngine, { what, step }: Work): Promise<void> {
  const end = performance.now() + PHASE_MS;
  let isOver = false;
  let steps = 0;
  const started = performance.now();
  const working = (async () => {
    while (performance.now() < end && (await step())) steps++;
    isOver = true;
  })();
  const took = (await publishing(engine, () => isOver)).sort((a, b) => a - b);
  await working;
  const seconds = (performance.now() - started) / 1000;
  const at = (share: number) =>
    took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0;
  const figures = [at(0.5), at(0.99), at(1)].map((ms) => ms.toFixed(2).padStart(8));
  const counts = [took.length, steps, seconds.toFixed(2)].map((count) => `${count}`.padStart(8));
  console.log(`${what.padEnd(34)}${[...figures, ...counts].join("")}`);
}

function works(engine: SqliteEngine): Work[] {
  const { queues } = engine;
  const searching = () => {
    let after: string | undefined;
    return async () => {
      const more = after === undefined ? {} : { after };
      const page = await queues.peek("jobs.dead", {
        limit: 100,
        search: "nowhere to be found",
        ...more,
      });
      after = page.next;
      return after !== undefined;
    };
  };
  const moving = (request: { dryRun?: boolean; to?: null }, search?: string) => {
    let after: string | undefined;
    return async () => {
      const select = search === undefined ? {} : { search };
      const page = await queues.transfer("jobs.dead", {
        ...{ state: "waiting", select, limit: 256, ...request },
        ...(after === undefined ? {} : { after }),
      } as const);
      after = page.next;
      return after !== undefined;
    };
  };
  const several = Array.from({ length: 4 }, searching);
  let n = 0;
  return [
    { what: "nothing", step: () => Bun.sleep(20).then(() => true) },
    { what: "a search that finds nothing", step: searching() },
    {
      what: "four such searches",
      step: async () => (await Promise.all(several.map((one) => one()))).every((more) => more),
    },
    { what: "a dry run", step: moving({ dryRun: true }) },
    { what: "a dry run that finds nothing", step: moving({ dryRun: true }, "nowhere") },
    {
      what: "definitions beside a dry run",
      step: (() => {
        const dry = moving({ dryRun: true });
        let slowest = 0;
        let more = true;
        let begun = false;
        const run = async () => {
          while (more) more = await dry();
        };
        return async () => {
          if (!begun) void run();
          begun = true;
          const from = performance.now();
          await queues.define("other", completeSettings({ maxDeliveries: 1 + (n++ % 9) }), []);
          const took = performance.now() - from;
          if (took > slowest) {
            slowest = took;
            console.log(`  slowest definition so far ${took.toFixed(2)} ms`);
          }
          return more;
        };
      })(),
    },
    { what: "a redrive", step: moving({}) },
    {
      what: "the audit trail, whole, 20 times",
      step: (() => {
        let left = 20;
        return async () => {
          await engine.audit.query({ limit: 10, action: "never" });
          return --left > 0;
        };
      })(),
    },
    {
      what: "a purge",
      step: async () => {
        await queues.purge("jobs.dead");
        return false;
      },
    },
  ];
}

try {
  const first = await opened();
  await first.queues.define("jobs", completeSettings({}), []);
  await first.queues.define("live", completeSettings({}), []);
  for (let i = 0; i < AUDIT_ENTRIES; i++) {
    const detail = { fields: ["maxDeliveries"] };
    first.audit.write({
      time: i,
      action: "queue.change",
      outcome: "done",
      principal: "ann",
      on: "jobs",
      detail,
    });
    if (i % 2000 === 0) await first.audit.query({ limit: 1 });
  }
  await first.close();
  seed();
  const engine = await opened();
  console.log(`${MESSAGES} dead letters; milliseconds of a confirmed publish, one at a time`);
  console.log(`${"meanwhile".padEnd(34)}     p50     p99     max       n   steps seconds`);
  for (const work of works(engine)) await measure(engine, work);
  await engine.close();
} finally {
  await rm(dataDir, { recursive: true, force: true });
}
