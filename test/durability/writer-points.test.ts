/**
 * The thread that writes ends at a named point of the commit of every kind of operation. Whatever was
 * committed, memory equals the file afterwards, and what anybody was told is true.
 */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { completeSettings } from "../../src/engine/rules.ts";
import { Peer } from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { OpenedEngine } from "./opened-engine.ts";
import { arm, armWorkers, POINTS, type Point } from "./points.ts";

const SECOND_MS = 1000;
const DEFINITION = { ackTimeoutMs: 5000, maxDeliveries: 2, ttlMs: 60_000 };
const SETTINGS = completeSettings(DEFINITION);
/** There before anything happens; all but the last are of queue `a`. */
const READY = ["one", "two", "three"];
const DELAYED_MS = 3000;

let dataDir: string;
let pointFile: string;
let disarm: () => void;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-points-"));
  pointFile = join(dataDir, "point");
  disarm = armWorkers(pointFile, "thread");
});
afterEach(async () => {
  disarm();
  await rm(dataDir, { recursive: true, force: true });
});

class Scene {
  readonly clock = new ManualClock();
  opened!: OpenedEngine;
  peer!: Peer;

  async begin(): Promise<void> {
    this.opened = await OpenedEngine.at(dataDir, { clock: this.clock });
    await this.opened.define("a", DEFINITION);
    await this.opened.define("b", DEFINITION);
    await this.opened.appendAll("a", READY);
    await this.opened.append("a", "delayed", { dueAt: this.clock.now() + DELAYED_MS });
    this.peer = new Peer(this.opened.engine, "a", 2);
    await this.peer.has(2);
  }

  get tag(): number {
    return this.peer.seen[0]!.tag;
  }

  get queues() {
    return this.opened.engine.queues;
  }
}

/** Does one thing; resolves to whether it was confirmed. Without an answer: undefined. */
type Operation = (scene: Scene) => Promise<boolean | undefined>;

const told = (promise: Promise<unknown>) =>
  promise.then(
    () => true,
    () => false,
  );
const settled = async (answer: Promise<unknown>) => (await answer) === undefined;

const OPERATIONS: Readonly<Record<string, Operation>> = {
  append: ({ opened }) => told(opened.append("a", "new")),
  "append, delayed": ({ opened, clock }) =>
    told(opened.append("a", "new", { dueAt: clock.now() + 500 })),
  "append to two queues": ({ opened }) =>
    told(
      new Promise<void>((resolve, failed) => {
        const message = opened.message("new");
        const stored = () => resolve();
        opened.engine.append({ message, queues: ["a", "b"], dedupe: true, stored, failed });
      }),
    ),
  ack: ({ peer, tag }) => settled(peer.ack(tag)),
  "nack without delay": ({ peer, tag }) => settled(peer.nack(tag, 0)),
  "nack with delay": ({ peer, tag }) => settled(peer.nack(tag, 500)),
  reject: ({ peer, tag }) => settled(peer.reject(tag)),
  "ack of several": ({ peer }) => settled(peer.ack(peer.seen.map(({ tag }) => tag))),
  disconnect: async ({ peer, clock, opened }) => {
    clock.advance(2 * SECOND_MS);
    peer.consumer.disconnect();
    void told(opened.append("b", "beside"));
    return undefined;
  },
  "the release of a delayed one": async ({ clock }) => {
    clock.advance(DELAYED_MS);
    return undefined;
  },
  "an ack timeout": async ({ clock }) => {
    clock.advance(DEFINITION.ackTimeoutMs);
    return undefined;
  },
  "an expiry": async ({ clock, peer }) => {
    peer.consumer.cancel();
    clock.advance(DEFINITION.ttlMs);
    return undefined;
  },
  purge: ({ queues }) => told(queues.purge("a")),
  "define a new one": ({ queues }) => told(queues.define("new", SETTINGS, ["new/#"])),
  "define anew": ({ queues }) =>
    told(queues.define("a", { ...SETTINGS, defaultPriority: 7 }, ["a/#"])),
  remove: ({ queues }) => told(queues.remove("a")),
};

interface Stored {
  readonly name: string;
  readonly settings: unknown;
  readonly bindings: unknown;
  readonly ids: string[];
  readonly delayed: number;
  readonly bytes: number;
}

/** What the file says, asked past the engine. */
function onDisk(): Stored[] {
  const database = new Database(join(dataDir, "warren.db"), { readonly: true });
  try {
    type Queue = { number: number; name: string; settings: string; bindings: string };
    type Row = { id: string; due_at: number | null; bytes: number };
    const queues = database.query<Queue, []>("SELECT * FROM queues ORDER BY name").all();
    const rows = database.query<Row, [number]>(
      `SELECT json_extract(cast(substr(record, 1, instr(record, x'0a')) AS text), '$.id') AS id,
       due_at, length(record) AS bytes FROM messages WHERE id >> 48 = ? ORDER BY messages.id`,
    );
    return queues.map(({ number, name, settings, bindings }) => {
      const held = rows.all(number);
      return {
        name,
        settings: JSON.parse(settings),
        bindings: JSON.parse(bindings),
        ids: held.map(({ id }) => id),
        delayed: held.filter(({ due_at }) => due_at !== null).length,
        bytes: held.reduce((sum, row) => sum + row.bytes, 0),
      };
    });
  } finally {
    database.close();
  }
}

/** What the engine says of the same, once it has done what it had to. */
async function expectSameInMemory({ opened, queues }: Scene): Promise<void> {
  const said = () =>
    queues.list().map(({ name, settings, bindings, counts }) => {
      const { ready, delayed, inFlight, bytes } = counts;
      return { name, settings, bindings, count: ready + delayed + inFlight, delayed, bytes };
    });
  const written = () => onDisk().map(({ ids, ...queue }) => ({ ...queue, count: ids.length }));
  await eventually(
    () => opened.engine.storage.waiting === 0 && Bun.deepEquals(said(), written()),
    () => `${JSON.stringify(said())} to be ${JSON.stringify(written())}`,
  );
  for (const { name, ids } of onDisk()) expect(await opened.waiting(name)).toEqual(ids);
}

async function lose(scene: Scene, point: Point, operation: Operation) {
  arm(pointFile, point);
  const confirmed = operation(scene);
  await scene.opened.becomes("unavailable");
  expect(scene.opened.healths[0]).toMatchObject({
    reason: expect.stringContaining("writer thread was lost"),
    advice: expect.stringContaining("started again"),
  });
  // Nobody is told that something is done which may not be.
  expect(await confirmed).not.toBe(true);
  expect(() => scene.opened.engine.consume("b", scene.peer.sink)).toThrow("storage");
  scene.clock.advance(SECOND_MS);
  await scene.opened.becomes("ready");
}

/** All that had expired meanwhile is dead. */
function isOver({ queues }: Scene): Promise<void> {
  const counts = (name: string) => queues.describe(name).counts;
  return eventually(
    () => counts("a").ready + counts("a").delayed === 0 && counts("a.dead").ready === 4,
    () => `an expiry, with ${JSON.stringify([counts("a"), counts("a.dead")])}`,
  );
}

/** Everything that is stored is delivered once and acked, and then there is nothing. */
async function drain({ opened, clock, queues }: Scene): Promise<void> {
  for (const { name, ids } of onDisk()) {
    const peer = new Peer(opened.engine, name, 100);
    await eventually(
      () => peer.seen.length >= queues.describe(name).counts.ready,
      () => `what is ready of ${name}; ${peer.ids} came`,
    );
    clock.advance(DELAYED_MS);
    await peer.has(ids.length);
    expect(peer.ids.toSorted()).toEqual(ids.toSorted());
    expect(await peer.ack(peer.seen.map(({ tag }) => tag))).toBeUndefined();
    expect(queues.describe(name).counts).toMatchObject({ ready: 0, delayed: 0, inFlight: 0 });
    peer.consumer.cancel();
  }
  expect(onDisk().flatMap(({ ids }) => ids)).toEqual([]);
}

for (const point of POINTS) {
  describe(`[P-5.8] the writer ends ${point}`, () => {
    for (const [name, operation] of Object.entries(OPERATIONS)) {
      test(`[P-5.2] ${name}: consumers are told, and memory is what the file is`, async () => {
        const scene = new Scene();
        await scene.begin();
        await using _ = scene.opened;
        const left = name === "disconnect" || name === "an expiry";
        await lose(scene, point, operation);
        if (!left && name !== "remove") {
          expect(scene.peer.ended?.code).toBe("storage_unavailable");
        }
        await expectSameInMemory(scene);
        const stored = onDisk().some(({ ids }) => ids.includes("new"));
        if (name === "an expiry") await isOver(scene);
        if (name.startsWith("append")) expect(stored).toBe(point === "after the commit");
        await drain(scene);
      });
    }
  });
}
