/** kill -9 with queues ordered by key: order within a key, one out at a time, over one life after the other. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Random } from "../../src/clock.ts";
import { eventually } from "../harness/eventually.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";
import { serve } from "../harness/served.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";
import { Connection } from "./connection.ts";

const ROUNDS = 6;
const KEYS = 12;
const MESSAGES = 160;
const QUEUE = { ordering: "key", bindings: ["work/#"], ackTimeoutMs: 60_000, maxDeliveries: 100 };
/** Held longer than any machine is slow: no lost connection burns an attempt. */
const ENVIRONMENT = { WARREN_LIMITS_DELIVERY_GRACE_MS: "60000" };

/** What was promised of the messages of each key, which count up. */
class Ledger {
  readonly faults: string[] = [];
  readonly #random: Random;
  readonly #sent = Array.from({ length: KEYS }, () => 0);
  readonly #confirmed = Array.from({ length: KEYS }, () => new Set<number>());
  /** Acks that were sent, and those that were answered. */
  readonly #acks = Array.from({ length: KEYS }, () => new Map<number, "sent" | "answered">());
  /** By key what a worker of this life of the broker holds. */
  readonly #out = new Map<number, number>();
  answers = 0;
  #lookedAt = -1;

  constructor(random: Random) {
    this.#random = random;
  }

  async publisher(url: string, encoding: Encoding): Promise<Connection> {
    const connection = await Connection.open(url, encoding, (frame) => {
      const [key, number] = String(frame.id).split("/").map(Number) as [number, number];
      if (frame.type === "ok") this.#confirmed[key]!.add(number);
      this.answers++;
    });
    for (let i = 0; i < MESSAGES; i += 8) {
      const frames = Array.from({ length: 8 }, () => {
        const key = Math.floor(this.#random() ** 1.5 * KEYS);
        const number = ++this.#sent[key]!;
        const payload = [key, number];
        const priority = Math.floor(this.#random() * 10);
        const id = payload.join("/");
        return { type: "publish", id, topic: "work/1", key: `k${key}`, priority, payload };
      });
      connection.send(frames);
    }
    return connection;
  }

  async worker(url: string, encoding: Encoding): Promise<Connection> {
    const connection: Connection = await Connection.open(url, encoding, (frame) => {
      if (frame.type === "delivery") this.#take(connection, frame);
      else if (String(frame.id).startsWith("ack ")) this.#answered(frame);
    });
    connection.send([{ type: "consume", id: "consume", queue: "work", credit: 20 }]);
    return connection;
  }

  #take(connection: Connection, { payload, tag }: Frame): void {
    const [key, number] = payload as [number, number];
    const what = `k${key} #${number}`;
    if (this.#out.has(key)) this.faults.push(`${what} beside #${this.#out.get(key)}`);
    if (this.#acks[key]!.get(number) === "answered") this.faults.push(`${what} after its ack`);
    for (const before of this.#confirmed[key]!) {
      if (before < number && !this.#acks[key]!.has(before)) {
        this.faults.push(`${what} before #${before}`);
      }
    }
    this.#out.set(key, number);
    setImmediate(() => {
      this.#out.delete(key);
      if (this.#random() < 0.1) {
        connection.send([{ type: "nack", id: "nack", tags: [tag], delayMs: 20 }]);
        return;
      }
      this.#acks[key]!.set(number, "sent");
      connection.send([{ type: "ack", id: `ack ${key}/${number}`, tags: [tag] }]);
    });
  }

  #answered(frame: Frame): void {
    const [key, number] = String(frame.id).slice(4).split("/").map(Number) as [number, number];
    if (frame.type === "ok") this.#acks[key]!.set(number, "answered");
    else this.faults.push(`${frame.id} was refused: ${frame.code}`);
    this.answers++;
  }

  /** The broker is gone: nobody holds anything, and what was not answered may have happened or not. */
  crashed(): void {
    this.#out.clear();
  }

  /** What was confirmed and never handed out. */
  missing(): string[] {
    // What is asked for in every turn must not keep the answers waiting.
    if (this.answers === this.#lookedAt) return ["as before"];
    this.#lookedAt = this.answers;
    return this.#confirmed.flatMap((numbers, key) =>
      [...numbers].filter((number) => !this.#acks[key]!.has(number)).map((n) => `k${key} #${n}`),
    );
  }
}

for (const seed of fuzzSeeds(1)) {
  test(`[P-5.10, P-5.8] keys keep their order over kill -9, FUZZ_SEED=${seed}`, async () => {
    const random = seededRandom(seed);
    const dataDir = await mkdtemp(join(tmpdir(), "warren-keyed-"));
    const ledger = new Ledger(random);
    try {
      for (let round = 0; round <= ROUNDS; round++) {
        await using broker = await serve(dataDir, [], ENVIRONMENT);
        const body = JSON.stringify(QUEUE);
        await fetch(`${broker.url}/admin/v1/queues/work`, { method: "PUT", body });
        const before = ledger.answers;
        const peers = [
          await ledger.worker(broker.url, "json"),
          await ledger.worker(broker.url, "msgpack"),
        ];
        if (round === ROUNDS) {
          await eventually(
            () => ledger.missing().length === 0,
            () => `${ledger.missing().slice(0, 5)}`,
          );
        } else {
          peers.push(await ledger.publisher(broker.url, round % 2 === 0 ? "json" : "msgpack"));
          const until = before + MESSAGES / 4 + Math.floor(random() * MESSAGES);
          await eventually(
            () => ledger.answers >= until,
            () => `${ledger.answers} of ${until} answers`,
          );
        }
        broker.child.kill("SIGKILL");
        await Promise.all(peers.map(({ closed }) => closed));
        await broker.child.exited;
        ledger.crashed();
      }
      expect(ledger.faults).toEqual([]);
      expect(ledger.answers).toBeGreaterThan(ROUNDS * 40);
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  }, 180_000);
}
