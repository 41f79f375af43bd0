/**
 * kill -9 at every named point of the commits of a redrive and of a replay: the task goes on where it
 * was, and in the end each message has come exactly once.
 */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../harness/eventually.ts";
import { type Served, serve } from "../harness/served.ts";
import { arm, armedProcess, POINTS, type Point } from "./points.ts";

const BOUND_MS = 180_000;
const MESSAGES = 800;
const AT_ONCE = 200;
/** A tenth of it is a page: more pages than commits of them that the lives below can see. */
const RATE = 250;
const POINTS_MODULE = join(import.meta.dir, "points.ts");
/** Where each life of the broker ends, and how many commits before that are let through. */
const ENDS: readonly (readonly [Point, number])[] = [
  ...POINTS.map((point) => [point, 0] as const),
  ...POINTS.map((point) => [point, 1] as const),
];

// biome-ignore lint/suspicious/noExplicitAny: tests say what they expect
async function ask({ url }: Served, method: string, path: string, body?: unknown): Promise<any> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const answer = await fetch(`${url}${path}`, { method, ...(text && { body: text }) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`);
  return answer.json();
}

const idOf = (n: number) => `m${String(n).padStart(5, "0")}`;

/** All of them published, taken and settled so. */
async function settleAll(broker: Served, settle: (tags: number[]) => unknown): Promise<void> {
  const queue = { bindings: ["jobs/#"], retainAckedMs: 3_600_000 };
  await ask(broker, "PUT", "/admin/v1/queues/jobs", queue);
  for (let from = 0; from < MESSAGES; from += AT_ONCE) {
    const messages = Array.from({ length: AT_ONCE }, (_, i) => {
      return { topic: "jobs/1", messageId: idOf(from + i), payload: from + i };
    });
    await ask(broker, "POST", "/v1/publish", messages);
    const { deliveries } = await ask(broker, "POST", "/v1/queues/jobs/pull", {
      max: AT_ONCE,
      waitMs: 20_000,
    });
    const tags = deliveries.map(({ tag }: { tag: number }) => tag);
    await ask(broker, "POST", "/v1/queues/jobs/settle", settle(tags));
  }
}

async function messagesOf(broker: Served, queue: string, query = "") {
  const found: { messageId: string; deaths?: unknown[] }[] = [];
  let after = "";
  do {
    const path = `/admin/v1/queues/${queue}/messages?limit=500${query}${after}`;
    const { messages, next } = await ask(broker, "GET", path);
    found.push(...messages);
    after = next === undefined ? "" : `&after=${next}`;
  } while (after !== "");
  return found;
}

async function ends(broker: Served, id: string) {
  let task: { state?: string; moved?: number; held?: number; failed?: number } = {};
  let asking = false;
  await eventually(
    () => {
      if (!asking) {
        asking = true;
        void ask(broker, "GET", `/admin/v1/tasks/${id}`).then((came) => {
          task = came;
          asking = false;
        });
      }
      return task.state !== undefined && task.state !== "running";
    },
    () => `the task to end, not ${JSON.stringify(task)}`,
  );
  return task;
}

/** Begins the task and kills the broker again and again; whether each life ended at its point. */
async function killed(
  dataDir: string,
  begin: (broker: Served) => Promise<string>,
): Promise<{ id: string; reached: boolean[] }> {
  const pointFile = join(dataDir, "point");
  const env = armedProcess(pointFile);
  let id = "";
  const reached: boolean[] = [];
  {
    await using first = await serve(dataDir, [], env, POINTS_MODULE);
    id = await begin(first);
    arm(pointFile, "after the commit");
    await first.child.exited;
    reached.push(!existsSync(pointFile));
  }
  for (const [point, skipped] of ENDS) {
    arm(pointFile, point, skipped);
    // It may come to the point before it listens.
    const broker = await serve(dataDir, [], env, POINTS_MODULE).catch(() => undefined);
    await broker?.child.exited;
    reached.push(!existsSync(pointFile));
  }
  return { id, reached };
}

const KINDS = [
  { kind: "redrive", from: "jobs.dead", settle: (tags: number[]) => ({ reject: [{ tags }] }) },
  { kind: "replay", from: "jobs", settle: (tags: number[]) => ({ ack: tags }) },
] as const;

for (const { kind, from, settle } of KINDS) {
  test(
    `[P-13.10, P-5.8] a ${kind} that is killed at every point neither repeats nor skips`,
    async () => {
      const dataDir = await mkdtemp(join(tmpdir(), "warren-task-"));
      try {
        const { id, reached } = await killed(dataDir, async (broker) => {
          await settleAll(broker, settle);
          const order = { ratePerSecond: RATE };
          return (await ask(broker, "POST", `/admin/v1/queues/${from}/${kind}`, order)).id;
        });
        expect(reached).toEqual([true, ...ENDS.map(() => true)]);
        await using broker = await serve(dataDir);
        const task = await ends(broker, id);
        expect(task).toMatchObject({ state: "done", moved: MESSAGES, held: 0, failed: 0 });
        const came = await messagesOf(broker, "jobs");
        const all = Array.from({ length: MESSAGES }, (_, n) => idOf(n));
        expect(came.map(({ messageId }) => messageId)).toEqual(all);
        const deaths = kind === "redrive" ? 1 : 0;
        expect(came.filter((each) => (each.deaths?.length ?? 0) !== deaths)).toEqual([]);
        expect((await messagesOf(broker, "jobs.dead")).length).toBe(0);
        const kept = await messagesOf(broker, "jobs", "&state=acked");
        expect(kept.map(({ messageId }) => messageId)).toEqual(kind === "replay" ? all : []);
      } finally {
        await rm(dataDir, { recursive: true, force: true });
      }
    },
    BOUND_MS,
  );
}
