/** What the SQLite engine does with topics beyond the contract: failing disks, lives of files, large numbers. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { copyFile, mkdtemp, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Durability } from "../../src/engine/sqlite/database.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { LAST_OFFSET } from "../../src/engine/sqlite/topic-rows.ts";
import { Keeping, WIDE } from "../contracts/engine/keeping.ts";
import { type EngineKind, refusal } from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { LocalWriter } from "./local-writer.ts";

/** A store whose file and disk are in the hands of the test. */
class Store {
  readonly writer = new LocalWriter();
  durability: Durability = "fsync";
  path = "";

  get kind(): EngineKind {
    return {
      name: "sqlite",
      durable: true,
      open: async (parts) => {
        const dataDir = await mkdtemp(join(tmpdir(), "warren-topics-"));
        this.path = join(dataDir, "warren.db");
        const startWriter = this.writer.start;
        return {
          create: () =>
            new SqliteEngine({ ...parts, dataDir, startWriter, durability: this.durability }),
          dispose: () => rm(dataDir, { recursive: true, force: true }),
        };
      },
    };
  }

  /** Changes the file while the engine is closed. */
  change(text: string): void {
    const database = new Database(this.path);
    database.run(text);
    database.close();
  }
}

test("[P-4.3, P-5.8] what fails on a full disk leaves no gap, and reading goes on", async () => {
  const store = new Store();
  await using keeping = await Keeping.open(store.kind);
  const { engine, clock } = keeping.subject;
  await keeping.subject.define("q");
  await keeping.publish("1", { retain: "set" });
  store.writer.isFailing = true;
  const queues = ["q"];
  expect(await refusal(keeping.publish("2", { queues, retain: "set" }))).toBe(
    "storage_unavailable",
  );
  expect(await refusal(keeping.publish("3", { retain: "clear" }))).toBe("storage_unavailable");
  expect(await refusal(keeping.forget())).toBe("storage_unavailable");
  expect([await keeping.offsets(), await keeping.values()]).toEqual(["1:1", "t=1"]);
  expect(engine.topics.totals).toMatchObject({ historyMessages: 1, retainedMessages: 1 });
  store.writer.isFailing = false;
  clock.advance(2000);
  await eventually(
    () => engine.health.state === "ready",
    () => "storage that can be written",
  );
  expect(await keeping.publish("4", { queues })).toMatchObject({ position: { offset: 2 } });
  expect(await keeping.offsets()).toBe("1:1 2:4");
});

test("[P-4.3, P-5.8] a transaction that is taken back gives its offsets again", async () => {
  const store = new Store();
  await using keeping = await Keeping.open(store.kind);
  const { engine, clock } = keeping.subject;
  await keeping.publish("1", { retain: "set" });
  await engine.close();
  // Its row cannot be written a second time in one transaction that enters two topics.
  store.change(
    `CREATE TRIGGER refuse BEFORE INSERT ON history WHEN NEW.time > ${clock.now()}
     BEGIN SELECT RAISE(ABORT, 'as the test wants it'); END`,
  );
  await keeping.subject.reopen();
  const { engine: second } = keeping.subject;
  const late = { time: clock.now() + 1 };
  const all = [
    keeping.publish("2", { retain: "clear" }),
    keeping.publish("3", { topic: "u" }),
    keeping.publish("4", late),
  ];
  expect(await Promise.all(all.map(refusal))).toEqual(Array(3).fill("storage_unavailable"));
  clock.advance(2000);
  await eventually(
    () => second.health.state === "ready",
    () => "storage that can be written",
  );
  expect([await keeping.offsets(), await keeping.values()]).toEqual(["1:1", "t=1"]);
  expect(await keeping.known("u")).toBeUndefined();
  const early = { time: clock.now() - 2000 };
  expect(await keeping.publish("5", early)).toMatchObject({ position: { offset: 2 } });
  expect(await keeping.publish("6", { ...early, topic: "u" })).toMatchObject({
    position: { offset: 1 },
  });
  expect(second.topics.totals).toMatchObject({ topics: 2, historyMessages: 3 });
});

test("[P-8.1] after the last offset that there is a topic begins anew in another epoch", async () => {
  const store = new Store();
  await using keeping = await Keeping.open(store.kind);
  await keeping.publishAll(["1", "2", "3"]);
  await keeping.subject.engine.close();
  store.change(`UPDATE history SET id = (id - 3) + ${LAST_OFFSET}`);
  store.change(`UPDATE topics SET last_offset = ${LAST_OFFSET}`);
  await keeping.subject.reopen();
  const { epoch, offset } = await keeping.history();
  expect(offset).toBe(LAST_OFFSET);
  expect(await keeping.offsets({ after: LAST_OFFSET - 2 })).toBe(
    `${LAST_OFFSET - 1}:2 ${LAST_OFFSET}:3`,
  );
  const { position } = await keeping.publish("4");
  expect(position).toMatchObject({ offset: 1 });
  expect(position!.epoch).not.toBe(epoch);
  expect(await keeping.offsets()).toBe("1:4");
  expect(keeping.subject.engine.topics.totals).toMatchObject({ topics: 1, historyMessages: 1 });
});

/** The epoch of a topic before and after something that happens to the file while it is closed. */
async function epochsAround(
  store: Store,
  happens: (keeping: Keeping) => Promise<void> | void,
): Promise<readonly string[]> {
  await using keeping = await Keeping.open(store.kind);
  await keeping.publish("1");
  const before = await keeping.history();
  await keeping.subject.engine.close();
  await happens(keeping);
  await keeping.subject.reopen();
  const after = await keeping.history();
  expect(after.messages.length).toBe(1);
  expect((await keeping.publish("2")).position).toEqual({ epoch: after.epoch, offset: 2 });
  return [before.epoch, after.epoch];
}

test("[P-4.3] a copy of the file has other epochs than the file", async () => {
  const store = new Store();
  const [before, after] = await epochsAround(store, async () => {
    await copyFile(store.path, `${store.path}.copy`);
    await rename(`${store.path}.copy`, store.path);
  });
  expect(after).not.toBe(before);
});

test("[P-4.3] so has a backup that is put in the place of the file", async () => {
  const store = new Store();
  const [before, after] = await epochsAround(store, async () => {
    const backup = `${store.path}.backup`;
    store.change(`VACUUM INTO '${backup}'`);
    await rename(backup, store.path);
    // As what is copied over the file has it, or what is made just after that was removed.
    store.change(`UPDATE keeping SET inode = ${(await stat(store.path)).ino}`);
  });
  expect(after).not.toBe(before);
});

test("[P-3.4, P-4.3] epochs change where the power may have taken what was confirmed", async () => {
  const ended = (boot: string) => async (store: Store) =>
    store.change(`UPDATE keeping SET unsynced_boot = '${boot}'`);
  const cases: [Durability, (store: Store) => Promise<void>, isSame: boolean][] = [
    ["fsync", async () => {}, true],
    ["os", async () => {}, true],
    ["os", ended("of another time"), false],
    ["os", ended("unknown"), false],
    ["fsync", ended("of another time"), false],
  ];
  for (const [durability, happens, isSame] of cases) {
    const store = new Store();
    store.durability = durability;
    const [before, after] = await epochsAround(store, () => happens(store));
    expect([durability, after === before]).toEqual([durability, isSame]);
  }
});

test("[P-3.4, P-4.3] while commits may be lost with the power, the file says so", async () => {
  const store = new Store();
  store.durability = "os";
  await using keeping = await Keeping.open(store.kind);
  const mark = () => {
    const database = new Database(store.path, { readonly: true });
    const row = database.query<{ mark: unknown }, []>("SELECT unsynced_boot AS mark FROM keeping");
    const { mark: found } = row.get()!;
    row.finalize();
    database.close();
    return found;
  };
  expect(mark()).not.toBeNull();
  await keeping.subject.engine.close();
  expect(mark()).toBeNull();
});

test("[P-8.1] a long trim goes part by part, and publishes go between", async () => {
  const store = new Store();
  await using keeping = await Keeping.open(store.kind);
  const { topics } = keeping.subject.engine;
  const history = { maxMessages: 20_000 };
  const ids = Array.from({ length: 10_000 }, (_, i) => `${i}`);
  await Promise.all(ids.map((id) => keeping.publish(id, { history })));
  await keeping.publish("u", { topic: "u" });
  const before = store.writer.batches;
  const isTrimmed: boolean[] = [];
  let isOver = false;
  const trimming = topics
    .trim([
      { topic: "t", retained: false, forgetBefore: Number.MAX_SAFE_INTEGER },
      { topic: "u", retained: false, forgetBefore: Number.MAX_SAFE_INTEGER },
    ])
    .then(() => {
      isOver = true;
    });
  while (!isOver) {
    await keeping.publish("x", { topic: "x" });
    isTrimmed.push(isOver);
  }
  await trimming;
  expect(isTrimmed.filter((over) => !over).length).toBeGreaterThan(1);
  expect(store.writer.batches - before).toBeGreaterThan(2);
  expect(topics.totals).toMatchObject({ topics: 1, historyMessages: isTrimmed.length });
});

test("[P-8.1] a trim that finds nothing to let go of writes nothing", async () => {
  const store = new Store();
  await using keeping = await Keeping.open(store.kind);
  const { topics } = keeping.subject.engine;
  const names = Array.from({ length: 200 }, (_, i) => `t/${i}`);
  for (const topic of names) await keeping.publish("1", { topic, retain: "set" });
  const written = async () => Bun.hash(await Bun.file(`${store.path}-wal`).bytes());
  const before = await written();
  await topics.trim(
    names.map((topic) => ({ topic, history: WIDE, retained: true, forgetBefore: 0 })),
  );
  expect(await written()).toBe(before);
  const totals = { topics: 200, historyMessages: 200, retainedMessages: 200 };
  expect(topics.totals).toMatchObject(totals);
});

test("[P-4.4] a page of retained values looks at so many topics, and the next goes on", async () => {
  const store = new Store();
  await using keeping = await Keeping.open(store.kind);
  const numbers = Array.from({ length: 9000 }, (_, i) => String(i).padStart(5, "0"));
  await Promise.all(numbers.map((n) => keeping.retain(`d/${n}/on`, n)));
  await keeping.retain("d/08999/off", "off");
  const first = await keeping.retained({ filter: "d/+/off" });
  expect(first).toEqual({ messages: [], next: "d/04095/on" });
  const second = await keeping.retained({ filter: "d/+/off", after: first.next! });
  expect(second).toEqual({ messages: [], next: "d/08191/on" });
  const third = await keeping.retained({ filter: "d/+/off", after: second.next! });
  expect([third.messages.map(({ id }) => id), third.next]).toEqual([["off"], undefined]);
  // More topics than are held in memory: each is still what it was.
  await Promise.all(numbers.map((n) => keeping.publish(n, { topic: `d/${n}/on`, history: WIDE })));
  await Promise.all(numbers.map((n) => keeping.publish(n, { topic: `d/${n}/on`, history: WIDE })));
  for (const topic of ["d/00000/on", "d/08999/on"]) {
    expect(await keeping.history({ topic })).toMatchObject({ first: 1, offset: 2 });
  }
  const { totals } = keeping.subject.engine.topics;
  expect(totals).toMatchObject({ topics: 9001, historyMessages: 18_000, retainedMessages: 9001 });
});
