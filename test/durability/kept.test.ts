/** kill -9 with histories and retained values: what was confirmed is there, at its offset, without a gap. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HistoryPage, KeptMessage, RetainedPage } from "../../src/engine/topics.ts";
import type { Message } from "../../src/message.ts";
import { answerOf } from "../contracts/engine/keeping.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";
import { BOUNDS, type Confirmed, QUEUE, TOPICS } from "./kept-words.ts";
import { OpenedEngine } from "./opened-engine.ts";
import { arm, armedProcess, armWorkers, POINTS } from "./points.ts";

const ROUNDS = 6;
/** Confirmed messages after which it is killed, at most. */
const LONGEST = 1200;
const BOUND_MS = 120_000;
const PUBLISHER = join(import.meta.dir, "kept-publisher.ts");
const POINTS_MODULE = join(import.meta.dir, "points.ts");

async function inDirectory(work: (path: string) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), "warren-kept-"));
  try {
    await work(path);
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

/** Lets it publish until so many were confirmed, or until the point that is armed in the file. */
async function publishUntilKilled(
  words: readonly string[],
  confirmed: number,
  pointFile?: string,
): Promise<Confirmed[]> {
  const first = pointFile === undefined ? [] : ["--preload", POINTS_MODULE];
  const armed = pointFile === undefined ? {} : armedProcess(pointFile);
  const child = Bun.spawn([process.execPath, ...first, PUBLISHER, ...words], {
    stdout: "pipe",
    stderr: "inherit",
    env: { PATH: process.env.PATH ?? "", ...armed },
  });
  const decoder = new TextDecoder();
  let text = "";
  let lines = 0;
  for await (const chunk of child.stdout) {
    const more = decoder.decode(chunk, { stream: true });
    text += more;
    lines += more.split("\n").length - 1;
    if (pointFile === undefined && lines >= confirmed) child.kill("SIGKILL");
  }
  await child.exited;
  // The last line may have been cut off.
  const whole = text.split("\n").slice(0, -1);
  return whole.map((line) => JSON.parse(line) as Confirmed);
}

/** Everything in the history of the topic. */
async function historyOf({ engine }: OpenedEngine, topic: string): Promise<HistoryPage> {
  const messages: KeptMessage[] = [];
  for (;;) {
    const range = { after: messages.at(-1)?.offset ?? 0, limit: 500, bytes: 1e6 };
    const page = await answerOf<HistoryPage>((answered) =>
      engine.topics.history({ topic, bounds: BOUNDS, ...range }, answered),
    );
    messages.push(...page.messages);
    if (page.complete) return { ...page, messages };
  }
}

async function retainedOf({ engine }: OpenedEngine): Promise<Map<string, Message>> {
  const { messages } = await answerOf<RetainedPage>((answered) =>
    engine.topics.retained({ filter: "t/+", limit: 100, bytes: 1e6 }, answered),
  );
  return new Map(messages.map((message) => [message.topic, message]));
}

/** That all that was confirmed so far is there, and that what is there is whole. */
async function look(dataDir: string, confirmed: readonly Confirmed[]): Promise<void> {
  await using opened = await OpenedEngine.at(dataDir);
  const queued = new Set(await opened.waiting(QUEUE));
  const retained = await retainedOf(opened);
  let messages = 0;
  for (const topic of TOPICS) {
    const page = await historyOf(opened, topic);
    const ids = page.messages.map(({ message }) => message.id);
    messages += ids.length;
    expect(page.messages.map(({ offset }) => offset)).toEqual(ids.map((_, at) => at + 1));
    expect([page.first, page.offset]).toEqual([1, ids.length]);
    // With its copy for the queue, or not at all.
    for (const id of ids) expect([id, queued.delete(id)]).toEqual([id, id.endsWith("-queued")]);
    let lastSet = 0;
    for (const { id, position, isRetained } of confirmed.filter((one) => one.topic === topic)) {
      expect(position).toEqual({ epoch: page.epoch, offset: ids.indexOf(id) + 1 });
      if (isRetained) lastSet = Math.max(lastSet, ids.indexOf(id) + 1);
    }
    const value = retained.get(topic);
    const place = value === undefined ? 0 : ids.indexOf(value.id) + 1;
    expect([topic, place >= lastSet]).toEqual([topic, true]);
  }
  // Nothing is in the queue that the history has not.
  expect([...queued]).toEqual([]);
  const { historyMessages, retainedMessages, topics } = opened.engine.topics.totals;
  expect([historyMessages, retainedMessages]).toEqual([messages, retained.size]);
  const listed = await opened.engine.topics.list(undefined, 100);
  expect(topics).toBe(listed.topics.length);
  expect(listed.topics.reduce((sum, kept) => sum + kept.messages, 0)).toBe(messages);
  const bytes = listed.topics.reduce((sum, kept) => sum + kept.bytes, 0);
  expect(opened.engine.topics.totals.historyBytes).toBe(bytes);
}

for (const seed of fuzzSeeds(1)) {
  test(
    `[P-4.3, P-5.8] what topics keep is there after kill -9, FUZZ_SEED=${seed}`,
    () =>
      inDirectory(async (path) => {
        const random = seededRandom(seed);
        const confirmed: Confirmed[] = [];
        const pointFile = join(path, "point");
        for (let round = 0; round < ROUNDS; round++) {
          const words = [path, `${round}`, `${Math.floor(random() * 1e9)}`];
          if (round % 2 === 0) {
            confirmed.push(...(await publishUntilKilled(words, Math.ceil(random() * LONGEST))));
          } else {
            arm(pointFile, POINTS[(round >> 1) % POINTS.length]!, 3 + Math.floor(random() * 12));
            confirmed.push(...(await publishUntilKilled(words, 0, pointFile)));
          }
          await look(path, confirmed);
        }
        expect(confirmed.length).toBeGreaterThan(ROUNDS);
      }),
    BOUND_MS,
  );
}

for (const point of POINTS) {
  test(
    `[P-4.3, P-3.5] the writer is lost ${point}: sent again it is in the history once, without a gap`,
    () =>
      inDirectory(async (path) => {
        const file = join(path, "point");
        const disarm = armWorkers(file, "thread");
        try {
          await using opened = await OpenedEngine.at(path);
          const publish = (id: string) =>
            new Promise((stored, failed) =>
              opened.engine.append({
                message: opened.message(id),
                queues: [],
                dedupe: true,
                history: BOUNDS,
                retain: "set",
                stored,
                failed,
              }),
            );
          for (const id of ["1", "2"]) await publish(id);
          const { epoch } = await historyOf(opened, "t");
          arm(file, point);
          await expect(publish("3")).rejects.toMatchObject({ code: "storage_unavailable" });
          await opened.becomes("ready");
          const isStored = (await historyOf(opened, "t")).offset === 3;
          expect(isStored).toBe(point === "after the commit");
          expect(await publish("3")).toMatchObject({ duplicate: isStored });
          expect(await publish("4")).toMatchObject({ position: { epoch, offset: 4 } });
          const page = await historyOf(opened, "t");
          expect(page.messages.map(({ message }) => message.id)).toEqual(["1", "2", "3", "4"]);
          expect(page.epoch).toBe(epoch);
          const totals = { topics: 1, historyMessages: 4, retainedMessages: 1 };
          expect(opened.engine.topics.totals).toMatchObject(totals);
        } finally {
          disarm();
        }
      }),
    BOUND_MS,
  );
}
