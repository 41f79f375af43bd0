/** The figures of queues against what lies on disk, after much has happened and over restarts [P-5.18]. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DATABASE_FILE } from "../../src/engine/sqlite/database.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { decodeRecord } from "../../src/engine/sqlite/record.ts";
import { Payload } from "../../src/payload.ts";
import { type EngineKind, type Peer, Subject } from "../contracts/engine/subject.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";

const QUEUES = ["a", "b"];
const ALL = ["a", "a.dead", "b", "b.dead"];
const ROUNDS = 12;
const STEPS = 60;

function kindAt(dataDir: string): EngineKind {
  return {
    name: "sqlite",
    durable: true,
    open: async (parts) => ({
      create: () => new SqliteEngine({ ...parts, dataDir, durability: "os" }),
      dispose: () => rm(dataDir, { recursive: true, force: true }),
    }),
  };
}

interface Row {
  readonly dueAt: number | null;
  readonly record: Uint8Array;
}

/** What the file says of a queue. */
function onDisk(path: string, name: string) {
  using database = new Database(path, { readonly: true });
  const { number } = database.query("SELECT number FROM queues WHERE name = ?").get(name) as {
    number: number;
  };
  const within = "id >> 48 = ?1";
  const rows = database
    .query<Row, [number]>(`SELECT due_at AS dueAt, record FROM messages WHERE ${within}`)
    .all(number);
  const acked = database.query(`SELECT count(*) AS count FROM acked WHERE ${within}`).get(number);
  const times = rows
    .filter(({ dueAt }) => dueAt === null)
    .map(({ record }) => decodeRecord(Buffer.from(record)).enteredAt);
  const totals = {
    messages: rows.length,
    delayed: rows.filter(({ dueAt }) => dueAt !== null).length,
    bytes: rows.reduce((sum, { record }) => sum + record.length, 0),
    retained: (acked as { count: number }).count,
  };
  return { totals, oldest: times.length === 0 ? undefined : Math.min(...times) };
}

for (const seed of fuzzSeeds(2)) {
  test(`[P-5.18] counts, bytes and what is retained (FUZZ_SEED=${seed})`, async () => {
    const random = seededRandom(seed);
    const below = (most: number) => Math.floor(random() * most);
    const dataDir = await mkdtemp(join(tmpdir(), "warren-engine-"));
    const limits = { queueWindowMessages: 16, delayedWindow: 8 };
    await using subject = await Subject.open(kindAt(dataDir), { limits });
    const bounds = { maxMessages: 60, maxBytes: 12_000, overflow: "dead-letter-oldest" } as const;
    const backoff = { minMs: 50, maxMs: 400 };
    const settings = { ...bounds, backoff, maxDeliveries: 3, ttlMs: 4000 };
    for (const name of QUEUES) {
      await subject.define(name, { ...settings, retainAckedMs: 2500, retainAckedBytes: 3000 });
    }
    let peers: Peer[] = [];
    const append = () => {
      const payload = Payload.fromValue("x".repeat(below(300)));
      const priority = below(10);
      const now = subject.clock.now();
      const more = {
        ...(random() < 0.3 && { dueAt: now + below(600) }),
        ...(random() < 0.2 && { expiresAt: now + 700 + below(600) }),
      };
      const queues = random() < 0.3 ? QUEUES : [QUEUES[below(2)]!];
      subject.append(queues, { payload, priority, ...more }).catch(() => undefined);
    };
    const settle = () => {
      const peer = peers[below(peers.length)];
      const held = peer?.seen.filter(({ tag }) => peer.consumer.holds(tag)) ?? [];
      const [delivery] = held.slice(below(held.length));
      if (peer === undefined || delivery === undefined) return;
      const kinds = ["ack", "ack", "ack", "nack", "reject", "extend"] as const;
      void peer.settle(delivery.tag, { kind: kinds[below(kinds.length)]! });
    };
    const others = [
      () => void peers.push(subject.consume(ALL[below(4)]!, 1 + below(8))),
      () => peers.splice(below(peers.length), 1)[0]?.consumer.cancel(),
      () => peers.splice(below(peers.length), 1)[0]?.consumer.disconnect(),
      () => subject.clock.advance(below(400)),
      () => void subject.engine.queues.purge(ALL[below(4)]!),
      () => {
        const request = { state: "waiting", select: {}, limit: 1 + below(5) } as const;
        subject.engine.queues.transfer("a.dead", request).catch(() => undefined);
      },
    ];
    for (let round = 0; round < ROUNDS; round++) {
      for (let step = 0; step < STEPS; step++) {
        const dice = random();
        if (dice < 0.55) append();
        else if (dice < 0.85) settle();
        else others[below(others.length)]!();
        if (random() < 0.2) await new Promise((resolve) => setImmediate(resolve));
      }
      for (let i = 0; i < 3; i++) await subject.quiet();
      for (const name of ALL) {
        const { counts, oldestTime } = subject.engine.queues.describe(name);
        const { ready, delayed, inFlight, bytes, retained } = counts;
        const said = { messages: ready + delayed + inFlight, delayed, bytes, retained };
        const { totals, oldest } = onDisk(join(dataDir, DATABASE_FILE), name);
        const where = { FUZZ_SEED: seed, round, name };
        expect({ ...where, ...said }).toEqual({
          ...where,
          ...totals,
        });
        // It may be that of one that has left, and is never younger than the oldest.
        if (oldest === undefined) expect(oldestTime).toBeUndefined();
        else expect(oldestTime ?? 0).toBeLessThanOrEqual(oldest);
        const held = peers.filter(({ consumer }) => consumer.queue === name);
        const out = held.flatMap((peer) => peer.seen.filter(({ tag }) => peer.consumer.holds(tag)));
        expect({ ...where, inFlight }).toEqual({ ...where, inFlight: out.length });
        const { dead } = subject.engine.queues.describe(name).counts;
        const letters = QUEUES.includes(name) ? subject.counts(`${name}.dead`) : undefined;
        const all = letters ? letters.ready + letters.delayed + letters.inFlight : 0;
        expect({ ...where, dead }).toEqual({ ...where, dead: all });
      }
      if (round % 4 !== 3) continue;
      await subject.reopen();
      peers = [];
    }
  });
}
