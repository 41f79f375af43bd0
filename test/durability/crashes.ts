/** Rounds of load that end in kill -9 on one store, and what the checker finds in the end. */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startCli } from "../harness/cli.ts";
import { serve } from "../harness/served.ts";
import { LOAD_ENVIRONMENT, Load } from "./load.ts";
import { arm, armedProcess, POINTS, type Point } from "./points.ts";

export interface CrashReport extends Pick<Load, "changes" | "displaced" | "revived"> {
  readonly faults: ReturnType<Load["faults"]>;
  /** Codes with which anybody was refused. */
  readonly refusals: readonly string[];
  readonly messages: number;
  readonly deliveries: number;
  /** Rounds that ended at a named point of a commit: every second one should. */
  readonly atPoints: number;
}

/** Messages of each publisher in one round. */
const MESSAGES = 600;
/** Answers after which the broker is killed, at most. */
const LONGEST = 1500;
/** Commits before the one in which it ends, at most. */
const COMMITS = 12;
/**
 * More answers than so many commits can hold: all publishers' windows and all workers' credits fill less
 * than 300 places. However slow the machine, by then the point was reached, or it is missed.
 */
const ENOUGH = COMMITS * 400;
const POINTS_MODULE = join(import.meta.dir, "points.ts");
/** Every so many rounds a broker is killed before it is ready. */
const EARLY = 4;

export async function crash(
  rounds: number,
  seed: number,
  told: (line: string) => void = () => {},
): Promise<CrashReport> {
  const dataDir = await mkdtemp(join(tmpdir(), "warren-crash-"));
  const load = new Load(seed);
  let atPoints = 0;
  try {
    for (let round = 0; round < rounds; round++) {
      if (round % EARLY === 0) await killAtStart(dataDir, load.random());
      if (round % 2 === 0) await killUnderLoad(dataDir, load);
      else if (await killAtPoint(dataDir, load, POINTS[(round >> 1) % POINTS.length]!)) atPoints++;
      told(`round ${round + 1}: ${load.messages} confirmed, ${load.deliveries} delivered`);
    }
    await using last = await serve(dataDir, [], LOAD_ENVIRONMENT);
    await load.drain(last.url);
    const { refusals, messages, deliveries, changes, displaced, revived } = load;
    const figures = { messages, deliveries, changes, displaced, revived };
    return { faults: load.faults(), refusals, ...figures, atPoints };
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function killUnderLoad(dataDir: string, load: Load): Promise<void> {
  await using broker = await serve(dataDir, [], LOAD_ENVIRONMENT);
  await load.define(broker.url);
  await load.redrive(broker.url);
  await load.start(broker.url, MESSAGES);
  const { random } = load;
  const answers = Math.ceil(random() * LONGEST);
  if (random() < 0.3) {
    await load.progress(Math.ceil(answers / 2));
    void load.workers[0]?.leave();
  }
  await load.progress(answers);
  broker.child.kill("SIGKILL");
  await load.crashed();
  await broker.child.exited;
}

/** It kills itself at the point of some commit under load; true when it came to that. */
async function killAtPoint(dataDir: string, load: Load, point: Point): Promise<boolean> {
  const pointFile = join(dataDir, "point");
  const env = { ...LOAD_ENVIRONMENT, ...armedProcess(pointFile) };
  await using broker = await serve(dataDir, [], env, POINTS_MODULE);
  await load.define(broker.url);
  await load.redrive(broker.url);
  await load.start(broker.url, ENOUGH);
  // Only now: nobody is still connecting when it ends.
  arm(pointFile, point, Math.floor(load.random() * COMMITS));
  await load.progress(ENOUGH);
  const reached = !existsSync(pointFile);
  broker.child.kill("SIGKILL");
  await rm(pointFile, { force: true });
  await load.crashed();
  await broker.child.exited;
  return reached;
}

/** Kills a broker at some moment of its start, which may be that of its first data file. */
async function killAtStart(dataDir: string, chance: number): Promise<void> {
  await using child = startCli(["serve", "--port", "0", "--data-dir", dataDir, "--json"]);
  const bound = performance.now() + 400 * chance;
  while (performance.now() < bound && !child.out.includes("listening")) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  child.kill("SIGKILL");
  await child.exited;
}
