/**
 * Named points of the way of a commit at which the writer thread, or the whole process, can be made to
 * end. Nothing of this is in the broker: it is loaded before the writer's own code, which it knows by
 * the words that begin and end a transaction. A file says which point is armed, so that a test can arm
 * one in a thread or a process that runs already.
 */
import { Database, type Statement } from "bun:sqlite";
import { readFileSync, rmSync, writeFileSync } from "node:fs";

export const POINTS = ["before the transaction", "in the transaction", "after the commit"] as const;
export type Point = (typeof POINTS)[number];

/** What ends when the point is reached: the thread, or the process by SIGKILL. */
export type Ending = "thread" | "process";

/** The environment of a thread: which file arms a point in it, and what ends. */
const FILE = "TEST_POINT_FILE";
const ENDING = "TEST_POINT_ENDING";

/** Arms a point: it is reached with the commit after `skipped` others, and disarmed then. */
export function arm(file: string, point: Point, skipped = 0): void {
  writeFileSync(file, `${skipped} ${point}`);
}

/** From now on the threads of this process are armed by `file`. Returns how to end that. */
export function armWorkers(file: string, ending: Ending): () => void {
  const PlainWorker = globalThis.Worker;
  globalThis.Worker = class extends PlainWorker {
    constructor(script: string | URL, options: WorkerOptions = {}) {
      const env = { [FILE]: file, [ENDING]: ending };
      super(script, { ...options, preload: [import.meta.path], env } as WorkerOptions);
    }
  };
  return () => {
    globalThis.Worker = PlainWorker;
  };
}

function reached(file: string, point: Point): void {
  let armed: string;
  try {
    armed = readFileSync(file, "utf8");
  } catch {
    return;
  }
  const [, skipped, wanted] = /^(\d+) (.*)$/.exec(armed) ?? [];
  if (wanted !== point) return;
  if (Number(skipped) > 0) {
    arm(file, point, Number(skipped) - 1);
    return;
  }
  rmSync(file);
  if (Bun.env[ENDING] === "process") process.kill(process.pid, "SIGKILL");
  process.exit(1);
}

/** The statement, with something done before and after it is run. */
function around(statement: Statement, before: () => void, after: () => void): Statement {
  const run = statement.run.bind(statement);
  statement.run = (...values) => {
    before();
    const changes = run(...values);
    after();
    return changes;
  };
  return statement;
}

function instrument(file: string): void {
  const prepare = Database.prototype.prepare;
  const nothing = () => {};
  Database.prototype.prepare = function prepared(this: Database, text: string, ...rest: []) {
    const statement = prepare.call(this, text, ...rest);
    const at = (point: Point) => () => reached(file, point);
    if (text === "BEGIN IMMEDIATE") return around(statement, at("before the transaction"), nothing);
    if (text !== "COMMIT") return statement;
    return around(statement, at("in the transaction"), at("after the commit"));
  } as typeof prepare;
}

/** The environment of a process that loads this file first: its writer is armed by `file`. */
export const armedProcess = (file: string) => ({ [FILE]: file, [ENDING]: "process" });

const file = Bun.env[FILE];
if (file !== undefined) {
  if (!Bun.isMainThread) instrument(file);
  else if (Bun.env[ENDING] === "process") armWorkers(file, "process");
}
